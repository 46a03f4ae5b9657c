"""Block-pruned matrices: only the kept blocks are stored and multiplied.

Output rows of blocks that keep equally many are one batched MatMul over the gathered input blocks: 6.4, 2.2 and 2.5
times faster than dense at 1, 16 and 128 rows with three quarters of the blocks gone (measured, 64 x 64 blocks). Rows of
blocks that keep a few less are filled with zero blocks where that saves a multiplication of its own. What the runtime
offers is no help: ScatterND and sparse_initializer are folded to dense, the latter is larger in the file, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exporters.carriers import decode
from exporters.carriers.base import Carried, Use, Wishes, base_tensor, replace_output
from exporters.carriers.coded import single_term
from exporters.carriers.nbits import with_bias
from exporters.carriers.tape import Tape

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir
    from numpy.typing import NDArray

    from exporters.compress.tensors import Blocks, CompressedTensor
    from exporters.targets import Target

DENSE_SHARE = 0.6  # above it the gathered form is no faster than the dense one
FILL = 0.08  # at most this share of added zero blocks, which are stored, too


@dataclass(frozen=True)
class _Bucket:
    """Rows of blocks that are multiplied together, each with ``count`` input blocks."""

    rows: tuple[int, ...]
    count: int


class BlockProducts:
    """Matrix products of kept blocks."""

    name = "gathered blocks"

    def refusal(self, tensor: CompressedTensor, use: Use, target: Target | None, wishes: Wishes) -> str | None:
        """Why it does not fit."""
        base = base_tensor(tensor)
        if base.family != "block-pruned":
            return f"{base.family} is no block-pruned weight"
        if use.kind != "matmul" or use.place != 1:
            return "it is no matrix that multiplies rows of activations"
        if base.kept > DENSE_SHARE * base.mask.size:
            return f"{base.kept} of {base.mask.size} blocks are kept: dense is faster"
        return None

    def emit(self, tensor: CompressedTensor, use: Use, tape: Tape, target: Target | None, wishes: Wishes) -> Carried:
        """One batched product per bucket, their rows put back in order."""
        base: Blocks = base_tensor(tensor)
        (height, width), across = base.block, base.mask.shape[1]
        found = buckets(base.mask)
        parts = [(bucket, *_operands(base, bucket, number, tape)) for number, bucket in enumerate(found)]
        tape.beside(use.node)
        data = use.node.inputs[0]
        shape = tape.op("Shape", [data], base.name)
        lead = tape.op("Slice", [shape, tape.ints(0), tape.ints(-1), tape.ints(0)], base.name)
        flat = tape.reshape(data, (-1, base.columns), base.name)  # type: ignore[arg-type]
        short = across * width - base.columns
        if short:
            flat = tape.op("Pad", [flat, tape.ints(0, 0, 0, short)], base.name)
        blocks = tape.reshape(flat, (-1, across, width), base.name)
        products = [_product(base, bucket, weights, index, blocks, tape) for bucket, weights, index in parts]
        joined = products[0] if len(products) == 1 else tape.op("Concat", products, base.name, axis=0)
        order = [row for bucket in found for row in bucket.rows]
        if order != sorted(order):
            joined = tape.op("Gather", [joined, tape.ints(*_inverse(order, len(base.mask)))], base.name, axis=0)
        joined = tape.op("Transpose", [joined], base.name, perm=[1, 0, 2])
        joined = decode_rows(joined, len(base.mask) * height, base, tape)
        shaped = tape.op("Concat", [lead, tape.ints(base.rows)], base.name, axis=0)
        total = tape.op("Reshape", [joined, shaped], base.name)
        replace_output(use, with_bias(use, total, base.name, tape))
        tape.beside(None)
        return Carried(f"{self.name} ({len(found)} products)", "float32")


def buckets(mask: NDArray[np.bool_]) -> list[_Bucket]:
    """Rows of blocks by how many they keep; neighbours joined while the zero blocks added stay few."""
    counts = mask.sum(1)
    order = sorted(range(len(mask)), key=lambda row: (int(counts[row]), row))
    groups: list[list[int]] = []
    spare = FILL * int(counts.sum())
    for row in reversed(order):
        added = int(counts[groups[-1][0]] - counts[row]) if groups else 0
        if groups and (added == 0 or added <= spare):
            groups[-1].append(row)
            spare -= added
        else:
            groups.append([row])
    return [_Bucket(tuple(sorted(group)), max(1, int(counts[group[0]]))) for group in groups]


def _inverse(order: list[int], count: int) -> list[int]:
    places = {row: place for place, row in enumerate(order)}
    return [places[row] for row in range(count)]


def _values(base: Blocks, tape: Tape) -> ir.Value:
    """float32 [kept + 1, bh, bw]: the kept blocks and a zero block behind them."""
    import numpy as np

    key = ("blocks", base.name)
    known = tape.kept(key)
    if known is not None:
        return known
    height, width = base.block
    if isinstance(base.values, np.ndarray):
        stored = tape.constant(base.values, f"{base.name}.blocks")
    else:
        term = single_term(base.values)
        stored = tape.reshape(decode.float_rows(term, f"{base.name}.blocks", tape), (-1, height, width), base.name)
    zero = tape.op(
        "Expand", [tape.constant(np.zeros((1, 1, 1), np.float32), "zero"), tape.ints(1, height, width)], base.name
    )
    return tape.keep(key, tape.op("Concat", [stored, zero], base.name, axis=0))


def _operands(base: Blocks, bucket: _Bucket, number: int, tape: Tape) -> tuple[ir.Value, ir.Value]:
    """Weights [rows, count*bw, bh] of a bucket, and the input blocks [rows * count] that they multiply.

    Float blocks are stored as they are multiplied, so that nothing is made at load; quantised ones are decoded first.
    """
    import numpy as np

    height, width = base.block
    numbers = np.where(base.mask, np.cumsum(base.mask).reshape(base.mask.shape) - 1, base.kept)
    which = np.full((len(bucket.rows), bucket.count), base.kept, np.int32)
    inputs = np.zeros((len(bucket.rows), bucket.count), np.int32)
    for place, row in enumerate(bucket.rows):
        kept = np.flatnonzero(base.mask[row])
        which[place, : len(kept)] = numbers[row, kept]
        inputs[place, : len(kept)] = kept
    index = tape.constant(inputs.reshape(-1), f"{base.name}.inputs{number}")
    shape = (len(bucket.rows), bucket.count * width, height)
    if isinstance(base.values, np.ndarray):
        filled = np.concatenate([base.values, np.zeros((1, height, width), np.float32)])
        weights = filled[which].transpose(0, 1, 3, 2).reshape(shape)
        return tape.constant(weights, f"{base.name}.blocks{number}"), index
    key = ("bucket", base.name, number)
    known = tape.kept(key)
    if known is None:
        picked = tape.op("Gather", [_values(base, tape), tape.constant(which, f"{base.name}.kept{number}")], base.name)
        turned = tape.op("Transpose", [picked], base.name, perm=[0, 1, 3, 2])
        known = tape.keep(key, tape.reshape(turned, shape, base.name))
    return known, index


def _product(base: Blocks, bucket: _Bucket, weights: Any, index: Any, blocks: Any, tape: Tape) -> Any:
    """[rows, M, bh]: the input blocks [M, across, bw] of each row of blocks, side by side, times its weights."""
    picked = tape.op("Gather", [blocks, index], base.name, axis=1)  # [M, rows * count, bw]
    beside = tape.reshape(picked, (-1, len(bucket.rows), bucket.count * base.block[1]), base.name)
    turned = tape.op("Transpose", [beside], base.name, perm=[1, 0, 2])
    return tape.op("MatMul", [turned, weights], base.name)


def decode_rows(value: Any, have: int, base: Blocks, tape: Tape) -> Any:
    """[M, have] of a value [M, rows, bh], cut to the N rows that there are."""
    value = tape.reshape(value, (-1, have), base.name)
    if have == base.rows:
        return value
    return tape.op("Slice", [value, tape.ints(0), tape.ints(base.rows), tape.ints(1)], base.name)


class DenseBlocks:
    """Block-pruned weights of other operators: the blocks in the file, dense in memory."""

    name = "folded blocks"

    def refusal(self, tensor: CompressedTensor, use: Use, target: Target | None, wishes: Wishes) -> str | None:
        """Why it does not fit."""
        base = base_tensor(tensor)
        return None if base.family == "block-pruned" else f"{base.family} is no block-pruned weight"

    def emit(self, tensor: CompressedTensor, use: Use, tape: Tape, target: Target | None, wishes: Wishes) -> Carried:
        """A grid of blocks, gathered once at load."""
        from exporters.carriers.folded import shaped

        key = ("float", base_tensor(tensor).name, tensor.shape, tensor.axis)
        value = tape.kept(key) or tape.keep(key, shaped(_dense(base_tensor(tensor), tape), tensor, tape))
        owner, place = (use.through, 0) if use.through is not None else (use.node, use.place)
        owner.replace_input_with(place, value)
        return Carried(self.name, "float32", 0, ("smaller in the file only: it is dense in memory",), value.name or "")


def _dense(base: Blocks, tape: Tape) -> ir.Value:
    import numpy as np

    (height, width), (down, across) = base.block, base.mask.shape
    numbers = np.where(base.mask, np.cumsum(base.mask).reshape(base.mask.shape) - 1, base.kept).astype(np.int32)
    grid = tape.op("Gather", [_values(base, tape), tape.constant(numbers, f"{base.name}.grid")], base.name)
    turned = tape.op("Transpose", [grid], base.name, perm=[0, 2, 1, 3])
    full = tape.reshape(turned, (down * height, across * width), base.name)
    ends = tape.ints(base.rows, base.columns)
    found: ir.Value = tape.op("Slice", [full, tape.ints(0, 0), ends, tape.ints(0, 1)], base.name)
    return found
