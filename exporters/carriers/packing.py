"""Codes at their true width, and the byte tables that turn them into another width while a session loads.

A plane of ``bits`` holds 8/bits codes a byte, lowest bits first, each row padded to a whole byte: the order in which
onnxruntime's MatMulNBits holds 2- and 4-bit weights (its operator page, ContribOperators.md).
Widths that do not divide 8 are kept as planes that do: 3 = 2+1, 5 = 4+1, 6 = 4+2, 7 = 4+2+1, low bits first.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SPLITS: dict[int, tuple[int, ...]] = {
    1: (1,), 2: (2,), 3: (2, 1), 4: (4,), 5: (4, 1), 6: (4, 2), 7: (4, 2, 1), 8: (8,),
}  # fmt: skip
SPLITS.update({bits: (8, *SPLITS[bits - 8]) for bits in range(9, 17)})


def pack(codes: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """uint8 [rows, ceil(columns*bits/8)] of codes [rows, columns], each below 2**bits; bits is 1, 2, 4 or 8."""
    import numpy as np

    per = 8 // bits
    codes = np.ascontiguousarray(codes, dtype=np.uint8)
    rows, columns = codes.shape
    short = -columns % per
    if short:
        codes = np.pad(codes, ((0, 0), (0, short)))
    parts = codes.reshape(rows, -1, per)
    packed = parts[:, :, 0].copy()
    for place in range(1, per):
        packed |= parts[:, :, place] << np.uint8(place * bits)
    return packed


def unpack(packed: NDArray[np.uint8], bits: int, columns: int) -> NDArray[np.uint8]:
    """The codes [rows, columns] of a plane."""
    import numpy as np

    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes = (packed[:, :, None] >> shifts) & np.uint8(2**bits - 1)
    flat: NDArray[np.uint8] = codes.reshape(len(packed), -1)[:, :columns]
    return flat


def planes(codes: NDArray[Any], bits: int) -> list[tuple[int, int, NDArray[np.uint8]]]:
    """(width, shift, packed plane) of each plane of the codes, low bits first."""
    import numpy as np

    found, shift = [], 0
    kind = np.dtype(np.uint8) if bits <= 8 else np.dtype(np.uint16)
    codes = codes.astype(kind, copy=False)
    for width in SPLITS[bits]:
        part = (codes >> kind.type(shift)) & kind.type(2**width - 1)
        found.append((width, shift, pack(part, width)))
        shift += width
    return found


def packed_bytes(values: int, bits: float) -> int:
    """Whole bytes that hold so many codes; bits may be 1.6, five codes a byte."""
    return math.ceil(values * bits / 8 - 1e-6)


def byte_codes(bits: int) -> NDArray[np.uint8]:
    """uint8 [256, 8/bits]: the codes that each byte holds."""
    import numpy as np

    return unpack(np.arange(256, dtype=np.uint8)[:, None], bits, 8 // bits)


def byte_table(bits: int, values: NDArray[Any]) -> NDArray[Any]:
    """[256, 8/bits] of the values' dtype: what each byte's codes stand for. ``values`` has 2**bits entries."""
    table: NDArray[Any] = values[byte_codes(bits)]
    return table


def repack_table(bits: int, values: NDArray[Any], kernel_bits: int) -> NDArray[np.uint8]:
    """uint8 [256, kernel_bits/bits]: each byte of ``bits`` codes as the bytes of the kernel's codes.

    ``values[code]`` is the kernel's code, below 2**kernel_bits; kernel_bits is at least ``bits``.
    """
    return pack(byte_table(bits, values), kernel_bits)


def group_zero_points(points: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """MatMulNBits' zero points: [rows, blocks] packed along the blocks, uint8 [rows, ceil(blocks*bits/8)]."""
    return pack(points, bits)
