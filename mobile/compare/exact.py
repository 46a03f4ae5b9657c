"""The exact test: did the runs of B come from elsewhere than those of A?

What is ranked are run medians, one number for each gated process launch. Under "nothing changed", every way to hand out
the two names among the runs of a block is as likely as the one that happened; the test counts them all. With a single
block that is the exact Mann-Whitney test, ties included (mid-ranks). With blocks of an interleaved measurement it is
the aligned-rank test: J. L. Hodges and E. L. Lehmann, "Rank Methods for Combination of Independent Experiments in
Analysis of Variance", Annals of Mathematical Statistics 33 (1962); the distribution is built by the shift algorithm of
B. Streitberg and J. Röhmel (Statistical Software Newsletter 12, 1986), block by block.

Ranks and not means, because one run in twenty is disturbed on real boards: a rank test loses little to it, and costs
5 % of efficiency where none is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LARGEST_EXACT = 120  # runs in one block: beyond, the normal distribution of the rank sum is as good
_DIGITS = 12  # of a logarithm: what differs by less is a tie


class Block(NamedTuple):
    """The logarithms of the run figures of one block: ``a`` [n], ``b`` [m]; all the runs where there are no blocks."""

    a: Floats
    b: Floats


class Tails(NamedTuple):
    """Probabilities, were nothing changed: ``lower`` of a rank sum of B as small as this one, ``upper`` as large."""

    lower: float
    upper: float

    @property
    def two_sided(self) -> float:
        """The p-value of "B is something else than A"."""
        return min(1.0, 2.0 * min(self.lower, self.upper))


def tails(blocks: Sequence[Block], shift: float = 0.0) -> Tails:
    """The probabilities under "B is A moved by ``shift``" (of the logarithms); 1.0 where no block has both."""
    import numpy as np

    usable = [block for block in blocks if len(block.a) and len(block.b)]
    if not usable:
        return Tails(1.0, 1.0)
    ranks = aligned_ranks(usable, shift)
    seen, place, counts = 0, 0, []
    for block in usable:
        size_a, size_b = len(block.a), len(block.b)
        own = ranks[place : place + size_a + size_b]
        seen += int(own[size_a:].sum())
        counts.append((own, size_b))
        place += size_a + size_b
    if place > LARGEST_EXACT:
        return _normal(counts, seen)
    least, chances = 0, np.ones(1)
    for own, size_b in counts:
        floor, added = _sums(own, size_b)
        least, chances = least + floor, np.convolve(chances, added)
    at = seen - least
    return Tails(float(min(1.0, chances[: at + 1].sum())), float(min(1.0, chances[at:].sum())))


def aligned_ranks(blocks: Sequence[Block], shift: float = 0.0) -> NDArray[np.int64]:
    """Twice the mid-ranks over all blocks, A's before B's in each, once each block's own median is taken away."""
    import numpy as np

    aligned = []
    for block in blocks:
        values = np.concatenate((block.a, block.b - shift))
        aligned.append(values - np.median(values) if len(blocks) > 1 else values)
    return doubled_ranks(np.concatenate(aligned))


def doubled_ranks(values: Floats) -> NDArray[np.int64]:
    """Twice the mid-rank of each value: whole numbers, also for ties.

    >>> import numpy as np
    >>> doubled_ranks(np.array([3.0, 1.0, 3.0])).tolist()
    [5, 2, 5]
    """
    import numpy as np

    _, inverse, counts = np.unique(np.round(values, _DIGITS), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    twice: NDArray[np.int64] = (2 * last - counts + 1)[inverse.reshape(-1)]
    return twice


def _sums(ranks: NDArray[np.int64], chosen: int) -> tuple[int, Floats]:
    """(smallest sum, chance of each sum from it on) of ``chosen`` of the ranks, all choices alike."""
    import numpy as np

    ordered = np.sort(ranks)
    floor, most = int(ordered[:chosen].sum()), int(ordered[len(ordered) - chosen :].sum())
    ways = np.zeros((chosen + 1, most + 1))
    ways[0, 0] = 1.0
    for number, rank in enumerate(ordered.tolist(), start=1):
        taken = min(number, chosen)
        ways[1 : taken + 1, rank:] += ways[:taken, : most + 1 - rank].copy()
    row = ways[chosen, floor:]
    return floor, row / row.sum()


def _normal(counts: Sequence[tuple[NDArray[np.int64], int]], seen: int) -> Tails:
    """The same by the normal distribution with the exact mean and variance, ties included."""
    mean = sum(chosen * float(own.mean()) for own, chosen in counts)
    variance = sum(
        chosen * (len(own) - chosen) / (len(own) - 1) * float(own.var()) for own, chosen in counts if len(own) > 1
    )
    if variance <= 0:
        return Tails(1.0, 1.0)
    away = (seen - mean) / math.sqrt(2.0 * variance)
    return Tails(0.5 * math.erfc(-away), 0.5 * math.erfc(away))
