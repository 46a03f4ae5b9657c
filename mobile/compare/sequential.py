"""Looking after every block and stopping when the verdict stands, without paying for it with false verdicts.

Testing again and again at 5 % until something shows is wrong far more often than in 5 % of the cases. Here the 5 %
are spent over the looks (K. K. G. Lan and D. L. DeMets, "Discrete Sequential Boundaries for Clinical Trials",
Biometrika 70, 1983), and the boundary of each look comes from the randomisation itself: the order inside of every
block was drawn by lot, so the whole path of the statistic is drawn again, thousands of times, with the names handed
out anew (W. F. Rosenberger and J. M. Lachin, Randomization in Clinical Trials, 2016, ch. 6). No distribution is
assumed, and drift between blocks does not matter. The looks must not outnumber ``most`` blocks; stopping earlier for
whatever reason only leaves a part of the 5 % unspent.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from mobile.compare.exact import Block, aligned_scores, first_refused

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ALPHA = 0.05
DRAWS = 10_000
SEED = 19_830_701
SPENDING_POWER = (
    1.0  # ALPHA spent over blocks to this power; of 1, 1.5, 2 and 3 it ended soonest (benchmarks/verdicts.py)
)
_STEPS = 14  # of halving, for an interval or a p-value


class Crossing(NamedTuple):
    """The first look (number of blocks) at which B lay ``above`` A, and ``below``; None where it did not."""

    above: int | None
    below: int | None


class Looks:
    """The looks of one comparison at blocks 1 .. n, of at most ``most``; equal arguments give equal answers."""

    def __init__(
        self, blocks: Sequence[Block], most: int, *, alpha: float = ALPHA, draws: int = DRAWS, seed: int = SEED
    ) -> None:
        import numpy as np

        self._blocks = [block for block in blocks if len(block.a) and len(block.b)]
        self._most = max(most, len(self._blocks))
        self._alpha = alpha
        self._names = _names(self._blocks, draws, np.random.default_rng(seed))

    @property
    def count(self) -> int:
        """How many looks there were."""
        return len(self._blocks)

    def crossing(self, shift: float = 0.0) -> Crossing:
        """Where "B is A moved by ``shift``" (of the logarithms) was refused, for B above and below that."""
        path = self._path(shift)
        return Crossing(self._first(path, self._alpha), self._first(-path, self._alpha))

    def p(self) -> float:
        """The smallest alpha with which "nothing changed" would have been refused at one of the looks, 1.0 at most."""
        path = self._path(0.0)
        low, high = 0.0, 1.0
        for _ in range(_STEPS):
            middle = (low + high) / 2
            if self._first(path, middle) is None and self._first(-path, middle) is None:
                low = middle
            else:
                high = middle
        return high

    def _path(self, shift: float) -> Floats:
        """The statistic [draws, looks]; row 0 is what was observed."""
        import numpy as np

        count = len(self._blocks)
        weights = np.zeros((self._names.shape[1], count))
        for look in range(1, count + 1):
            scores = aligned_scores(self._blocks[:look], shift).astype(np.float64)
            weights[: len(scores), look - 1] = _centred(scores, self._blocks[:look])
        path: Floats = self._names @ weights
        return path

    def interval(self, near: float) -> tuple[float, float]:
        """The shifts around ``near`` that no look has refused: an interval that holds at whichever look one stops."""
        return self._edge(near, -1.0), self._edge(near, 1.0)

    def _edge(self, near: float, way: float) -> float:
        return first_refused(lambda shift: self._refused(shift, way), near, way * 0.01, _STEPS)

    def _refused(self, shift: float, way: float) -> bool:
        return self._first(-way * self._path(shift), self._alpha) is not None

    def _first(self, path: Floats, alpha: float) -> int | None:
        """The first look at which the observed path (row 0) is among the share of the highest that may be refused."""
        import numpy as np

        draws, looks = path.shape
        alive = np.ones(draws, dtype=bool)
        for look in range(looks):
            spent = alpha / 2 * ((look + 1) / self._most) ** SPENDING_POWER
            allowed = math.floor(spent * draws) - int(draws - alive.sum())
            if allowed < 1:
                continue
            column = np.round(path[:, look], 6)
            ordered = np.sort(column[alive])[::-1]
            if allowed >= len(ordered):
                limit = ordered[-1]
            else:
                # The smallest value that no more than ``allowed`` draws reach: ties beyond the share are not refused.
                reached = ordered[:allowed]
                limit = reached[-1] if ordered[allowed] < reached[-1] else _above(reached)
            crossed = alive & (column >= limit)
            if crossed[0]:
                return look + 1
            alive &= ~crossed
        return None


def _above(reached: Floats) -> float:
    """The smallest value that is larger than the last one; infinity where there is none."""
    larger = reached[reached > reached[-1]]
    return float(larger[-1]) if len(larger) else math.inf


def _centred(scores: Floats, blocks: Sequence[Block]) -> Floats:
    """The scores without their block's mean."""
    place = 0
    for block in blocks:
        size = len(block.a) + len(block.b)
        scores[place : place + size] -= scores[place : place + size].mean()
        place += size
    return scores


def _names(blocks: Sequence[Block], draws: int, rng: np.random.Generator) -> Floats:
    """[draws, runs]: 1 where a run is called B; in row 0 as it was, in the others drawn again inside of each block."""
    import numpy as np

    columns = []
    for block in blocks:
        size_a, size_b = len(block.a), len(block.b)
        choices = np.zeros((math.comb(size_a + size_b, size_b), size_a + size_b))
        for row, chosen in enumerate(itertools.combinations(range(size_a + size_b), size_b)):
            choices[row, list(chosen)] = 1.0
        drawn = choices[rng.integers(0, len(choices), size=draws)]
        drawn[0] = np.repeat((0.0, 1.0), (size_a, size_b))
        columns.append(drawn)
    return np.concatenate(columns, axis=1) if columns else np.zeros((draws, 0))
