"""Figures and verdicts of scenarios, of runs with known times."""

from __future__ import annotations

from typing import Any

import pytest

from mobile.errors import AgentError, UsageError
from mobile.reports.mlperf import mlperf_summary
from mobile.results import early_stopping
from mobile.results.document import from_document, to_columns, to_document
from mobile.results.figures import figures
from mobile.results.run import Run
from mobile.results.scenario import scenario
from mobile.results.sustained import sustained
from tests.support.runs import MS, SECOND, block, collector, done, event, hello, sensor, simple_run

SERVER = {"name": "server", "qps": 100.0, "latency_bound_s": 0.02, "seed": 0}
FRAMES = {"name": "rate", "rate_hz": 100.0, "late": "newest", "seed": 0}


def scheduled(
    asked: dict[str, Any], due_ms: list[float], start_ms: list[float], takes_ms: list[float], **more: Any
) -> Run:
    """A completed run with these queries; times from t = 1 s on."""
    spec = {"min_count": 1, "min_duration_s": 0.0, **more.pop("spec", {})}
    made = collector(**spec, scenario=asked)
    made.feed(hello(more.pop("sensors", None)))
    made.feed(event("first-done", 2, first_s=0.06))
    starts = [SECOND + round(at * MS) for at in start_ms]
    record = block("measure", starts, [round(takes * MS) for takes in takes_ms])
    if due_ms:
        record["scheduled_ns"] = [SECOND + round(at * MS) for at in due_ms]
    made.feed(record)
    told = {"reason": "minimums", "unserved": 0, "spin_s": 0.25, "slept_s": 1.0, **more}
    made.feed(event("measured", 20 * SECOND, count=len(starts), duration_s=1.0, **told))
    made.feed(done(len(starts)))
    return made.run


def server(latencies_ms: list[float], **more: Any) -> Run:
    """A server run whose queries come every 10 ms and are answered after these times, one at a time."""
    due = [10.0 * number for number in range(len(latencies_ms))]
    asked = {**SERVER, **more.pop("asked", {})}
    starts = [at + latency - 1 for at, latency in zip(due, latencies_ms, strict=True)]
    return scheduled(asked, due, starts, [1.0] * len(due), **more)


def test_latency_runs_from_when_a_query_was_due():
    row = scenario(scheduled(SERVER, [0, 10, 20], [0, 14, 29], [10, 10, 10]))
    assert row["latency_s"]["min"] == pytest.approx(0.010)
    assert row["latency_s"]["p50"] == pytest.approx(0.014)
    assert row["latency_s"]["max"] == pytest.approx(0.019)


def test_a_server_holds_by_the_rule_of_early_stopping_at_its_edge():
    """Of 1,000 queries two may be above the bound, three are too many (binomial, 99 %)."""
    kept = figures(server([5.0] * 998 + [25.0] * 2))
    assert (kept["verdict"], kept["scenario"]["server"]["over"], kept["scenario"]["server"]["allowed"]) == (
        "valid",
        2,
        2,
    )
    assert kept["scenario"]["result"].endswith("bound kept (2 of 1000 late)")
    lost = figures(server([5.0] * 997 + [25.0] * 3))
    assert lost["verdict"] == "invalid"
    assert lost["reasons"] == [
        "too few queries to tell that p99 keeps 20 ms: 3 of 1000 were late, with so many late 1001 queries are needed"
    ]


def test_a_bound_that_is_not_kept_says_how_many_were_late():
    row = figures(server([5.0] * 900 + [25.0] * 100))
    assert row["reasons"] == ["p99 does not keep 20 ms: 100 of 1000 queries were late or not answered, 2 may be"]


def test_queries_that_were_never_answered_count_as_late():
    row = figures(server([5.0] * 1000, unserved=30, reason="max-duration"))
    assert row["scenario"]["server"]["over"] == 30
    assert "30 of 1030 queries were late or not answered" in "; ".join(row["reasons"])
    assert "it ended before its minimums were reached (max-duration)" in row["reasons"]


def test_too_few_queries_state_the_number_that_is_needed():
    row = figures(server([5.0] * 100))
    assert row["reasons"] == [
        "too few queries to tell that p99 keeps 20 ms: 0 of 100 were late, with so many late 459 queries are needed"
    ]


@pytest.mark.parametrize(("count", "valid"), [(63, False), (64, True)])
def test_single_stream_needs_64_queries_for_its_p90(count, valid):
    run = scheduled({"name": "single-stream"}, [], [10.0 * n for n in range(count)], [5.0] * count)
    row = figures(run)
    assert (row["verdict"] == "valid") is valid
    percentile = row["scenario"]["percentiles"]["p90"]
    assert (percentile["needed"], percentile["bound_s"]) == (64, pytest.approx(0.005) if valid else None)
    if not valid:
        assert row["reasons"] == ["p90 needs 64 queries for a bound that holds with 99 %, 63 were measured"]


def test_the_bound_of_a_percentile_is_the_one_of_the_published_rule():
    """2,048 queries: the 172 highest are discarded (MLPerf's published logs), whatever their order."""
    times = [1.0 + 0.001 * ((number * 977) % 2048) for number in range(2048)]
    run = scheduled({"name": "single-stream"}, [], [10.0 * n for n in range(2048)], times)
    percentile = figures(run)["percentiles"]["p90"]
    assert percentile["discarded"] == 172
    assert percentile["bound_s"] == pytest.approx((1.0 + 0.001 * (2047 - 172)) / 1000)


def test_multi_stream_counts_whole_queries():
    """Two queries of four samples and one that was cut: a query takes from its due time to its last sample's end."""
    asked = {"name": "multi-stream", "samples_per_query": 8}
    due = [0.0] * 4 + [50.0] * 4 + [100.0] * 2
    starts = [0, 10, 20, 30, 51, 61, 71, 85, 100, 110]
    run = scheduled(asked, due, starts, [9.0] * 10, spec={"batch": 2, "min_count": 3})
    row = figures(run)
    assert (row["scenario"]["queries"], row["scenario"]["samples"]) == (2, 20)
    assert row["scenario"]["latency_s"]["min"] == pytest.approx(0.039)
    assert row["scenario"]["latency_s"]["max"] == pytest.approx(0.044)
    assert row["reasons"] == [
        "2 queries were measured, the minimum is 3",
        "p99 needs 662 queries for a bound that holds with 99 %, 2 were measured",
    ]


def test_offline_tells_samples_a_second():
    run = scheduled({"name": "offline"}, [], [0, 10, 20, 30], [10.0] * 4, spec={"batch": 8})
    assert scenario(run)["samples_per_s"] == pytest.approx(32 / 0.04)


def test_dropped_and_late_frames_miss_their_deadline():
    """Frames 0, 3, 4, 5 were answered; 0 took 25 ms, 5 took 12 ms: 0, 1, 2 and 5 are missed, three in a row."""
    run = scheduled(FRAMES, [0, 30, 40, 50], [0, 30, 40, 50], [25, 5, 5, 12])
    told = scenario(run)["rate"]
    assert (told["frames"], told["answered"], told["skipped"], told["late_frames"]) == (6, 4, 2, 2)
    assert (told["missed"], told["miss_share"], told["longest_streak"]) == (4, pytest.approx(4 / 6), 3)
    assert told["deadline_s"] == told["period_s"] == 0.01
    assert figures(run)["verdict"] == "valid"  # a missed deadline is the answer, no fault of the measurement


def test_a_deadline_may_be_longer_than_the_period():
    run = scheduled({**FRAMES, "latency_bound_s": 0.03}, [0, 30, 40, 50], [0, 30, 40, 50], [25, 5, 5, 12])
    assert scenario(run)["rate"]["missed"] == 2  # the two that were dropped


def test_frames_that_were_waiting_at_the_end_are_missed():
    told = scenario(scheduled(FRAMES, [0, 10], [0, 10], [5, 5], unserved=2))["rate"]
    assert (told["frames"], told["missed"], told["longest_streak"], told["skipped"]) == (4, 2, 2, 0)


def test_no_frame_missed_is_a_streak_of_none():
    told = scenario(scheduled(FRAMES, [0, 10], [0, 10], [5, 5]))["rate"]
    assert (told["missed"], told["longest_streak"], told["miss_share"]) == (0, 0, 0.0)


def test_a_run_without_a_scenario_has_bounds_and_no_scenario():
    row = figures(simple_run())
    assert row["scenario"] is None
    assert row["percentiles"]["p90"]["bound_s"] == pytest.approx(0.01)
    assert row["percentiles"]["p99"] == {
        "value_s": pytest.approx(0.01),
        "bound_s": None,
        "discarded": None,
        "needed": 662,
    }


def test_the_schedule_is_stored_and_comes_back():
    run = server([5.0] * 500)
    again = from_document(to_document(run), {name: blob for name, _, blob in to_columns(run)})
    assert again.phase("measure").scheduled_ns == run.phase("measure").scheduled_ns
    assert figures(again)["scenario"] == figures(run)["scenario"]


def test_blocks_that_disagree_about_the_schedule_are_refused():
    made = collector(scenario=SERVER)
    made.feed({**block("measure", [1], [1]), "scheduled_ns": [1]})
    made.feed(block("measure", [], []))  # a sign of life
    with pytest.raises(AgentError, match="some of its blocks"):
        made.feed(block("measure", [2], [1]))
    with pytest.raises(AgentError, match="equally long"):
        made.feed({**block("measure", [2], [1]), "scheduled_ns": [1, 2]})


def test_what_may_be_over_a_bound_is_the_inverse_of_what_is_needed():
    for over in (0, 1, 5, 40):
        needed = early_stopping.needed_for(over, 0.99)
        assert early_stopping.holds(needed, over, 0.99)
        assert not early_stopping.holds(needed - 1, over, 0.99)


# A long run.


def course(takes_ms: Any, seconds: float, **how: Any) -> Run:
    """A sustained run; ``takes_ms`` of the time in seconds."""
    durations, at = [], 0.0
    while at < seconds:
        durations.append(round(takes_ms(at) * MS))
        at += durations[-1] / SECOND
    return simple_run(durations, scenario={"name": "sustained"}, **how)


def test_the_last_minute_is_set_against_the_first():
    told = figures(course(lambda t: 50.0 if t < 120 else 100.0, 241.0))["scenario"]["sustained"]
    assert told["part_s"] == 60.0
    assert [part["inferences"] for part in told["parts"]] == pytest.approx([1200, 1200, 600, 600], abs=2)
    assert told["last_to_first"] == pytest.approx(2.0)
    assert told["sustained_to_peak"] == pytest.approx(0.5, rel=0.01)
    assert told["slowed_at_s"] == pytest.approx(120.0)
    assert told["throttled_at_s"] is None


def test_a_slow_while_that_passes_is_no_slowing_down():
    told = sustained(course(lambda t: 100.0 if 60 < t < 180 else 50.0, 301.0))
    assert told["slowed_at_s"] is None
    assert told["sustained_to_peak"] == pytest.approx(1.0, rel=0.01)


def test_a_short_run_is_cut_into_tenths():
    run = course(lambda t: 20.0, 10.0)
    told = sustained(run)
    assert told["part_s"] == pytest.approx(1.0, rel=0.01)
    assert [part["inferences"] for part in told["parts"]] == pytest.approx([50] * 10, abs=1)
    assert sum(part["inferences"] for part in told["parts"]) == len(run.phase("measure"))
    assert told["slowed_at_s"] is None


def test_the_first_sign_of_throttling_is_timed_and_named():
    cap = sensor("cap.cpu0", "ratio")
    told = sustained(course(lambda t: 20.0, 10.0, sensors=[cap], columns={"cap.cpu0": lambda t: 1.0 if t < 6 else 0.5}))
    assert told["throttled_at_s"] == pytest.approx(6.0, abs=0.11)
    assert told["throttled_by"] == "cap.cpu0"


def test_joules_of_an_inference_over_time():
    watts = sensor("power.VDD_IN", "power", period_s=0.1)
    law = {"power.VDD_IN": lambda t: 5.0 if t < 10 else 8.0}
    told = sustained(course(lambda t: 20.0, 20.0, sensors=[watts], columns=law))
    assert told["energy_sensor"] == "power.VDD_IN"
    assert told["parts"][0]["per_inference_j"] == pytest.approx(0.1, rel=0.05)
    assert told["parts"][-1]["per_inference_j"] == pytest.approx(0.16, rel=0.05)


def test_no_joules_over_time_without_a_sensor_and_the_reason():
    told = sustained(course(lambda t: 20.0, 5.0))
    assert {part["power_w"] for part in told["parts"]} == {None}
    assert all(part["energy_missing"] for part in told["parts"])


# LoadGen's layout.


def lines_of(run: Run) -> list[str]:
    return mlperf_summary(run, figures(run)).splitlines()


def test_a_summary_in_loadgens_layout():
    lines = lines_of(server([5.0] * 998 + [25.0] * 2))
    assert "not an MLPerf submission" in lines[0]
    for line in (
        "Scenario : Server",
        "Scheduled samples per second : 100.00",
        "Result is : VALID",
        "  Performance constraints satisfied : Yes",
        "  Min queries satisfied : Yes",
        "  Early stopping satisfied: Yes",
        "Max latency (ns)                : 25000000",
        "99.00 percentile latency (ns)   : 5000000",
        "99.90 percentile latency (ns)   : 25000000",
        "target_latency (ns): 20000000",
    ):
        assert line in lines


def test_the_summary_of_single_stream_has_the_estimate_of_early_stopping():
    run = scheduled({"name": "single-stream"}, [], [10.0 * n for n in range(64)], [1.0 + n / 10 for n in range(64)])
    lines = lines_of(run)
    assert "90th percentile latency (ns) : 6700000" in lines
    assert " * Processed at least 64 queries (64)." in lines
    assert " * Would discard 0 highest latency queries." in lines
    assert " * Early stopping 90th percentile estimate: 7300000" in lines
    assert " * Not enough queries processed for 99th percentile early stopping estimate (662)." in lines


def test_other_runs_have_no_such_summary():
    for run in (simple_run(), scheduled(FRAMES, [0, 10], [0, 10], [5, 5])):
        with pytest.raises(UsageError, match="no scenario of LoadGen"):
            lines_of(run)


# What went on around it.


def around(**told: Any) -> dict[str, Any]:
    """The figures of a run with this in its event "measured"."""
    base = {
        "swapped_bytes": 0,
        "stalled_s": 0.0,
        "major_faults": 0,
        "clock_step_s": 0.0,
        "asleep_s": 0.0,
        "over_s": 5.0,
    }
    return figures(simple_run(more=[event("measured", around={**base, **told})]))


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"swapped_bytes": 2**20}, "memory ran short: 1 MiB were swapped in or out while it measured"),
        ({"stalled_s": 0.5}, "tasks waited for memory for 10.0% of the time"),
        ({"clock_step_s": -3600.0}, "the device's wall clock was set by -3.6e+03 s while it measured"),
        ({"asleep_s": 2.0, "clock_step_s": 2.0}, "the device was asleep for 2 s while it measured"),
    ],
)
def test_what_makes_a_run_invalid_around_it(told, words):
    row = around(**told)
    assert (row["verdict"], row["reasons"]) == ("invalid", [words])


@pytest.mark.parametrize(
    ("told", "warnings"),
    [
        ({}, 0),
        ({"swapped_bytes": 4096, "clock_step_s": 1e-4}, 0),
        (dict.fromkeys(("swapped_bytes", "stalled_s", "major_faults", "asleep_s")), 0),
        ({"stalled_s": 0.05}, 1),
        ({"major_faults": 500}, 1),
    ],
)
def test_little_things_around_a_run_leave_it_valid(told, warnings):
    row = around(**told)
    assert (row["verdict"], len(row["warnings"])) == ("valid", warnings)


def test_a_charger_that_came_in_mid_run():
    supply = sensor("supply.external", "flag")
    law = {"supply.external": lambda t: float(t > 2)}
    assert figures(simple_run(sensors=[supply], columns=law))["reasons"] == [
        "a charger was plugged in or out while it measured"
    ]
    steady = {"supply.external": lambda t: 1.0}
    assert figures(simple_run(sensors=[supply], columns=steady))["reasons"] == []


@pytest.mark.parametrize(
    ("events", "reasons"),
    [
        ([], ["it never met the runs that were to go on beside it"]),
        ([event("together-started", missing=[1])], ["not all of b.onnx went on beside it to the end"]),
        (
            [event("together-started", missing=[]), event("together-done", missing=[1])],
            ["not all of b.onnx went on beside it to the end"],
        ),
        ([event("together-started", missing=[]), event("together-done", missing=[])], []),
    ],
)
def test_a_run_that_was_to_be_beside_others(events, reasons):
    assert figures(simple_run(more=events, beside=["b.onnx"]))["reasons"] == reasons


def test_a_run_that_took_no_time_has_no_course():
    assert sustained(simple_run([0])) is None
