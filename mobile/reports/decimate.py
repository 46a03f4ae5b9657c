"""Fewer points to draw than there are samples: the extremes of every bin are drawn, so that no peak is lost.

Only drawings are thinned out. Every figure of a report is computed from all samples.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

GAP_FACTOR, LEAST_GAP_S = 5.0, 2.5  # a line is broken where nothing was read for longer


class Drawn(NamedTuple):
    """Points of a line, ``samples`` behind them. ``bin_s``: how long a bin is; None where each sample is a point.

    NaN in ``y`` breaks the line.
    """

    x: Floats
    y: Floats
    samples: int
    bin_s: float | None


class Band(NamedTuple):
    """Bins of equal length: their middles, lowest, median and highest value, and how many samples each holds."""

    x: Floats
    low: Floats
    middle: Floats
    high: Floats
    counts: Floats
    bin_s: float


def edges(t_s: Floats, bins: int) -> list[tuple[int, int]]:
    """(first, end) of the samples in each of ``bins`` equal lengths of time; empty bins are left out. Times ascend."""
    import numpy as np

    if not len(t_s):
        return []
    borders = np.linspace(t_s[0], t_s[-1], bins + 1)[1:-1]
    starts = np.concatenate(([0], np.searchsorted(t_s, borders, side="left"), [len(t_s)]))
    return [(int(low), int(high)) for low, high in pairwise(starts) if high > low]


def extremes(t_s: Floats, values: Floats, bins: int) -> Drawn:
    """The line through the lowest and the highest sample of every bin, in the order of time.

    All samples where there are no more than two for each bin.
    """
    import numpy as np

    count = len(values)
    if count <= 2 * bins:
        return Drawn(*_broken(t_s, values), count, None)
    kept: list[int] = []
    for first, end in edges(t_s, bins):
        part = values[first:end]
        kept += sorted({first + int(np.argmin(part)), first + int(np.argmax(part))})
    places = np.asarray(kept)
    return Drawn(*_broken(t_s[places], values[places]), count, float(t_s[-1] - t_s[0]) / bins)


def band(t_s: Floats, values: Floats, bins: int) -> Band:
    """Lowest, median and highest of every bin."""
    import numpy as np

    rows = []
    for first, end in edges(t_s, bins):
        part = values[first:end]
        rows.append((np.mean(t_s[[first, end - 1]]), part.min(), np.median(part), part.max(), end - first))
    columns = np.asarray(rows, dtype=np.float64).T
    x, low, middle, high, counts = columns
    return Band(x, low, middle, high, counts, float(t_s[-1] - t_s[0]) / bins)


def _broken(t_s: Floats, values: Floats) -> tuple[Floats, Floats]:
    """The points with a NaN where nothing was read for long."""
    import numpy as np

    if len(t_s) < 3:
        return t_s, values
    steps = np.diff(t_s)
    wide = np.flatnonzero(steps > max(LEAST_GAP_S, GAP_FACTOR * float(np.median(steps)))) + 1
    if not len(wide):
        return t_s, values
    return np.insert(t_s, wide, t_s[wide]), np.insert(values, wide, np.nan)
