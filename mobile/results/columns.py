"""Columns of a Run as compressed bytes, and back. Only the standard library is needed to store a run.

A blob is one byte for the coding, one for the array's type code, eight for the number of values
(little-endian), then zlib data of the little-endian values. Whole numbers are stored as differences where
those fit: times that grow evenly shrink to a fraction. A missing float is stored as NaN, which no record can
carry.
"""

from __future__ import annotations

import operator
import struct
import sys
import zlib
from array import array
from collections.abc import Iterable
from itertools import accumulate

from mobile.bounded import inflate

MAX_VALUES = 32 * 1024 * 1024  # 256 MiB of 64-bit values: a blob that claims more is damaged
_HEADER = struct.Struct("<ccQ")
_PLAIN, _DELTA = b"p", b"d"
_SIZES = {"q": 8, "i": 4, "d": 8}
_LEVEL = 1  # ten times as fast as level 6 on such data, for blobs a few per cent larger


class ColumnError(ValueError):
    """The bytes are not a column, or a damaged one."""


def encode_ints(values: array[int]) -> bytes:
    """The blob of an array of type ``q`` or ``i``."""
    coding, stored = _PLAIN, values
    try:
        stored = array(values.typecode, map(operator.sub, values[1:], values))
        coding = _DELTA
    except OverflowError:
        pass  # neighbours too far apart for a difference of the same width: stored as they are
    if coding == _DELTA and len(values):
        stored.insert(0, values[0])
    return _blob(coding, stored, len(values))


def encode_floats(values: Iterable[float | None]) -> bytes:
    """The blob of floats of which some may be missing."""
    stored = array("d", (float("nan") if value is None else value for value in values))
    return _blob(_PLAIN, stored, len(stored))


def decode_ints(blob: bytes, typecode: str = "q") -> array[int]:
    """The array of a blob of encode_ints; ColumnError when it is damaged or of another type."""
    coding, stored = _values(blob, typecode)
    if coding == _PLAIN:
        return stored
    try:
        return array(typecode, accumulate(stored))
    except OverflowError as error:
        raise ColumnError("a column's differences overflow") from error


def decode_floats(blob: bytes) -> list[float | None]:
    """The floats of a blob of encode_floats, None for each missing one; ColumnError when it is damaged."""
    _, stored = _values(blob, "d")
    return [None if value != value else value for value in stored]


def values_in(blob: bytes) -> int:
    """How many values a blob says that it holds, without decoding it; ColumnError when it is none."""
    if len(blob) < _HEADER.size:
        raise ColumnError(f"a column of {len(blob)} bytes")
    return int(_HEADER.unpack_from(blob)[2])


def _blob(coding: bytes, stored: array[int] | array[float], count: int) -> bytes:
    if sys.byteorder == "big":
        stored = stored[:]
        stored.byteswap()
    return _HEADER.pack(coding, stored.typecode.encode("ascii"), count) + zlib.compress(stored.tobytes(), _LEVEL)


def _values(blob: bytes, typecode: str) -> tuple[bytes, array[int]]:
    if len(blob) < _HEADER.size:
        raise ColumnError(f"a column of {len(blob)} bytes")
    coding, found, count = _HEADER.unpack_from(blob)
    if coding not in (_PLAIN, _DELTA) or found != typecode.encode("ascii"):
        raise ColumnError(f"a column coded {coding!r} {found!r}, expected type {typecode!r}")
    if count > MAX_VALUES:
        raise ColumnError(f"a column of {count} values, the limit is {MAX_VALUES}")
    size_bytes = count * _SIZES[typecode]
    data = _inflate(blob[_HEADER.size :], size_bytes)
    stored: array[int] = array(typecode)
    stored.frombytes(data)
    if sys.byteorder == "big":
        stored.byteswap()
    return coding, stored


def _inflate(data: bytes, size_bytes: int) -> bytes:
    """Exactly ``size_bytes`` of zlib data; never makes more than that, whatever the data says."""
    try:
        result, whole = inflate(data, size_bytes)
    except zlib.error as error:
        raise ColumnError(f"a damaged column: {error}") from error
    if not whole:
        raise ColumnError(f"a column holds {len(result)} bytes or more, expected {size_bytes}")
    return result
