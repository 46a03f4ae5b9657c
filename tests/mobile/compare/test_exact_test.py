"""The exact test counts every way to hand out the names, ties and blocks included."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobile.compare.exact import LARGEST_EXACT, Block, aligned_scores, tails


def brute_force(blocks, shift=0.0):
    """The two tails by trying every assignment."""
    scores = aligned_scores(blocks, shift)
    parts, place, seen = [], 0, 0
    for block in blocks:
        size_a, size_b = len(block.a), len(block.b)
        own = scores[place : place + size_a + size_b]
        seen += own[size_a:].sum()
        parts.append([sum(chosen) for chosen in itertools.combinations(own.tolist(), size_b)])
        place += size_a + size_b
    sums = np.array([sum(combined) for combined in itertools.product(*parts)])
    return (sums <= seen).mean(), (sums >= seen).mean()


@pytest.mark.parametrize(("size_a", "size_b"), [(4, 4), (5, 6), (7, 5)])
def test_a_single_block_is_the_permutation_test_of_scipy(size_a, size_b):
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(size_a)
    for _ in range(3):
        block = Block(rng.normal(0, 1, size_a), rng.normal(0.5, 1, size_b))
        scores = aligned_scores([block]).astype(float)
        theirs = stats.permutation_test(
            (scores[:size_a], scores[size_a:]), lambda a, b: b.sum(), alternative="greater", n_resamples=np.inf
        )
        assert tails([block]).upper == pytest.approx(theirs.pvalue, abs=1e-12)


def test_it_is_near_mann_whitney_and_the_t_test_on_normal_data():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(9)
    a, b = rng.normal(0, 1, 15), rng.normal(0.8, 1, 15)
    ours = tails([Block(a, b)]).two_sided
    assert ours == pytest.approx(stats.ttest_ind(a, b).pvalue, rel=0.5)
    assert ours == pytest.approx(stats.mannwhitneyu(a, b, method="exact").pvalue, rel=0.5)


values = st.lists(st.integers(0, 6).map(float), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(values, values), min_size=1, max_size=3))
def test_ties_and_blocks_agree_with_trying_every_assignment(pairs):
    blocks = [Block(np.array(a), np.array(b)) for a, b in pairs]
    lower, upper = brute_force(blocks)
    found = tails(blocks)
    assert found.lower == pytest.approx(lower, abs=1e-12)
    assert found.upper == pytest.approx(upper, abs=1e-12)


def test_a_shift_moves_b_back_to_a():
    block = Block(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.5, 2.5, 3.5, 4.5]) + 10)
    assert tails([block]).two_sided == pytest.approx(2 / 70)
    assert tails([block], 10.0).two_sided > 0.5


def test_drift_between_blocks_does_not_hide_a_difference():
    rng = np.random.default_rng(3)
    level = np.arange(5) * 0.5
    blocks = [Block(at + rng.normal(0, 0.01, 2), at + 0.05 + rng.normal(0, 0.01, 2)) for at in level]
    together = Block(np.concatenate([x.a for x in blocks]), np.concatenate([x.b for x in blocks]))
    assert tails(blocks).two_sided < 0.001
    assert tails([together]).two_sided > 0.2


def test_a_block_with_one_side_only_says_nothing():
    assert tails([Block(np.array([1.0]), np.array([]))]).two_sided == 1.0
    assert tails([]).two_sided == 1.0


def test_many_runs_use_the_normal_distribution_and_agree_with_the_exact_one():
    rng = np.random.default_rng(4)
    a, b = rng.normal(0, 1, LARGEST_EXACT // 2), rng.normal(0.2, 1, LARGEST_EXACT // 2)
    exact = tails([Block(a, b)]).two_sided
    more = tails([Block(np.append(a, 0.0), np.append(b, 0.2))]).two_sided
    assert more == pytest.approx(exact, rel=0.15)
    same = np.zeros(LARGEST_EXACT)
    assert tails([Block(same, same)]).two_sided == 1.0
