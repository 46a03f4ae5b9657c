"""What a spec file says about one weight: typed access to its JSON entry and to its arrays, checked before reading."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.compress.base import MAX_RANK, MAX_WEIGHTS, packed_row_bytes
from exporters.compress.layout import row_shape
from exporters.compress.packing import TRITS, unpack, unpack_trits
from mobile.errors import ModelError

FLOATS = ("F32", "F16", "BF16")


@dataclass(frozen=True)
class Fields:
    """The entry of weight ``name``; ``stored`` maps the file's arrays to (dtype, shape), ``load`` reads one.

    ModelError names the weight and what is missing or does not fit.
    """

    name: str
    entry: Mapping[str, Any]
    stored: Mapping[str, tuple[str, tuple[int, ...]]]
    load: Callable[[str], NDArray[Any]]
    prefix: str

    def wrong(self, what: str) -> ModelError:
        """The error that names this weight."""
        return ModelError(f"weight {self.name!r}: {what}")

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """A whole number of the entry within the limits."""
        value = self.entry.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.wrong(f"{key} must be a whole number within {low}..{high}, not {value!r:.60}")
        return value

    def number(self, key: str) -> float:
        """A finite number of the entry."""
        value = self.entry.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self.wrong(f"{key} must be a number, not {value!r:.60}")
        return float(value)

    def text(self, key: str, default: str | None = None) -> str:
        """A string of the entry."""
        value = self.entry.get(key, default)
        if not isinstance(value, str):
            raise self.wrong(f"{key} must be a text, not {value!r:.60}")
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        """true or false."""
        value = self.entry.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(f"{key} must be true or false, not {value!r:.60}")
        return value

    def sizes(self, key: str, count: int | None = None) -> tuple[int, ...]:
        """A list of positive whole numbers, of ``count`` where it is given."""
        value = self.entry.get(key)
        good = isinstance(value, list) and 1 <= len(value) <= MAX_RANK and count in (None, len(value))
        if not good or not all(
            isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in value or ()
        ):
            raise self.wrong(f"{key} must be a list of positive whole numbers, not {value!r:.60}")
        return tuple(value or ())

    @property
    def shape(self) -> tuple[int, ...]:
        """The float weight's shape."""
        shape = self.sizes("shape")
        if math.prod(shape) > MAX_WEIGHTS:
            raise self.wrong(f"shape {list(shape)} has more than {MAX_WEIGHTS} weights")
        return shape

    @property
    def axis(self) -> int:
        """Its output axis."""
        return self.integer("axis", 0, len(self.shape) - 1)

    @property
    def row_shape(self) -> tuple[int, int]:
        """(N, K)."""
        return row_shape(self.shape, self.axis)

    @property
    def group(self) -> int:
        """Columns of a group; the whole row where the entry does not say."""
        columns = self.row_shape[1]
        return self.integer("group", 1, max(columns, 1 << 31), columns)

    def has(self, part: str) -> bool:
        """Whether the file holds this array of the weight."""
        return f"{self.prefix}.{part}" in self.stored

    def array(self, part: str, dtypes: Sequence[str], shape: Sequence[int | None]) -> NDArray[Any]:
        """An array of the weight. dtype and shape (None: any size) are checked before it is read."""
        key = f"{self.prefix}.{part}"
        if key not in self.stored:
            raise self.wrong(f"{part} are missing: the file has no array {key!r}")
        dtype, have = self.stored[key]
        if dtype not in dtypes:
            raise self.wrong(f"{part} must be {' or '.join(dtypes)}, not {dtype}")
        fits = len(have) == len(shape) and all(want in (None, size) for size, want in zip(have, shape, strict=True))
        if not fits:
            wanted = ", ".join("?" if size is None else str(size) for size in shape)
            raise self.wrong(f"{part} must be [{wanted}], not {list(have)}")
        return self.load(key)

    def floats(self, part: str, shape: Sequence[int | None]) -> NDArray[np.float32]:
        """A real array as float32, whatever of F32, F16, BF16 it is stored as."""
        return self.array(part, FLOATS, shape).astype(np.float32, copy=False)

    def per_group(self, part: str, group: int) -> NDArray[np.float32]:
        """Real values per group: [N, G] or [1, 1]."""
        return self.floats(part, self.group_shape(part, group))

    def group_shape(self, part: str, group: int) -> tuple[int, int]:
        """[N, G], or [1, 1] where the file holds that."""
        rows, columns = self.row_shape
        if self.stored.get(f"{self.prefix}.{part}", ("", ()))[1] == (1, 1):
            return 1, 1
        return rows, -(-columns // group)

    def codes(self, part: str, width: int, signed: bool = False, shape: tuple[int, int] | None = None) -> NDArray[Any]:
        """Codes of the width, [N, K] or ``shape``, unpacked as the entry's "packing" says: bits, trits or none."""
        rows, columns = shape or self.row_shape
        packing = self.text("packing", "bits")
        if packing == "bits":
            packed = self.array(part, ("U8",), (rows, packed_row_bytes(columns, width)))
            return unpack(packed, width, columns, signed)
        if packing == "none":
            kind = "U16" if width > 8 else "I8" if signed else "U8"
            return self.array(part, (kind,), (rows, columns))
        if packing == "trits" and width == 2 and signed:
            packed = self.array(part, ("U8",), (rows, -(-columns // TRITS)))
            try:
                return unpack_trits(packed, columns)
            except ValueError as error:
                raise self.wrong(f"{part}: {error}") from error
        raise self.wrong(f"packing {packing!r:.60} is not bits, none, or trits (of ternary codes)")

    def mask(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """The bit mask, [rows, columns] bool."""
        return self.codes("mask", 1, shape=shape).astype(np.bool_)
