"""Piece times that sum up to what was measured.

Measured heads (or tails) are knots of a curve over the cuts, which must rise: where noise makes one fall, the nearest
rising curve in the sense of least squares is taken (isotonic regression by pooling adjacent violators: Barlow,
Bartholomew, Bremner and Brunk, Statistical Inference under Order Restrictions, 1972), and the rest is told as a
residual. Between two knots the measured difference is divided among the pieces like their own times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def isotonic(values: Sequence[float]) -> list[float]:
    """The rising sequence (weakly) that is nearest to the values by least squares.

    >>> isotonic([1.0, 3.0, 2.0, 4.0])
    [1.0, 2.5, 2.5, 4.0]
    """
    blocks: list[tuple[float, int]] = []  # mean, how many
    for value in values:
        blocks.append((value, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (one, m), (other, n) = blocks[-2:]
            blocks[-2:] = [((one * m + other * n) / (m + n), m + n)]
    return [mean for mean, count in blocks for _ in range(count)]


def fit_heads(weights: Sequence[float], measured: Mapping[int, float]) -> list[float]:
    """Seconds of each piece, none below 0, so that the first k of them sum up to ``measured[k]`` (isotonic in k).

    ``weights``: the pieces' own times, of which only the ratios count. ``measured`` must have the whole model, at
    ``len(weights)``.
    """
    count = len(weights)
    if count not in measured or any(not 0 < cut <= count for cut in measured):
        raise ValueError(f"the whole, at {count}, must be measured, and cuts lie between 1 and it")
    cuts = sorted(measured)
    heights = isotonic([max(measured[cut], 0.0) for cut in cuts])
    times: list[float] = []
    start, height = 0, 0.0
    for cut, above in zip(cuts, heights, strict=True):
        times += _shared(above - height, weights[start:cut])
        start, height = cut, above
    return times


def fit_tails(weights: Sequence[float], measured: Mapping[int, float]) -> list[float]:
    """As ``fit_heads``, for tails: the pieces from k on sum up to ``measured[k]``; the whole is ``measured[0]``."""
    count = len(weights)
    mirrored = {count - cut: seconds for cut, seconds in measured.items()}
    return fit_heads(list(weights)[::-1], mirrored)[::-1]


def _shared(total: float, weights: Sequence[float]) -> list[float]:
    """The total in shares like the weights; equal ones where there is none."""
    whole = math.fsum(weights)
    if not whole > 0:
        return [total / len(weights)] * len(weights)
    return [total * (weight / whole) for weight in weights]  # shares first: a product could be too small for a float
