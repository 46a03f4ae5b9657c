"""One bit, three values, two bits as two binaries, signed powers of two: scales in closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from exporters.compress.families.source import FloatRows, Groups, safe
from exporters.compress.tensors import Binary, DualBinary, PowerOfTwo, Ternary

_ROUNDS = 8  # of codes and scales in turn; the error never rises


def binary(weight: FloatRows, group: int | str, offset: bool) -> Binary:
    """sign(w) * mean|w| of each group; with ``offset`` the group's mean is taken off before and added again.

    Sources: Rastegari et al., "XNOR-Net" (arXiv 1603.05279): the best scale of a sign is the mean magnitude; BiBERT
    (arXiv 2203.06390) takes the mean off the weight first. sign(0) is plus.
    """
    groups = Groups.of(weight, group)
    values, means = weight.values, None
    if offset:
        means = groups.mean(values).astype(np.float32)
        values = values - groups.spread(means)
    scales = groups.mean(np.abs(values)).astype(np.float32)
    codes = (values >= 0).astype(np.uint8)
    return Binary(weight.name, weight.shape, weight.axis, codes, scales, groups.size, means)


def ternary(weight: FloatRows, group: int | str, fit: str) -> Ternary:
    """-1, 0 or 1 times a scale.

    "absmean": scale = mean|w|, code = w / scale rounded and clipped; source: BitNet b1.58 (arXiv 2402.17764), equations
    1 to 3, as in Scalable MatMul-free LM (arXiv 2406.02528). "twn": zero below 0.7 mean|w|, scale = mean magnitude of
    the rest; source: Ternary Weight Networks (arXiv 1605.04711).
    """
    groups = Groups.of(weight, group)
    magnitudes = np.abs(weight.values)
    mean = groups.mean(magnitudes)
    if fit == "absmean":
        scales = safe(mean)
        codes = np.clip(np.rint(weight.values / groups.spread(scales)), -1, 1).astype(np.int8)
        return Ternary(weight.name, weight.shape, weight.axis, codes, scales, groups.size)
    kept = magnitudes > groups.spread(0.7 * mean)
    count = groups.reduce(np.add, kept.astype(np.float64))
    total = groups.reduce(np.add, np.where(kept, magnitudes, 0).astype(np.float64))
    codes = (np.sign(weight.values) * kept).astype(np.int8)
    return Ternary(weight.name, weight.shape, weight.axis, codes, safe(total / np.maximum(count, 1)), groups.size)


def dual_binary(weight: FloatRows, group: int | str) -> DualBinary:
    """a1 * b1 + a2 * b2 by groups.

    Source: DB-LLM (arXiv 2402.11960), flexible dual binarisation: starts at a1 = 2s, a2 = -s, so that the levels are
    -s, 0, s, 2s of a 2-bit grid (turned around where the longer tail is negative). Instead of the paper's distillation,
    nearest levels and least-squares scales then take turns.
    """
    groups = Groups.of(weight, group)
    values = weight.values.astype(np.float64)
    low, high = groups.reduce(np.minimum, values), groups.reduce(np.maximum, values)
    step = np.where(np.abs(low) > high, -1.0, 1.0) * np.maximum(np.maximum(-low, high) / 2, (high - low) / 3)
    a1, a2 = 2 * step, -step
    for _ in range(_ROUNDS):
        b1, b2 = _nearest_pair(values, groups, a1, a2)
        a1, a2 = _least_squares_pair(values, groups, b1, b2, a1, a2)
    first, second = a1.astype(np.float32), a2.astype(np.float32)
    b1, b2 = _nearest_pair(values, groups, first.astype(np.float64), second.astype(np.float64))
    return DualBinary(weight.name, weight.shape, weight.axis, b1, b2, first, second, groups.size)


def _nearest_pair(
    values: NDArray[np.float64], groups: Groups, a1: NDArray[np.float64], a2: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The bits whose level is nearest; the lower code number where two are."""
    best = np.full(values.shape, np.inf)
    code = np.zeros(values.shape, np.uint8)
    for number, level in enumerate((np.zeros_like(a1), a2, a1, a1 + a2)):
        distance = np.abs(values - groups.spread(level))
        nearer = distance < best
        best = np.where(nearer, distance, best)
        code[nearer] = number
    first, second = np.right_shift(code, np.uint8(1)), np.bitwise_and(code, np.uint8(1))
    return first.astype(np.uint8), second.astype(np.uint8)


def _least_squares_pair(
    values: NDArray[np.float64], groups: Groups, b1: NDArray[np.uint8], b2: NDArray[np.uint8],
    a1: NDArray[np.float64], a2: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:  # fmt: skip
    """The scales of least squared error for these bits; the old ones where the two sets are not independent."""
    one, two = b1.astype(np.float64), b2.astype(np.float64)
    n1, n2, both = (groups.reduce(np.add, item) for item in (one, two, one * two))
    s1, s2 = groups.reduce(np.add, one * values), groups.reduce(np.add, two * values)
    determinant = n1 * n2 - both * both
    usable = determinant > 0.5  # whole numbers: zero or at least one
    divisor = np.where(usable, determinant, 1)
    return np.where(usable, (s1 * n2 - s2 * both) / divisor, a1), np.where(usable, (s2 * n1 - s1 * both) / divisor, a2)


def power_of_two(weight: FloatRows, group: int | str, exponents: int) -> PowerOfTwo:
    """scale * sign * 2**e without zero, e in 0..``exponents`` - 1.

    Source: DenseShift (arXiv 2208.09708), zero-free shifts; its 4 bits have 8 exponents. Here codes are
    the nearest levels (half-way points at 1.5 * 2**e) and the scale of each group is that of least squared error, in
    turns from largest magnitude = top level.
    """
    groups = Groups.of(weight, group)
    magnitudes = np.abs(weight.values).astype(np.float64)
    scales = groups.reduce(np.maximum, magnitudes) / 2.0 ** (exponents - 1)
    middles = 1.5 * 2.0 ** np.arange(exponents - 1)
    levels = 2.0 ** np.arange(exponents)
    for _ in range(_ROUNDS):
        code = np.searchsorted(middles, magnitudes / groups.spread(np.where(scales > 0, scales, 1)))
        level = levels[code]
        scales = groups.reduce(np.add, magnitudes * level) / groups.reduce(np.add, level * level)
    final = scales.astype(np.float32)
    code = np.searchsorted(middles, magnitudes / groups.spread(np.where(final > 0, final, 1)).astype(np.float64))
    codes = (code + 8 * np.signbit(weight.values)).astype(np.uint8)
    return PowerOfTwo(weight.name, weight.shape, weight.axis, codes, final, groups.size)
