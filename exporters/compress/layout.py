"""Rows: every compressed weight is a matrix of N output features by K inputs, whatever the float graph holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)


def row_shape(shape: Sequence[int], axis: int) -> tuple[int, int]:
    """(N, K): the size along ``axis`` and the product of the others."""
    rows = int(shape[axis])
    return rows, math.prod(int(size) for size in shape) // rows if rows else 0


def to_rows(weight: NDArray[T], axis: int) -> NDArray[T]:
    """The weight as [N, K]: ``axis`` first, the others flattened in their order. A copy only where one is needed."""
    return np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)


def from_rows(rows: NDArray[T], shape: Sequence[int], axis: int) -> NDArray[T]:
    """The inverse of ``to_rows``: an array of ``shape``, contiguous."""
    moved = [shape[axis], *(size for place, size in enumerate(shape) if place != axis)]
    return np.ascontiguousarray(np.moveaxis(rows.reshape(moved), 0, axis))


def group_count(columns: int, group: int) -> int:
    """How many groups of ``group`` columns a row has; the last may be shorter."""
    return -(-columns // group)


def spread(per_group: NDArray[T], rows: int, columns: int, group: int) -> NDArray[T]:
    """[N, G] or [1, 1] values as an array that broadcasts against [N, K]: each repeated over its group's columns."""
    if per_group.shape == (1, 1) or (per_group.shape == (rows, 1) and group >= columns):
        return per_group
    return np.repeat(per_group, group, axis=1)[:, :columns]
