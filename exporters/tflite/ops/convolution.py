"""Convolutions: channels last, weights turned at conversion, padding explicit where TFLite's SAME is another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporters.tflite.context import Context, Unsupported, lowers
from exporters.tflite.layout import FREE, NHWC, Builder, Perm, Value, constant
from exporters.tflite.prims import NO_FUSED, arithmetic, size_of, squeeze, unsqueeze, vector


@dataclass(frozen=True)
class Window:
    """A sliding window over height and width: ONNX's attributes, with defaults filled in."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    begin: tuple[int, int]
    end: tuple[int, int]

    def span(self, axis: int) -> int:
        """Pixels from the window's first to its last, both counted."""
        return (self.kernel[axis] - 1) * self.dilations[axis] + 1


def window(context: Context, node: ir.Node, kernel: Sequence[int], dims: Sequence[int]) -> Window:
    """The node's window over an input whose height and width are ``dims`` (-1 where free)."""
    rank = len(kernel)
    strides = list(context.attr(node, "strides") or [1] * rank)
    dilations = list(context.attr(node, "dilations") or [1] * rank)
    pads = list(context.attr(node, "pads") or [0] * 2 * rank)
    auto = context.attr(node, "auto_pad", "NOTSET")
    if auto == "VALID":
        pads = [0] * 2 * rank
    elif auto.startswith("SAME"):
        begin, end = _auto_pads(auto, kernel, strides, dilations, dims)
        pads = begin + end
    parts = [list(kernel), strides, dilations, pads[:rank], pads[rank:]]
    if rank == 1:
        parts = [[neutral, *part] for part, neutral in zip(parts, (1, 1, 1, 0, 0), strict=True)]
    return Window(*((int(part[0]), int(part[1])) for part in parts))


def _auto_pads(
    auto: str, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], dims: Sequence[int]
) -> tuple[list[int], list[int]]:
    begin, end = [], []
    for axis in range(len(kernel)):
        if dims[axis] == FREE and strides[axis] != 1:
            raise Unsupported(f"auto_pad={auto} over a free dimension with stride {strides[axis]}")
        total = _same(dims[axis], kernel[axis], strides[axis], dilations[axis])
        less, more = total // 2, total - total // 2
        begin.append(less if auto == "SAME_UPPER" else more)
        end.append(more if auto == "SAME_UPPER" else less)
    return begin, end


def _same(size: int, kernel: int, stride: int, dilation: int) -> int:
    """How many pixels SAME adds in all (TFLite's ComputePaddingHeightWidth); of any size with stride 1."""
    span = (kernel - 1) * dilation + 1
    out = -(-size // stride) if size != FREE else 0
    return span - 1 if stride == 1 else max((out - 1) * stride + span - size, 0)


def padding_mode(shape: Window, dims: Sequence[int]) -> str | None:
    """ "VALID" or "SAME" when that is what the window's paddings are, None when they must be written out."""
    if not any(shape.begin + shape.end):
        return "VALID"
    for axis in (0, 1):
        stride = shape.strides[axis]
        if dims[axis] == FREE and stride != 1:
            return None
        total = _same(dims[axis], shape.kernel[axis], stride, shape.dilations[axis])
        if (shape.begin[axis], shape.end[axis]) != (total // 2, total - total // 2):
            return None
    return "SAME"


def out_size(size: int, shape: Window, axis: int) -> int:
    """Positions of the window along an axis."""
    if size == FREE:
        return FREE
    return (size + shape.begin[axis] + shape.end[axis] - shape.span(axis)) // shape.strides[axis] + 1


def as_image(context: Context, value: Value) -> Value:
    """A value of rank 3 or 4 as one of rank 4; what has one dimension gets a height of 1."""
    if value.rank == 3:
        return unsqueeze(context.build, value, [2])
    if value.rank != 4:
        raise Unsupported(f"rank {value.rank}: only one- and two-dimensional windows are converted")
    return value


def padded(build: Builder, tensor: int, begin: Sequence[int], end: Sequence[int], fill: float = 0.0) -> int:
    """An NHWC tensor with rows and columns put around it."""
    if not any(begin) and not any(end):
        return tensor
    dims = list(build.dims_of(tensor))
    for axis in (0, 1):
        if dims[1 + axis] != FREE:
            dims[1 + axis] += begin[axis] + end[axis]
    pads = build.const(np.array([[0, 0], [begin[0], end[0]], [begin[1], end[1]], [0, 0]], np.int32))
    kind = build.dtype_of(tensor)
    if fill == 0:
        return build.emit("PAD", [tensor, pads], dims, kind)
    return build.emit("PADV2", [tensor, pads, build.const(np.asarray(fill, kind))], dims, kind)


def _operands(context: Context, node: ir.Node) -> tuple[Value, NDArray[np.float32], NDArray[np.float32] | None]:
    """The data, the constant weights, and the constant bias where the node has one."""
    weights, bias = context.need_const(node, 1, "its weights"), context.const(node, 2)
    if context.has(node, 2) and bias is None:
        raise Unsupported("its bias must be constant")
    return context.input(node, 0), weights, bias


@lowers("Conv")
def convolution(context: Context, node: ir.Node) -> Value:
    """CONV_2D, or DEPTHWISE_CONV_2D when each channel has its own filters."""
    build = context.build
    source, weights, bias = _operands(context, node)
    group = context.attr(node, "group", 1)
    image = as_image(context, source)
    channels = image.dims[1] if image.dims[1] != FREE else weights.shape[1] * group
    shape = window(context, node, weights.shape[2:], image.dims[4 - (weights.ndim - 2) :])
    filters = weights[:, :, None, :] if weights.ndim == 3 else weights
    perm = _pointwise_order(image) if _is_pointwise(shape) else NHWC
    tensor = build.place(image, perm)
    mode = padding_mode(shape, image.dims[2:])
    if mode is None:
        tensor, mode = padded(build, tensor, shape.begin, shape.end), "VALID"
    sizes = [out_size(image.dims[axis], shape, axis - 2) for axis in perm[1:3]]
    dims = [build.dims_of(tensor)[0], *sizes, len(filters)]
    biases = bias if bias is not None else np.zeros(len(filters), np.float32)
    made = _filter(build, tensor, filters, biases, (group, channels, mode), shape, dims)
    result = build.value(made, perm)
    return squeeze(build, result, [2]) if source.rank == 3 else result


def _is_pointwise(shape: Window) -> bool:
    """Whether each pixel is computed from itself alone, so that rows and columns may lie either way round."""
    return shape.kernel == shape.strides == (1, 1) and not any(shape.begin + shape.end)


def _pointwise_order(image: Value) -> Perm:
    turned = (0, 3, 2, 1)
    return turned if image.perm == turned else NHWC


def _filter(
    build: Builder, tensor: int, filters: NDArray[np.float32], biases: NDArray[np.float32],
    how: tuple[int, int, str], shape: Window, dims: Sequence[int],
) -> int:  # fmt: skip
    """The operator itself. ``how``: groups, input channels, padding mode."""
    group, channels, mode = how
    options = {
        "padding": mode, "stride_h": shape.strides[0], "stride_w": shape.strides[1],
        "dilation_h_factor": shape.dilations[0], "dilation_w_factor": shape.dilations[1], **NO_FUSED,
    }  # fmt: skip
    if group == channels and group > 1:
        # ONNX orders output channels by input channel, then filter, as TFLite does.
        table = build.const(filters.transpose(1, 2, 3, 0))
        options["depth_multiplier"] = len(filters) // channels
        return build.emit("DEPTHWISE_CONV_2D", [tensor, table, build.const(biases)], dims, "float32", options)
    table = build.const(filters.transpose(0, 2, 3, 1))  # groups follow from the number of channels
    return build.emit("CONV_2D", [tensor, table, build.const(biases)], dims, "float32", options)


@lowers("ConvTranspose")
def transposed_convolution(context: Context, node: ir.Node) -> Value:
    """TRANSPOSE_CONV without padding, its margins cut off as ONNX's pads say."""
    build = context.build
    source, weights, bias = _operands(context, node)
    if context.attr(node, "auto_pad", "NOTSET") != "NOTSET" or context.attr(node, "output_shape") is not None:
        raise Unsupported("auto_pad and output_shape of ConvTranspose are not converted")
    rank = weights.ndim - 2
    image = as_image(context, source)
    filters = weights[:, :, None, :] if rank == 1 else weights
    extra = [int(number) for number in context.attr(node, "output_padding") or [0] * rank]
    extra = [0] * (2 - rank) + extra
    shape = window(context, node, weights.shape[2:], image.dims[2:])
    filters = _dilated(filters, shape.dilations)
    group = context.attr(node, "group", 1)
    image_tensor = build.place(image, NHWC)
    parts = _split_channels(build, image_tensor, group, len(filters))
    each = len(filters) // group
    made = []
    for number, part in enumerate(parts):
        table = filters[number * each : (number + 1) * each].transpose(1, 2, 3, 0)
        own = bias[number * len(table) : (number + 1) * len(table)] if bias is not None else None
        made.append(_spread(build, build.value(part, NHWC), table, own, shape, extra))
    whole = made[0] if group == 1 else _joined(build, made)
    result = build.value(whole, NHWC)
    return squeeze(build, result, [2]) if source.rank == 3 else result


def _dilated(filters: NDArray[np.float32], dilations: Sequence[int]) -> NDArray[np.float32]:
    """The filters with zeros between their values."""
    if tuple(dilations) == (1, 1):
        return filters
    height, width = ((size - 1) * step + 1 for size, step in zip(filters.shape[2:], dilations, strict=True))
    wide = np.zeros((*filters.shape[:2], height, width), filters.dtype)
    wide[:, :, :: dilations[0], :: dilations[1]] = filters
    return wide


def _split_channels(build: Builder, tensor: int, group: int, channels: int) -> list[int]:
    if group == 1:
        return [tensor]
    dims = (*build.dims_of(tensor)[:3], channels // group)
    return build.emit_many("SPLIT", [build.ints(3), tensor], [(dims, "float32")] * group, {"num_splits": group})


def _joined(build: Builder, parts: Sequence[int]) -> int:
    dims = list(build.dims_of(parts[0]))
    dims[3] *= len(parts)
    return build.emit("CONCATENATION", list(parts), dims, "float32", {"axis": 3, **NO_FUSED})


def _spread(
    build: Builder, image: Value, table: NDArray[np.float32], bias: NDArray[np.float32] | None, shape: Window,
    extra: Sequence[int],
) -> int:  # fmt: skip
    """One transposed convolution: ``table`` as [O, kh, kw, I]; ``extra`` rows and columns at the end."""
    sizes: list[Value] = []
    for axis in (0, 1):
        positions = arithmetic(build, "SUB", size_of(build, image, 2 + axis), constant(np.int64(1)))
        stepped = arithmetic(build, "MUL", positions, constant(np.int64(shape.strides[axis])))
        sizes.append(arithmetic(build, "ADD", stepped, constant(np.int64(table.shape[1 + axis]))))
    target = vector(build, [size_of(build, image, 0), *sizes, constant(np.int64(len(table)))])
    full = [_known(size) for size in sizes]
    dims = [image.dims[0], *full, len(table)]
    options = {"padding": "VALID", "stride_h": shape.strides[0], "stride_w": shape.strides[1], **NO_FUSED}
    inputs = [build.place(target, dtype="int32"), build.const(table), build.place(image, NHWC)]
    if bias is not None:
        inputs.append(build.const(bias))
    made = build.emit("TRANSPOSE_CONV", inputs, dims, "float32", options)
    more = [max(extra[axis] - shape.end[axis], 0) for axis in (0, 1)]
    if any(more):
        made = _extended(build, made, more, bias)
    cut = [max(shape.end[axis] - extra[axis], 0) for axis in (0, 1)]
    return _cropped(build, made, shape.begin, cut)


def _extended(build: Builder, tensor: int, more: Sequence[int], bias: NDArray[np.float32] | None) -> int:
    """Rows and columns that no window reaches: they hold the bias alone."""
    if bias is None or not bias.any():
        return padded(build, tensor, (0, 0), more)
    raise Unsupported("output_padding beyond pads together with a bias is not converted")


def _known(value: Value) -> int:
    return int(value.data) if value.data is not None else FREE


def _cropped(build: Builder, tensor: int, begin: Sequence[int], end: Sequence[int]) -> int:
    """An NHWC tensor without its outermost rows and columns."""
    if not any(begin) and not any(end):
        return tensor
    dims = list(build.dims_of(tensor))
    for axis in (0, 1):
        if dims[1 + axis] != FREE:
            dims[1 + axis] -= begin[axis] + end[axis]
    starts, stops = [0, *begin, 0], [0, *(-count for count in end), 0]
    mask = sum(1 << place for place, stop in enumerate(stops) if not stop)
    inputs = [tensor, build.ints(starts), build.ints(stops), build.ints([1] * 4)]
    return build.emit("STRIDED_SLICE", inputs, dims, "float32", {"begin_mask": 0, "end_mask": mask})
