"""Intervals for accuracies: against published and independent figures, and by how often they hold the truth."""

import numpy as np
import pytest

from mobile.errors import InputError
from mobile.results.accuracy import accuracy, paired_accuracy_difference


def _answers(both: int, only_a: int, only_b: int, neither: int) -> tuple[list[bool], list[bool]]:
    a = [True] * (both + only_a) + [False] * (only_b + neither)
    b = [True] * both + [False] * only_a + [True] * only_b + [False] * neither
    return a, b


# Newcombe, Statistics in Medicine 17 (1998) 2635-2650, table III, method 10.
PUBLISHED = [
    ((36, 12, 2, 0), 0.0569, 0.3404),
    ((20, 12, 2, 16), 0.0562, 0.3292),
    ((18, 12, 2, 18), 0.0562, 0.3290),
    ((36, 14, 0, 0), 0.1528, 0.4167),
    ((35, 14, 0, 1), 0.1461, 0.4175),
    ((18, 14, 0, 18), 0.1441, 0.3963),
    ((2, 97, 1, 0), 0.8721, 0.9854),
    ((0, 29, 1, 0), 0.6666, 0.9882),
]


@pytest.mark.parametrize(("cells", "low", "high"), PUBLISHED)
def test_published_intervals(cells: tuple[int, int, int, int], low: float, high: float) -> None:
    found = paired_accuracy_difference(*_answers(*cells))
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)
    assert found.difference == pytest.approx((cells[1] - cells[2]) / sum(cells))
    assert (found.only_a, found.only_b, found.items) == (cells[1], cells[2], sum(cells))
    assert "Newcombe" in found.method


def test_swapping_the_models_mirrors_the_interval() -> None:
    a, b = _answers(900, 30, 20, 50)
    there, back = paired_accuracy_difference(a, b), paired_accuracy_difference(b, a)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))


def test_coverage_by_simulation() -> None:
    # 1,000 items, accuracies 0.92 and 0.91 that agree on most: as int8 against fp32. Seeded, so the count is fixed.
    rng = np.random.default_rng(20260101)
    cells = rng.multinomial(1000, [0.90, 0.02, 0.01, 0.07], size=1000)
    held = 0
    for row in cells:
        found = paired_accuracy_difference(*_answers(*map(int, row)))
        held += found.low <= 0.01 <= found.high
    assert 935 <= held <= 975


def test_wilson_interval() -> None:
    # Newcombe, Statistics in Medicine 17 (1998) 857, table I: 81 of 263 and 0 of 20
    found = accuracy([True] * 81 + [False] * 182)
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)
    none = accuracy([False] * 20)
    assert (none.accuracy, none.low, round(none.high, 4)) == (0.0, 0.0, 0.1611)
    assert accuracy([True] * 20).high == 1.0


def test_bad_arguments() -> None:
    with pytest.raises(InputError, match="no items"):
        accuracy([])
    with pytest.raises(InputError, match="2 and 1 items"):
        paired_accuracy_difference([True, False], [True])
    with pytest.raises(InputError, match="confidence is 95"):
        accuracy([True], confidence=95)
