"""A constant's values as the bytes of a TFLite buffer, and back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SUB_BYTE = {"int4": 4, "uint4": 4, "int2": 2}


def stored_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    """How many bytes a dense constant takes. 0 for strings, whose length the values decide."""
    if dtype == "string":
        return 0
    count = math.prod(shape)
    if dtype in _SUB_BYTE:
        return -(-count * _SUB_BYTE[dtype] // 8)
    return count * (2 if dtype == "bfloat16" else np.dtype(dtype).itemsize)


def encode(dtype: str, data: NDArray[Any]) -> bytes | memoryview:
    """The bytes of a constant: little endian; 4- and 2-bit values fill a byte from its low bits, padded with 0."""
    flat = np.ascontiguousarray(data).reshape(-1)
    if dtype in _SUB_BYTE:
        return _pack_bits(flat, _SUB_BYTE[dtype]).tobytes()
    if dtype == "string":
        return _strings([str(item).encode() for item in flat])
    if dtype != "bfloat16":
        flat = flat.astype(np.dtype(dtype).newbyteorder("<"), copy=False)
    return flat.view(np.uint8).data


def decode(dtype: str, raw: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[Any]:
    """The values of a dense constant; 4- and 2-bit ones as int8, bfloat16 as its uint16 patterns."""
    if dtype in _SUB_BYTE:
        signed = not dtype.startswith("u")
        return _unpack_bits(raw, _SUB_BYTE[dtype], math.prod(shape), signed).reshape(shape)
    kind = np.dtype("uint16" if dtype == "bfloat16" else dtype).newbyteorder("<")
    return raw.view(kind).reshape(shape)


def _pack_bits(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    per_byte = 8 // bits
    padded = np.zeros(-(-len(values) // per_byte) * per_byte, np.uint8)
    padded[: len(values)] = values.astype(np.int8).view(np.uint8) & ((1 << bits) - 1)
    lanes = padded.reshape(-1, per_byte)
    packed = np.zeros(len(lanes), np.uint8)
    for lane in range(per_byte):
        packed |= lanes[:, lane] << np.uint8(lane * bits)
    return packed


def _unpack_bits(raw: NDArray[np.uint8], bits: int, count: int, signed: bool) -> NDArray[np.int8]:
    lanes = [(raw >> np.uint8(lane * bits)) & ((1 << bits) - 1) for lane in range(8 // bits)]
    values = np.stack(lanes, axis=-1).reshape(-1)[:count].astype(np.int8)
    if signed:
        values[values >= 1 << (bits - 1)] -= 1 << bits
    return values


def _strings(items: list[bytes]) -> bytes:
    """TFLite's string tensor: the count, the offset of each and of the end (int32), then the bytes.

    Source: the layout described in tflite/string_util.h.
    """
    start = 4 * (len(items) + 2)
    offsets = np.cumsum([start, *(len(item) for item in items)]).astype("<i4")
    return b"".join([len(items).to_bytes(4, "little"), offsets.tobytes(), *items])
