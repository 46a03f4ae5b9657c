"""Pools: what lies outside the image counts as ONNX says, also with ceil_mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporters.tflite.context import Context, Unsupported, lowers
from exporters.tflite.layout import FREE, NHWC, Builder, Value, constant
from exporters.tflite.ops.convolution import Window, as_image, out_size, padded, padding_mode, window
from exporters.tflite.prepare import overhang
from exporters.tflite.prims import NO_FUSED, binary, reduce, scalar, squeeze

_LOWEST = float(np.finfo(np.float32).min)


def _overhang(context: Context, node: ir.Node, shape: Window, dims: Sequence[int]) -> tuple[int, int]:
    """Rows and columns that ceil_mode's last windows reach beyond the padded image.

    Over a free dimension the most there can be is taken, which gives the same positions.
    """
    if not context.attr(node, "ceil_mode", 0):
        return 0, 0
    more = []
    for axis in (0, 1):
        stride, size = shape.strides[axis], dims[axis]
        if size == FREE:
            if stride > shape.span(axis) or shape.begin[axis] or shape.end[axis]:
                raise Unsupported("ceil_mode with padding over a free dimension")
            more.append(stride - 1)
            continue
        more.append(overhang(size, shape.span(axis), stride, (shape.begin[axis], shape.end[axis])))
    return more[0], more[1]


def _prepared(context: Context, node: ir.Node) -> tuple[Value, Window, tuple[int, int]]:
    image = as_image(context, context.input(node, 0))
    kernel = list(context.attr(node, "kernel_shape"))
    shape = window(context, node, kernel, image.dims[4 - len(kernel) :])
    return image, shape, _overhang(context, node, shape, image.dims[2:])


def _pool(build: Builder, op: str, tensor: int, shape: Window, mode: str, sizes: Sequence[int]) -> int:
    dims = (build.dims_of(tensor)[0], *sizes, build.dims_of(tensor)[3])
    options = {
        "padding": mode, "stride_h": shape.strides[0], "stride_w": shape.strides[1],
        "filter_height": shape.kernel[0], "filter_width": shape.kernel[1], **NO_FUSED,
    }  # fmt: skip
    return build.emit(op, [tensor], dims, build.dtype_of(tensor), options)


def _extended(shape: Window, more: Sequence[int]) -> Window:
    return replace(shape, end=(shape.end[0] + more[0], shape.end[1] + more[1]))


def _finished(context: Context, node: ir.Node, tensor: int) -> Value:
    result = context.build.value(tensor, NHWC)
    return squeeze(context.build, result, [2]) if context.input(node, 0).rank == 3 else result


@lowers("MaxPool")
def max_pool(context: Context, node: ir.Node) -> Value:
    """MAX_POOL_2D; where SAME does not fit, the margin is filled with the lowest number, or with 0 after a Relu."""
    if len(node.outputs) > 1 and node.outputs[1].uses():
        raise Unsupported("the places of the maxima (its second output) are not computed")
    build = context.build
    image, shape, more = _prepared(context, node)
    if image.dtype != "float32":
        raise Unsupported(f"MaxPool of {image.dtype} is not converted")
    shape = _extended(shape, more)
    sizes = [out_size(image.dims[2 + axis], shape, axis) for axis in (0, 1)]
    tensor = build.place(image, NHWC)
    if shape.dilations != (1, 1):
        raise Unsupported("MaxPool with dilations has no kernel in TFLite")
    mode = padding_mode(shape, image.dims[2:])
    if mode is None:
        fill = 0.0 if _never_negative(build, image.tensor) else _LOWEST
        tensor, mode = padded(build, tensor, shape.begin, shape.end, fill), "VALID"
    return _finished(context, node, _pool(build, "MAX_POOL_2D", tensor, shape, mode, sizes))


def _never_negative(build: Builder, tensor: int) -> bool:
    """Whether the tensor comes from an operator without negative results."""
    makers = [step.op for step in build.graph.operators if tensor in step.outputs]
    return bool(makers) and makers[0] in ("RELU", "RELU6", "LOGISTIC")


@lowers("AveragePool")
def average_pool(context: Context, node: ir.Node) -> Value:
    """AVERAGE_POOL_2D, which does not count SAME's margin, as ONNX by default; other counts by a factor."""
    build = context.build
    image, shape, more = _prepared(context, node)
    if shape.dilations != (1, 1):
        raise Unsupported("AveragePool with dilations has no kernel in TFLite")
    counted = bool(context.attr(node, "count_include_pad", 0))
    inner, shape = shape, _extended(shape, more)
    sizes = [out_size(image.dims[2 + axis], shape, axis) for axis in (0, 1)]
    tensor = build.place(image, NHWC)
    mode = padding_mode(shape, image.dims[2:])
    if mode is not None and (mode == "VALID" or not counted):
        return _finished(context, node, _pool(build, "AVERAGE_POOL_2D", tensor, shape, mode, sizes))
    pooled = _pool(build, "AVERAGE_POOL_2D", padded(build, tensor, shape.begin, shape.end), shape, "VALID", sizes)
    result = build.value(pooled, NHWC)
    if not counted or any(more):
        result = binary(build, "MUL" if FREE not in image.dims[2:] else "DIV", result,
                        _share(build, image, inner, shape, counted))  # fmt: skip
    return _finished(context, node, result.tensor)


def _share(build: Builder, image: Value, inner: Window, shape: Window, counted: bool) -> Value:
    """Window size / counted pixels as a constant; over free dimensions its inverse, pooled from ones."""
    if FREE not in image.dims[2:]:
        height, width = (
            _counts(image.dims[2 + axis], inner, shape, axis, counted).astype(np.float64) for axis in (0, 1)
        )
        area = shape.kernel[0] * shape.kernel[1]
        return constant((area / (height[:, None] * width[None, :])).astype(np.float32)[None, None])
    ones = binary(build, "ADD", binary(build, "MUL", image, scalar(0, "float32")), scalar(1, "float32"))
    tensor = build.place(ones, NHWC)
    if counted:
        tensor = padded(build, tensor, inner.begin, inner.end, 1.0)
        rest = (shape.end[0] - inner.end[0], shape.end[1] - inner.end[1])
        tensor = padded(build, tensor, (0, 0), rest)
    else:
        tensor = padded(build, tensor, shape.begin, shape.end)
    sizes = [out_size(image.dims[2 + axis], shape, axis) for axis in (0, 1)]
    return build.value(_pool(build, "AVERAGE_POOL_2D", tensor, shape, "VALID", sizes), NHWC)


def _counts(size: int, inner: Window, shape: Window, axis: int, counted: bool) -> NDArray[np.int64]:
    """How many pixels along an axis each window counts."""
    ones = np.ones(size, np.int64)
    ones = np.pad(ones, (inner.begin[axis], inner.end[axis]), constant_values=int(counted))
    ones = np.pad(ones, (0, shape.end[axis] - inner.end[axis]))
    starts = range(0, out_size(size, shape, axis) * shape.strides[axis], shape.strides[axis])
    return np.array([ones[start : start + shape.kernel[axis]].sum() for start in starts])


@lowers("GlobalAveragePool", "GlobalMaxPool")
def global_pool(context: Context, node: ir.Node) -> Value:
    """MEAN or REDUCE_MAX over everything behind the channels."""
    value = context.input(node, 0)
    op = "MEAN" if node.op_type == "GlobalAveragePool" else "REDUCE_MAX"
    return reduce(context.build, op, value, range(2, value.rank), keep=True)


@lowers("GlobalLpPool")
def norm_pool(context: Context, node: ir.Node) -> Value:
    """Square root of the sum of squares over everything behind the channels."""
    value = context.input(node, 0)
    if context.attr(node, "p", 2) != 2:
        raise Unsupported("only GlobalLpPool with p=2 is converted")
    total = reduce(context.build, "SUM", binary(context.build, "MUL", value, value), range(2, value.rank), keep=True)
    made = context.build.emit("SQRT", [total.tensor], context.build.dims_of(total.tensor), "float32")
    return context.build.value(made, total.perm)
