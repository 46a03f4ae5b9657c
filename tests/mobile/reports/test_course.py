"""What a run's time charts are made of: one axis, every peak kept, every moment of throttling in it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobile.reports.course import course
from mobile.reports.course_text import course_lines
from mobile.reports.decimate import band, edges, extremes
from mobile.reports.marks import spells
from mobile.results.run import MeterSamples
from tests.support.runs import MS, SECOND, event, sensor, simple_run

HEAT = sensor("temperature.cpu", "temperature", unit="C")
FLAG = sensor("throttle.now.soft", "flag", scope="soft temperature limit")
COUNT = sensor("throttle.core.events", "count", scope="thermal events")
CAP = sensor("cap.cpu0", "ratio", scope="highest allowed clock")
CLOCKS = [sensor(f"frequency.cpu{number}", "frequency", unit="Hz") for number in range(4)]
PACKAGE = sensor("energy.rapl.package-0", "energy", unit="J", wraps_at=65_532.0)


def physics():
    """A simulated board that gets hot, is held back from the second second on, and slows down."""
    slow = [10 * MS] * 150 + [14 * MS] * 150
    laws = {
        HEAT["name"]: lambda t: 45.0 + 10.0 * max(0.0, t),
        FLAG["name"]: lambda t: float(1.5 <= t < 3.0),
        COUNT["name"]: lambda t: float(t >= 2.0) + float(t >= 2.5),
        CAP["name"]: lambda t: 1.0 if t < 1.5 else 0.75,
        PACKAGE["name"]: lambda t: 100.0 + 6.0 * t,
        **{clock["name"]: (lambda t: 2.4e9 if t < 1.5 else 1.8e9) for clock in CLOCKS[:3]},
        CLOCKS[3]["name"]: lambda t: 1.2e9,
    }
    return simple_run(slow, [HEAT, FLAG, COUNT, CAP, PACKAGE, *CLOCKS], laws, provenance="emulated")


@settings(max_examples=25, deadline=None)
@given(
    values=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=400),
    steps=st.lists(st.floats(0.0, 3.0), min_size=400, max_size=400),
    bins=st.integers(1, 40),
)
def test_no_extreme_is_lost_and_nothing_is_invented(values, steps, bins) -> None:
    times, readings = np.cumsum(steps[: len(values)]), np.asarray(values)
    drawn = extremes(times, readings, bins)
    shown = drawn.y[np.isfinite(drawn.y)]
    assert shown.min() == readings.min()
    assert shown.max() == readings.max()
    assert set(shown.tolist()) <= set(values)
    assert drawn.samples == len(values)
    assert len(shown) <= max(len(values) if drawn.bin_s is None else 2 * bins, 1)
    assert np.all(np.diff(drawn.x) >= 0)


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(st.floats(0.0, 3.0), min_size=1, max_size=300), bins=st.integers(1, 30))
def test_every_sample_is_in_one_bin(steps, bins) -> None:
    parts = edges(np.cumsum(steps), bins)
    assert [place for first, end in parts for place in range(first, end)] == list(range(len(steps)))
    assert len(parts) <= bins


def test_a_band_holds_the_counts_and_the_medians() -> None:
    found = band(np.arange(1000.0), np.arange(1000.0), 10)
    assert found.counts.sum() == 1000
    assert (found.low[0], found.middle[0], found.high[-1]) == (0.0, pytest.approx(49.5, abs=1), 999.0)


def test_a_line_is_broken_where_nothing_was_read() -> None:
    times = np.concatenate((np.arange(20) * 0.1, 60 + np.arange(20) * 0.1))
    drawn = extremes(times, np.ones(40), 100)
    assert np.isnan(drawn.y).sum() == 1


def test_all_quantities_are_on_one_axis_from_the_first_measured_inference_on() -> None:
    found = course(physics())
    assert [panel.name for panel in found.panels] == ["temperature", "clock", "power"]
    assert found.phases["measure"][0][0] == 0.0
    assert found.phases["first"][0][0] == -0.5
    heat = found.panels[0].lines[0]
    assert heat.values[np.argmin(np.abs(heat.t_s - 2.0))] == pytest.approx(65.0, abs=0.5)
    assert heat.t_s[0] == -0.5


def test_clocks_that_always_agree_are_one_line() -> None:
    clocks = course(physics()).panels[1]
    assert [line.name for line in clocks.lines] == ["frequency.cpu0 and 2 alike", "frequency.cpu3"]
    assert clocks.unit == "GHz"
    assert clocks.lines[0].values.max() == pytest.approx(2.4)


def test_power_by_a_counter_is_its_slope_with_its_scope() -> None:
    (power,) = course(physics()).panels[2].lines
    assert power.about == "CPU package"
    assert power.values == pytest.approx(np.full(len(power.values), 6.0), rel=1e-6)


def test_a_counter_that_wraps_draws_no_spike() -> None:
    run = simple_run([10 * MS] * 400, [PACKAGE], {PACKAGE["name"]: lambda t: (65_520.0 + 6.0 * (t + 1)) % 65_532.0})
    (power,) = course(run).panels[0].lines
    assert power.values.max() == pytest.approx(6.0, rel=1e-6)


def test_parts_are_drawn_where_no_sensor_stands_for_a_whole() -> None:
    rail = sensor("power.VDD_CPU", "power", unit="W", scope="CPU rail")
    (panel,) = course(simple_run(sensors=[rail], columns={rail["name"]: lambda t: 3.0})).panels
    assert [line.name for line in panel.lines] == ["power.VDD_CPU"]


def test_sensors_beyond_what_can_be_told_apart_are_named() -> None:
    many = [sensor(f"temperature.zone{number}", "temperature") for number in range(9)]
    laws = {one["name"]: (lambda t, number=number: 40.0 + number + t) for number, one in enumerate(many)}
    panel = course(simple_run(sensors=many, columns=laws)).panels[0]
    assert panel.lines[0].name == "temperature.zone8"
    assert panel.left_out == ("temperature.zone2", "temperature.zone1", "temperature.zone0")


def test_a_meter_is_placed_by_the_moment_at_which_the_host_heard_of_the_beginning() -> None:
    run = simple_run([10 * MS] * 400, more=[event("measured", 5 * SECOND)])
    hour = 3600 * SECOND
    meter = MeterSamples({"kind": "shelly", "scope": "wall", "period_s": 0.5})
    meter.marks = {"warmup-done": hour, "measured": hour + 4 * SECOND}
    for number in range(-2, 10):
        meter.t_ns.append(hour + number * SECOND // 2)
        meter.power_w.append(10.0 + number)
        meter.energy_j.append(None)
    (panel,) = course(replace(run, meter=meter)).panels
    (line,) = panel.lines
    assert line.name == "power.meter.shelly"
    assert "placed by when the host heard" in line.about
    assert line.t_s[2] == pytest.approx(0.0, abs=1e-6)


def test_what_showed_throttling_has_its_time() -> None:
    run = physics()
    found = {}
    for spell in spells(run, course(run).origin_ns):
        found.setdefault(spell.name, []).append(spell)
    (flag,) = found["throttle.now.soft"]
    assert (flag.start_s, flag.end_s) == (pytest.approx(1.5), pytest.approx(3.0))
    assert flag.words == "soft temperature limit: 1"
    assert [spell.start_s for spell in found["throttle.core.events"]] == [pytest.approx(2.0), pytest.approx(2.5)]
    (cap,) = found["cap.cpu0"]
    assert cap.start_s == pytest.approx(1.5)
    assert cap.words.endswith("0.75")


def test_a_quiet_run_has_no_marks() -> None:
    run = simple_run(sensors=[FLAG, CAP], columns={FLAG["name"]: lambda t: 0.0, CAP["name"]: lambda t: 1.0})
    assert spells(run, course(run).origin_ns) == []


@pytest.mark.parametrize("ascii_only", [True, False])
def test_the_terminal_shows_the_course(ascii_only) -> None:
    lines = course_lines(physics(), 100, ascii_only)
    text = "\n".join(lines)
    names = [line[:16].strip() for line in lines]
    assert names == ["median latency", "highest latency", "temperature", "clock", "power", "throttling", ""]
    assert "10.0 ms to 14.0 ms" in lines[0]
    assert "CPU package" in lines[4]
    assert text.isascii() is ascii_only
    assert max(map(len, lines)) <= 100
    drawn = lines[0][16:56]
    assert drawn[0] == ("_" if ascii_only else "▁")
    assert drawn[-1] == ("#" if ascii_only else "█")
    assert ("!" if ascii_only else "▲") in lines[5]
    assert lines[5][16] == " "  # it did not throttle at first


def test_small_changes_are_not_blown_up_and_a_run_without_inferences_has_no_chart() -> None:
    line = course_lines(simple_run([10 * MS, 10 * MS + 1000] * 100), 100, ascii_only=True)[0]
    assert set(line[16:56]) == {"-"}
    assert course_lines(simple_run([]), 100) == []
