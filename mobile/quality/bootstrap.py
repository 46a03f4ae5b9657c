"""Confidence intervals of scores over items, by drawing the items again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESAMPLES = 2000
SEED = 20260
FEWEST = 2  # items that a spread can be told from
METHOD = "percentile bootstrap over items"


def ratio_interval(
    above: Sequence[float], below: Sequence[float] | None = None, confidence: float = 0.95
) -> tuple[float, float] | None:
    """The interval of sum(above) / sum(below) (of the mean, without ``below``); None for fewer than two items.

    Efron's percentile interval (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13) with a fixed
    seed. Of few items (below about 20) it is somewhat too narrow.
    """
    import numpy as np

    values = np.asarray(above, dtype=np.float64)
    weights = np.ones_like(values) if below is None else np.asarray(below, dtype=np.float64)

    def drawn(places: NDArray[Any]) -> float:
        total = float(weights[places].sum())
        return float(values[places].sum()) / total if total else float("nan")

    return interval(len(values), drawn, confidence)


def interval(
    items: int, figure: Callable[[NDArray[Any]], float], confidence: float = 0.95, resamples: int = RESAMPLES
) -> tuple[float, float] | None:
    """The percentile interval of ``figure`` of drawn items' places (int64 [items]); draws without one are left out.

    None for fewer than two items, or when no draw has a figure.
    """
    import numpy as np

    if items < FEWEST:
        return None
    generator = np.random.default_rng(SEED)
    found = np.array([figure(generator.integers(0, items, items)) for _ in range(resamples)])
    found = found[np.isfinite(found)]
    if not len(found):
        return None
    low, high = np.quantile(found, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)
