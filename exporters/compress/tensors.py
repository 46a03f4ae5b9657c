"""One class per family of compressed weights; ``dequantise()`` of each is the reference that every carrier must equal.

Shapes and rows are explained in ``base.CompressedTensor``. All arithmetic is IEEE float32, rounded once per operation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.compress.base import CompressedTensor, packed_row_bytes
from exporters.compress.floats import Emulated, FloatFormat, float_format
from exporters.compress.layout import T, from_rows, group_count, row_shape, spread, to_rows
from exporters.compress.structured import Adapter, Blocks, Dense, LowRank, Shared, Sparse

__all__ = [
    "Adapter", "Affine", "Binary", "Blocks", "Codebook", "CompressedModel", "CompressedTensor", "Dense", "DualBinary",
    "Emulated", "FloatFormat", "LowRank", "PowerOfTwo", "Shared", "Sparse", "Ternary", "float_format", "from_rows",
    "group_count", "packed_row_bytes", "row_shape", "spread", "to_rows",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Affine(CompressedTensor):
    """Integers of ``width`` bits (1..8) with a scale per group: w = float32(code - zero_point) * scale.

    ``codes`` are int8 when ``signed``, else uint8; ``zero_points`` (None: zero) have the same type and range. Columns
    belong to group k // group, or to ``group_index[k]`` where a checkpoint orders them otherwise (GPTQ's g_idx).
    """

    codes: NDArray[Any]
    scales: NDArray[np.float32]
    group: int
    width: int
    signed: bool
    zero_points: NDArray[Any] | None = None
    group_index: NDArray[np.int32] | None = None

    @property
    def family(self) -> str:
        """int8, int4, int2, or nbit for the other widths."""
        return f"int{self.width}" if self.width in (2, 4, 8) else "nbit"

    @property
    def packed_bytes(self) -> int:
        """Codes, 4 bytes a scale, a zero point at the codes' width, 4 bytes an entry of group_index."""
        zeros = self.zero_points
        size = self.rows * packed_row_bytes(self.columns, self.width) + 4 * self.scales.size
        size += 0 if zeros is None else len(zeros) * packed_row_bytes(zeros.shape[1], self.width)
        return size + (0 if self.group_index is None else 4 * self.columns)

    @property
    def code_range(self) -> tuple[int, int]:
        """The lowest and highest code of the width."""
        half = 1 << (self.width - 1)
        return (-half, half - 1) if self.signed else (0, 2 * half - 1)

    def check(self) -> None:
        """The width is 1..8 and all parts fit it."""
        if not 1 <= self.width <= 8:
            raise self.wrong(f"{self.width} bits are not within 1..8")
        wanted = np.int8 if self.signed else np.uint8
        for what, array in (("codes", self.codes), ("zero points", self.zero_points)):
            if array is not None and array.dtype != wanted:
                raise self.wrong(f"{what} must be {np.dtype(wanted).name}, not {array.dtype}")
        self.check_codes("codes", self.codes, *self.code_range)
        self.check_groups("scales", self.scales, self.group)
        if self.zero_points is not None:
            self.check_groups("zero points", self.zero_points, self.group)
            low, high = self.code_range
            if int(self.zero_points.min()) < low or int(self.zero_points.max()) > high:
                raise self.wrong(f"zero points must be within {low}..{high}")
        index = self.group_index
        if index is not None:
            groups = group_count(self.columns, self.group)
            if index.shape != (self.columns,) or int(index.min()) < 0 or int(index.max()) >= groups:
                raise self.wrong(f"group_index must name one of {groups} groups for each of {self.columns} columns")

    def spread(self, per_group: NDArray[T]) -> NDArray[T]:
        """Values per group as an array that broadcasts against the codes."""
        if self.group_index is not None and per_group.shape != (1, 1):
            return per_group[:, self.group_index]
        return spread(per_group, self.rows, self.columns, self.group)

    def dequantise_rows(self) -> NDArray[np.float32]:
        """float32(code - zero_point) * scale: one rounding."""
        centred = self.codes
        if self.zero_points is not None:
            centred = self.codes.astype(np.int16) - self.spread(self.zero_points).astype(np.int16)
        return centred.astype(np.float32) * self.spread(self.scales)


@dataclass(frozen=True, eq=False)
class Binary(CompressedTensor):
    """One bit a weight: w = scale * (2 * code - 1), plus the group's offset where there are ``offsets``."""

    codes: NDArray[np.uint8]
    scales: NDArray[np.float32]
    group: int
    offsets: NDArray[np.float32] | None = None

    @property
    def family(self) -> str:
        """binary."""
        return "binary"

    @property
    def packed_bytes(self) -> int:
        """A bit a weight, 4 bytes a scale or offset."""
        extra = self.scales.size + (0 if self.offsets is None else self.offsets.size)
        return self.rows * packed_row_bytes(self.columns, 1) + 4 * extra

    def check(self) -> None:
        """Codes are 0 or 1."""
        self.check_codes("codes", self.codes, 0, 1)
        self.check_groups("scales", self.scales, self.group)
        if self.offsets is not None:
            self.check_groups("offsets", self.offsets, self.group)

    def dequantise_rows(self) -> NDArray[np.float32]:
        """±scale exactly; with offsets one rounding, of the sum."""
        signs = self.codes.astype(np.float32) * np.float32(2) - np.float32(1)
        values = signs * spread(self.scales, self.rows, self.columns, self.group)
        if self.offsets is None:
            return values
        return values + spread(self.offsets, self.rows, self.columns, self.group)


@dataclass(frozen=True, eq=False)
class Ternary(CompressedTensor):
    """w = code * scale with codes -1, 0, 1 (int8), stored at 2 bits; with ``trits`` five in a byte, 1.6 bits."""

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    group: int
    trits: bool = False

    @property
    def family(self) -> str:
        """ternary."""
        return "ternary"

    @property
    def packed_bytes(self) -> int:
        """2 bits a weight, or a byte for five, and 4 bytes a scale."""
        row = -(-self.columns // 5) if self.trits else packed_row_bytes(self.columns, 2)
        return self.rows * row + 4 * self.scales.size

    def check(self) -> None:
        """Codes are -1, 0 or 1."""
        self.check_codes("codes", self.codes, -1, 1)
        self.check_groups("scales", self.scales, self.group)

    def dequantise_rows(self) -> NDArray[np.float32]:
        """code * scale, exact."""
        return self.codes.astype(np.float32) * spread(self.scales, self.rows, self.columns, self.group)


@dataclass(frozen=True, eq=False)
class DualBinary(CompressedTensor):
    """Two bits a weight: w = a1 * b1 + a2 * b2 with b1, b2 in {0, 1} (DB-LLM's flexible dual binarisation)."""

    b1: NDArray[np.uint8]
    b2: NDArray[np.uint8]
    a1: NDArray[np.float32]
    a2: NDArray[np.float32]
    group: int

    @property
    def family(self) -> str:
        """dual-binary."""
        return "dual-binary"

    @property
    def packed_bytes(self) -> int:
        """Two bits a weight, 4 bytes a scale."""
        return 2 * self.rows * packed_row_bytes(self.columns, 1) + 4 * (self.a1.size + self.a2.size)

    def check(self) -> None:
        """Both sets are bits, both scales have one shape."""
        self.check_codes("b1", self.b1, 0, 1)
        self.check_codes("b2", self.b2, 0, 1)
        self.check_groups("a1", self.a1, self.group)
        self.check_groups("a2", self.a2, self.group)
        if self.a1.shape != self.a2.shape:
            raise self.wrong(f"a1 is {list(self.a1.shape)} and a2 {list(self.a2.shape)}")

    def dequantise_rows(self) -> NDArray[np.float32]:
        """a1 * b1 + a2 * b2: the products are exact, the sum is rounded once."""
        first = self.b1 * spread(self.a1, self.rows, self.columns, self.group)
        return first + self.b2 * spread(self.a2, self.rows, self.columns, self.group)


@dataclass(frozen=True, eq=False)
class PowerOfTwo(CompressedTensor):
    """Zero-free shifts: w = scale * sign * 2**exponent (DenseShift), stored as sign * 8 + exponent in 4 bits.

    ``codes`` (uint8, 0..15): bit 3 set means minus, bits 0..2 are the exponent, 0..7. With exponents up to 6 the
    integers sign * 2**exponent fit int8; up to 7 they do not (+128).
    """

    codes: NDArray[np.uint8]
    scales: NDArray[np.float32]
    group: int

    @property
    def family(self) -> str:
        """power-of-two."""
        return "power-of-two"

    @property
    def packed_bytes(self) -> int:
        """4 bits a weight, 4 bytes a scale."""
        return self.rows * packed_row_bytes(self.columns, 4) + 4 * self.scales.size

    @property
    def largest_exponent(self) -> int:
        """The largest exponent in use."""
        return int((self.codes & 7).max())

    @staticmethod
    def table() -> NDArray[np.float32]:
        """The sixteen integers sign * 2**exponent by code."""
        powers = np.exp2(np.arange(8, dtype=np.float32))
        return np.concatenate([powers, -powers])

    def check(self) -> None:
        """Codes are 0..15."""
        self.check_codes("codes", self.codes, 0, 15)
        self.check_groups("scales", self.scales, self.group)

    def dequantise_rows(self) -> NDArray[np.float32]:
        """table[code] * scale, exact unless it leaves float32's range."""
        return self.table()[self.codes] * spread(self.scales, self.rows, self.columns, self.group)


@dataclass(frozen=True, eq=False)
class Codebook(CompressedTensor):
    """w = table[code]: ``table`` is [L] for the whole tensor or [N, L] per row; L is 16 (4 bits) or up to 256."""

    codes: NDArray[np.uint8]
    table: NDArray[np.float32]

    @property
    def family(self) -> str:
        """codebook."""
        return "codebook"

    @property
    def width(self) -> int:
        """4 bits where the table has at most 16 entries, else 8."""
        return 4 if self.table.shape[-1] <= 16 else 8

    @property
    def packed_bytes(self) -> int:
        """Codes at 4 or 8 bits, 4 bytes an entry of the table."""
        return self.rows * packed_row_bytes(self.columns, self.width) + 4 * self.table.size

    def check(self) -> None:
        """The table has 2 to 256 entries, and every code one of them."""
        if self.table.ndim not in (1, 2) or not 2 <= self.table.shape[-1] <= 256:
            raise self.wrong(f"a table of shape {list(self.table.shape)} is neither [L] nor [N, L] with L in 2..256")
        if self.table.ndim == 2 and len(self.table) != self.rows:
            raise self.wrong(f"the table has {len(self.table)} rows for {self.rows}")
        self.check_codes("codes", self.codes, 0, self.table.shape[-1] - 1)
        self.check_finite("the table's values", self.table)

    def dequantise_rows(self) -> NDArray[np.float32]:
        """table[code]: nothing is rounded."""
        if self.table.ndim == 1:
            return self.table[self.codes]
        return np.take_along_axis(self.table, self.codes.astype(np.intp), axis=1)


@dataclass(frozen=True)
class CompressedModel:
    """The compressed weights of a model by name, and where they come from (tool, file, SHA-256, algorithm)."""

    tensors: Mapping[str, CompressedTensor]
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def packed_bytes(self) -> int:
        """Bytes of all weights as stored; what is shared counts once."""
        return sum(tensor.packed_bytes for tensor in self.tensors.values())
