"""Comparisons, logic, choices and conversions of type."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from exporters.tflite.context import Context, Unsupported, lowers
from exporters.tflite.layout import Value, constant
from exporters.tflite.prims import binary, elementwise, scalar, unary

_COMPARE = {
    "Equal": "EQUAL", "Greater": "GREATER", "GreaterOrEqual": "GREATER_EQUAL", "Less": "LESS",
    "LessOrEqual": "LESS_EQUAL",
}  # fmt: skip
_LOGIC = {"And": "LOGICAL_AND", "Or": "LOGICAL_OR"}


@lowers(*_COMPARE)
def compare(context: Context, node: ir.Node) -> Value:
    """Comparisons."""
    left, right = context.input(node, 0), context.input(node, 1)
    if left.dtype == "bool":
        if node.op_type != "Equal":
            raise Unsupported("bool values have no order")
        return unary(context.build, "LOGICAL_NOT", binary(context.build, "NOT_EQUAL", left, right, "bool"))
    return binary(context.build, _COMPARE[node.op_type], left, right, "bool")


@lowers(*_LOGIC)
def logic(context: Context, node: ir.Node) -> Value:
    """And, Or."""
    return binary(context.build, _LOGIC[node.op_type], context.input(node, 0), context.input(node, 1), "bool")


@lowers("Xor")
def exclusive_or(context: Context, node: ir.Node) -> Value:
    """NOT_EQUAL of two bools."""
    return binary(context.build, "NOT_EQUAL", context.input(node, 0), context.input(node, 1), "bool")


@lowers("Not")
def negate(context: Context, node: ir.Node) -> Value:
    """LOGICAL_NOT."""
    return unary(context.build, "LOGICAL_NOT", context.input(node, 0))


@lowers("Where")
def where(context: Context, node: ir.Node) -> Value:
    """SELECT_V2."""
    values = [context.input(node, index) for index in range(3)]
    return elementwise(context.build, "SELECT_V2", values, typed_from=1)


@lowers("IsNaN")
def is_nan(context: Context, node: ir.Node) -> Value:
    """What is not equal to itself."""
    value = context.input(node, 0)
    return binary(context.build, "NOT_EQUAL", value, value, "bool")


@lowers("IsInf")
def is_infinite(context: Context, node: ir.Node) -> Value:
    """What equals an infinity of the signs asked for."""
    build, value = context.build, context.input(node, 0)
    up, down = context.attr(node, "detect_positive", 1), context.attr(node, "detect_negative", 1)
    if up and down:
        value = unary(build, "ABS", value)
    infinity = scalar(np.inf if up else -np.inf, "float32")
    return binary(build, "EQUAL", value, infinity, "bool")


@lowers("Cast", "CastLike")
def cast(context: Context, node: ir.Node) -> Value:
    """CAST; int64 sizes that lie in int32 stay there. A float is cut towards zero in both."""
    build, value = context.build, context.input(node, 0)
    kind = ir.DataType(context.attr(node, "to")) if node.op_type == "Cast" else node.inputs[1].dtype  # type: ignore[union-attr]
    if kind is None or kind == ir.DataType.STRING:
        raise Unsupported("strings are not converted")
    target = str(kind.numpy().name)
    if value.data is not None:
        return constant(value.data.astype(target))
    if value.dtype == target:
        return value
    have = build.dtype_of(value.tensor)
    if {value.dtype, target} == {"int32", "int64"} and have == "int32":
        return build.value(value.tensor, value.perm, target)
    if target == "bool":
        zero = scalar(0, have)
        return binary(build, "NOT_EQUAL", build.value(value.tensor, value.perm), zero, "bool")
    return build.value(build.cast(value.tensor, target), value.perm)
