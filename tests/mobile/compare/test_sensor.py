"""Joules in comparisons: what of the sensor's own error cancels, and a verdict that it could overturn is none."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from mobile.compare.metrics import metric
from mobile.compare.sensor import doubt_of, shift
from mobile.compare.units import Group, Unit
from mobile.compare.verdict import Terms, compare

ENERGY, ABOVE, P50 = Terms(metric("energy")), Terms(metric("above-idle")), Terms(metric("p50"))


def group(name, power_w, *, offset_w=0.0, gain=0.0, resolution=0.0, sensor="power.in", spread=0.001, count=10, seed=0):
    """Runs of 100 s and 1000 inferences whose energies scatter by ``spread``."""
    units = []
    for place, noise in enumerate(np.random.default_rng(seed).normal(0, spread, count)):
        total = power_w * 100 * math.exp(noise)
        parts = {"offset": offset_w * 100 / math.sqrt(3), "gain": gain * total / math.sqrt(3), "resolution": resolution}
        energy = {"total_j": total, "above_idle_j": total / 2, "sensor": sensor,
                  "uncertainty_parts": {key: value for key, value in parts.items() if value}}  # fmt: skip
        row = {"device": "d", "provenance": "real", "energy": energy}
        units.append(Unit(f"{name}{place}", f"2026-01-02T03:{place:02d}:05Z", total / 1000, np.zeros(1), row))
    return Group(name, tuple(units))


def only(a, b, terms=ENERGY):
    (found,) = compare([a, b], terms)
    return found


def test_the_gain_of_one_sensor_cancels():
    exact = only(group("a", 5.0), group("b", 5.2, seed=1))
    worn = only(group("a", 5.0, gain=0.1), group("b", 5.2, gain=0.1, seed=1))
    assert exact.verdict == worn.verdict == "more"
    assert (worn.low, worn.high) == (exact.low, exact.high)


def test_an_offset_cancels_at_equal_power_and_not_at_another():
    alike = only(group("a", 5.0, offset_w=0.2), group("b", 5.0, offset_w=0.2, seed=1))
    assert alike.verdict == "equivalent"
    assert alike.sensor < 0.001
    doubts = [doubt_of(group("x", power, offset_w=0.2), "energy") for power in (5.0, 10.0)]
    # 0.2 W of 5 W against 0.2 W of 10 W, as standard uncertainties of a rectangle.
    assert shift(*doubts) == pytest.approx(0.2 / math.sqrt(3) * (1 / 5 - 1 / 10), rel=0.01)


def test_a_verdict_that_the_sensor_could_overturn_is_none():
    """2 % more at twice the power, by a sensor that may be off by 1 W: nobody can tell, however many runs."""
    a, b = group("a", 5.0, offset_w=1.0), group("b", 10.0, offset_w=1.0, seed=1)
    b = Group("b", tuple(replace(unit, value=unit.value / 2 * 1.02) for unit in b.units))
    found = only(a, b)
    assert found.verdict == "undecided" and found.further is None
    assert any("sensor cannot" in note for note in found.notes)
    assert found.low < 1 < found.high
    without = only(
        Group("a", tuple(strip(unit) for unit in a.units)), Group("b", tuple(strip(unit) for unit in b.units))
    )
    assert without.verdict == "more"


def strip(unit):
    energy = {**unit.row["energy"], "uncertainty_parts": {}}
    return replace(unit, row={**unit.row, "energy": energy})


def test_equivalence_has_to_hold_with_the_sensor_too():
    found = only(group("a", 5.0, resolution=12.0), group("b", 5.0, resolution=12.0, seed=1))
    assert found.verdict == "undecided"
    assert found.high - found.low > 0.1


def test_with_two_sensors_nothing_cancels():
    a, b = group("a", 5.0, gain=0.05), group("b", 5.2, gain=0.05, sensor="power.other", seed=1)
    assert only(a, b).verdict == "undecided"


def test_joules_above_idle_have_no_offset_and_times_no_sensor():
    a, b = group("a", 5.0, offset_w=1.0), group("b", 5.2, offset_w=1.0, seed=1)
    assert only(a, b, ABOVE).sensor < 0.001
    assert only(a, b, P50).sensor is None
