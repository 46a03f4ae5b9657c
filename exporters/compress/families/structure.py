"""Pruning by magnitude, two factors by singular values, and weights that become one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from exporters.compress.families.integers import integers
from exporters.compress.families.source import FloatRows
from exporters.compress.layout import group_count
from exporters.compress.tensors import Affine, Blocks, LowRank, Sparse

_EXACT_SIDE = 1024  # up to here all singular values are computed
_EXTRA, _POWER = 16, 4  # of the randomised method: more columns than asked for, and power iterations


def blocks(weight: FloatRows, block: tuple[int, int], zero: float, uneven: bool, values: str) -> Blocks:
    """The blocks of largest norm stay, about 1 - ``zero`` of them and at least one a row of blocks.

    Every row of blocks keeps the same number unless ``uneven``, which ranks all blocks together. Source: LPViT (arXiv
    2407.02068) prunes blocks of linear layers; it ranks them by a second-order Taylor term over data, here
    the magnitude stands in (as in Mao et al., arXiv 1705.08922, for blocks).
    """
    rows, columns = weight.values.shape
    height, width = min(block[0], rows), min(block[1], columns)
    down, across = group_count(rows, height), group_count(columns, width)
    full = np.zeros((down * height, across * width), np.float32)
    full[:rows, :columns] = weight.values
    grid = full.reshape(down, height, across, width).transpose(0, 2, 1, 3)
    norms = np.square(grid, dtype=np.float64).sum(axis=(2, 3))
    mask = _largest(norms.ravel(), down * across, zero).reshape(norms.shape) if uneven else _even(norms, zero)
    kept = np.ascontiguousarray(grid[mask])
    stored: NDArray[np.float32] | Affine = kept
    if values != "float":
        flat = kept.reshape(-1, width)
        inner = FloatRows(f"{weight.name}.values", (len(flat), width), 0, flat)
        stored = integers(inner, 8 if values == "int8" else 4, "row", False, values == "int4")
    return Blocks(weight.name, weight.shape, weight.axis, (height, width), mask, stored)


def _largest(scores: NDArray[np.float64], count: int, zero: float) -> NDArray[np.bool_]:
    """A mask of the round((1 - zero) * count) largest, at least one; earlier ones where equal."""
    keep = max(1, round(count * (1 - zero)))
    mask = np.zeros(len(scores), np.bool_)
    mask[np.argsort(-scores, kind="stable")[:keep]] = True
    return mask


def _even(norms: NDArray[np.float64], zero: float) -> NDArray[np.bool_]:
    return np.stack([_largest(row, len(row), zero) for row in norms])


def sparse(weight: FloatRows, zero: float) -> Sparse:
    """The weights of largest magnitude stay, 1 - ``zero`` of them. Source: Han et al. (arXiv 1506.02626)."""
    magnitudes = np.abs(weight.values).ravel()
    keep = max(1, round(magnitudes.size * (1 - zero)))
    flat = np.zeros(magnitudes.size, np.bool_)
    flat[np.argpartition(-magnitudes, keep - 1)[:keep]] = True
    mask = flat.reshape(weight.values.shape)
    return Sparse(weight.name, weight.shape, weight.axis, mask, weight.values[mask])


def two_of_four(weight: FloatRows) -> Sparse:
    """The two largest of every four neighbouring columns stay (all of a shorter rest but the smallest beyond two).

    Source: Mishra et al., "Accelerating Sparse Deep Neural Networks" (arXiv 2104.08378).
    """
    rows, columns = weight.values.shape
    padded = np.full((rows, group_count(columns, 4) * 4), -1, np.float32)
    padded[:, :columns] = np.abs(weight.values)
    order = np.argsort(-padded.reshape(rows, -1, 4), axis=2, kind="stable")
    mask = np.zeros(order.shape, np.bool_)
    np.put_along_axis(mask, order[:, :, :2], True, axis=2)
    mask = mask.reshape(rows, -1)[:, :columns]
    return Sparse(weight.name, weight.shape, weight.axis, mask, weight.values[mask], (2, 4))


def low_rank(weight: FloatRows, rank: int) -> LowRank:
    """The nearest product of two factors of ``rank`` (Eckart and Young 1936), the singular values split evenly.

    All singular values up to 1024 on the smaller side; beyond it those of the weight's Gram matrix (exact to about 1e-8
    of the largest), or for a rank below an eighth of the side by Halko, Martinsson and Tropp's randomised subspace
    iteration (arXiv 0909.4061, algorithm 4.4) with a fixed seed, 16 columns more than asked for and 4 iterations.
    """
    values = weight.values.astype(np.float64)
    side = min(values.shape)
    rank = max(1, min(rank, side))
    if side <= _EXACT_SIDE:
        left, singular, right = np.linalg.svd(values, full_matrices=False)
    elif 8 * (rank + _EXTRA) < side:
        left, singular, right = _randomised(values, rank)
    else:
        left, singular, right = _by_gram(values)
    root = np.sqrt(singular[:rank])
    first, second = left[:, :rank] * root, root[:, None] * right[:rank]
    return LowRank(weight.name, weight.shape, weight.axis, first.astype(np.float32), second.astype(np.float32))


_Svd = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def _randomised(values: NDArray[np.float64], rank: int) -> _Svd:
    probe = np.random.default_rng(0).standard_normal((values.shape[1], rank + _EXTRA))
    basis, _ = np.linalg.qr(values @ probe)
    for _ in range(_POWER):
        other, _ = np.linalg.qr(values.T @ basis)
        basis, _ = np.linalg.qr(values @ other)
    left, singular, right = np.linalg.svd(basis.T @ values, full_matrices=False)
    return basis @ left, singular, right


def _by_gram(values: NDArray[np.float64]) -> _Svd:
    """From the eigenvectors of the smaller side: values = values @ v @ v.T, cut to the largest."""
    tall = values if values.shape[0] >= values.shape[1] else values.T
    squared, vectors = np.linalg.eigh(tall.T @ tall)
    singular = np.sqrt(np.maximum(squared[::-1], 0))
    vectors = vectors[:, ::-1]
    other = (tall @ vectors) / np.where(singular > 0, singular, 1)
    return (other, singular, vectors.T) if tall is values else (vectors, singular, other.T)


def mean_of(weights: Sequence[FloatRows]) -> NDArray[np.float32]:
    """The mean of weights of equal size, row by row."""
    total = np.zeros(weights[0].values.shape, np.float64)
    for weight in weights:
        total += weight.values
    return (total / len(weights)).astype(np.float32)
