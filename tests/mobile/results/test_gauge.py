"""A recorded charge counter proves or contradicts what the battery's current was taken for."""

from __future__ import annotations

import pytest

from mobile.results.energy import energies
from mobile.results.gauge import contradiction
from tests.support.runs import MS, sensor, simple_run

POWER = sensor("power.battery", "power", scope="battery terminal", period_s=1.0)
CURRENT = sensor("current.battery", "current", scope="battery terminal", period_s=1.0)
CHARGE = sensor("charge.battery", "charge", scope="battery terminal", resolution=3.6)
STEP_C = 3.6


def discharge(shown_a, drawn_a=1.4, charge=True):
    """A run of 200 s on a phone that draws ``drawn_a``, whose gauge shows ``shown_a``."""
    columns = {
        POWER["name"]: lambda t: 3.9 * shown_a,
        CURRENT["name"]: lambda t: shown_a,
        CHARGE["name"]: lambda t: round((9000 - drawn_a * t) / STEP_C) * STEP_C,
    }
    sensors = [POWER, CURRENT, CHARGE] if charge else [POWER, CURRENT]
    columns = {one["name"]: columns[one["name"]] for one in sensors}
    return simple_run(durations_ns=[1000 * MS] * 200, sensors=sensors, columns=columns)


@pytest.mark.parametrize(
    "shown_a, words",
    [(-1.4, None), (-1.1, None), (1.4, "sign is reversed"), (-0.0014, "unit"), (-1400.0, "unit")],
)
def test_the_counter_has_the_last_word(shown_a, words):
    found = contradiction(discharge(shown_a))
    assert (found is None) == (words is None)
    assert words is None or words in found


def test_a_power_that_the_counter_contradicts_is_no_energy():
    rules = [figure for figure in energies(discharge(1.4), 200) if figure["rule"] == "battery power"]
    assert rules and all(figure.get("total_j") is None for figure in rules)
    assert any("sign is reversed" in str(figure) for figure in rules)


def test_without_a_counter_nothing_speaks_against_it():
    run = discharge(-1.4, charge=False)
    assert contradiction(run) is None
    (figure,) = (figure for figure in energies(run, 200) if figure["rule"] == "battery power")
    assert figure["total_j"] == pytest.approx(1.4 * 3.9 * 200, rel=0.02)


def test_a_counter_that_hardly_moved_says_nothing():
    assert contradiction(discharge(1.4, drawn_a=0.01)) is None
