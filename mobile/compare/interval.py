"""How much: the ratio of B to A with its interval.

The ratio is the median of the ratios of all pairs of run figures (J. L. Hodges and E. L. Lehmann, "Estimates of
Location Based on Rank Tests", Annals of Mathematical Statistics 34, 1963), with blocks of an interleaved measurement
of all pairs inside of a block: the estimate that belongs to the exact test.

The interval holds every ratio that the exact test (exact.py) does not refuse (the same paper, section 5): it holds the
truth as often as it says for any distribution and under any drift, and it never contradicts the test. With fewer than
four runs of each (six in blocks of two and two) the test refuses nothing at 5 %; there, and where no run differs from
another, the interval is a hierarchical bootstrap, seeded: runs are drawn again, then inferences inside of each (T.
Kalibera and R. Jones, "Rigorous Benchmarking in Reasonable Time", ISMM 2013), with two corrections. The spread between
runs already has the spread inside of them in it, so runs are drawn nearer to their centre by just that part (A. C.
Davison and D. V. Hinkley, Bootstrap Methods and their Application, 1997, 3.8); and with n runs a percentile interval is
too narrow, by sqrt((n - 1) / n) and by what Student's t is wider than the normal distribution (T. Hesterberg, "What
Teachers Should Know About the Bootstrap", The American Statistician 69, 2015, 4.2). It is not used for more runs: with
six of each its intervals held the truth in 97.2 % of 2,000 plain sessions, and were 6 to 15 % wider than those of the
exact test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from mobile.compare.exact import Block, first_refused, tails

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CONFIDENCE = 0.95
REPLICATES = 4000
SEED = 20_130_620
_CELLS = 4_000_000  # of differences at once: 32 MB
_NO_SPREAD = 1e-9  # of a logarithm: no clock tells that
_HALVINGS = 11  # of two standard errors: a thousandth


@dataclass(frozen=True)
class Side:
    """The runs of one side as logarithms.

    ``logs`` [n]: of the run figures. ``within`` [n, k]: k resampled figures of each run minus its own (inner.py), k = 1
    and 0 where a run gives a single number. ``blocks`` [n]: the block of each run, all 0 without blocks.
    """

    logs: Floats
    within: Floats
    blocks: NDArray[np.int64]


@dataclass(frozen=True)
class Ratio:
    """B over A with its interval; ``low`` and ``high`` are None where a side has a single run."""

    value: float
    low: float | None
    high: float | None


def ratio(a: Side, b: Side, *, confidence: float = CONFIDENCE, replicates: int = REPLICATES, seed: int = SEED) -> Ratio:
    """The ratio of B to A and its interval of ``confidence``. Equal arguments give equal numbers."""
    import numpy as np

    pairs = _pairs(a, b)
    estimate = float(np.median(b.logs[pairs[1]] - a.logs[pairs[0]]))
    freedom = _freedom(a, b)
    if freedom is None:
        return Ratio(math.exp(estimate), None, None)
    share = (1.0 - confidence) / 2.0
    edges = _not_refused(a, b, estimate, share)
    if edges is None:
        found = drawn_again(a, b, replicates, np.random.default_rng(seed))
        widen = student_t(1.0 - share, freedom) / NormalDist().inv_cdf(1.0 - share)
        low, high = (float(value) for value in np.quantile(found - np.median(found), (share, 1.0 - share)))
        edges = estimate + widen * low, estimate + widen * high
    return Ratio(math.exp(estimate), math.exp(edges[0]), math.exp(edges[1]))


def blocks_between(a: Side, b: Side) -> list[Block]:
    """The runs of two sides by their block."""
    numbers = sorted({*a.blocks.tolist(), *b.blocks.tolist()})
    return [Block(a.logs[a.blocks == number], b.logs[b.blocks == number]) for number in numbers]


def _not_refused(a: Side, b: Side, estimate: float, share: float) -> tuple[float, float] | None:
    """The edges of the shifts that the exact test does not refuse with ``share`` on each side; None where it cannot."""
    scatter = spread(a, b)
    if scatter is None or scatter < _NO_SPREAD:
        return None
    blocks = blocks_between(a, b)

    def refused(shift: float, way: float) -> bool:
        found = tails(blocks, shift)
        return (found.lower if way > 0 else found.upper) <= share

    step = 2 * scatter * math.sqrt(1 / len(a.logs) + 1 / len(b.logs))
    low = first_refused(lambda shift: refused(shift, -1.0), estimate, -step, _HALVINGS)
    high = first_refused(lambda shift: refused(shift, 1.0), estimate, step, _HALVINGS)
    return (low, high) if math.isfinite(high - low) else None


def student_t(probability: float, freedom: float) -> float:
    """The quantile of Student's t, by the expansion of Abramowitz and Stegun, 26.7.5 (1964); 0.3 % off at 4 degrees.

    >>> round(student_t(0.975, 18), 3)
    2.101
    """
    z = NormalDist().inv_cdf(probability)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    fourth = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160
    return z + first / freedom + second / freedom**2 + third / freedom**3 + fourth / freedom**4


def _pairs(a: Side, b: Side) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the pairs that are compared: every A with every B of its block."""
    import numpy as np

    first, second = np.nonzero(a.blocks[:, None] == b.blocks[None, :])
    return first, second


def residuals(a: Side, b: Side) -> tuple[Floats, Floats, int]:
    """(A's, B's deviations from what block and side explain by least squares, degrees of freedom that are left)."""
    import numpy as np

    values = np.concatenate((a.logs, b.logs))
    blocks = np.concatenate((a.blocks, b.blocks))
    numbers = np.unique(blocks)
    side = np.repeat((-1.0, 1.0), (len(a.logs), len(b.logs)))
    design = np.column_stack([(blocks[:, None] == numbers[None, :]).astype(float), side])
    left = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    return left[: len(a.logs)], left[len(a.logs) :], len(values) - design.shape[1]


def spread(a: Side, b: Side) -> float | None:
    """The standard deviation between runs that neither block nor side explains, as a share; None for too few runs."""
    import numpy as np

    left_a, left_b, freedom = residuals(a, b)
    if freedom < 1:
        return None
    return math.sqrt(float(np.square(left_a).sum() + np.square(left_b).sum()) / freedom)


def _freedom(a: Side, b: Side) -> float | None:
    """Degrees of freedom of the difference (B. L. Welch, Biometrika 34, 1947); None where a side has a single run."""
    import numpy as np

    left_a, left_b, freedom = residuals(a, b)
    size_a, size_b = len(left_a), len(left_b)
    if size_a < 2 or size_b < 2 or freedom < 2:
        return None
    part_a = float(np.square(left_a).mean()) / size_a
    part_b = float(np.square(left_b).mean()) / size_b
    share = freedom / (size_a + size_b)
    if part_a + part_b <= 0:
        return float(freedom)
    welch = (part_a + part_b) ** 2 / (part_a**2 / (size_a * share) + part_b**2 / (size_b * share))
    return max(2.0, welch)


def drawn_again(a: Side, b: Side, replicates: int, rng: np.random.Generator) -> Floats:
    """Estimates [replicates], logarithms, of resampled sides whose true difference is none: the bootstrap."""
    import numpy as np

    pairs = _pairs(a, b)
    left_a, left_b, freedom = residuals(a, b)
    scale = math.sqrt((len(left_a) + len(left_b)) / freedom)
    at_once = max(1, _CELLS // max(1, len(pairs[0])))
    parts = []
    for start in range(0, replicates, at_once):
        count = min(at_once, replicates - start)
        drawn_a = _drawn(left_a * scale, a.within, count, rng)
        drawn_b = _drawn(left_b * scale, b.within, count, rng)
        parts.append(np.median(drawn_b[:, pairs[1]] - drawn_a[:, pairs[0]], axis=1))
    return np.concatenate(parts)


def _drawn(deviations: Floats, within: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Runs [count, n] drawn with replacement, and in each its inferences."""
    import numpy as np

    between = float(np.square(deviations).mean())
    inside = float(np.square(within - within.mean(axis=1, keepdims=True)).mean())
    nearer = math.sqrt(max(0.0, between - inside) / between) if between > 0 else 0.0
    runs = rng.integers(0, len(deviations), size=(count, len(deviations)))
    again = rng.integers(0, within.shape[1], size=runs.shape)
    return nearer * deviations[runs] + within[runs, again]
