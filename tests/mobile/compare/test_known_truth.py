"""Simulated runs whose truth is known: few false verdicts, intervals that hold it, and pooled inferences that mislead.

The tables of `python -m benchmarks.verdicts` in small; the bounds are what chance allows in one of a thousand cases.
"""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.verdicts import fixed, pooled_p
from mobile.compare.verdict import compare
from tests.support.run_simulator import P50, WORLDS, World, session

SESSIONS = 40


@pytest.mark.parametrize("world", [WORLDS[1], WORLDS[4], WORLDS[6]], ids=lambda world: world.name)
def test_where_nothing_changed_verdicts_are_rarely_false_and_intervals_hold_one(world):
    found = fixed(np.random.default_rng(1), world, 8, 0.0, blocked=True, sessions=SESSIONS)
    assert found["different"] * SESSIONS <= 8
    assert found["covered"] * SESSIONS >= 32
    assert found["pooled"] > 0.4  # the test on all inferences together


def test_three_per_cent_are_seen_with_ten_runs():
    found = fixed(np.random.default_rng(2), World("", within=0.005), 10, 0.03, blocked=False, sessions=SESSIONS)
    assert found["different"] >= 0.65


def test_equivalence_is_not_claimed_outside_of_the_margin():
    narrow = World("", cv=0.005, within=0.005)
    assert fixed(np.random.default_rng(3), narrow, 10, 0.03, blocked=False, sessions=SESSIONS)["equivalent"] == 0
    assert fixed(np.random.default_rng(4), narrow, 10, 0.0, blocked=False, sessions=SESSIONS)["equivalent"] > 0.8


def test_a_simulated_session_is_what_it_says():
    rng = np.random.default_rng(5)
    a, b, durations, sides = session(rng, World("", cv=0.001, within=0.01), 10, 0.5)
    assert durations.shape == (20, 150)
    assert sorted(sides[:4]) == [0, 0, 1, 1]
    assert np.median(b.values) / np.median(a.values) == pytest.approx(1.5, rel=0.01)
    assert pooled_p(durations, sides) < 1e-6
    assert compare([a, b], P50)[0].interleaved
