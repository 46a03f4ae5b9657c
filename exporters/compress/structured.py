"""Weights with structure: kept blocks, kept elements, two factors, an adapter, the same weight under another name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from exporters.compress.base import CompressedTensor, packed_row_bytes
from exporters.compress.layout import group_count, row_shape

if TYPE_CHECKING:
    from exporters.compress.tensors import Affine


@dataclass(frozen=True, eq=False)
class Blocks(CompressedTensor):
    """Zero except in kept blocks of ``block`` = (bh, bw) over the rows [N, K].

    ``mask`` (bool) is [ceil(N / bh), ceil(K / bw)]; blocks at the lower and right edge may stick out, and what sticks
    out is ignored. ``values`` are the kept blocks in row-major order of the mask: float32 [kept, bh, bw], or an Affine
    of shape (kept * bh, bw), axis 0.
    """

    block: tuple[int, int]
    mask: NDArray[np.bool_]
    values: NDArray[np.float32] | Affine

    @property
    def family(self) -> str:
        """block-pruned."""
        return "block-pruned"

    @property
    def packed_bytes(self) -> int:
        """The kept blocks and one bit a block."""
        inner = self.values.nbytes if isinstance(self.values, np.ndarray) else self.values.packed_bytes
        return inner + len(self.mask) * packed_row_bytes(self.mask.shape[1], 1)

    @property
    def kept(self) -> int:
        """How many blocks are kept."""
        return int(self.mask.sum())

    def check(self) -> None:
        """Mask and values fit the block."""
        height, width = self.block
        if height < 1 or width < 1:
            raise self.wrong(f"block {self.block} is empty")
        wanted = (group_count(self.rows, height), group_count(self.columns, width))
        if self.mask.shape != wanted or self.mask.dtype != np.bool_:
            raise self.wrong(f"the mask must be bool {list(wanted)}, not {self.mask.dtype} {list(self.mask.shape)}")
        if not self.mask.any():
            raise self.wrong("no block is kept")
        if isinstance(self.values, np.ndarray):
            if self.values.shape != (self.kept, height, width):
                raise self.wrong(
                    f"values must be {[self.kept, height, width]} as the mask says, not {list(self.values.shape)}"
                )
            self.check_finite("values", self.values)
        elif self.values.shape != (self.kept * height, width) or self.values.axis != 0:
            raise self.wrong(f"the kept blocks must be {[self.kept * height, width]}, not {list(self.values.shape)}")

    def block_values(self) -> NDArray[np.float32]:
        """The kept blocks as float32 [kept, bh, bw]."""
        if isinstance(self.values, np.ndarray):
            return self.values
        return self.values.dequantise_rows().reshape(self.kept, *self.block)

    def dequantise_rows(self) -> NDArray[np.float32]:
        """The kept blocks at their places, zero elsewhere: nothing is rounded beyond what an Affine does."""
        (height, width), (down, across) = self.block, self.mask.shape
        grid = np.zeros((down, across, height, width), np.float32)
        grid[self.mask] = self.block_values()
        full = grid.transpose(0, 2, 1, 3).reshape(down * height, across * width)
        return full[: self.rows, : self.columns]


@dataclass(frozen=True, eq=False)
class Sparse(CompressedTensor):
    """Zero except where ``mask`` (bool [N, K]) is set; ``values`` (float32) in row-major order.

    ``pattern`` (2, 4) states that at most 2 of every 4 columns are kept; None is unstructured.
    """

    mask: NDArray[np.bool_]
    values: NDArray[np.float32]
    pattern: tuple[int, int] | None = None

    @property
    def family(self) -> str:
        """sparse, or 2:4 (or another n:m)."""
        return "sparse" if self.pattern is None else f"{self.pattern[0]}:{self.pattern[1]}"

    @property
    def packed_bytes(self) -> int:
        """The kept values and one bit a weight."""
        return self.values.nbytes + self.rows * packed_row_bytes(self.columns, 1)

    def check(self) -> None:
        """As many values as the mask keeps, and the pattern holds."""
        if self.mask.shape != (self.rows, self.columns) or self.mask.dtype != np.bool_:
            raise self.wrong(f"the mask must be bool {[self.rows, self.columns]}, not {list(self.mask.shape)}")
        if self.values.shape != (int(self.mask.sum()),):
            raise self.wrong(f"{list(self.values.shape)} values for {int(self.mask.sum())} kept places")
        self.check_finite("values", self.values)
        if self.pattern is not None:
            most, of = self.pattern
            if not 1 <= most < of <= 64:
                raise self.wrong(f"{most}:{of} is not a pattern")
            whole = self.columns // of * of
            if int(self.mask[:, :whole].reshape(self.rows, -1, of).sum(2).max(initial=0)) > most:
                raise self.wrong(f"more than {most} of {of} columns are kept somewhere")

    def dequantise_rows(self) -> NDArray[np.float32]:
        """The values at their places, zero elsewhere: nothing is rounded."""
        full = np.zeros((self.rows, self.columns), np.float32)
        full[self.mask] = self.values
        return full


@dataclass(frozen=True, eq=False)
class LowRank(CompressedTensor):
    """rows = left [N, r] @ right [r, K]."""

    left: NDArray[np.float32]
    right: NDArray[np.float32]

    @property
    def family(self) -> str:
        """low-rank."""
        return "low-rank"

    @property
    def rank(self) -> int:
        """r."""
        return int(self.left.shape[1])

    @property
    def packed_bytes(self) -> int:
        """4 bytes an element of both factors."""
        return self.left.nbytes + self.right.nbytes

    def check(self) -> None:
        """The factors fit each other and the shape."""
        _check_factors(self, self.left, self.right)

    def dequantise_rows(self) -> NDArray[np.float32]:
        """The product in float64, rounded once to float32."""
        return _product(self.left, self.right, 1.0)


@dataclass(frozen=True, eq=False)
class Adapter(CompressedTensor):
    """A LoRA adapter of the float weight ``name``: what is added to its rows is (alpha / r) * left @ right.

    ``left`` [N, r] is LoRA's B and ``right`` [r, K] its A. ``scaling`` overrides alpha / r (rsLoRA: alpha / sqrt(r)).
    ``dequantise`` returns the addition, not the merged weight.
    """

    left: NDArray[np.float32]
    right: NDArray[np.float32]
    alpha: float
    scaling: float | None = None

    @property
    def family(self) -> str:
        """lora."""
        return "lora"

    @property
    def rank(self) -> int:
        """r."""
        return int(self.left.shape[1])

    @property
    def factor(self) -> float:
        """What the product is multiplied with."""
        return self.alpha / self.rank if self.scaling is None else self.scaling

    @property
    def packed_bytes(self) -> int:
        """4 bytes an element of both factors."""
        return self.left.nbytes + self.right.nbytes

    def check(self) -> None:
        """The factors fit each other and the shape, and the factor is finite."""
        _check_factors(self, self.left, self.right)
        if not np.isfinite(self.factor):
            raise self.wrong(f"alpha {self.alpha} is not finite")

    def dequantise_rows(self) -> NDArray[np.float32]:
        """factor * left @ right in float64, rounded once to float32."""
        return _product(self.left, self.right, self.factor)

    def merged(self, base: NDArray[Any]) -> NDArray[np.float32]:
        """The float weight with the adapter added: summed in float64, rounded once to float32."""
        if tuple(base.shape) != self.shape:
            raise self.wrong(f"the weight is {list(base.shape)}, the adapter {list(self.shape)}")
        delta = _product64(self.left, self.right, self.factor)
        moved = np.moveaxis(base.astype(np.float64), self.axis, 0)
        total = moved + delta.reshape(moved.shape)
        return np.ascontiguousarray(np.moveaxis(total, 0, self.axis)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Dense(CompressedTensor):
    """Float values as they are: what is shared without being quantised, or a weight with its adapter merged in."""

    values: NDArray[np.float32]

    @property
    def family(self) -> str:
        """float."""
        return "float"

    @property
    def packed_bytes(self) -> int:
        """4 bytes a weight."""
        return self.values.nbytes

    def check(self) -> None:
        """One finite value for each weight."""
        if self.values.shape != (self.rows, self.columns):
            raise self.wrong(f"values must be {[self.rows, self.columns]}, not {list(self.values.shape)}")
        self.check_finite("values", self.values)

    def dequantise_rows(self) -> NDArray[np.float32]:
        """The values."""
        return self.values


@dataclass(frozen=True, eq=False)
class Shared(CompressedTensor):
    """The same rows as ``source`` under another name; ``group`` names all that share.

    Shape and axis may differ where the rows are the same: an embedding [V, D] and the MatMul [D, V] tied to it.
    """

    group: str
    source: CompressedTensor

    @property
    def family(self) -> str:
        """shared."""
        return "shared"

    @property
    def packed_bytes(self) -> int:
        """0: the source is counted under its own name."""
        return 0

    def check(self) -> None:
        """The rows are those of the source."""
        if isinstance(self.source, (Shared, Adapter)):
            raise self.wrong(f"it refers to {self.source.name!r}, which is {self.source.family} itself")
        if row_shape(self.shape, self.axis) != (self.source.rows, self.source.columns):
            raise self.wrong(
                f"it has {self.rows} rows of {self.columns}, its source {self.source.name!r}"
                f" {self.source.rows} of {self.source.columns}"
            )

    def dequantise_rows(self) -> NDArray[np.float32]:
        """The source's."""
        return self.source.dequantise_rows()


def _check_factors(tensor: CompressedTensor, left: NDArray[Any], right: NDArray[Any]) -> None:
    rank = left.shape[1] if left.ndim == 2 else 0
    if rank < 1 or left.shape != (tensor.rows, rank) or right.shape != (rank, tensor.columns):
        raise tensor.wrong(
            f"factors {list(left.shape)} and {list(right.shape)} do not give [{tensor.rows}, {tensor.columns}]"
        )
    tensor.check_finite("left", left)
    tensor.check_finite("right", right)


def _product64(left: NDArray[Any], right: NDArray[Any], factor: float) -> NDArray[np.float64]:
    product: NDArray[np.float64] = (left.astype(np.float64) @ right.astype(np.float64)) * factor
    return product


def _product(left: NDArray[Any], right: NDArray[Any], factor: float) -> NDArray[np.float32]:
    return _product64(left, right, factor).astype(np.float32)
