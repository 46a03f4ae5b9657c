"""What an energy has beside its total: its spread over a run, joules of a unit, carbon and water by stated factors."""

from __future__ import annotations

import pytest

from mobile.errors import UsageError
from mobile.results.figures import figures
from mobile.results.footprint import footprint, parse_factor
from mobile.results.per import parse_unit, per_unit
from tests.support.runs import sensor, simple_run

ABOUT = {"unit": "W", "scope": "module input", "resolution": 0.001, "period_s": 0.1}


def powered(law, seconds=10, **more):
    return simple_run(
        [10_000_000] * (seconds * 100), sensors=[sensor("power.VDD_IN", "power", **ABOUT)],
        columns={"power.VDD_IN": law}, **more,
    )  # fmt: skip


def test_a_steady_load_has_no_spread_and_a_drifting_one_has():
    steady = figures(powered(lambda t: 5.0 + 0.01 * (round(t * 10) % 2)))["energy"]
    drifting = figures(powered(lambda t: 4.0 + 0.2 * t))["energy"]
    assert len(steady["windows"]["per_inference_j"]) == 10
    assert steady["window_spread_j"] <= 0.001 * steady["per_inference_j"]
    assert sum(drifting["windows"]["per_inference_j"]) / 10 == pytest.approx(drifting["per_inference_j"], rel=1e-6)
    # 4 to 6 W evenly: a standard deviation of 0.6 W of 5 W, over the root of 10 parts, and a little for so few.
    assert drifting["window_spread_j"] / drifting["per_inference_j"] == pytest.approx(
        0.6 / 5 / 10**0.5 * (9 / 7) ** 0.5, rel=0.05
    )
    assert drifting["per_inference_uncertainty_j"] > drifting["uncertainty_j"] / 1000
    # What flowed is known as well as before: the spread is of the inference's energy, not of the total's.
    assert drifting["uncertainty_j"] / drifting["total_j"] < 0.02


def test_too_short_a_run_has_no_parts():
    energy = figures(powered(lambda t: 5.0, seconds=2))["energy"]
    assert energy["windows"] is None and energy["window_spread_j"] is None
    assert energy["per_inference_uncertainty_j"] == pytest.approx(energy["uncertainty_j"] / 200)


def test_joules_of_a_token_are_those_of_an_inference_by_their_number():
    row = figures(powered(lambda t: 5.0))
    one = per_unit(row, *parse_unit("token=128"))
    assert one["energy_j"] == pytest.approx(5.0 * 0.01 / 128, rel=1e-3)
    assert one["time_s"] == pytest.approx(0.01 / 128)
    assert one["scope"] == "module input"
    nothing = per_unit(figures(simple_run()), "frame", 1.0)
    assert nothing["energy_j"] is None and nothing["missing"]
    for text in ("token=0", "=3", "token=nan", "to ken=1", "token=x"):
        with pytest.raises(UsageError):
            parse_unit(text)


def test_carbon_is_the_measured_energy_times_the_stated_factor():
    factors = [
        parse_factor("g_per_kwh=380,source=grid, 2025=x", "carbon"),
        parse_factor("l_per_kwh=1.8,source=y", "water"),
    ]
    row = figures(powered(lambda t: 5.0))
    carbon, water = footprint(row, factors)
    assert carbon["total"] == pytest.approx(50.0 / 3.6e6 * 380, rel=1e-3)
    assert carbon["source"] == "grid, 2025=x" and carbon["unit"] == "g"
    assert water["per_inference"] == pytest.approx(0.05 / 3.6e6 * 1.8, rel=1e-3)


def test_there_is_no_carbon_without_a_measured_energy_or_a_source():
    factor = parse_factor("g_per_kwh=380,source=x", "carbon")
    (none,) = footprint(figures(simple_run()), [factor])
    assert none["total"] is None and "no energy" in none["missing"]
    (emulated,) = footprint(figures(powered(lambda t: 5.0, provenance="emulated")), [factor])
    assert emulated["total"] is None and "emulated" in emulated["missing"]
    for text in (
        "g_per_kwh=380",
        "g_per_kwh=380,source=",
        "380",
        "l_per_kwh=2,source=x",
        "g_per_kwh=nan,source=x",
        "g_per_kwh=-1,source=x",
    ):
        with pytest.raises(UsageError, match="--carbon"):
            parse_factor(text, "carbon")
