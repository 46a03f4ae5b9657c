"""The ratio and its interval: reproducible, as wide as it must be, and none where nobody can tell."""

from __future__ import annotations

import numpy as np
import pytest

from mobile.compare.exact import tails
from mobile.compare.inner import effective_count, mean_draws, percentile_draws
from mobile.compare.interval import Side, blocks_between, drawn_again, ratio, spread, student_t


def side(logs, within=0.0, blocks=None, seed=0):
    rng = np.random.default_rng(seed)
    drawn = rng.normal(0, within, (len(logs), 200)) if within else np.zeros((len(logs), 1))
    return Side(np.asarray(logs, float), drawn, np.asarray(blocks if blocks is not None else [0] * len(logs)))


def test_equal_arguments_give_equal_numbers():
    a, b = side([0.0, 0.01, 0.02]), side([0.1, 0.11, 0.13])
    assert ratio(a, b) == ratio(a, b)


def test_the_ratio_is_the_median_of_all_pairs():
    found = ratio(side(np.log([1.0, 2.0, 4.0])), side(np.log([2.0, 4.0, 8.0])))
    assert found.value == pytest.approx(2.0)
    assert found.low < 2.0 < found.high


def test_a_single_run_has_no_interval():
    found = ratio(side([0.0]), side([0.1, 0.2]))
    assert found.value == pytest.approx(np.exp(0.15))
    assert (found.low, found.high) == (None, None)
    assert spread(side([0.0]), side([0.1])) is None


def test_runs_without_any_spread_have_an_interval_of_no_width():
    found = ratio(side([0.5] * 5), side([0.5] * 5))
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("scatter", [1e-15, 3e-12, 2e-9])
def test_a_spread_in_the_last_digits_has_an_interval_too(scatter):
    steps = scatter * np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    found = ratio(side(-7.0 + steps), side(-7.0 + steps[::-1]))
    assert found.low == pytest.approx(1.0, abs=1e-7)
    assert found.low <= found.value <= found.high


def test_the_spread_inside_of_runs_is_not_counted_twice():
    """Runs scatter by 2 %, all of it from inside: what the bootstrap draws is as wide as with runs that are numbers."""
    rng = np.random.default_rng(1)
    widths = {0.0: [], 0.02: []}
    for seed in range(15):
        logs = rng.normal(0, 0.02, (2, 10))
        for within, found in widths.items():
            a, b = side(logs[0], within, seed=seed), side(logs[1], within, seed=seed + 99)
            found.append(float(np.std(drawn_again(a, b, 1000, np.random.default_rng(seed)))))
    assert np.median(widths[0.02]) == pytest.approx(np.median(widths[0.0]), rel=0.25)


def test_blocks_take_the_drift_out_of_the_interval():
    rng = np.random.default_rng(2)
    blocks = np.repeat(np.arange(5), 2)
    level = blocks * 0.3
    a, b = level + rng.normal(0, 0.01, 10), level + 0.05 + rng.normal(0, 0.01, 10)
    in_turns = ratio(side(a, blocks=blocks), side(b, blocks=blocks))
    pooled = ratio(side(a), side(b))
    assert in_turns.low > 1.03
    assert in_turns.high < 1.07
    assert pooled.low < 1.0


@pytest.mark.parametrize("runs", [3, 8])
def test_the_interval_holds_the_truth(runs):
    """Of three runs each it is the bootstrap's, of eight the exact test's."""
    rng = np.random.default_rng(5)
    held = 0
    for seed in range(150):
        logs = rng.normal(0, 0.02, (2, runs))
        found = ratio(side(logs[0]), side(logs[1]), replicates=600, seed=seed)
        held += found.low <= 1.0 <= found.high
    assert 0.90 <= held / 150 <= 0.995  # four standard deviations of 150 draws around 95 %


@pytest.mark.parametrize("blocks", [None, [0, 0, 1, 1, 2, 2]], ids=["by lot", "in turns"])
def test_the_interval_never_contradicts_the_exact_test(blocks):
    rng = np.random.default_rng(8)
    refused = 0
    for _ in range(60):
        a, b = side(rng.normal(0, 0.02, 6), blocks=blocks), side(rng.normal(0.02, 0.02, 6), blocks=blocks)
        found, p = ratio(a, b), tails(blocks_between(a, b)).two_sided
        assert (p <= 0.05) == (not found.low <= 1.0 <= found.high)
        refused += p <= 0.05
    assert 5 < refused < 55


def test_an_outlier_does_not_make_the_interval_endless():
    found = ratio(side([0.0, 0.01, 0.02, 0.03, 5.0]), side([0.0, 0.01, 0.02, 0.03, 0.04]))
    assert 0 < found.low <= found.value <= found.high < 1.1


@pytest.mark.parametrize("freedom", [3, 4, 8, 18, 100])
def test_students_t_is_that_of_scipy(freedom):
    stats = pytest.importorskip("scipy.stats")
    assert student_t(0.975, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=0.01)


def test_values_that_hang_together_count_for_less():
    rng = np.random.default_rng(6)
    steps = rng.normal(0, 1, 4000)
    slow = np.zeros(4000)
    for place in range(1, 4000):
        slow[place] = 0.9 * slow[place - 1] + steps[place]
    free = effective_count(np.exp(steps), 0.5)
    assert free > 2000
    assert effective_count(np.exp(slow), 0.5) < 800
    spread_free = percentile_draws(np.exp(0.1 * steps), 0.5, rng).std()
    assert spread_free == pytest.approx(1.2533 * 0.1 / np.sqrt(free), rel=0.3)  # of the median of normal values


def test_few_inferences_are_one_number():
    rng = np.random.default_rng(7)
    assert percentile_draws(np.ones(3), 0.5, rng).tolist() == [0.0]
    assert mean_draws(np.ones(3), rng).tolist() == [0.0]
    assert mean_draws(np.linspace(1, 2, 100), rng).std() > 0
