"""The JSON contract of a run, and every reason for which it is invalid."""

import json

import pytest

from mobile.results.figures import figures
from tests.support.runs import MS, SECOND, block, collector, done, event, hello, samples, sensor, simple_run

TEMPERATURE = sensor("temperature.cpu", "temperature")
COUNTER = sensor("throttle.package-0", "count")
CAP = sensor("cap.policy0", "ratio")


def test_the_contract() -> None:
    row = figures(simple_run(threads=2, min_count=10))
    contract = {
        "id", "device", "model", "spec", "environment", "verdict", "reasons", "invocations", "latency_s",
        "throughput_per_s", "cold_start_s", "memory_bytes", "thermal", "energy", "energy_missing", "harness",
    }  # fmt: skip
    assert contract <= set(row)
    assert set(row["model"]) == {"name", "sha256", "format", "size_bytes"}
    assert set(row["latency_s"]) == {"min", "mean", "p50", "p90", "p99", "max", "std"}
    assert row["latency_s"]["p50"] == 0.01
    assert row["cold_start_s"] == {"load": 0.25, "first": 0.05}
    assert row["memory_bytes"] == {"before_load": 20_000_000, "peak_rss": 40_000_000}
    assert row["harness"]["sampler_cpu_share"] == 0.001
    assert row["harness"]["missed_ticks"] == 0
    assert row["throughput_per_s"] == pytest.approx(100.0)
    assert (row["verdict"], row["reasons"], row["warnings"]) == ("valid", [], [])
    assert row["environment"]["threads"] == 2
    json.dumps(row, allow_nan=False)


def test_throughput_counts_items() -> None:
    assert figures(simple_run(batch=8))["throughput_per_s"] == pytest.approx(800.0)


def test_stages() -> None:
    made = collector(min_count=1, min_duration_s=0.0)
    made.feed(block("measure", [0, 10], [8, 8], {"encode": [2, 4], "send": [6, 4]}))
    made.feed(done(2))
    stages = figures(made.run)["stages_s"]
    assert stages["encode"]["mean"] == pytest.approx(3e-9)
    assert set(stages) == {"encode", "send"}


def _reasons(**how) -> list[str]:
    row = figures(simple_run(**how))
    assert row["verdict"] == ("invalid" if row["reasons"] else "valid")
    return row["reasons"]


def test_failed_cut_and_stopped_runs() -> None:
    failure = {"type": "failure", "code": "crashed", "message": "SIGSEGV", "hint": "", "phase": "measure"}
    assert _reasons(more=[failure], finish={"outcome": "failed"}) == ["it failed: crashed: SIGSEGV"]
    assert _reasons(finish={"outcome": "stopped"}) == ["it was stopped before it was complete"]
    cut = simple_run()
    cut.done = None
    assert figures(cut)["reasons"] == ["the stream was cut before the run was done"]


def test_too_little_was_measured() -> None:
    assert _reasons(min_count=501) == ["500 invocations were measured, the minimum is 501"]
    assert _reasons(min_duration_s=6.0) == ["measured for 5 s, the minimum is 6 s"]
    assert _reasons(min_duration_s=5.001) == []
    assert _reasons(durations_ns=[]) == ["nothing was measured"]
    assert _reasons(finish={"invocations": 501}) == ["the agent measured 501 invocations, of which 500 arrived"]


def test_an_empty_run_has_nulls_not_zeros() -> None:
    row = figures(collector().run)
    assert set(row["latency_s"].values()) == {None}
    assert row["latency_missing"] == "nothing was measured"
    assert (row["throughput_per_s"], row["thermal"], row["energy"]) == (None, None, None)
    assert row["cold_start_s"] == {"load": None, "first": None}
    assert row["memory_bytes"] == {"before_load": None, "peak_rss": None}
    assert row["harness"]["missed_ticks"] is None
    assert row["verdict"] == "invalid"


def test_missed_ticks() -> None:
    assert _reasons(finish={"overhead": {"ticks": 90, "missed_ticks": 10}}) == []
    assert _reasons(finish={"overhead": {"ticks": 89, "missed_ticks": 11}}) == [
        "the sampler missed 11 of 100 ticks, more than 10%"
    ]


def test_throttle_counters() -> None:
    assert _reasons(sensors=[COUNTER], columns={COUNTER["name"]: lambda t: 7.0}) == []
    assert _reasons(sensors=[COUNTER], columns={COUNTER["name"]: lambda t: 7.0 + 3 * (t > 2)}) == [
        "throttle.package-0 rose by 3 (scope of throttle.package-0)"
    ]
    # before and well after measuring it is not this run's
    assert _reasons(sensors=[COUNTER], columns={COUNTER["name"]: lambda t: 7.0 if t < -0.25 else 9.0}) == []
    assert _reasons(sensors=[COUNTER], columns={COUNTER["name"]: lambda t: 7.0 if t < 5.35 else 9.0}) == []


def test_lowered_caps_also_when_they_come_back() -> None:
    assert _reasons(sensors=[CAP], columns={CAP["name"]: lambda t: 0.8}) == []
    assert _reasons(sensors=[CAP], columns={CAP["name"]: lambda t: 0.6 if 2 < t < 3 else 1.0}) == [
        "cap.policy0 fell from 100% to 60% of the highest clock"
    ]
    assert _reasons(sensors=[CAP], columns={CAP["name"]: lambda t: min(1.0, 0.5 + t / 10)}) == []


def test_the_agents_own_word() -> None:
    assert _reasons(more=[event("throttled", 3 * SECOND), event("throttled", 4 * SECOND)]) == [
        "the agent reported throttling"
    ]


@pytest.mark.parametrize(
    ("provider", "loaded", "reasons", "warnings"),
    [
        ("cuda", {"node_share": {"CUDAExecutionProvider": 0.3, "CPUExecutionProvider": 0.7}},
         ["only 30% of the model's nodes ran on cuda (CUDAExecutionProvider 30%, CPUExecutionProvider 70%)"], []),
        ("cuda", {"node_share": {"CPUExecutionProvider": 1.0}},
         ["only 0% of the model's nodes ran on cuda (CPUExecutionProvider 100%)"], []),
        ("CUDAExecutionProvider", {"node_share": {"CUDAExecutionProvider": 0.9, "CPUExecutionProvider": 0.1}},
         [], ["90% of the model's nodes ran on CUDAExecutionProvider (CUDAExecutionProvider 90%, "
              "CPUExecutionProvider 10%)"]),
        ("gpu", {"provider": "TfLiteGpuDelegateV2", "node_share": {"TfLiteGpuDelegateV2": 1.0}}, [], []),
        ("gpu", {"node_share": {"TfLiteGpuDelegateV2": 0.25, "CPU": 0.75}},
         ["only 25% of the model's nodes ran on gpu (TfLiteGpuDelegateV2 25%, CPU 75%)"], []),
        ("gpu", {"node_share": {"TfLiteXNNPackDelegate": 1.0, "CPU": 0.0}},
         ["only 0% of the model's nodes ran on gpu (TfLiteXNNPackDelegate 100%, CPU 0%)"], []),
        ("trt", {"node_share": {"TrtExecutionProvider": 0.2, "CPUExecutionProvider": 0.8},
                 "node_time_share": {"TrtExecutionProvider": 0.9, "CPUExecutionProvider": 0.1}},
         [], ["20% of the model's nodes ran on trt (TrtExecutionProvider 20%, CPUExecutionProvider 80%), "
              "90% of the nodes' time (TrtExecutionProvider 90%, CPUExecutionProvider 10%)"]),
        ("cuda", {"node_share": None}, [], ["it is not known which share of the model ran on cuda"]),
        ("CPUExecutionProvider", {"node_share": {"CPUExecutionProvider": 1.0}}, [], []),
        (None, {"node_share": {"CPUExecutionProvider": 1.0}}, [], []),
    ],
)  # fmt: skip
def test_a_silent_fallback(provider, loaded, reasons, warnings) -> None:
    made = collector(provider=provider, min_count=1, min_duration_s=0.0)
    made.feed(event("loaded", 1, **{"provider": "CPU", **loaded}))
    made.feed(block("measure", [0], [5]))
    made.feed(done(1))
    row = figures(made.run)
    assert (row["reasons"], row["warnings"]) == (reasons, warnings)


def test_no_steady_state_is_a_warning() -> None:
    row = figures(simple_run(durations_ns=[10 * MS] * 100 + [11 * MS] * 100 + [13 * MS] * 100))
    assert row["verdict"] == "valid"
    assert row["warnings"] == ["no steady state: the last third's median latency is +30% from the first third's"]


def test_sampling_that_ended_early_is_a_warning() -> None:
    assert figures(simple_run(finish={"overhead": {"sampler_error": "OSError: gone"}}))["warnings"] == [
        "sampling ended early: OSError: gone"
    ]


def test_an_evaluation_needs_no_minimum() -> None:
    row = figures(simple_run(durations_ns=[MS], task="evaluate", min_count=50, min_duration_s=3.0))
    assert (row["task"], row["verdict"]) == ("evaluate", "valid")


def test_a_summary_only_runner_is_valid_without_percentiles() -> None:
    made = collector(min_count=1)
    made.run.spec.agent_spec["runner"] = "command"
    made.feed(event("loaded", 1, load_s=0.1))
    before = {"before_load": 1, "after_load": 1, "peak_rss": 2}
    summary = {
        "count": 80,
        "latency_s": {"min": 0.01, "mean": 0.02, "max": 0.03, "std": 0.001},
        "cold_start_s": {"first": 0.5},
        "peak_rss_bytes": 7,
        "throughput_per_s": None,
        "missing": {"latency_s": "the program prints no single times"},
    }
    made.feed(done(0, summary=summary, memory=before))
    row = figures(made.run)
    assert (row["verdict"], row["reasons"], row["invocations"]) == ("valid", [], 80)
    assert row["latency_s"]["mean"] == 0.02
    assert row["latency_s"]["p50"] is None
    assert row["latency_missing"] == "p50, p90, p99: the program prints no single times"
    assert row["warnings"] == [f"no percentiles: {row['latency_missing']}"]
    assert row["throughput_per_s"] == pytest.approx(50.0)
    assert row["cold_start_s"] == {"load": None, "first": 0.5}
    assert row["memory_bytes"] == {"before_load": None, "peak_rss": 7}
    made.run.done["summary"].update(throughput_per_s=40.0, count=None)
    made.run.spec.agent_spec["batch"] = 2
    row = figures(made.run)
    assert (row["verdict"], row["invocations"], row["throughput_per_s"]) == ("valid", None, 80.0)


# Heat


def test_the_hottest_sensor_is_told() -> None:
    other = sensor("temperature.gpu", "temperature")
    row = figures(
        simple_run(
            sensors=[TEMPERATURE, other, COUNTER],
            columns={
                TEMPERATURE["name"]: lambda t: 50 + 4 * t,
                other["name"]: lambda t: 45.0,
                COUNTER["name"]: lambda t: 0.0,
            },
        )
    )
    heat = row["thermal"]
    assert heat["sensor"] == "temperature.cpu"
    assert (heat["start_c"], heat["end_c"], heat["peak_c"]) == pytest.approx((49.2, 70.8, 70.8))
    assert (heat["throttled"], heat["throttled_why"]) == ("no", "watched: throttle.package-0")
    assert row["environment"]["start_temperature_c"] == pytest.approx(48.0)


def test_throttling_unknown_and_yes() -> None:
    columns = {TEMPERATURE["name"]: lambda t: 50.0}
    heat = figures(simple_run(sensors=[TEMPERATURE], columns=columns))["thermal"]
    assert heat["throttled"] == "unknown"
    columns[CAP["name"]] = lambda t: 1.0 if t < 1 else 0.5
    heat = figures(simple_run(sensors=[TEMPERATURE, CAP], columns=columns))["thermal"]
    assert heat["throttled"] == "yes"
    assert "fell from 100% to 50%" in heat["throttled_why"]


def test_no_temperature_is_explained() -> None:
    row = figures(simple_run(sensors=[sensor("temperature", "temperature", "absent", reason="no thermal zones")]))
    assert (row["thermal"], row["thermal_missing"]) == (None, "no thermal zones")
    made = collector()
    made.feed(hello([TEMPERATURE]))
    made.feed(samples([1, 2], {TEMPERATURE["name"]: [None, None]}))
    assert figures(made.run)["thermal"] is None
