"""Looking after every block: the 5 % hold, and a difference is found early."""

from __future__ import annotations

import numpy as np
import pytest

from mobile.compare.exact import Block, tails
from mobile.compare.sequential import Crossing, Looks


def blocks(rng, count, effect, cv=0.02):
    return [Block(rng.normal(0, cv, 2), rng.normal(effect, cv, 2)) for _ in range(count)]


def test_false_verdicts_stay_within_the_five_per_cent_and_naive_looks_do_not():
    rng = np.random.default_rng(1)
    wrong = naive = 0
    for seed in range(150):
        drawn = blocks(rng, 10, 0.0)
        wrong += Looks(drawn, 10, draws=1000, seed=seed).crossing() != Crossing(None, None)
        naive += any(tails(drawn[:look]).two_sided <= 0.05 for look in range(3, 11))
    assert wrong <= 15  # of 150 at 5 %: more happens once in 200
    assert naive > wrong


def test_a_large_difference_is_seen_early_and_on_its_side():
    rng = np.random.default_rng(2)
    found = Looks(blocks(rng, 10, 0.1), 10).crossing()
    assert found.above is not None
    assert found.above <= 4
    assert found.below is None
    mirrored = Looks(blocks(rng, 10, -0.1), 10).crossing()
    assert mirrored.below is not None
    assert mirrored.above is None


def test_the_interval_holds_the_truth_and_agrees_with_the_crossing():
    looks = Looks(blocks(np.random.default_rng(3), 8, 0.06), 15, draws=2000)
    low, high = looks.interval(0.06)
    assert 0 < low < 0.06 < high
    assert looks.crossing(low - 0.002).above is not None
    assert looks.crossing(high + 0.002).below is not None
    assert looks.p() <= 0.05


def test_too_few_blocks_have_no_verdict_and_no_end_of_the_interval():
    looks = Looks(blocks(np.random.default_rng(4), 1, 5.0), 15, draws=500)
    assert looks.crossing() == Crossing(None, None)
    assert looks.interval(5.0) == (-np.inf, np.inf)
    assert looks.count == 1
    assert Looks([], 15).crossing() == Crossing(None, None)


def test_runs_without_any_spread_are_not_called_different():
    same = [Block(np.zeros(2), np.zeros(2))] * 10
    assert Looks(same, 10, draws=500).crossing() == Crossing(None, None)
    assert Looks(same, 10, draws=500).p() == pytest.approx(1.0, abs=0.01)


def test_a_block_that_lost_a_run_still_counts():
    rng = np.random.default_rng(5)
    drawn = blocks(rng, 8, 0.1)
    drawn[2] = Block(drawn[2].a[:1], drawn[2].b)
    drawn[3] = Block(drawn[3].a[:0], drawn[3].b)
    looks = Looks(drawn, 10)
    assert looks.count == 7
    assert looks.crossing().above is not None
