"""Codebooks by k-means in one dimension, and emulated number formats.

Sources: Han et al., "Deep Compression" (arXiv 1510.00149), section 3: weights share the centroids of k-means, best from
an even start over the range; Lloyd, "Least squares quantization in PCM" (1982): nearest level and mean in turns; Panter
and Dite, "Quantization distortion in pulse-count modulation with nonuniform spacing of levels" (1951): the best levels
of many lie as dense as the cube root of the values' density.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from exporters.compress.families.source import FloatRows, Groups
from exporters.compress.floats import MX_GROUP, float_format, power_of_two_scale
from exporters.compress.tensors import Codebook, Emulated
from mobile.errors import UsageError

_ROUNDS, _ROUNDS_OF_ROWS = 30, 12
_BINS = 4096
_SAMPLE = 1 << 23  # weights that the table is fitted to; every n-th of the sorted ones where there are more


def codebook(weight: FloatRows, bits: int, per: str) -> Codebook:
    """The weight as codes into a table of 2**``bits`` values, ``per`` "tensor" or "row"."""
    size = 1 << bits
    if per == "tensor":
        table = k_means(weight.values.ravel(), size)
        codes = np.searchsorted(_middles(table), weight.values).astype(np.uint8)
    else:
        table = np.stack([k_means(row, size, _ROUNDS_OF_ROWS) for row in weight.values])
        codes = np.stack(
            [np.searchsorted(_middles(own), row) for own, row in zip(table, weight.values, strict=True)]
        ).astype(np.uint8)
    return Codebook(weight.name, weight.shape, weight.axis, codes, table)


def k_means(values: NDArray[np.float32], size: int, rounds: int = _ROUNDS) -> NDArray[np.float32]:
    """``size`` levels, rising, of least squared error: Lloyd's iteration from an even and from a cube-root start.

    Sorted once; then a round is one binary search per level and one look at running sums.
    """
    points = np.sort(values)
    if len(points) > _SAMPLE:
        points = points[:: -(-len(points) // _SAMPLE)]
    wide = points.astype(np.float64)
    sums = np.concatenate([[0.0], np.cumsum(wide)])
    squares = float((wide * wide).sum())
    even = np.linspace(wide[0], wide[-1], size)
    found = [_lloyd(points, sums, start, rounds) for start in (even, _cube_root_start(wide, size))]
    error = [squares - explained for _, explained in found]
    return np.sort(found[int(np.argmin(error))][0]).astype(np.float32)


def _cube_root_start(points: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Levels as dense as the cube root of the points' density, from a histogram."""
    count, edges = np.histogram(points, bins=min(_BINS, max(size, len(points) // 8)))
    mass = np.concatenate([[0.0], np.cumsum(np.cbrt(count))])
    levels: NDArray[np.float64] = np.interp((np.arange(size) + 0.5) / size * mass[-1], mass, edges)
    return levels


def _lloyd(
    points: NDArray[np.float32], sums: NDArray[np.float64], levels: NDArray[np.float64], rounds: int
) -> tuple[NDArray[np.float64], float]:
    """The levels, and how much of the sum of squares they explain. A level that no point is nearest to stays."""
    explained = 0.0
    for _ in range(rounds):
        ends = np.searchsorted(points, _middles(levels), side="right")
        edges = np.concatenate([[0], ends, [len(points)]])
        count, total = np.diff(edges), np.diff(sums[edges])
        moved = np.where(count > 0, total / np.maximum(count, 1), levels)
        explained = float((moved * total).sum())
        if np.array_equal(moved, levels):
            break
        levels = moved
    return levels, explained


def _middles(levels: NDArray[np.floating]) -> NDArray[np.float64]:
    wide = levels.astype(np.float64)
    middles: NDArray[np.float64] = (wide[:-1] + wide[1:]) / 2
    return middles


def emulated(weight: FloatRows, name: str, scale: str, rounding: str, seed: int) -> Emulated:
    """The weight in a small floating-point format, too large values at the largest finite one.

    ``scale`` "none" takes values as they are; "row" and "tensor" move the largest magnitude to the format's largest.
    MX formats always have their blocks of 32 with a power-of-two scale.
    """
    form = float_format(name)
    group: int | str = MX_GROUP if name.startswith("mx") else scale
    groups = Groups.of(weight, group)
    scales: NDArray[np.float32] | None = None
    values = weight.values.astype(np.float64)
    if group != "none":
        largest = groups.reduce(np.maximum, np.abs(weight.values))
        if name.startswith("mx"):
            scales = power_of_two_scale(largest, form)
        else:
            scales = np.where(largest > 0, largest / np.float32(form.largest), 1).astype(np.float32)
        values = values / groups.spread(scales)
    codes = form.encode(values, rounding, seed)
    if weight.values.any() and not form.values()[codes].any():
        raise UsageError(
            f"weight {weight.name!r}: every value rounds to zero in {name}", f"Give it a scale: {name}:scale=row."
        )
    size = MX_GROUP if scales is None or name.startswith("mx") else groups.size
    return Emulated(weight.name, weight.shape, weight.axis, codes, name, scales, size)
