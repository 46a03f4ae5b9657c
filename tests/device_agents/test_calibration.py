"""Unit and sign of a battery gauge: decided where something proves them, and not otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agents.calibration import (
    A_PER_MA,
    A_PER_UA,
    calibrate_sign,
    calibrate_unit,
    counter_slope,
    counter_step_c,
    disagreement,
)
from device_agents.sensors.battery_text import parse_broadcasts
from tests.support.phone import recorded

UAH = 3.6e-3


@pytest.mark.parametrize(
    "raw, discharging, slope_a, vendor, factor",
    [
        ([-1202147], False, None, None, A_PER_UA),  # Xiaomi Mi 6
        ([-257109], None, None, None, A_PER_UA),  # Sony XZ
        ([-412], True, None, None, A_PER_MA),  # a Honor
        ([976], False, None, None, None),  # Pixel 3a, isolated: 1 mA, or nearly 1 A?
        ([976], False, None, "Google", A_PER_UA),
        ([-11718], False, None, None, None),
        ([-11718], False, None, "Google", A_PER_UA),
        ([0], True, None, None, None),
        ([5], True, None, None, None),
        ([-1400, -1350], True, -1.38, None, A_PER_MA),
        ([-14000, -13500], True, -0.0138, None, A_PER_UA),  # a sleeping phone: the counter knows better
        ([3_000_000_000], True, None, None, None),
        ([], True, None, None, None),
        ([float("nan")], True, None, None, None),
    ],
)
def test_units(raw, discharging, slope_a, vendor, factor):
    unit = calibrate_unit(raw, discharging, slope_a, vendor)
    assert unit.factor_a == factor and unit.how


@pytest.mark.parametrize(
    "current_a, state, external, vendor, slope_a, sign",
    [
        (-0.5, "Discharging", False, None, None, 1),
        (0.5, "Discharging", False, None, None, -1),
        (0.5, "Discharging", True, None, None, None),
        (0.5, "Charging", True, None, None, 1),
        (-0.257109, "Charging", True, None, None, None),  # Sony's sign, or a loaded phone?
        (-0.257109, "Charging", True, "Sony", None, -1),
        (-0.257, "Charging", True, "samsung", None, 1),  # Galaxy S23: out of the battery though it charges
        (0.3, "Charging", True, "Xiaomi", None, None),
        (-0.5, "Full", True, None, None, None),
        (0.001, "Discharging", False, None, None, None),
        (0.5, "Discharging", False, None, -0.4, -1),
        (-0.5, "Charging", True, "Sony", -0.4, 1),  # the counter is above all
        (0.5, None, None, None, None, None),
    ],
)
def test_signs(current_a, state, external, vendor, slope_a, sign):
    decided = calibrate_sign(current_a, state, external, vendor, slope_a)
    assert decided.sign == sign and decided.how


def test_the_charge_counter_of_a_galaxy_s23_proves_unit_and_sign():
    lines = parse_broadcasts(recorded("android/battery/samsung_s23_discharge_log_extract.txt"))
    charge_c = [line.charge_c for line in lines]
    assert counter_step_c(charge_c) == pytest.approx(3750 * UAH)
    slope = counter_slope([line.t_s for line in lines], charge_c)
    assert slope.current_a == pytest.approx(-165000 * UAH / 422)  # from move to move
    raw = [line.current_a * 1e3 for line in lines]
    assert calibrate_unit(raw, None, slope.current_a).factor_a == A_PER_MA
    assert calibrate_sign(sum(raw) / len(raw) * 1e-3, None, None, None, slope.current_a).sign == 1
    assert calibrate_sign(-sum(raw) / len(raw) * 1e-3, None, None, None, slope.current_a).sign == -1


@pytest.mark.parametrize(
    "t_s, charge_c, words",
    [
        ([], [], "moved 0 times"),
        ([0, 100, 200], [50.0, 50.0, 50.0], "moved 0 times"),
        ([0, 100, 200], [50.0, None, 36.5], "moved 1 times"),
        ([0, 10, 20, 30], [50.0, 48.0, 46.0, 44.0], "for 20 s, not 60 s"),
        ([0, 100, 200, 300], [50.0, 36.5, 23.0, 36.5], "less than 4 steps"),
    ],
)
def test_a_slope_needs_time_and_steps(t_s, charge_c, words):
    slope = counter_slope(t_s, charge_c)
    assert slope.current_a is None and words in slope.how


def test_counters_that_disagree_are_told():
    assert "disagree" in disagreement([2849000 * UAH, 2535012 * UAH])  # a OnePlus 7
    assert disagreement([2849000 * UAH, 2848000 * UAH]) is None
    assert disagreement([2849000 * UAH]) is None
    assert disagreement([2849000 * UAH, 0.0]) is None


@given(
    st.lists(st.tuples(st.floats(), st.one_of(st.none(), st.floats(-1e6, 1e6))), max_size=20),
    st.floats(),
    st.one_of(st.none(), st.floats()),
)
def test_no_numbers_break_it(series, current_a, slope_a):
    slope = counter_slope([t for t, _ in series], [q for _, q in series])
    assert slope.how
    assert calibrate_sign(current_a, "Discharging", False, None, slope_a).sign in (1, -1, None)
    assert calibrate_unit([current_a], True, slope_a).factor_a in (A_PER_UA, A_PER_MA, None)


@given(st.integers(20, 4000), st.booleans(), st.floats(0.3, 3.0), st.integers(1, 8))
def test_a_recorded_discharge_gives_back_what_made_it(step_uah, milliamperes, current_a, reverse):
    """A phone that draws a steady current from a counter of coarse steps, whichever way its gauge counts."""
    sign, factor = (1 if reverse % 2 else -1), (A_PER_MA if milliamperes else A_PER_UA)
    t_s = [float(t) for t in range(0, 3600, 5)]
    charge_c = [round((3e6 - current_a * t / 3600 * 1e6) / step_uah) * step_uah * UAH for t in t_s]
    raw = [round(-current_a / factor) * sign] * len(t_s)
    slope = counter_slope(t_s, charge_c)
    assert slope.current_a == pytest.approx(-current_a, rel=0.25)
    unit = calibrate_unit(raw, None, slope.current_a)
    assert unit.factor_a == factor
    assert calibrate_sign(raw[0] * factor, None, None, None, slope.current_a).sign == sign
