"""Sparse constants: only the blocks that are not zero, in TFLite's block compressed rows.

Source: schema.fbs, SparsityParameters (after "Format Abstraction for Sparse Tensor Algebra Compilers", Chou et al.): a
matrix [rows, columns] in blocks (height, width) is traversed as rows of blocks (dense), columns of blocks (compressed),
then the block's own rows and columns (dense).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from exporters.tflite.ir import Sparsity, Tensor
from mobile.errors import ExportError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The blocks that fully connected kernels compute on as they are (LiteRT's kernels/fully_connected.cc). They have a
# kernel for single values, too, which was 20 times slower than a dense one.
KERNEL_BLOCK = (1, 4)


def sparse_rows(values: NDArray[Any]) -> tuple[NDArray[Any], Sparsity]:
    """The values that are not zero (flat) and how they lie, of an array of any rank: compressed along the last one."""
    rows = values.reshape(-1, values.shape[-1])
    kept = rows != 0
    segments = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    levels: list[int | tuple[NDArray[Any], NDArray[Any]]] = [*values.shape[:-1], (segments, np.nonzero(kept)[1])]
    return rows[kept], Sparsity(list(range(values.ndim)), [], levels)


def sparse_bytes(values: NDArray[Any], sparsity: Sparsity) -> int:
    """What the values and their places take in the file."""
    size = values.nbytes
    for level in sparsity.dimensions:
        if not isinstance(level, int):
            size += sum(part.size * _width(part) for part in level)
    return size


def _width(numbers: NDArray[Any]) -> int:
    """Bytes of each number in the smallest of the schema's vectors."""
    largest = int(numbers.max(initial=0))
    return 1 if largest <= 255 else 2 if largest <= 65535 else 4


def sparse_matrix(values: NDArray[Any], block: tuple[int, int]) -> tuple[NDArray[Any], Sparsity]:
    """The stored values (flat) and how they lie, of a matrix [rows, columns]. Blocks of zeros are left out.

    ExportError when the blocks do not divide the matrix.
    """
    (rows, columns), (height, width) = values.shape, block
    if rows % height or columns % width:
        raise ExportError(f"blocks of {height} x {width} do not divide weights of {rows} x {columns}")
    blocks = values.reshape(rows // height, height, columns // width, width).transpose(0, 2, 1, 3)
    kept = blocks.any(axis=(2, 3))
    segments = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    indices = np.nonzero(kept)[1]
    levels: list[int | tuple[NDArray[Any], NDArray[Any]]] = [rows // height, (segments, indices)]
    traversal = [0, 1]
    mapped: list[int] = []
    for dimension, size in enumerate(block):
        if size > 1:
            traversal.append(2 + len(mapped))
            mapped.append(dimension)
            levels.append(size)
    return blocks[kept].reshape(-1), Sparsity(traversal, mapped, levels)


def dense(tensor: Tensor) -> NDArray[Any]:
    """The full array of a sparse constant; one without sparsity as it is."""
    assert tensor.data is not None
    sparsity = tensor.sparsity
    if sparsity is None:
        return tensor.data
    rank = tensor.rank
    sizes = [1] * len(sparsity.traversal_order)
    for place, dimension in enumerate(sparsity.block_map):
        level = sparsity.dimensions[sparsity.traversal_order.index(rank + place)]
        sizes[rank + place] = level if isinstance(level, int) else 1
        sizes[dimension] = -(-tensor.shape[dimension] // sizes[rank + place])
    for dimension in range(rank):
        if dimension not in sparsity.block_map:
            sizes[dimension] = tensor.shape[dimension]
    found = np.zeros([sizes[dimension] for dimension in sparsity.traversal_order], tensor.data.dtype)
    found.reshape(-1)[_offsets(sparsity, found.shape)] = tensor.data.reshape(-1)
    return _restored(found, sparsity, tensor.shape)


def _offsets(sparsity: Sparsity, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Where each stored value lies in the traversal's own dense order."""
    places = np.zeros(1, np.int64)
    for level, size in zip(sparsity.dimensions, shape, strict=True):
        if isinstance(level, int):
            places = (places[:, None] * size + np.arange(size)).reshape(-1)
            continue
        segments, indices = (np.asarray(part, np.int64) for part in level)
        parents = np.repeat(places, np.diff(segments))
        places = parents * size + indices
    return places


def _restored(values: NDArray[Any], sparsity: Sparsity, shape: tuple[int, ...]) -> NDArray[Any]:
    """From the traversal's order to the tensor's: each dimension before its own block."""
    rank = len(shape)
    place_of = {dimension: at for at, dimension in enumerate(sparsity.traversal_order)}
    axes = []
    for dimension in range(rank):
        axes.append(place_of[dimension])
        axes += [place_of[rank + at] for at, mapped in enumerate(sparsity.block_map) if mapped == dimension]
    found = values.transpose(axes)
    padded = [1] * rank
    cursor = 0
    for dimension in range(rank):
        count = 1 + sparsity.block_map.count(dimension)
        padded[dimension] = math.prod(found.shape[cursor : cursor + count])
        cursor += count
    return found.reshape(padded)[tuple(slice(size) for size in shape)]
