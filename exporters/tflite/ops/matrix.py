"""Products of matrices: FULLY_CONNECTED with constant weights, BATCH_MATMUL between computed values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporters.tflite.context import Context, Unsupported, lowers
from exporters.tflite.layout import FREE, Builder, Value, identity
from exporters.tflite.prims import (
    NO_FUSED,
    along_last,
    binary,
    broadcast,
    runtime,
    scalar,
    squeeze,
    unsqueeze,
)  # fmt: skip
from exporters.tflite.reshaping import reshape

_MAX_BATCH_RANK = 5


def fully_connected(
    build: Builder, value: Value, weights: NDArray[np.float32], bias: NDArray[np.float32] | None
) -> Value:
    """The value times ``weights`` [out, in] over its last dimension."""
    if value.rank == 1:
        row = fully_connected(build, unsqueeze(build, value, [0]), weights, bias)
        return squeeze(build, row, [0])
    perm = along_last(value, value.rank - 1)
    source = build.place(value, perm)
    dims = (*build.dims_of(source)[:-1], len(weights))
    inputs = [source, build.const(weights), build.const(bias) if bias is not None else -1]
    options = {"weights_format": "DEFAULT", "keep_num_dims": value.rank != 2, **NO_FUSED}
    return build.value(build.emit("FULLY_CONNECTED", inputs, dims, "float32", options), perm)


@lowers("MatMul")
def matmul(context: Context, node: ir.Node) -> Value:
    """FULLY_CONNECTED for a constant matrix at the right, else BATCH_MATMUL."""
    build = context.build
    left, right = context.input(node, 0), context.input(node, 1)
    if left.dtype != "float32":
        raise Unsupported(f"MatMul of {left.dtype} is not converted")
    if right.data is not None and right.rank == 2 and not left.is_const:
        return fully_connected(build, left, right.data.T, None)
    if right.data is not None and right.rank == 1 and not left.is_const:
        return squeeze(build, fully_connected(build, left, right.data[None], None), [-1])
    if left.data is not None and left.rank == 2 and right.rank == 2:
        turned = fully_connected(build, right.permuted([1, 0]), left.data, None)
        return turned.permuted([1, 0])
    return batch_matmul(build, left, right)


def batch_matmul(build: Builder, left: Value, right: Value) -> Value:
    """BATCH_MATMUL with broadcast batches; vectors get the dimension that they lack."""
    if left.rank == 1:
        return squeeze(build, batch_matmul(build, unsqueeze(build, left, [0]), right), [-2])
    if right.rank == 1:
        return squeeze(build, batch_matmul(build, left, unsqueeze(build, right, [1])), [-1])
    left, right = runtime(build, left), runtime(build, right)
    rank = max(left.rank, right.rank)
    left = unsqueeze(build, left, range(rank - left.rank))
    right = unsqueeze(build, right, range(rank - right.rank))
    if rank > _MAX_BATCH_RANK:
        raise Unsupported(f"a product of {rank} dimensions, BATCH_MATMUL ends at {_MAX_BATCH_RANK}")
    batch = _batch_order(left, right)
    a = build.place(left, (*batch, rank - 2, rank - 1))
    # TFLite reads the second matrix either way round: rows that lie innermost stay there.
    turned = right.perm[-1] == rank - 2
    b = build.place(right, (*batch, rank - 1, rank - 2) if turned else (*batch, rank - 2, rank - 1))
    heads = broadcast([build.dims_of(a)[:-2], build.dims_of(b)[:-2]]) if rank > 2 else ()
    dims = (*heads, left.dims[-2], right.dims[-1])
    options = {"adj_x": False, "adj_y": turned, "asymmetric_quantize_inputs": False}
    made = build.emit("BATCH_MATMUL", [a, b], dims, "float32", options)
    return build.value(made, (*batch, rank - 2, rank - 1))


def _batch_order(left: Value, right: Value) -> tuple[int, ...]:
    """The order of the batch dimensions: that of the operands when they agree, else ONNX's."""
    rank = left.rank
    orders = {tuple(axis for axis in value.perm if axis < rank - 2) for value in (left, right)}
    return orders.pop() if len(orders) == 1 else identity(rank - 2)


@lowers("Gemm")
def gemm(context: Context, node: ir.Node) -> Value:
    """alpha * A * B + beta * C, as FULLY_CONNECTED with a bias when B and C are constant."""
    build = context.build
    left, right = context.input(node, 0), context.input(node, 1)
    alpha, beta = context.attr(node, "alpha", 1.0), context.attr(node, "beta", 1.0)
    if context.attr(node, "transA", 0):
        left = left.permuted([1, 0])
    if context.attr(node, "transB", 0):
        right = right.permuted([1, 0])
    extra = context.input(node, 2) if context.has(node, 2) else None
    if right.data is None:
        made = batch_matmul(build, left, right)
        if alpha != 1:
            made = binary(build, "MUL", made, scalar(alpha, "float32"))
    else:
        if alpha != 1 and context.keep_weights:
            left, alpha = binary(build, "MUL", left, scalar(alpha, "float32")), 1.0
        weights = right.data.T if alpha == 1 else (right.data.T * np.float32(alpha))
        bias = _bias(extra, len(weights), beta)
        made = fully_connected(build, left, weights, bias)
        extra = None if bias is not None else extra
    if extra is not None:
        scaled = extra if beta == 1 else binary(build, "MUL", extra, scalar(beta, "float32"))
        made = binary(build, "ADD", made, scaled)
    return made


def _bias(extra: Value | None, outputs: int, beta: float) -> NDArray[np.float32] | None:
    """C as one number per output, None when it is something else."""
    if extra is None or extra.data is None or extra.data.size not in (1, outputs):
        return None
    if extra.rank == 2 and extra.dims[0] != 1:
        return None
    data = extra.data if beta == 1 else extra.data * np.float32(beta)
    return np.asarray(np.broadcast_to(data.reshape(-1), (outputs,)))


@lowers("Einsum")
def einsum(context: Context, node: ir.Node) -> Value:
    """Products of two operands without repeated or summed-out letters, as transpositions and BATCH_MATMUL."""
    build = context.build
    equation = context.attr(node, "equation").replace(" ", "")
    left_part, _, out = equation.partition("->")
    parts = left_part.split(",")
    if len(parts) != 2 or not out or "." in equation or any(len(set(part)) != len(part) for part in (*parts, out)):
        raise Unsupported(f"the equation {equation!r} is not a product of two operands")
    a, b = parts
    batch = [letter for letter in a if letter in b and letter in out]
    summed = [letter for letter in a if letter in b and letter not in out]
    rows = [letter for letter in a if letter not in b]
    columns = [letter for letter in b if letter not in a]
    if not all(letter in out for letter in (*rows, *columns)):
        raise Unsupported(f"the equation {equation!r} sums over a letter of one operand")
    left = context.input(node, 0).permuted([a.index(letter) for letter in (*batch, *rows, *summed)])
    right = context.input(node, 1).permuted([b.index(letter) for letter in (*batch, *summed, *columns)])
    sizes = dict(zip((*batch, *rows, *summed), left.dims, strict=True))
    sizes.update(zip((*batch, *summed, *columns), right.dims, strict=True))
    if not all(len(group) == 1 for group in (rows, summed, columns)) and FREE in sizes.values():
        raise Unsupported(f"the equation {equation!r} with free dimensions is not converted")
    left = _flat(build, left, sizes, [batch, rows, summed])
    right = _flat(build, right, sizes, [batch, summed, columns])
    product = batch_matmul(build, left, right)
    letters = [*batch, *rows, *columns]
    if not all(len(group) == 1 for group in (rows, columns)):
        target = [sizes[letter] for letter in letters]
        product = reshape(build, product, list(product.dims), target, None)
    return product.permuted([letters.index(letter) for letter in out])


def _flat(build: Builder, value: Value, sizes: dict[str, int], groups: Sequence[Sequence[str]]) -> Value:
    """Batches apart, rows and columns as one dimension each."""
    batch, first, second = groups
    if len(first) == 1 and len(second) == 1:
        return value
    shape = [sizes[letter] for letter in batch]
    shape += [int(np.prod([sizes[letter] for letter in group])) for group in (first, second)]
    return reshape(build, value, list(value.dims), shape, None)
