"""The families of compressed weights as TFLite can say them: small integers with scales, float16, or sparse values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from exporters.compress.base import CompressedTensor

_LARGEST_SHIFT = 6  # 2**7 does not fit int8


@dataclass
class Codes:
    """Codes [N, K] of ``dtype`` with scales [N or 1, G] (None: the codes are the values). ``sparse``: mostly zeros."""

    codes: NDArray[Any]
    dtype: str
    scales: NDArray[np.float32] | None
    group: int = 0
    sparse: bool = False


def codes_of(tensor: CompressedTensor) -> Codes | str:
    """The weight's codes, or why TFLite has no form for them."""
    from exporters.compress import tensors

    if isinstance(tensor, tensors.Affine):
        return _affine(tensor)
    if isinstance(tensor, tensors.Ternary):
        return Codes(tensor.codes, "int2", tensor.scales, tensor.group)
    if isinstance(tensor, tensors.Binary):
        if tensor.offsets is not None:
            return "TFLite's weights have no offsets beside their scales"
        return Codes((2 * tensor.codes.astype(np.int8) - 1).astype(np.int8), "int2", tensor.scales, tensor.group)
    if isinstance(tensor, tensors.PowerOfTwo):
        return _shifts(tensor)
    if isinstance(tensor, tensors.Blocks | tensors.Sparse):
        return Codes(tensor.dequantise_rows(), "float32", None, sparse=True)
    if isinstance(tensor, tensors.Emulated):
        return _halves(tensor)
    return f"TFLite has no form for the family {tensor.family}"


def _affine(tensor: Any) -> Codes | str:
    """Codes minus zero points, which TFLite's weights must not have: one bit wider where there are any."""
    if tensor.group_index is not None:
        return "its columns are grouped in another order than they lie"
    values = tensor.codes.astype(np.int16)
    if tensor.zero_points is not None:
        values = values - tensor.spread(tensor.zero_points).astype(np.int16)
    low, high = int(values.min()), int(values.max())
    for bits in (2, 4, 8):
        if -(1 << (bits - 1)) <= low and high < 1 << (bits - 1):
            return Codes(values.astype(np.int8), f"int{bits}", tensor.scales, tensor.group)
    return "its codes less their zero points do not fit int8"


def _shifts(tensor: Any) -> Codes | str:
    """sign * 2**(exponent - lowest) as integers, the lowest exponent in the scale; both are exact."""
    exponents = (tensor.codes & 7).astype(np.int16)
    lowest = int(exponents.min())
    if int(exponents.max()) - lowest > _LARGEST_SHIFT:
        return "its shifts span 2**7, which int8 does not hold"
    signs = np.where(tensor.codes & 8, -1, 1)
    codes = (signs << (exponents - lowest)).astype(np.int8)
    return Codes(codes, "int8", tensor.scales * np.float32(2.0**lowest), tensor.group)


def _halves(tensor: Any) -> Codes | str:
    """Values that float16 holds exactly, as fp16, fp8 and the narrow formats' mostly are."""
    values = tensor.dequantise_rows()
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    if not np.array_equal(halves.astype(np.float32), values):
        return "float16 does not hold its values exactly"
    return Codes(halves, "float16", None)
