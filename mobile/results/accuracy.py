"""Accuracy with its uncertainty: one share, and the difference of two on the same items."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

from mobile.errors import InputError


class Accuracy(NamedTuple):
    """A share of correct items (0 to 1) with its confidence interval."""

    accuracy: float
    low: float
    high: float
    correct: int
    items: int
    method: str


class PairedDifference(NamedTuple):
    """Accuracy of A minus accuracy of B on the same items (-1 to 1) with its confidence interval.

    ``only_a`` items were right with A alone, ``only_b`` with B alone.
    """

    difference: float
    low: float
    high: float
    method: str
    only_a: int
    only_b: int
    items: int


def accuracy(correct: Sequence[bool], confidence: float = 0.95) -> Accuracy:
    """The share of correct items with Wilson's score interval (Wilson, JASA 22 (1927) 209-212).

    InputError when there are no items.

    >>> found = accuracy([True] * 9 + [False])
    >>> found.accuracy, round(found.low, 3), round(found.high, 3)
    (0.9, 0.596, 0.982)
    """
    items = len(correct)
    _check(items, confidence)
    right = sum(map(bool, correct))
    low, high = _wilson(right, items, confidence)
    return Accuracy(right / items, low, high, right, items, "Wilson")


def paired_accuracy_difference(
    correct_a: Sequence[bool], correct_b: Sequence[bool], confidence: float = 0.95
) -> PairedDifference:
    """Accuracy of A minus that of B on the same items, with Newcombe's interval for paired shares.

    Method 10 of Newcombe, "Improved confidence intervals for the difference between binomial proportions
    based on paired data", Statistics in Medicine 17 (1998) 2635-2650: Wilson's intervals of both shares,
    joined with their correlation phi, whose numerator is corrected for continuity when it is positive.
    ``correct_a[i]`` and ``correct_b[i]`` tell whether item i was right. InputError when there are no items or
    not equally many.

    >>> a = [True] * 20 + [True] * 12 + [False] * 2 + [False] * 16
    >>> b = [True] * 20 + [False] * 12 + [True] * 2 + [False] * 16
    >>> found = paired_accuracy_difference(a, b)
    >>> round(found.difference, 2), round(found.low, 4), round(found.high, 4)
    (0.2, 0.0562, 0.3292)
    """
    items = len(correct_a)
    if len(correct_b) != items:
        raise InputError(f"paired answers of {items} and {len(correct_b)} items: they must be of the same items")
    _check(items, confidence)
    counts = [0, 0, 0, 0]
    for right_a, right_b in zip(correct_a, correct_b, strict=True):
        counts[2 * (not right_a) + (not right_b)] += 1
    both, only_a, only_b, neither = counts
    low, high = _newcombe(both, only_a, only_b, neither, confidence)
    return PairedDifference((only_a - only_b) / items, low, high, "Newcombe 1998, method 10", only_a, only_b, items)


def _newcombe(both: int, only_a: int, only_b: int, neither: int, confidence: float) -> tuple[float, float]:
    items = both + only_a + only_b + neither
    share_a, share_b = (both + only_a) / items, (both + only_b) / items
    low_a, high_a = _wilson(both + only_a, items, confidence)
    low_b, high_b = _wilson(both + only_b, items, confidence)
    phi = _phi(both, only_a, only_b, neither)
    difference = (only_a - only_b) / items

    def width(a: float, b: float) -> float:
        return math.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))

    low = difference - width(share_a - low_a, high_b - share_b)
    high = difference + width(high_a - share_a, share_b - low_b)
    return max(-1.0, low), min(1.0, high)


def _phi(both: int, only_a: int, only_b: int, neither: int) -> float:
    """The correlation of the two answers as method 10 takes it; 0 when a margin is empty."""
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    if margins == 0:
        return 0.0
    numerator: float = both * neither - only_a * only_b
    if numerator > 0:
        numerator = max(0.0, numerator - (both + only_a + only_b + neither) / 2)
    return numerator / math.sqrt(margins)


def _wilson(right: int, items: int, confidence: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = right / items
    centre = share + z * z / (2 * items)
    spread = z * math.sqrt(share * (1 - share) / items + z * z / (4 * items * items))
    scale = 1 + z * z / items
    # At the ends the formula gives 0 and 1 but for rounding.
    low = 0.0 if right == 0 else (centre - spread) / scale
    high = 1.0 if right == items else (centre + spread) / scale
    return low, high


def _check(items: int, confidence: float) -> None:
    if items == 0:
        raise InputError("no items: an accuracy needs at least one")
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence:g}, expected a number between 0 and 1")
