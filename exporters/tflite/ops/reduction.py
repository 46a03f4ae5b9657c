"""Reductions, extremes and their places, sums along an axis."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from exporters.tflite.context import Context, Unsupported, lowers
from exporters.tflite.layout import Value, constant
from exporters.tflite.prims import along_last, binary, ordered, reduce, runtime, squeeze, unary, unsqueeze

_PLAIN = {"ReduceMean": "MEAN", "ReduceSum": "SUM", "ReduceMax": "REDUCE_MAX", "ReduceMin": "REDUCE_MIN",
          "ReduceProd": "REDUCE_PROD"}  # fmt: skip


def _reduced(context: Context, node: ir.Node, op: str, value: Value) -> Value:
    axes = context.ints(node, "axes", 1)
    if not axes:
        if context.attr(node, "noop_with_empty_axes", 0):
            return value
        axes = list(range(value.rank))
    keep = bool(context.attr(node, "keepdims", 1))
    if value.dtype == "bool":
        raise Unsupported(f"{node.op_type} of bool is not converted")
    if op == "MEAN" and value.dtype != "float32":
        raise Unsupported("the mean of integers is rounded otherwise in TFLite")
    return reduce(context.build, op, value, axes, keep)


@lowers(*_PLAIN)
def plain(context: Context, node: ir.Node) -> Value:
    """Reductions that TFLite has."""
    return _reduced(context, node, _PLAIN[node.op_type], context.tensor_input(node, 0))


@lowers("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp")
def composed(context: Context, node: ir.Node) -> Value:
    """Sums of something, and what is made of them."""
    build, value = context.build, context.tensor_input(node, 0)
    if value.dtype != "float32":
        raise Unsupported(f"{node.op_type} of {value.dtype} is not converted")
    if node.op_type == "ReduceL1":
        return _reduced(context, node, "SUM", unary(build, "ABS", value))
    if node.op_type in ("ReduceL2", "ReduceSumSquare"):
        total = _reduced(context, node, "SUM", binary(build, "MUL", value, value))
        return unary(build, "SQRT", total) if node.op_type == "ReduceL2" else total
    if node.op_type == "ReduceLogSum":
        return unary(build, "LOG", _reduced(context, node, "SUM", value))
    axes = context.ints(node, "axes", 1) or list(range(value.rank))
    highest = reduce(build, "REDUCE_MAX", value, axes, keep=True)
    total = reduce(build, "SUM", unary(build, "EXP", binary(build, "SUB", value, highest)), axes, keep=True)
    result = binary(build, "ADD", unary(build, "LOG", total), highest)
    return result if context.attr(node, "keepdims", 1) else squeeze(build, result, axes)


@lowers("ArgMax", "ArgMin")
def extreme_place(context: Context, node: ir.Node) -> Value:
    """ARG_MAX and ARG_MIN: the first of equal ones, or the last by counting from behind."""
    build, value = context.build, context.tensor_input(node, 0)
    op = "ARG_MAX" if node.op_type == "ArgMax" else "ARG_MIN"
    axis = context.attr(node, "axis", 0) % value.rank
    place = value.perm.index(axis)
    tensor = value.tensor
    last = context.attr(node, "select_last_index", 0)
    if last:
        tensor = build.emit("REVERSE_V2", [tensor, build.ints([place])], build.dims_of(tensor), value.dtype)
    dims = [size for at, size in enumerate(build.dims_of(tensor)) if at != place]
    kept = [other - (other > axis) for other in value.perm if other != axis]
    made = build.emit(op, [tensor, build.ints(place)], dims, "int32", {"output_type": "int32"})
    result = build.value(made, tuple(kept), "int64")
    if last:
        if value.dims[axis] < 0:
            raise Unsupported("select_last_index along a free dimension")
        result = binary(build, "SUB", constant(np.int64(value.dims[axis] - 1)), result)
    return unsqueeze(build, result, [axis]) if context.attr(node, "keepdims", 1) else result


@lowers("TopK")
def top_k(context: Context, node: ir.Node) -> list[Value]:
    """TOPK_V2 along the last dimension, largest first; the smallest by negation."""
    build, value = context.build, context.tensor_input(node, 0)
    axis = context.attr(node, "axis", -1) % value.rank
    if value.dtype != "float32":
        raise Unsupported(f"TopK of {value.dtype} is not converted")
    perm = along_last(value, axis)
    largest = context.attr(node, "largest", 1)
    tensor = build.place(value if largest else unary(build, "NEG", value), perm)
    count = context.input(node, 1)
    number = int(count.data.reshape(-1)[0]) if count.data is not None else -1
    wanted = build.ints(number) if number >= 0 else build.place(squeeze(build, count, [0]), dtype="int32")
    dims = (*build.dims_of(tensor)[:-1], number)
    found, places = build.emit_many("TOPK_V2", [tensor, wanted], [(dims, "float32"), (dims, "int32")])
    best = build.value(found, perm)
    return [best if largest else unary(build, "NEG", best), build.value(places, perm, "int64")]


@lowers("CumSum")
def cumulative_sum(context: Context, node: ir.Node) -> Value:
    """CUMSUM."""
    build, value = context.build, context.tensor_input(node, 0)
    axis = int(context.need_const(node, 1, "its axis").reshape(-1)[0]) % value.rank
    options = {"exclusive": bool(context.attr(node, "exclusive", 0)), "reverse": bool(context.attr(node, "reverse", 0))}
    inputs = [value.tensor, build.ints(value.perm.index(axis))]
    made = build.emit("CUMSUM", inputs, build.dims_of(value.tensor), build.dtype_of(value.tensor), options)
    return build.value(made, value.perm, value.dtype)


@lowers("Softmax", "LogSoftmax")
def softmax(context: Context, node: ir.Node) -> Value:
    """SOFTMAX over the dimension that lies last; before opset 13 over all from ``axis`` on."""
    build, value = context.build, runtime(context.build, context.input(node, 0))
    axis = context.attr(node, "axis", -1 if context.opset >= 13 else 1) % value.rank
    log = node.op_type == "LogSoftmax"
    if context.opset < 13 and axis != value.rank - 1 and any(size != 1 for size in value.dims[axis + 1 :]):
        return _over_several(context, value, axis, log)
    value = ordered(build, value, along_last(value, axis))
    options = {} if log else {"beta": 1.0}
    made = build.emit(
        "LOG_SOFTMAX" if log else "SOFTMAX", [value.tensor], build.dims_of(value.tensor), "float32", options
    )
    return build.value(made, value.perm)


def _over_several(context: Context, value: Value, axis: int, log: bool) -> Value:
    build, axes = context.build, range(axis, value.rank)
    shifted = binary(build, "SUB", value, reduce(build, "REDUCE_MAX", value, axes, keep=True))
    grown = unary(build, "EXP", shifted)
    total = reduce(build, "SUM", grown, axes, keep=True)
    return binary(build, "SUB", shifted, unary(build, "LOG", total)) if log else binary(build, "DIV", grown, total)


@lowers("Hardmax")
def hardmax(context: Context, node: ir.Node) -> Value:
    """1 at the first maximum, else 0."""
    build, value = context.build, context.tensor_input(node, 0)
    axis = context.attr(node, "axis", -1 if context.opset >= 13 else 1) % value.rank
    if value.dims[axis] < 0 or (context.opset < 13 and axis != value.rank - 1):
        raise Unsupported("Hardmax over a free dimension or several ones")
    value = ordered(build, value, along_last(value, axis))
    dims = build.dims_of(value.tensor)
    places = build.emit(
        "ARG_MAX", [value.tensor, build.ints(value.rank - 1)], dims[:-1], "int32", {"output_type": "int32"}
    )
    inputs = [places, build.ints(value.dims[axis]), build.const(np.float32(1)), build.const(np.float32(0))]
    return build.value(build.emit("ONE_HOT", inputs, dims, "float32", {"axis": -1}), value.perm)
