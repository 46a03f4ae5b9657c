"""A model's runs on a device over time: where did the level change, and by how much?

Change points by PELT on the ranks of the run figures (R. Killick, P. Fearnhead and I. Eckley, Journal of the American
Statistical Association 107, 2012; the package `ruptures` does it). Its penalty is not a matter of taste here: it is
the gain that the best single split of a series without any change reaches in ALPHA of the cases, drawn by permuting the
series. So a history in which nothing happened shows a change in about 5 % of the cases, whatever its distribution.
Ranks, because one disturbed run is no change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from mobile.compare.conditions import conditions_of, model_of
from mobile.compare.exact import doubled_ranks
from mobile.compare.units import Excluded, Group, Unit
from mobile.compare.verdict import Comparison, Terms, compare
from mobile.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ALPHA = 0.05
PERMUTATIONS = 1999
SEED = 20_120_801
SHORTEST = 3  # runs on a level


@dataclass(frozen=True)
class Level:
    """Runs in a row on one level. ``change``: against the level before, None for the first; its p is not corrected."""

    units: tuple[Unit, ...]
    models: tuple[str, ...]
    change: Comparison | None

    def to_json(self) -> dict[str, Any]:
        """The level as `edgewise history --json` has it."""
        import numpy as np

        return {
            "from": self.units[0].created_utc,
            "to": self.units[-1].created_utc,
            "runs": [unit.run for unit in self.units],
            "models": list(self.models),
            "median": float(np.median([unit.value for unit in self.units])),
            "change": self.change.to_json() if self.change else None,
        }


def levels(units: Sequence[Unit], terms: Terms) -> list[Level]:
    """The levels of runs in the order of time. UsageError without runs, or without `ruptures`."""
    import numpy as np

    if not units:
        raise UsageError("there is no run to look at", "`edgewise runs` lists them.")
    edges = [0, *change_points(np.log([unit.value for unit in units])), len(units)]
    found: list[Level] = []
    for start, end in pairwise(edges):
        part = tuple(units[start:end])
        models = tuple(dict.fromkeys(model_of(unit.row) for unit in part))
        change = None
        if found:
            (change,) = compare(
                [Group("before", found[-1].units), Group(f"from {part[0].created_utc} on", part)], terms
            )
        found.append(Level(part, models, change))
    return found


def change_points(logs: Floats, alpha: float = ALPHA, seed: int = SEED) -> list[int]:
    """The first place of each level but the first, in the logarithms [n] of the run figures."""
    import numpy as np

    count = len(logs)
    ranks = doubled_ranks(logs).astype(np.float64)
    spread = float(ranks.std())
    if count < 2 * SHORTEST or spread == 0:
        return []
    scores = (ranks - ranks.mean()) / spread
    order = np.random.default_rng(seed).permuted(np.tile(np.arange(count), (PERMUTATIONS, 1)), axis=1)
    penalty = float(np.quantile(_best_gain(scores[order]), 1.0 - alpha, method="higher"))
    if float(_best_gain(scores[None, :])[0]) <= penalty:
        return []
    try:
        from ruptures import KernelCPD
    except ImportError as error:
        raise UsageError("changes are found with ruptures", "pip install 'edgewise[stats]'") from error
    ends = KernelCPD(kernel="linear", min_size=SHORTEST).fit(scores.reshape(-1, 1)).predict(pen=penalty)
    return [int(end) for end in ends[:-1]]


def _best_gain(scores: Floats) -> Floats:
    """How much the best single split of each row [rows, n] takes from the sum of squares."""
    import numpy as np

    count = scores.shape[1]
    sizes = np.arange(SHORTEST, count - SHORTEST + 1)
    sums = np.cumsum(scores, axis=1)[:, sizes - 1]
    best: Floats = (np.square(sums) * count / (sizes * (count - sizes))).max(axis=1)
    return best


def alike(group: Group, allowed: Sequence[str] = ()) -> tuple[list[Unit], list[Excluded]]:
    """(the runs under the conditions of the newest one, those under others with what differs); the model may change."""
    if not group.units:
        return [], []
    wanted = conditions_of(group.units[-1].row)
    kept, others = [], []
    for unit in group.units:  # in the order in which they were stored: a host's clock may have been set back
        found = conditions_of(unit.row)
        differs = [key for key in wanted if found.get(key, "-") != wanted[key] and key not in allowed]
        if not differs or "all" in allowed:
            kept.append(unit)
            continue
        words = ", ".join(f"{key} {found.get(key, '-')} and not {wanted[key]}" for key in differs[:2])
        others.append(Excluded(unit.run, f"other conditions than the newest run: {words}"))
    return kept, others
