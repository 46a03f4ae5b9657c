"""Codes at their true width: bits of a row one after the other, lowest first, each row padded to whole bytes.

Bit ``i`` of column ``k`` at width ``w`` is bit ``(k * w + i) % 8`` of byte ``(k * w + i) // 8`` of the row. Signed
codes are two's complement of ``w`` bits. "trits" puts five ternary digits (code + 1) into a byte, the first counting
one, the next three, 9, 27, 81.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.compress.base import packed_row_bytes

_CHUNK = 1 << 22  # codes unpacked at once, so that temporary arrays stay small
TRITS = 5  # in a byte: 3**5 = 243


def pack(codes: NDArray[Any], width: int) -> NDArray[np.uint8]:
    """[N, ceil(K * width / 8)] bytes of [N, K] codes (uint8, int8 or uint16), which must fit ``width`` bits (1..16)."""
    rows, columns = codes.shape
    packed = np.empty((rows, packed_row_bytes(columns, width)), np.uint8)
    for part in _chunks(rows, columns):
        packed[part] = _pack(codes[part], width)
    return packed


def unpack(packed: NDArray[np.uint8], width: int, columns: int, signed: bool = False) -> NDArray[Any]:
    """The [N, ``columns``] codes in ``packed``: int8 when signed, uint8, or uint16 for more than 8 bits."""
    rows = len(packed)
    if packed.shape != (rows, packed_row_bytes(columns, width)):
        raise ValueError(f"{list(packed.shape)} bytes do not hold {columns} columns of {width} bits")
    codes = np.empty((rows, columns), np.uint8 if width <= 8 else np.uint16)
    for part in _chunks(rows, columns):
        codes[part] = _unpack(packed[part], width, columns)
    if not signed:
        return codes
    half = np.uint8(1 << (width - 1))
    flipped = codes ^ half  # -half..half-1 in order, then moved down
    return (flipped.astype(np.int16) - int(half)).astype(np.int8)


def pack_trits(codes: NDArray[np.int8]) -> NDArray[np.uint8]:
    """[N, ceil(K / 5)] bytes of [N, K] codes -1, 0, 1."""
    rows, columns = codes.shape
    padded = np.ones((rows, -(-columns // TRITS) * TRITS), np.uint8)
    padded[:, :columns] = codes + 1
    weights = 3 ** np.arange(TRITS, dtype=np.uint8)
    packed: NDArray[np.uint8] = (padded.reshape(rows, -1, TRITS) * weights).sum(axis=2, dtype=np.uint8)
    return packed


def unpack_trits(packed: NDArray[np.uint8], columns: int) -> NDArray[np.int8]:
    """The [N, ``columns``] codes -1, 0, 1. ValueError for a byte above 242 or a wrong size."""
    rows = len(packed)
    if packed.shape != (rows, -(-columns // TRITS)):
        raise ValueError(f"{list(packed.shape)} bytes do not hold {columns} ternary columns")
    if packed.size and int(packed.max()) >= 3**TRITS:
        raise ValueError(f"byte {int(packed.max())} is no five ternary digits")
    return trit_table()[packed].reshape(rows, -1)[:, :columns]


def trit_table() -> NDArray[np.int8]:
    """[243, 5]: the codes -1, 0, 1 that each byte of "trits" stands for."""
    return (np.arange(3**TRITS)[:, None] // 3 ** np.arange(TRITS) % 3 - 1).astype(np.int8)


def _chunks(rows: int, columns: int) -> list[slice]:
    step = max(1, _CHUNK // max(columns, 1))
    return [slice(start, start + step) for start in range(0, rows, step)]


def _pack(codes: NDArray[Any], width: int) -> NDArray[np.uint8]:
    """Eight codes make ``width`` bytes, put together in one 64-bit word (two for more than 8 bits)."""
    rows, columns = codes.shape
    each = 8 if width <= 8 else 4
    words = np.zeros((rows, -(-columns // each)), np.uint64)
    padded = np.zeros((rows, words.shape[1] * each), np.uint16 if width > 8 else np.uint8)
    padded[:, :columns] = codes.view(np.uint8) if codes.dtype == np.int8 else codes
    padded &= (1 << width) - 1
    for place in range(each):
        words |= padded[:, place::each].astype(np.uint64) << np.uint64(place * width)
    if each == 4 and width % 2:
        return _merged(words, width, packed_row_bytes(columns, width))
    used = words.astype("<u8").view(np.uint8).reshape(rows, -1, 8)[:, :, : each * width // 8]
    return used.reshape(rows, -1)[:, : packed_row_bytes(columns, width)]


def _merged(words: NDArray[np.uint64], width: int, size: int) -> NDArray[np.uint8]:
    """Four odd-width codes end in the middle of a byte: bit by bit then."""
    rows = len(words)
    bits = np.unpackbits(words.astype("<u8").view(np.uint8).reshape(rows, -1, 8), axis=2, bitorder="little")
    return np.packbits(bits[:, :, : 4 * width].reshape(rows, -1), axis=1, bitorder="little")[:, :size]


def _unpack(packed: NDArray[np.uint8], width: int, columns: int) -> NDArray[Any]:
    if width > 8:
        bits = np.unpackbits(packed, axis=1, count=columns * width, bitorder="little")
        weights = np.uint16(1) << np.arange(width, dtype=np.uint16)
        wide: NDArray[Any] = (bits.reshape(len(packed), columns, width) * weights).sum(axis=2, dtype=np.uint16)
        return wide
    rows, groups = len(packed), -(-columns // 8)
    padded = np.zeros((rows, groups * width), np.uint8)
    padded[:, : packed.shape[1]] = packed
    spaced = np.zeros((rows, groups, 8), np.uint8)
    spaced[:, :, :width] = padded.reshape(rows, groups, width)
    words = spaced.view("<u8").reshape(rows, groups)
    codes = np.empty((rows, groups, 8), np.uint8)
    mask = np.uint64((1 << width) - 1)
    for place in range(8):
        codes[:, :, place] = (words >> np.uint64(place * width)) & mask
    return codes.reshape(rows, -1)[:, :columns]
