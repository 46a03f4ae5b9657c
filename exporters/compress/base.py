"""What all families have in common: name, shape, rows, sizes, and the checks that make a bad tensor impossible."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.compress.layout import from_rows, group_count, row_shape
from mobile.errors import ModelError

MAX_WEIGHTS = 1 << 33  # of one tensor; 32 GiB as float32. More is a mistake or an attack.
MAX_RANK = 8


@dataclass(frozen=True, eq=False)
class CompressedTensor(ABC):
    """One weight in compressed form.

    ``name`` is the initializer's or parameter's, ``shape`` that of the float weight as the float graph holds it, and
    ``axis`` (never negative) its output axis: 1 of a MatMul's [K, N], 0 of a Gemm's [N, K] (transB), a Conv's
    [O, I/g, kh, kw] or a Gather's [V, D]. Arrays of the families are in rows, [N, K]: ``axis`` first, the rest
    flattened. Groups run along K, the last one may be shorter; values per group are [N, G], or [1, 1] for the whole
    tensor. ModelError when parts do not fit, are out of range, or hold NaN or infinity.
    """

    name: str
    shape: tuple[int, ...]
    axis: int

    def __post_init__(self) -> None:
        sizes_ok = all(isinstance(size, int) and size > 0 for size in self.shape)
        if not (sizes_ok and 1 <= len(self.shape) <= MAX_RANK and 0 <= self.axis < len(self.shape)):
            raise self.wrong(f"axis {self.axis} of shape {list(self.shape)} is not usable")
        if math.prod(self.shape) > MAX_WEIGHTS:
            raise self.wrong(f"{math.prod(self.shape)} weights are more than {MAX_WEIGHTS}")
        self.check()

    @property
    @abstractmethod
    def family(self) -> str:
        """The family's name, as in schemes and files."""

    @property
    @abstractmethod
    def packed_bytes(self) -> int:
        """Bytes of the weight as stored: codes at their width (each row padded to whole bytes), scales and tables."""

    @abstractmethod
    def dequantise_rows(self) -> NDArray[np.float32]:
        """The exact values as [N, K] float32; each family's docstring states the arithmetic."""

    @abstractmethod
    def check(self) -> None:
        """Raises ModelError when the parts do not fit each other."""

    def dequantise(self) -> NDArray[np.float32]:
        """The reference: the exact float32 values, of ``shape``."""
        return from_rows(self.dequantise_rows(), self.shape, self.axis)

    @property
    def rows(self) -> int:
        """N: output features, channels or vocabulary entries."""
        return row_shape(self.shape, self.axis)[0]

    @property
    def columns(self) -> int:
        """K: how many weights each of them has."""
        return row_shape(self.shape, self.axis)[1]

    @property
    def bits(self) -> float:
        """Stored bits per weight, scales and tables included."""
        return 8 * self.packed_bytes / math.prod(self.shape)

    def wrong(self, what: str) -> ModelError:
        """The error that names this tensor."""
        return ModelError(f"weight {self.name!r} ({self.family}): {what}")

    def check_codes(self, what: str, codes: NDArray[Any], low: int, high: int) -> None:
        """Codes must be [N, K], uint8 or int8 (uint16 for 16-bit formats), and within the range."""
        if codes.shape != (self.rows, self.columns) or codes.dtype not in (np.uint8, np.int8, np.uint16):
            raise self.wrong(
                f"{what} must be small integers [{self.rows}, {self.columns}], not {codes.dtype} {list(codes.shape)}"
            )
        if codes.size and not (low <= int(codes.min()) and int(codes.max()) <= high):
            raise self.wrong(f"{what} must be within {low}..{high}, not {int(codes.min())}..{int(codes.max())}")

    def check_groups(self, what: str, values: NDArray[Any], group: int) -> None:
        """Values per group must be finite, [N, G] or [1, 1]."""
        if group < 1:
            raise self.wrong(f"group {group} is not a number of columns")
        wanted = (self.rows, group_count(self.columns, group))
        if values.shape not in (wanted, (1, 1)):
            raise self.wrong(f"{what} must be {list(wanted)} or [1, 1], not {list(values.shape)}")
        self.check_finite(what, values)

    def check_finite(self, what: str, values: NDArray[Any]) -> None:
        """Real values must be float32 without NaN or infinity."""
        if values.dtype.kind == "f" and values.dtype != np.float32:
            raise self.wrong(f"{what} must be float32, not {values.dtype}")
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise self.wrong(f"{what} hold NaN or infinity")


def packed_row_bytes(columns: int, width: int) -> int:
    """Bytes of one row of codes: ``width`` bits each, padded to whole bytes."""
    return -(-columns * width // 8)
