"""Figures of whole runs: several totals, batteries, the idle baseline, faults of sensors, and what the JSON holds."""

from __future__ import annotations

import json
import math
from array import array
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mobile.results.energy import energies, energy
from mobile.results.figures import figures
from mobile.results.run import Run
from tests.support.runs import MS, SECOND, sensor, simple_run

ACCURACY = {"offset": 0.08, "gain": 0.0175, "noise": None, "source": "data sheet"}
RAIL = sensor("power.VDD_IN", "power", period_s=6.6e-3, resolution=0.04, accuracy=ACCURACY)
PACKAGE = sensor("energy.rapl.package-0", "energy", wraps_at=65_532.0, resolution=61e-6, period_s=1e-3)
BATTERY = sensor("power.battery", "power", period_s=1.0)
CHARGE = sensor("charge.battery", "charge")
VOLTAGE = sensor("voltage.battery", "voltage")
PLUGGED = sensor("supply.external", "flag")
JSON = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9)
)
WILD = JSON | st.lists(JSON, max_size=3) | st.dictionaries(st.text(max_size=6), JSON, max_size=3)
NAMES = ("power.VDD_IN", "energy.rapl.package-0", "charge.battery", "voltage.battery", "power.meter.x", "power.battery")
MINUTES = [20 * MS] * 15_000  # 300 s
ODD = [7 * MS + i % 3 * MS for i in range(700)]  # not in step with the sampler


def of(sensors: list[dict[str, Any]], columns: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    run = simple_run(sensors=sensors, columns=columns, **more)
    return energies(run, len(run.phase("measure")))


def gauge(watts: float, volts: float = 4.0, step_c: float = 13.5):
    return lambda t: math.floor((9000 - watts / volts * t) / step_c) * step_c


def later(run: Run, by_s: float) -> Run:
    """The run on a clock that shows ``by_s`` more: room for what came before the window."""
    shift = round(by_s * SECOND)
    for phase in run.phases.values():
        for i, start in enumerate(phase.start_ns):
            phase.start_ns[i] = start + shift
    for i, t in enumerate(run.samples.t_ns):
        run.samples.t_ns[i] = t + shift
    for happened in run.events:
        happened["t_ns"] = (happened["t_ns"] or 0) + shift
    return run


def with_idle(busy_w: float, idle_w: float, idle_s: float = 4.0, about: dict[str, Any] = RAIL) -> Run:
    """5 s at ``busy_w`` after ``idle_s`` at ``idle_w``, as the sensor's steps of 40 mW show them."""

    def law(t: float) -> float:
        return round((busy_w if t > -0.6 else idle_w) / 0.04) * 0.04

    run = later(simple_run(durations_ns=ODD, sensors=[about], columns={about["name"]: law}), 10)
    times = [9.5 * SECOND + i * SECOND // 10 for i in range(round(idle_s * 10))]
    first = [round(t) - round((idle_s - 1) * SECOND) for t in times]
    run.samples.t_ns[:0] = type(run.samples.t_ns)("q", first)
    run.samples.read_ns[:0] = type(run.samples.t_ns)("q", [0] * len(first))
    run.samples.columns[about["name"]][:0] = [law(-5.0)] * len(first)
    run.events += [
        {"name": "idle-started", "t_ns": first[1], "detail": {}},
        {"name": "idle-done", "t_ns": first[-2], "detail": {}},
    ]
    return run


def test_a_figure_says_what_it_rests_on_and_its_parts_make_its_uncertainty() -> None:
    (figure,) = of([RAIL], {"power.VDD_IN": lambda t: 5.0 + 0.2 * math.sin(40 * t)}, durations_ns=ODD)
    assert (figure["scope"], figure["scope_kind"], figure["rule"]) == ("module input", "module input", "VDD_IN")
    assert (figure["method"], figure["resolution"], figure["missing"]) == ("trapezoid", 0.04, None)
    parts = figure["uncertainty_parts"]
    assert {"sampling", "resolution", "offset", "gain"} <= set(parts)
    assert figure["uncertainty_j"] == pytest.approx(2 * math.hypot(*parts.values()))
    assert parts["offset"] == pytest.approx(0.08 * figure["window_s"] / math.sqrt(3))
    assert figure["per_inference_uncertainty_j"] == pytest.approx(figure["uncertainty_j"] / len(ODD))
    assert figure["uncertainty_note"] is None
    json.dumps(figure, allow_nan=False)


def test_a_sensor_of_which_nobody_states_the_accuracy_says_so() -> None:
    (figure,) = of([PACKAGE], {PACKAGE["name"]: lambda t: 100 + 12.5 * t})
    assert figure["uncertainty_note"] == "of the readings alone: the accuracy of energy.rapl.package-0 is not stated"


def test_several_wholes_are_figures_of_their_own_and_the_widest_is_the_runs() -> None:
    meter = {
        **sensor("power.meter.plug", "power", period_s=0.1),
        "scope": "wall (plug, with the power supply's losses)",
    }
    columns = {PACKAGE["name"]: lambda t: 100 + 4.0 * t, "power.meter.plug": lambda t: 11.0}
    columns["power.VDD_IN"] = lambda t: 8.0
    row = figures(simple_run(durations_ns=ODD, sensors=[PACKAGE, meter, RAIL], columns=columns))
    assert [round(entry["mean_power_w"]) for entry in row["energy_all"]] == [11, 8, 4]
    assert row["energy"]["scope"] == "wall (plug, with the power supply's losses)"
    assert row["energy"]["scope_kind"] == "wall"
    assert row["energy_needed_s"] is None


def test_where_the_widest_is_too_slow_the_next_is_the_figure_and_the_first_says_why_not() -> None:
    meter = sensor("power.meter.plug", "power", period_s=2.0)
    columns = {"power.meter.plug": lambda t: 11.0, "power.VDD_IN": lambda t: 8.0}
    row = figures(simple_run(durations_ns=ODD, sensors=[meter, RAIL], columns=columns))
    assert row["energy"]["scope_kind"] == "module input"
    assert row["energy_all"][0]["needed_s"] == pytest.approx(24.0)
    assert "measure for 24 s" in row["energy_all"][0]["missing"]


def test_the_estimate_of_a_pi_5_stands_beside_its_pmic_and_is_never_first() -> None:
    pmic, board = sensor("power.pmic", "power", period_s=0.1), sensor("power.board-estimate", "power", period_s=0.1)
    columns = {"power.pmic": lambda t: 5.0, "power.board-estimate": lambda t: 1.1451 * 5 + 0.5879}
    first, second = of([board, pmic], columns, durations_ns=ODD)
    assert (first["scope_kind"], second["scope_kind"]) == ("PMIC rails", "board input estimated")
    assert second["mean_power_w"] == pytest.approx(6.3134)


def test_a_charge_counter_gives_the_energy_that_left_the_battery() -> None:
    columns = {"charge.battery": gauge(5.0), "voltage.battery": lambda t: 4.0}
    (figure,) = of([CHARGE, VOLTAGE], columns, durations_ns=MINUTES)
    assert figure["method"] == "charge"
    assert figure["resolution"] == pytest.approx(54.0)
    assert abs(figure["total_j"] - 1500.0) <= figure["uncertainty_j"] < 0.05 * 1500
    assert figure["scope"] == "battery terminal"


def test_a_charge_counter_in_a_minute_gives_none_and_says_minutes() -> None:
    columns = {"charge.battery": gauge(5.0), "voltage.battery": lambda t: 4.0}
    (entry,) = of([CHARGE, VOLTAGE], columns, durations_ns=[20 * MS] * 3000)
    assert "charge.battery x voltage.battery read for 60 s leaves" in entry["missing"]
    assert 180 < entry["needed_s"] < 400
    assert f"{entry['needed_s']:.3g} s" in entry["missing"]


def test_a_charge_counter_that_did_not_move_asks_the_batterys_power_how_long() -> None:
    columns = {"charge.battery": lambda t: 9000.0, "voltage.battery": lambda t: 4.0, "power.battery": lambda t: -5.0}
    entry, power = of([CHARGE, VOLTAGE, BATTERY], columns, durations_ns=[7 * MS] * 429)
    assert "charge.battery did not move in 3 s, its steps are about 54 J" in entry["missing"]
    assert entry["needed_s"] == pytest.approx(1.2 * 2 * 54 / math.sqrt(3) / (0.05 * 5), rel=0.5)
    assert power["missing"] is not None  # read once a second: three times


def test_the_power_out_of_a_battery_is_consumption() -> None:
    (figure,) = of([BATTERY], {"power.battery": lambda t: -4.0}, durations_ns=[20 * MS] * 1500)
    assert figure["mean_power_w"] == pytest.approx(4.0)


@pytest.mark.parametrize("columns", [
    {"power.battery": lambda t: 4.0},
    {"charge.battery": lambda t: 9000 + 13.5 * (t // 10), "voltage.battery": lambda t: 4.0},
])  # fmt: skip
def test_a_battery_that_is_being_charged_has_no_figure(columns: dict[str, Any]) -> None:
    (entry,) = of([BATTERY, CHARGE, VOLTAGE], columns, durations_ns=[20 * MS] * 1500)
    assert "the battery was being charged" in entry["missing"]


@pytest.mark.parametrize(("flag", "fact", "refused"), [
    (lambda t: 1.0, None, True), (lambda t: float(t > 20), None, True), (lambda t: 0.0, "external", False),
    (lambda t: None, "external", True), (lambda t: None, "battery", False), (lambda t: float(t < -0.2), None, False),
])  # fmt: skip
def test_while_a_charger_is_connected_there_is_no_figure_unless_forced(flag: Any, fact: Any, refused: bool) -> None:
    run = simple_run(durations_ns=[20 * MS] * 1500, sensors=[BATTERY, PLUGGED],
                     columns={"power.battery": lambda t: -4.0, "supply.external": flag})  # fmt: skip
    run.environment["device"] = {"power_supply": {"source": fact, "battery": "Full"}}
    figure, missing = energy(run, 1500)
    assert (figure is None) == refused
    if refused:
        assert missing.startswith("a charger is connected")
        forced, _ = energy(run, 1500, force_battery=True)
        assert forced["mean_power_w"] == pytest.approx(4.0)
        assert forced["uncertainty_note"].startswith("forced, although a charger is connected")


def test_above_idle_leaves_the_sensors_offset_out() -> None:
    run = with_idle(8.0, 3.0)
    figure, _ = energy(run, len(ODD))
    assert figure["idle_power_w"] == pytest.approx(3.0)
    assert figure["idle_window_s"] == pytest.approx(3.7, abs=0.2)
    assert figure["above_idle_j"] == pytest.approx(5.0 * figure["window_s"], rel=0.01)
    assert figure["above_idle_per_inference_j"] == pytest.approx(figure["above_idle_j"] / len(ODD))
    assert (figure["above_idle_missing"], figure["above_idle_note"]) == (None, None)
    assert figure["above_idle_uncertainty_j"] < figure["uncertainty_j"]


def test_what_is_not_told_apart_from_idle_is_given_with_its_uncertainty() -> None:
    figure, _ = energy(with_idle(3.01, 3.0), len(ODD))
    assert figure["above_idle_note"] == "not told apart from idle: it is smaller than its uncertainty"
    assert abs(figure["above_idle_j"]) < figure["above_idle_uncertainty_j"]


def test_without_an_idle_baseline_above_idle_is_null_with_a_reason() -> None:
    (figure,) = of([RAIL], {"power.VDD_IN": lambda t: 5.0}, durations_ns=ODD)
    assert figure["above_idle_j"] is None
    assert figure["above_idle_missing"] == "no idle power was measured before this run"


def test_an_idle_baseline_too_short_for_the_sensor_says_so() -> None:
    figure, _ = energy(with_idle(8.0, 3.0, idle_s=0.4), len(ODD))
    assert figure["above_idle_j"] is None
    assert figure["above_idle_missing"].startswith("idle: measured for 0.1 s")


def test_a_rail_that_goes_away_takes_the_sum_with_it() -> None:
    rails = [sensor("power." + name, "power") for name in ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")]
    columns = {rail["name"]: (lambda t: 5.0) for rail in rails}
    columns["power.VDD_CPU_CV"] = lambda t: None if t > 2 else 5.0
    (entry,) = of(rails, columns, durations_ns=ODD)
    assert "covers only 2 s of the 5.6 s measured" in entry["missing"]


def test_rails_that_were_never_read_together_give_none() -> None:
    rails = [sensor("power." + name, "power") for name in ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")]
    columns = {rail["name"]: (lambda t, i=i: 5.0 if round(t * 10) % 3 == i else None) for i, rail in enumerate(rails)}
    (entry,) = of(rails, columns, durations_ns=ODD)
    assert "was read 0 times" in entry["missing"]


def test_values_that_no_device_measures_give_none() -> None:
    (entry,) = of([RAIL], {"power.VDD_IN": lambda t: 1e300 if t > 1 else 5.0}, durations_ns=ODD)
    assert entry["missing"] == "power.VDD_IN showed 1e+300, which is no measurement"


def test_readings_out_of_order_are_put_in_order() -> None:
    run = simple_run(durations_ns=ODD, sensors=[RAIL], columns={"power.VDD_IN": lambda t: 5.0 + t})
    expected, _ = energy(run, 10)
    run.samples.t_ns = type(run.samples.t_ns)("q", reversed(run.samples.t_ns))
    run.samples.columns["power.VDD_IN"].reverse()
    assert energy(run, 10)[0] == expected


def test_short_inferences_with_long_pauses_must_be_met_by_readings() -> None:
    slow = [70 * MS + i % 7 * MS for i in range(70)]
    run = simple_run(durations_ns=slow, sensors=[RAIL], columns={"power.VDD_IN": lambda t: 5.0})
    measured = run.phase("measure")
    for i in range(len(measured)):
        measured.duration_ns[i] = 2 * MS
    figure, missing = energy(run, 10)
    assert figure is None
    assert "inferences filled" in missing
    assert "or without pauses" in missing


def test_a_counter_that_is_set_back_gives_none() -> None:
    (entry,) = of([PACKAGE], {PACKAGE["name"]: lambda t: 1000 + 12 * t if t < 2 else 12 * (t - 2)})
    assert entry["missing"] == "energy.rapl.package-0 was set back to 0 while it was read: this was no wrap"


def test_a_run_that_was_never_measured_has_the_reason_in_each_entry() -> None:
    run = simple_run(durations_ns=ODD, sensors=[RAIL], columns={"power.VDD_IN": lambda t: 5.0})
    run.phases.clear()
    run.events.clear()
    assert energy(run, None) == (None, "nothing was measured, or the runner does not tell when")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_whatever_an_agent_tells_gives_figures_or_reasons(data) -> None:
    """Descriptors and values of a damaged or foreign stream, as the collector lets them through."""
    keys = ("scope", "period_s", "resolution", "wraps_at", "accuracy", "note", "reason")
    told = []
    for name in data.draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4)):
        told.append({"name": name, "quantity": name.split(".")[0], "state": "present"})
        told[-1].update(data.draw(st.dictionaries(st.sampled_from(keys), WILD)))
    count = data.draw(st.integers(0, 40))
    run = simple_run(durations_ns=ODD, sensors=told)
    stamps = st.integers(0, 10 * SECOND)
    run.samples.t_ns = array("q", data.draw(st.lists(stamps, min_size=count, max_size=count)))
    value = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.floats(-100, 100)
    columns = {about["name"]: data.draw(st.lists(value, min_size=count, max_size=count)) for about in told}
    run.samples.columns = columns
    run.events = [{"t_ns": data.draw(WILD), "name": name, "detail": {}} for name in ("idle-started", "idle-done")]
    run.environment["device"] = data.draw(WILD)
    for entry in energies(run, data.draw(st.sampled_from([None, 0, 700]))):
        assert (entry["missing"] is None) == ("total_j" in entry)
        json.dumps(entry, allow_nan=False)
    figure, missing = energy(run, 700)
    assert (figure is None) == bool(missing)
