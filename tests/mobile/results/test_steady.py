"""From which inference on a run was steady; what is not steady says why."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from mobile.results.steady import steady, steady_of
from tests.support.runs import simple_run

pytest.importorskip("ruptures")


def series(count, phi=0.0, cv=0.03, seed=0):
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, cv * np.sqrt(1 - phi**2), count)
    for place in range(1, count):
        steps[place] += phi * steps[place - 1]
    return steps


@pytest.mark.parametrize("phi", [0.0, 0.7, 0.9])
@pytest.mark.parametrize("count", [100, 1000])
def test_a_steady_run_is_steady_however_its_inferences_hang_together(phi, count):
    called = [steady_of(0.01 * np.exp(series(count, phi, seed=seed))).first is not None for seed in range(10)]
    assert sum(called) >= 7


def test_a_warm_up_is_found_to_the_inference():
    durations = 0.01 * np.exp(series(1000) + 0.3 * (np.arange(1000) < 200))
    found = steady_of(durations)
    assert abs(found.first - 200) <= 5
    assert found.from_s == pytest.approx(durations[: found.first].sum())
    assert "steady from inference" in found.words()


def test_a_run_that_slows_down_late_or_goes_on_climbing_is_not_steady():
    late = steady_of(0.01 * np.exp(series(1000) + 0.3 * (np.arange(1000) > 700)))
    assert late.first is None
    assert "the last level holds for" in late.why
    ramp = steady_of(0.01 * np.exp(series(1000, cv=0.01) + np.linspace(0, 0.2, 1000)))
    assert ramp.first is None
    assert ramp.words().startswith("no steady state: ")


def test_outliers_are_flagged_and_neither_removed_nor_taken_for_a_level():
    durations = 0.01 * np.exp(series(1000))
    durations[[50, 400, 900]] *= 3
    found = steady_of(durations)
    assert found.outliers == 3
    assert found.first == 0
    assert found.words() == "steady all along"


def test_a_million_inferences_are_quick_and_keep_their_place():
    durations = 0.01 * np.exp(series(1_000_000, cv=0.05) + 0.3 * (np.arange(1_000_000) < 200_000))
    assert steady_of(durations).first == pytest.approx(200_000, abs=2000)


def test_too_few_or_impossible_inferences_say_so():
    assert "40 are needed" in steady_of(np.ones(10)).why
    assert "too quick" in steady_of(np.zeros(100)).why
    assert steady_of(np.ones(100)).first == 0


def test_levels_without_noise_are_found_too():
    assert steady_of(np.r_[np.full(100, 0.02), np.full(300, 0.01)]).first == 100


def test_a_run_tells_when_it_was_steady_by_the_devices_clock():
    found = steady(simple_run([20_000_000] * 100 + [10_000_000] * 300))
    assert (found.first, found.from_s) == (100, pytest.approx(2.0))
    assert found.to_json()["segments"] == [[0, pytest.approx(0.02)], [100, pytest.approx(0.01)]]


def test_without_ruptures_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ruptures", None)
    assert "edgewise[stats]" in steady_of(0.01 * np.exp(series(200))).why
