"""Normalisations, written out in the operators that TFLite has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from exporters.tflite.context import Context, Unsupported, lowers
from exporters.tflite.layout import Value, constant
from exporters.tflite.prims import binary, reduce, runtime, scalar, unary
from exporters.tflite.reshaping import reshape


def _per_channel(value: Value, rank: int) -> Value:
    """A constant with one number per channel, broadcast along dimension 1."""
    if value.data is None:
        raise Unsupported("scale and offset must be constant")
    return constant(value.data.reshape(-1, *([1] * (rank - 2))))


@lowers("BatchNormalization")
def batch_norm(context: Context, node: ir.Node) -> Value:
    """x * a + b with a and b computed from the running statistics, in double precision."""
    if context.attr(node, "training_mode", 0):
        raise Unsupported("training_mode is not converted")
    value = context.input(node, 0)
    parts = [context.need_const(node, index, "scale, offset, mean and variance").astype(np.float64)
             for index in range(1, 5)]  # fmt: skip
    factor = parts[0] / np.sqrt(parts[3] + context.attr(node, "epsilon", 1e-5))
    offset = parts[1] - parts[2] * factor
    rank = max(value.rank, 2)
    scaled = binary(context.build, "MUL", value, _per_channel(constant(factor.astype(np.float32)), rank))
    return binary(context.build, "ADD", scaled, _per_channel(constant(offset.astype(np.float32)), rank))


def _standardised(context: Context, value: Value, axes: Sequence[int], epsilon: float, centred: bool = True) -> Value:
    """(x - mean) / sqrt(variance + epsilon)."""
    build = context.build
    if centred:
        value = binary(build, "SUB", value, reduce(build, "MEAN", value, axes, keep=True))
    variance = reduce(build, "MEAN", binary(build, "MUL", value, value), axes, keep=True)
    root = unary(build, "RSQRT", binary(build, "ADD", variance, scalar(epsilon, "float32")))
    return binary(build, "MUL", value, root)


@lowers("LayerNormalization", "SimplifiedLayerNormalization", "RMSNormalization")
def layer_norm(context: Context, node: ir.Node) -> Value:
    """Standardised over the dimensions from ``axis`` on, then scaled and moved."""
    used = [output for output in node.outputs[1:] if output.uses() or output.is_graph_output()]
    if used:
        raise Unsupported("mean and deviation as outputs are not converted")
    value = runtime(context.build, context.input(node, 0))
    axes = range(context.attr(node, "axis", -1) % value.rank, value.rank)
    centred = node.op_type == "LayerNormalization"
    result = _standardised(context, value, axes, context.attr(node, "epsilon", 1e-5), centred)
    result = binary(context.build, "MUL", result, context.input(node, 1))
    return binary(context.build, "ADD", result, context.input(node, 2)) if context.has(node, 2) else result


@lowers("InstanceNormalization")
def instance_norm(context: Context, node: ir.Node) -> Value:
    """Standardised over everything behind the channels."""
    value = runtime(context.build, context.input(node, 0))
    result = _standardised(context, value, range(2, value.rank), context.attr(node, "epsilon", 1e-5))
    result = binary(context.build, "MUL", result, _per_channel(context.input(node, 1), value.rank))
    return binary(context.build, "ADD", result, _per_channel(context.input(node, 2), value.rank))


@lowers("GroupNormalization")
def group_norm(context: Context, node: ir.Node) -> Value:
    """Standardised over groups of channels, with one scale per channel (opset 21)."""
    build, value = context.build, runtime(context.build, context.input(node, 0))
    groups = context.attr(node, "num_groups")
    scale = context.need_const(node, 1, "its scale")
    if any(size < 0 for size in value.dims[1:]) or scale.size != value.dims[1]:
        raise Unsupported("GroupNormalization needs known sizes and one scale per channel")
    split = [value.dims[0], groups, value.dims[1] // groups, *value.dims[2:]]
    shown = context.entries(node.inputs[0])
    apart = reshape(build, value, shown, [shown[0], *split[1:]], None)
    result = _standardised(context, apart, range(2, apart.rank), context.attr(node, "epsilon", 1e-5))
    result = reshape(build, result, [shown[0], *split[1:]], shown, None)
    result = binary(build, "MUL", result, _per_channel(context.input(node, 1), value.rank))
    return binary(build, "ADD", result, _per_channel(context.input(node, 2), value.rank))


@lowers("LpNormalization")
def lp_norm(context: Context, node: ir.Node) -> Value:
    """x divided by its norm along an axis."""
    build, value = context.build, runtime(context.build, context.input(node, 0))
    axes = [context.attr(node, "axis", -1)]
    if context.attr(node, "p", 2) == 1:
        norm = reduce(build, "SUM", unary(build, "ABS", value), axes, keep=True)
    else:
        norm = unary(build, "SQRT", reduce(build, "SUM", binary(build, "MUL", value, value), axes, keep=True))
    return binary(build, "DIV", value, norm)


@lowers("MeanVarianceNormalization")
def mean_variance(context: Context, node: ir.Node) -> Value:
    """(x - mean) / (sqrt(variance) + 1e-9), as onnxruntime computes it."""
    build, value = context.build, runtime(context.build, context.input(node, 0))
    axes = context.attr(node, "axes", [0, 2, 3])
    value = binary(build, "SUB", value, reduce(build, "MEAN", value, axes, keep=True))
    variance = reduce(build, "MEAN", binary(build, "MUL", value, value), axes, keep=True)
    deviation = binary(build, "ADD", unary(build, "SQRT", variance), scalar(1e-9, "float32"))
    return binary(build, "DIV", value, deviation)


@lowers("LRN")
def local_response(context: Context, node: ir.Node) -> Value:
    """LOCAL_RESPONSE_NORMALIZATION over the channels; ONNX divides alpha by the window's size, TFLite does not."""
    build, value = context.build, context.tensor_input(node, 0)
    size = context.attr(node, "size")
    if value.rank != 4 or size % 2 == 0:
        raise Unsupported("LRN needs rank 4 and an odd size")
    tensor = build.place(value, (0, 2, 3, 1))
    options = {
        "radius": size // 2, "bias": context.attr(node, "bias", 1.0),
        "alpha": context.attr(node, "alpha", 1e-4) / size, "beta": context.attr(node, "beta", 0.75),
    }  # fmt: skip
    made = build.emit("LOCAL_RESPONSE_NORMALIZATION", [tensor], build.dims_of(tensor), "float32", options)
    return build.value(made, (0, 2, 3, 1))
