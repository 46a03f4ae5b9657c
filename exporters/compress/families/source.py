"""The float weight in rows, and groups of its columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporters.compress.layout import T, group_count, spread


@dataclass(frozen=True, eq=False)
class FloatRows:
    """A float weight: name, shape and output axis of the graph's, its values as rows [N, K]."""

    name: str
    shape: tuple[int, ...]
    axis: int
    values: NDArray[np.float32]

    @property
    def columns(self) -> int:
        """K."""
        return int(self.values.shape[1])


@dataclass(frozen=True)
class Groups:
    """Groups of ``size`` columns in each of ``rows`` rows; one group for everything where ``whole``."""

    rows: int
    columns: int
    size: int
    whole: bool = False

    @classmethod
    def of(cls, weight: FloatRows, asked: int | str) -> Groups:
        """The groups that an option asks for: a number of columns, "row" or "tensor"."""
        rows, columns = weight.values.shape
        size = columns if isinstance(asked, str) else min(asked, columns)
        return cls(rows, columns, size, asked == "tensor")

    def reduce(self, operation: np.ufunc, values: NDArray[T]) -> NDArray[T]:
        """The values combined group by group: [N, G], or [1, 1]."""
        if self.whole:
            return np.asarray(operation.reduce(values, axis=None), values.dtype).reshape(1, 1)
        starts = np.arange(0, self.columns, self.size)
        reduced: NDArray[T] = operation.reduceat(values, starts, axis=1)
        return reduced

    def mean(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """The mean of each group, summed in float64."""
        total = self.reduce(np.add, values.astype(np.float64))
        if self.whole:
            return total / (self.rows * self.columns)
        ends = np.minimum(np.arange(1, group_count(self.columns, self.size) + 1) * self.size, self.columns)
        return total / np.diff(ends, prepend=0)

    def spread(self, per_group: NDArray[T]) -> NDArray[T]:
        """Values per group, to broadcast against [N, K]."""
        return spread(per_group, self.rows, self.columns, self.size)


def safe(scales: NDArray[np.floating]) -> NDArray[np.float32]:
    """Scales as float32; 1 where a group is all zero (its codes are zero then), so that nothing divides by zero."""
    single = scales.astype(np.float32)
    return np.where(single > 0, single, np.float32(1)).astype(np.float32)
