"""Integers of 1 to 8 bits: round to nearest within each group, with a search for the clipping.

Sources: the affine scheme of Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference" (arXiv 1712.05877), equations 1 and 12; clipping below the extremes by least squared
error as in Choukroun et al., "Low-bit Quantization of Neural Networks for Efficient Inference" (arXiv 1902.06822).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.compress.families.source import FloatRows, Groups, safe
from exporters.compress.tensors import Affine

_RATIOS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5)  # of the extremes; tried where clipping is searched


def integers(weight: FloatRows, width: int, group: int | str, asym: bool, search: bool) -> Affine:
    """The weight as integers: int8 codes without zero points, or uint8 codes with (``asym``, and always at 1 bit).

    Symmetric: scale = largest magnitude / (2**(width-1) - 1). Asymmetric: scale = (high - low) / (2**width - 1) with
    zero within the range. ``search`` shrinks the extremes of each group where that lowers its squared error.
    """
    groups = Groups.of(weight, group)
    symmetric = not asym and width > 1
    fit = _symmetric if symmetric else _asymmetric
    codes, scales, zeros = fit(weight.values, groups, width, 1.0)
    if search and width < 8:
        codes, scales, zeros = _searched(weight.values, groups, width, symmetric, (codes, scales, zeros))
    return Affine(
        weight.name, weight.shape, weight.axis, codes, scales, groups.size, width, symmetric,
        None if symmetric else zeros,
    )  # fmt: skip


_Fit = tuple[NDArray[Any], NDArray[np.float32], NDArray[Any]]


def _symmetric(values: NDArray[np.float32], groups: Groups, width: int, ratio: float) -> _Fit:
    top = (1 << (width - 1)) - 1
    scales = safe(groups.reduce(np.maximum, np.abs(values)) * np.float64(ratio) / top)
    codes = np.clip(np.rint(values / groups.spread(scales)), -top - 1, top).astype(np.int8)
    return codes, scales, np.zeros(scales.shape, np.int8)


def _asymmetric(values: NDArray[np.float32], groups: Groups, width: int, ratio: float) -> _Fit:
    top = (1 << width) - 1
    low = np.minimum(groups.reduce(np.minimum, values), 0) * np.float64(ratio)
    high = np.maximum(groups.reduce(np.maximum, values), 0) * np.float64(ratio)
    scales = safe((high - low) / top)
    zeros = np.clip(np.rint(-low / scales), 0, top)
    codes = np.clip(np.rint(values / groups.spread(scales)) + groups.spread(zeros), 0, top).astype(np.uint8)
    return codes, scales, zeros.astype(np.uint8)


def _searched(values: NDArray[np.float32], groups: Groups, width: int, symmetric: bool, first: _Fit) -> _Fit:
    """For each group the ratio of the extremes whose codes have the least squared error."""
    fit = _symmetric if symmetric else _asymmetric
    codes, scales, zeros = first
    best = _error(values, groups, first)
    for ratio in _RATIOS[1:]:
        tried = fit(values, groups, width, ratio)
        error = _error(values, groups, tried)
        better = error < best
        best = np.where(better, error, best)
        codes = np.where(groups.spread(better), tried[0], codes)
        scales = np.where(better, tried[1], scales)
        zeros = np.where(better, tried[2], zeros)
    return codes, scales, zeros


def _error(values: NDArray[np.float32], groups: Groups, fit: _Fit) -> NDArray[np.float32]:
    codes, scales, zeros = fit
    centred = codes.astype(np.float32) - groups.spread(zeros.astype(np.float32))
    return groups.reduce(np.add, np.square(centred * groups.spread(scales) - values))
