"""The arithmetic of 8-, 4- and 2-bit integers with scales.

Source: TensorFlow Lite's 8-bit quantisation specification: activations int8 with a zero point, weights symmetric and
narrow (-127..127), biases int32 at the product of both scales.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from exporters.tflite.ir import Quant

if TYPE_CHECKING:
    from numpy.typing import NDArray

INT8_MIN, INT8_MAX = -128, 127
_SMALLEST = 2.0**-126  # a scale of 0 is refused by runtimes


def activation(low: float, high: float) -> Quant:
    """The int8 quantisation of values within low..high, which must include 0; 0 is exact."""
    scale = np.float32(max((high - low) / 255.0, _SMALLEST))
    zero = int(np.clip(round(INT8_MIN - low / float(scale)), INT8_MIN, INT8_MAX))
    return Quant(np.array([scale], np.float32), np.array([zero], np.int64))


def fixed(scale: float, zero: int) -> Quant:
    """A quantisation that an operator prescribes."""
    return Quant(np.array([scale], np.float32), np.array([zero], np.int64))


def encode(values: NDArray[Any], quant: Quant) -> NDArray[np.int8]:
    """int8 codes at one scale, rounded to the nearest (ties to even), saturated."""
    scaled = np.rint(np.asarray(values, np.float64) / float(quant.scales[0])) + int(quant.zero_points[0])
    codes: NDArray[np.int8] = np.clip(scaled, INT8_MIN, INT8_MAX).astype(np.int8)
    return codes


def weights(values: NDArray[np.float32], axis: int | None, bits: int = 8) -> tuple[NDArray[np.int8], Quant]:
    """Symmetric codes of ``bits`` with one scale, or one per slice of ``axis``: the largest magnitude is exact."""
    top = 2 ** (bits - 1) - 1
    if axis is None:
        largest = np.abs(values).max(initial=0.0)[None]
    else:
        others = tuple(place for place in range(values.ndim) if place != axis)
        largest = np.abs(values).max(axis=others, initial=0.0)
    scales = np.maximum(largest.astype(np.float64) / top, _SMALLEST).astype(np.float32)
    shape = [1] * values.ndim
    if axis is not None:
        shape[axis] = -1
    codes = np.clip(np.rint(values / scales.reshape(shape)), -top, top).astype(np.int8)
    return codes, Quant(scales, np.zeros(len(scales), np.int64), axis or 0)


def bias(values: NDArray[Any], data: Quant, weight: Quant) -> tuple[NDArray[np.int32], Quant]:
    """int32 codes of a bias at data scale * weight scale, as the integer kernels add them."""
    scales = np.float64(data.scales[0]) * weight.scales.astype(np.float64)
    limits = np.iinfo(np.int32)
    codes = np.clip(np.rint(np.asarray(values, np.float64) / scales), limits.min, limits.max).astype(np.int32)
    return codes, Quant(scales.astype(np.float32), np.zeros(len(scales), np.int64), 0)
