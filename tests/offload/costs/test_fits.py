"""Piece times that sum up to what was measured, lines and least squares without negative numbers."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offload.costs.coders import nonnegative_line
from offload.costs.fit import fit_heads, fit_tails, isotonic
from offload.costs.nnls import nonnegative_least_squares

TIMES = st.floats(0, 10, allow_nan=False)


@given(st.lists(TIMES, min_size=1, max_size=12), st.data())
def test_rising_measurements_are_reproduced_exactly(weights: list[float], data: st.DataObject) -> None:
    cuts = data.draw(st.sets(st.integers(1, len(weights)), max_size=5)) | {len(weights)}
    heights = sorted(data.draw(st.lists(TIMES, min_size=len(cuts), max_size=len(cuts))))
    measured = dict(zip(sorted(cuts), heights, strict=True))
    times = fit_heads(weights, measured)
    assert len(times) == len(weights)
    assert all(time >= -1e-12 for time in times)
    for cut, seconds in measured.items():
        assert math.fsum(times[:cut]) == pytest.approx(seconds, abs=1e-9)


def test_between_two_cuts_the_time_is_shared_like_the_pieces_own_times() -> None:
    assert fit_heads([1.0, 3.0, 0.0, 0.0], {2: 8.0, 4: 10.0}) == [2.0, 6.0, 1.0, 1.0]


def test_tails_are_reproduced_from_the_other_end() -> None:
    times = fit_tails([1.0, 1.0, 2.0], {0: 10.0, 1: 4.0, 2: 3.0})
    assert times == [6.0, 1.0, 3.0]


def test_noise_that_falls_is_evened_out_and_nothing_is_negative() -> None:
    times = fit_heads([1.0, 1.0, 1.0], {1: 5.0, 2: 3.0, 3: 6.0})
    assert times == [4.0, 0.0, 2.0]  # 5 and 3 are both called 4


@given(st.lists(TIMES, min_size=1, max_size=20))
def test_isotonic_rises_keeps_the_mean_and_leaves_what_rises(values: list[float]) -> None:
    found = isotonic(values)
    assert all(a <= b + 1e-12 for a, b in pairwise(found))
    assert math.fsum(found) == pytest.approx(math.fsum(values))
    assert isotonic(sorted(values)) == sorted(values)


@given(st.lists(TIMES, min_size=2, max_size=6), st.lists(TIMES, min_size=6, max_size=6))
def test_no_rising_sequence_is_nearer(values: list[float], other: list[float]) -> None:
    found, rival = isotonic(values), sorted(other[: len(values)])
    distance = sum((a - b) ** 2 for a, b in zip(found, values, strict=True))
    assert distance <= sum((a - b) ** 2 for a, b in zip(rival, values, strict=True)) + 1e-9


@pytest.mark.parametrize("measured", [{}, {1: 1.0}, {0: 1.0, 2: 2.0}, {2: 1.0, 3: 4.0}])
def test_a_fit_needs_the_whole_and_cuts_inside_of_it(measured: dict[int, float]) -> None:
    with pytest.raises(ValueError, match="the whole"):
        fit_heads([1.0, 1.0], measured)


def test_least_squares_without_negative_numbers_finds_what_made_the_data() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        truth = np.maximum(rng.normal(size=5), 0) * 10.0 ** rng.integers(-9, 3, 5)
        a = rng.gamma(1.0, 1.0, (30, 5)) * 10.0 ** rng.integers(0, 6, 5)
        assert nonnegative_least_squares(a, a @ truth) == pytest.approx(truth, rel=1e-5, abs=1e-12)


def test_least_squares_meets_the_conditions_of_an_optimum() -> None:
    """Karush, Kuhn and Tucker: where x is 0 the gradient points outwards, elsewhere it vanishes."""
    rng = np.random.default_rng(2)
    for _ in range(50):
        a, b = rng.normal(size=(12, 6)), rng.normal(size=12)
        x = nonnegative_least_squares(a, b)
        gradient = a.T @ (b - a @ x)
        assert (x >= 0).all()
        assert (gradient <= 1e-7).all()
        assert np.abs(gradient[x > 0]).max(initial=0.0) < 1e-7


def test_a_column_of_zeros_costs_nothing() -> None:
    a = np.array([[1.0, 0.0], [2.0, 0.0]])
    assert nonnegative_least_squares(a, np.array([2.0, 4.0])) == pytest.approx([2.0, 0.0])


@pytest.mark.parametrize(
    ("xs", "ys", "line"),
    [
        ([1, 2, 3], [3, 5, 7], (1.0, 2.0)),
        ([1, 2, 3], [7, 5, 3], (5.0, 0.0)),  # falling: no slope at all
        ([1, 2, 3], [1, 4, 7], (0.0, 30 / 14)),  # it would start below 0
        ([5], [10], (0.0, 2.0)),
        ([0], [3], (0.0, 0.0)),
    ],
)
def test_a_line_has_no_negative_part(xs: list[float], ys: list[float], line: tuple[float, float]) -> None:
    assert nonnegative_line(xs, ys) == pytest.approx(line)
