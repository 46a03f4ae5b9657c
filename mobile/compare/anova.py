"""Several things at once: does a factor matter, do two of them depend on each other, and how much of the spread is it?

One-way and two-way analysis of variance of the logarithms of the run figures, with p-values from permutations instead
of the F distribution: nothing is assumed to be normal. Of each effect, the residuals of the model without it are
permuted (D. Freedman and D. Lane, "A Nonstochastic Interpretation of Reported Significance Levels", Journal of Business
& Economic Statistics 1, 1983; the best of the known ways: M. Anderson and P. Legendre, Journal of Statistical
Computation and Simulation 62, 1999). Groups may be of different sizes: each effect is tested beside the others (type
III sums of squares, sum-to-zero coding). The effect size is partial omega squared (W. Hays, Statistics for
Psychologists, 1963): the part of the variance that it explains, without what chance explains too; 0.01, 0.06 and 0.14
are called small, medium and large (J. Cohen, 1988).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mobile.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

PERMUTATIONS = 9999
SEED = 19_250_101


@dataclass(frozen=True)
class Effect:
    """A factor ("model"), or two together ("model x threads": does one depend on the other?).

    ``f`` with ``freedom`` of it and of what is left; ``p`` by permutation; ``omega_squared``: partial, 0 to 1.
    """

    name: str
    f: float
    freedom: tuple[int, int]
    p: float
    omega_squared: float

    def to_json(self) -> dict[str, Any]:
        """The effect as `edgewise compare --json` has it."""
        return {
            "effect": self.name, "f": self.f, "freedom": list(self.freedom), "p": self.p,
            "partial_omega_squared": self.omega_squared,
        }  # fmt: skip


def effects(logs: Sequence[float], factors: Mapping[str, Sequence[str]], seed: int = SEED) -> list[Effect]:
    """The effects of one or two factors on the logarithms of the run figures [n]; ``factors``: level of each run.

    UsageError when a factor has one level, a combination has no run, or nothing is left to compare with.
    """
    import numpy as np

    values = np.asarray(logs, dtype=np.float64)
    parts = _parts({name: list(levels) for name, levels in factors.items()})
    rest = len(values) - 1 - sum(part.shape[1] for part in parts.values())
    if rest < 2:
        raise UsageError(f"{len(values)} runs are too few for the effects of {' and '.join(factors)}", "Measure more.")
    ones = np.ones((len(values), 1))
    whole = _projection(np.column_stack([ones, *parts.values()]))
    rng = np.random.default_rng(seed)
    found = []
    for name, part in parts.items():
        others = [other for key, other in parts.items() if key != name]
        found.append(
            _effect(name, values, _projection(np.column_stack([ones, *others])), whole, part.shape[1], rest, rng)
        )
    return found


def _effect(
    name: str, values: Floats, without: Floats, whole: Floats, own: int, rest: int, rng: np.random.Generator
) -> Effect:
    import numpy as np

    fitted = without @ values
    left = values - fitted
    order = rng.permuted(np.tile(np.arange(len(values)), (PERMUTATIONS, 1)), axis=1)
    drawn = np.column_stack([values, (fitted + left[order]).T])
    explained = np.square(drawn - without @ drawn).sum(axis=0) - np.square(drawn - whole @ drawn).sum(axis=0)
    unexplained = np.maximum(np.square(drawn - whole @ drawn).sum(axis=0), np.finfo(float).tiny)
    f = (explained / own) / (unexplained / rest)
    # Rounding: what is the same but for the last digits counts as reached.
    p = float((f >= f[0] * (1 - 1e-9)).mean()) if explained[0] > 1e-18 else 1.0
    omega = own * (float(f[0]) - 1) / (own * (float(f[0]) - 1) + len(values))
    return Effect(name, float(f[0]), (own, rest), p, max(0.0, omega))


def _parts(factors: Mapping[str, list[str]]) -> dict[str, Floats]:
    """The columns of each effect, sum-to-zero coded."""
    if not 1 <= len(factors) <= 2:
        raise UsageError(f"{len(factors)} factors were given, expected one or two", "For example --by model,threads.")
    parts = {name: _coded(name, levels) for name, levels in factors.items()}
    if len(factors) == 2:
        (name_a, levels_a), (name_b, levels_b) = factors.items()
        cells = set(zip(levels_a, levels_b, strict=True))
        missing = [(a, b) for a in dict.fromkeys(levels_a) for b in dict.fromkeys(levels_b) if (a, b) not in cells]
        if missing:
            raise UsageError(
                f"there is no run with {name_a} {missing[0][0]} and {name_b} {missing[0][1]}",
                "A two-way analysis needs runs of every combination.",
            )
        one, two = parts[name_a], parts[name_b]
        parts[f"{name_a} x {name_b}"] = (one[:, :, None] * two[:, None, :]).reshape(len(levels_a), -1)
    return parts


def _coded(name: str, levels: list[str]) -> Floats:
    import numpy as np

    known = list(dict.fromkeys(levels))
    if len(known) < 2:
        raise UsageError(f"{name} is the same in all runs: {known[0] if known else '-'}", "Choose another factor.")
    place = np.array([known.index(level) for level in levels])
    columns: Floats = (place[:, None] == np.arange(len(known) - 1)[None, :]).astype(np.float64)
    columns[place == len(known) - 1] = -1.0
    return columns


def _projection(design: Floats) -> Floats:
    import numpy as np

    base, values, _ = np.linalg.svd(design, full_matrices=False)
    base = base[:, values > 1e-10 * values[0]]
    projection: Floats = base @ base.T
    return projection
