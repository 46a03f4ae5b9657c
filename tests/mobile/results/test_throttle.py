"""Each way in which a device shows that it holds itself back, and what is no such sign."""

from __future__ import annotations

from typing import Any

import pytest

from mobile.results.figures import figures
from mobile.results.throttle import HOT_C, NOTHING_TO_WATCH, throttling
from tests.support.runs import MS, SECOND, event, sensor, simple_run

CAP = sensor("cap.policy0", "ratio")
CLOCK = sensor("frequency.policy0", "frequency")
HEAT = sensor("temperature.cpu", "temperature")
LOW_VOLTAGE = "undervoltage: the 5 V input is below about 4.63 V"
NOW = sensor("throttle.now.undervoltage", "flag", scope=LOW_VOLTAGE)
STICKY = sensor("throttle.since-boot.undervoltage", "flag", scope=LOW_VOLTAGE)
STATUS = sensor("throttle.status", "level", scope="Android thermal status")
COOLING = sensor("throttle.cooling.cpufreq-cpu0", "level", scope="thermal throttling by cpufreq-cpu0")
OVER_CURRENT = sensor("throttle.oc2", "count", scope="SoC average over-current events (OC2)")


def look(*laws: tuple[dict[str, Any], Any], **how: Any):
    sensors, columns = [about for about, _ in laws], {about["name"]: law for about, law in laws}
    return throttling(simple_run(sensors=sensors, columns=columns, **how))


def steady(value: float):
    return lambda t: value


# In simple_run the warm-up begins at once, sampling at -0.5 s, and measuring takes from 0 to 5 s.


def test_a_counter_names_what_it_counts() -> None:
    seen = look((OVER_CURRENT, lambda t: 15.0 + 4 * (t > 3)))
    assert (seen.verdict, seen.why) == ("yes", "throttle.oc2 rose by 4 (SoC average over-current events (OC2))")


def test_a_live_flag_at_a_single_sample_is_enough() -> None:
    seen = look((NOW, lambda t: float(2 < t < 2.15)))
    assert seen.verdict == "yes"
    assert seen.why == f"{LOW_VOLTAGE} (throttle.now.undervoltage in 1 of 57 samples)"


def test_a_flag_during_the_warm_up_counts() -> None:
    assert look((NOW, lambda t: float(t < -0.3))).verdict == "yes"


def test_a_flag_before_the_warm_up_and_after_measuring_does_not() -> None:
    later = [event("first-done", 1000 * MS)]
    run = simple_run(sensors=[NOW], columns={NOW["name"]: lambda t: float(t < -0.05 or t > 5.25)})
    run.events = [item for item in run.events if item["name"] != "first-done"] + [
        {"t_ns": item["t_ns"], "name": item["name"], "detail": {}} for item in later
    ]
    assert throttling(run).verdict == "no"


def test_an_alarm_that_the_kernel_shows_late_is_still_heard() -> None:
    late = {**NOW, "period_s": 0.5}
    assert look((late, lambda t: float(t > 5.25))).verdict == "yes"
    assert look((NOW, lambda t: float(t > 5.25))).verdict == "no"


def test_a_sticky_flag_that_comes_up_in_the_run() -> None:
    seen = look((STICKY, lambda t: float(t > 1)))
    assert (seen.verdict, seen.why) == ("yes", f"{LOW_VOLTAGE} (throttle.since-boot.undervoltage came up)")


def test_a_sticky_flag_from_before_the_run_tells_nothing_and_says_so() -> None:
    seen = look((STICKY, steady(1.0)), (NOW, steady(0.0)))
    assert (seen.verdict, seen.why) == ("no", "watched: throttle.now.undervoltage")
    assert seen.remarks == [
        "throttle.since-boot.undervoltage was set before the run: only the live flags tell whether it came again"
    ]
    assert look((STICKY, steady(1.0))).verdict == "unknown"


def test_one_event_on_several_flags_is_one_line() -> None:
    seen = look((NOW, lambda t: float(1 < t < 2)), (STICKY, lambda t: float(t > 1)))
    assert len(seen.signs) == 1
    assert "throttle.now.undervoltage in 9 of" in seen.why
    assert "throttle.since-boot.undervoltage came up" in seen.why


def test_a_cap_that_falls_in_the_warm_up_and_stays_down() -> None:
    seen = look((CAP, lambda t: 1.0 if t < -0.25 else 0.6))
    assert seen.why == "cap.policy0 fell from 100% to 60% of the highest clock"


def test_a_cap_that_comes_up_and_falls_again() -> None:
    seen = look((CAP, lambda t: 1.0 if 1 < t < 2 else 0.6))
    assert seen.why == "cap.policy0 fell from 100% to 60% of the highest clock"


def test_a_cap_below_the_highest_clock_from_the_start_is_a_warning() -> None:
    other = sensor("cap.policy4", "ratio")
    seen = look((CAP, steady(0.8)), (other, steady(0.8)), (HEAT, steady(50.0)))
    assert seen.verdict == "no"
    assert seen.remarks == [
        "clocks were capped at 80% of the highest from the start"
        " (a power mode, a governor, or what came before the run): cap.policy0, cap.policy4"
    ]


def test_on_a_hot_board_it_is_throttling() -> None:
    seen = look((CAP, steady(0.8)), (HEAT, steady(HOT_C + 4)))
    assert seen.why == (
        "clocks were capped at 80% of the highest from the start (heat from before the run: 84.0 C): cap.policy0"
    )


def test_caps_that_are_put_back_after_the_run_are_not_its_own() -> None:
    law = (CAP, lambda t: 1.0 if t < 5.02 else 0.5)
    put_back = event("restored", 6 * SECOND + 1, what="power mode", to="15W", ok=True)
    assert look(law).verdict == "yes"
    assert look(law, more=[put_back]).verdict == "no"


@pytest.mark.parametrize(("before", "during", "verdict"), [(0.0, 0.0, "no"), (0.0, 1.0, "yes"), (2.0, 2.0, "yes")])
def test_androids_thermal_status(before: float, during: float, verdict: str) -> None:
    seen = look((STATUS, lambda t: before if t < 1 else during))
    assert seen.verdict == verdict
    assert verdict == "no" or seen.why == f"throttle.status was {max(before, during):g} (Android thermal status)"


def test_a_cooling_device_that_steps_up() -> None:
    seen = look((COOLING, lambda t: 3.0 if 2 < t < 3 else 1.0))
    assert seen.why.startswith("throttle.cooling.cpufreq-cpu0 rose by 2 to 3")
    assert look((COOLING, lambda t: 0.0 if 1 < t < 2 else 2.0)).verdict == "yes"


def test_a_cooling_device_that_stays_where_it_was_is_a_warning() -> None:
    seen = look((COOLING, steady(2.0)))
    assert seen.verdict == "no"
    assert seen.remarks == [f"{COOLING['name']} was 2 from the start ({COOLING['scope']})"]


def falling(t: float) -> float:
    return 2.4e9 if t < 2 else 1.5e9


SLOWING = [10 * MS] * 200 + [15 * MS] * 200


def test_a_clock_that_falls_under_load_with_the_latency() -> None:
    seen = look((CLOCK, falling), durations_ns=SLOWING)
    assert seen.verdict == "yes"
    assert seen.why == "frequency.policy0 fell from 2400 to 1500 MHz under a constant load, and latency rose by 50%"


@pytest.mark.parametrize(
    ("law", "how"),
    [
        (falling, {}),  # nothing slowed down: it was a clock that nobody needed
        (steady(1.5e9), {"durations_ns": SLOWING}),
        (
            lambda t: 2.4e9 if 3.3 < t < 3.5 else 1.2e9 + 0.8e9 * (t < 1),
            {"durations_ns": SLOWING},
        ),  # was not at its top
        (falling, {"durations_ns": [10 * MS] * 20}),
    ],
)
def test_a_clock_alone_is_no_sign_and_no_acquittal(law: Any, how: dict[str, Any]) -> None:
    assert look((CLOCK, law), **how).verdict == "unknown"


def probe(when: str, *times_ms: float, work: str = "w") -> dict[str, Any]:
    return event("probe", 7 * SECOND, when=when, duration_ns=[round(time * MS) for time in times_ms], work=work)


@pytest.mark.parametrize(
    ("after", "verdict"),
    [((10.9, 30.0), "no"), ((11.1, 12.0), "yes"), ((9.0,), "no"), ((), "unknown")],
)
def test_reference_work_before_and_after(after: tuple[float, ...], verdict: str) -> None:
    seen = look(more=[probe("before", 10.0, 25.0), probe("after", *after)])
    assert seen.verdict == verdict
    assert verdict != "yes" or seen.why == "fixed reference work took 11% longer after measuring than before"
    assert verdict != "no" or seen.why == "watched: reference work after"


def test_different_reference_work_is_not_compared() -> None:
    assert look(more=[probe("before", 10.0), probe("after", 20.0, work="other")]).verdict == "unknown"


def test_the_agents_word_and_the_guards() -> None:
    guard = event("guard", 3 * SECOND, sensor="temperature.cpu", temperature_c=91.5, limit_c=90.0)
    seen = look(more=[event("throttled", 2 * SECOND, why="the bits say so"), guard])
    assert seen.signs == [
        "the agent reported throttling: the bits say so",
        "the thermal guard stopped the run: temperature.cpu at 91.5 C, the limit is 90.0 C",
    ]


def test_no_lists_what_was_watched_and_unknown_what_was_not_there() -> None:
    seen = look((CAP, steady(1.0)), (NOW, steady(0.0)), (STATUS, steady(0.0)), (OVER_CURRENT, steady(3.0)))
    assert seen.why == "watched: throttle.oc2, cap.policy0, throttle.now.undervoltage, throttle.status"
    assert look((HEAT, steady(60.0))).why == NOTHING_TO_WATCH
    many = [(sensor(f"cap.policy{i}", "ratio"), steady(1.0)) for i in range(15)]
    assert look(*many).why.endswith("cap.policy11 and 3 more")


def test_a_run_without_samples_is_unknown() -> None:
    assert look((NOW, lambda t: None)).verdict == "unknown"


def test_an_indicator_with_a_gap_is_a_warning_and_all_of_them_make_the_run_invalid() -> None:
    def gone(t: float) -> float | None:
        return None if t > 1 else 0.0

    columns = {NOW["name"]: gone, STATUS["name"]: steady(0.0)}
    row = figures(simple_run(sensors=[NOW, STATUS], columns=columns))
    assert row["verdict"] == "valid"
    assert row["warnings"] == ["throttle.now.undervoltage gave no value for 4 s of the 5 s measured"]
    row = figures(simple_run(sensors=[NOW], columns={NOW["name"]: gone}))
    assert row["reasons"] == [
        "throttling was not watched: throttle.now.undervoltage gave no value for 4 s of the 5 s measured"
    ]


def test_counters_may_have_gaps_they_remember() -> None:
    law = {OVER_CURRENT["name"]: lambda t: None if 0.5 < t < 4.5 else 3.0}
    row = figures(simple_run(sensors=[OVER_CURRENT], columns=law))
    assert (row["verdict"], row["warnings"]) == ("valid", [])


def test_steady_runs_are_not_flagged() -> None:
    laws = [(CAP, steady(1.0)), (NOW, steady(0.0)), (STICKY, steady(0.0)), (COOLING, steady(0.0)), (HEAT, steady(70.0))]
    for seed in range(50):
        durations = [10 * MS + (i * 7919 * (seed + 1)) % (2 * MS) for i in range(300)]
        law = (CLOCK, lambda t, seed=seed: 2.4e9 - 1e8 * ((t * 10 + seed) % 3))
        seen = look(*laws, law, durations_ns=durations, more=[probe("before", 10, 11), probe("after", 10.4, 12)])
        assert (seen.verdict, seen.remarks) == ("no", [])
