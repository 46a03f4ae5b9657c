"""Joules against laws whose integral is known, and the reasons for giving none."""

import math

import pytest

from mobile.results.energy import energy
from mobile.results.figures import figures
from mobile.results.run import Run
from tests.support.runs import MS, sensor, simple_run

PACKAGE = sensor("energy.rapl.package-0", "energy", wraps_at=65_532.0, resolution=61e-6, period_s=1e-3)
RAIL = sensor("power.VDD_IN", "power", period_s=6.6e-3)
ABSENT = sensor("energy.rapl", "energy", "absent", reason="no RAPL counters")


def _energy(run: Run):
    return energy(run, len(run.phase("measure")))


def test_a_counter_is_read_by_difference() -> None:
    run = simple_run(sensors=[PACKAGE], columns={PACKAGE["name"]: lambda t: 1000 + 12.5 * (t + 1)})
    figure, missing = _energy(run)
    assert missing is None
    assert figure["total_j"] == pytest.approx(12.5 * 5.0)
    assert figure["per_inference_j"] == pytest.approx(12.5 * 5.0 / 500)
    assert figure["mean_power_w"] == pytest.approx(12.5)
    assert (figure["method"], figure["sensor"], figure["scope"]) == ("counter", PACKAGE["name"], "CPU package")
    assert figure["window_s"] == pytest.approx(5.0)
    assert figure["samples"] == 51
    assert figure["largest_gap_s"] == pytest.approx(0.1)
    assert figure["idle_subtracted"] is False


def test_the_window_between_two_readings_is_interpolated_and_bounded() -> None:
    run = simple_run(
        durations_ns=[10 * MS] * 204, sensors=[PACKAGE], columns={PACKAGE["name"]: lambda t: 50.0 * (t + 1)}
    )
    figure, _ = _energy(run)
    assert figure["total_j"] == pytest.approx(50.0 * 2.04)
    # the end lies inside an interval of 0.1 s, in which 5 J were spent
    assert figure["sampling_uncertainty_j"] == pytest.approx(5.0 + 61e-6)


def test_a_counter_that_wraps_once_and_twice() -> None:
    def law(t: float) -> float:
        return (65_530.0 + 5.0 * (t + 1)) % 65_532.0

    figure, _ = _energy(simple_run(sensors=[PACKAGE], columns={PACKAGE["name"]: law}))
    assert figure["total_j"] == pytest.approx(25.0)
    small = {**PACKAGE, "wraps_at": 10.0}
    figure, _ = _energy(simple_run(sensors=[small], columns={PACKAGE["name"]: lambda t: (7 * (t + 1)) % 10.0}))
    assert figure["total_j"] == pytest.approx(35.0)


def test_a_counter_that_goes_back_without_a_known_range_gives_none() -> None:
    lost = {**PACKAGE, "wraps_at": None}
    figure, missing = _energy(simple_run(sensors=[lost], columns={PACKAGE["name"]: lambda t: (7 * (t + 1)) % 10.0}))
    assert figure is None
    assert missing == "energy.rapl.package-0 went back, and it is not known where it wraps"


def test_power_is_integrated_over_the_window() -> None:
    # 8 W + 2 W sin(2 pi t): over five whole periods the integral is 40 J
    run = simple_run(sensors=[RAIL], columns={RAIL["name"]: lambda t: 8 + 2 * math.sin(2 * math.pi * t)})
    figure, _ = _energy(run)
    assert figure["total_j"] == pytest.approx(40.0, abs=1e-6)
    assert figure["method"] == "trapezoid"
    # in each period the power goes 8 W up and down, in steps of 0.1 s: 5 * 8 W / 2 * 0.1 s, less the missed extremes
    assert figure["sampling_uncertainty_j"] == pytest.approx(2.0, rel=0.06)


def test_a_ramp_is_exact_and_lies_within_its_bound() -> None:
    run = simple_run(durations_ns=[10 * MS] * 333, sensors=[RAIL], columns={RAIL["name"]: lambda t: 10 + 3 * t})
    figure, _ = _energy(run)
    assert figure["total_j"] == pytest.approx(10 * 3.33 + 1.5 * 3.33**2)


def test_packages_are_added_other_scopes_never() -> None:
    second = {**PACKAGE, "name": "energy.rapl.package-1"}
    core = {**PACKAGE, "name": "energy.rapl.package-0.core"}
    dram = {**PACKAGE, "name": "energy.rapl.package-0.dram"}
    psys = {**PACKAGE, "name": "energy.rapl.psys"}
    everything = [PACKAGE, second, core, dram, psys]
    columns = {about["name"]: (lambda t: 10.0 * (t + 1)) for about in everything}
    figure, _ = _energy(simple_run(sensors=everything, columns=columns))
    assert figure["sensor"] == "energy.rapl.package-0 + energy.rapl.package-1"
    assert figure["mean_power_w"] == pytest.approx(20.0)


def test_parts_alone_give_no_figure() -> None:
    rail = sensor("power.VDD_CPU_CV", "power")
    figure, missing = _energy(simple_run(sensors=[rail], columns={rail["name"]: lambda t: 5.0}))
    assert figure is None
    assert missing == "no sensor covers the whole device, and parts are not added (power.VDD_CPU_CV)"


@pytest.mark.parametrize(
    ("sensors", "words"),
    [
        ([], "this device has no energy or power sensor"),
        ([ABSENT], "no RAPL counters"),
        ([sensor("energy.rapl.package-0", "energy", "failed", reason="permission denied"), ABSENT],
         "energy.rapl.package-0: permission denied"),
    ],
)  # fmt: skip
def test_no_sensor_is_explained(sensors: list, words: str) -> None:
    assert _energy(simple_run(sensors=sensors)) == (None, words)


def test_too_short_says_how_long_is_needed() -> None:
    run = simple_run(durations_ns=[10 * MS] * 50, sensors=[RAIL], columns={RAIL["name"]: lambda t: 5.0})
    figure, missing = _energy(run)
    assert figure is None
    assert missing == (
        "measured for 0.5 s, in which power.VDD_IN was read 6 times; at least 10 readings are needed: "
        "measure for 1.2 s or longer"
    )


def test_a_slow_sensor_needs_longer_however_often_it_is_read() -> None:
    slow = {**RAIL, "period_s": 2.0}
    figure, missing = _energy(simple_run(sensors=[slow], columns={RAIL["name"]: lambda t: 5.0}))
    assert figure is None
    assert "measure for 24 s or longer" in missing


def test_a_long_gap_in_power_gives_none_but_not_in_a_counter() -> None:
    def gap(law):
        return lambda t: None if 1 < t < 2.5 else law(t)

    figure, missing = _energy(simple_run(sensors=[RAIL], columns={RAIL["name"]: gap(lambda t: 5.0)}))
    assert figure is None
    assert missing == "power.VDD_IN gave no value for 1.5 s of 5 s"
    figure, _ = _energy(simple_run(sensors=[PACKAGE], columns={PACKAGE["name"]: gap(lambda t: 5.0 * (t + 1))}))
    assert figure["total_j"] == pytest.approx(25.0)
    assert figure["largest_gap_s"] == pytest.approx(1.5)


def test_a_sensor_that_ends_early_gives_none() -> None:
    columns = {PACKAGE["name"]: lambda t: None if t > 3 else 5.0 * (t + 1)}
    figure, missing = _energy(simple_run(sensors=[PACKAGE], columns=columns))
    assert figure is None
    assert "covers only 3 s of the 5 s" in missing


def test_figures_carry_energy_or_the_reason() -> None:
    row = figures(simple_run(sensors=[ABSENT]))
    assert (row["energy"], row["energy_missing"]) == (None, "no RAPL counters")
