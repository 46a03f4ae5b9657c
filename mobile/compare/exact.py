"""The exact test: did the runs of B come from elsewhere than those of A?

What is ranked are run medians, one number for each gated process launch. Under "nothing changed", every way to hand out
the two names among the runs of a block is as likely as the one that happened; the test counts them all. The statistic
is the sum of B's normal scores (B. L. van der Waerden, Proc. K. Ned. Akad. Wet. A 55, 1952): ranks, written as the
values that a normal distribution would have there. With blocks of an interleaved measurement the runs are first aligned
(J. L. Hodges and E. L. Lehmann, "Rank Methods for Combination of Independent Experiments in Analysis of Variance",
Annals of Mathematical Statistics 33, 1962). The distribution is built by the shift algorithm of B. Streitberg and
J. Röhmel (Statistical Software Newsletter 12, 1986), block by block; ties share their score.

Scores of ranks and not means, because a run in twenty is disturbed on real boards: that costs a test of means most of
its power. Normal scores and not plain ranks (Mann-Whitney), because they lose nothing where no run is disturbed: with
10 runs each, 3 % at a spread of 2 % are seen in 87 % of the cases instead of 85 % (in turns 85 % instead of 83 %).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LARGEST_EXACT = 80  # runs: beyond, the normal distribution of the sum is as good
_STEPS = 100  # of a score in one standard deviation: whole numbers can be counted
_FARTHEST = 16  # a shift of the logarithm that no measurement has
_DIGITS = 12  # of a logarithm: what differs by less is a tie


class Block(NamedTuple):
    """The logarithms of the run figures of one block: ``a`` [n], ``b`` [m]; all the runs where there are no blocks."""

    a: Floats
    b: Floats


class Tails(NamedTuple):
    """Probabilities, had nothing changed: ``lower`` of a sum of B's scores as small as this one, ``upper`` as large."""

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
    scores = aligned_scores(usable, shift)
    seen, place, counts = 0, 0, []
    for block in usable:
        size_a, size_b = len(block.a), len(block.b)
        own = scores[place : place + size_a + size_b]
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


def first_refused(refused: Callable[[float], bool], near: float, step: float, halvings: int = 14) -> float:
    """The nearest shift from ``near`` on that is refused, on the side of ``step``'s sign; infinity where none is.

    It lies outside of what is not refused, by the last of so many ``halvings`` at most.
    """
    inside = near
    while not refused(near + step):
        inside, step = near + step, step * 2
        if abs(step) > _FARTHEST:
            return math.copysign(math.inf, step)
    outside = near + step
    for _ in range(halvings):
        middle = (inside + outside) / 2
        if refused(middle):
            outside = middle
        else:
            inside = middle
    return outside


def aligned_scores(blocks: Sequence[Block], shift: float = 0.0) -> NDArray[np.int64]:
    """The normal scores over all blocks as whole numbers from 0 on, A's before B's in each block.

    Of several blocks, each block's own median is taken away first. ``shift`` is taken from B.
    """
    import numpy as np

    aligned = []
    for block in blocks:
        values = np.concatenate((block.a, block.b - shift))
        aligned.append(values - np.median(values) if len(blocks) > 1 else values)
    ranks = doubled_ranks(np.concatenate(aligned))
    normal, places = NormalDist(), 2 * (len(ranks) + 1)
    known = {rank: round(_STEPS * normal.inv_cdf(rank / places)) for rank in set(ranks.tolist())}
    least = min(known.values())
    return np.array([known[rank] - least for rank in ranks.tolist()], dtype=np.int64)


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


def _sums(scores: NDArray[np.int64], chosen: int) -> tuple[int, Floats]:
    """(smallest sum, chance of each sum from it on) of ``chosen`` of the scores, all choices alike."""
    import numpy as np

    ordered = np.sort(scores)
    floor, most = int(ordered[:chosen].sum()), int(ordered[len(ordered) - chosen :].sum())
    ways = np.zeros((chosen + 1, most + 1))
    ways[0, 0] = 1.0
    for number, score in enumerate(ordered.tolist(), start=1):
        taken = min(number, chosen)
        ways[1 : taken + 1, score:] += ways[:taken, : most + 1 - score].copy()
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
