"""Resizes where TFLite's kernels compute ONNX's; nearest ones that they do not by picking rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporters.tflite.context import Context, Unsupported, lowers
from exporters.tflite.layout import FREE, NHWC, Builder, Value, constant
from exporters.tflite.prims import arithmetic, size_of, vector

_KERNEL_FLAGS = {"asymmetric": (False, False), "half_pixel": (False, True), "align_corners": (True, False)}


@lowers("Resize", "Upsample")
def resize(context: Context, node: ir.Node) -> Value:
    """RESIZE_BILINEAR or RESIZE_NEAREST_NEIGHBOR of height and width."""
    build, value = context.build, context.tensor_input(node, 0)
    if value.rank != 4:
        raise Unsupported(f"a resize of rank {value.rank}")
    mode = context.attr(node, "mode", "nearest")
    if mode not in ("nearest", "linear"):
        raise Unsupported(f"mode {mode}")
    if context.attr(node, "antialias", 0) or context.attr(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Unsupported("antialias or an aspect ratio that is kept")
    scales, target, sizes = _target(context, node, value)
    coordinates = context.attr(node, "coordinate_transformation_mode", "half_pixel")
    if node.op_type == "Upsample" or context.opset == 10:
        coordinates = "asymmetric"
    if coordinates == "pytorch_half_pixel" and not any(size == 1 for size in sizes):
        coordinates = "half_pixel"
    nearest = context.attr(node, "nearest_mode", "round_prefer_floor") if context.opset >= 11 else "floor"
    tensor = build.place(value, NHWC)
    if mode == "nearest":
        return _nearest(build, value, tensor, (scales, target, sizes), coordinates, nearest)
    if coordinates not in _KERNEL_FLAGS:
        raise Unsupported(f"linear with the coordinates {coordinates}")
    for axis in (0, 1):
        _check_scale(value.dims[2 + axis], sizes[axis], scales[axis], coordinates)
    return _kernel(build, "RESIZE_BILINEAR", value, tensor, target, sizes, _KERNEL_FLAGS[coordinates])


Target = tuple[list[float | None], Value, list[int]]  # scales (None: from the sizes), (height, width), the same known


def _target(context: Context, node: ir.Node, value: Value) -> Target:
    build = context.build
    if node.op_type == "Upsample" or context.opset == 10:
        raw = context.const(node, 1)
        given = context.attr(node, "scales") if raw is None else raw
        return _scaled(build, value, given)
    axes = context.attr(node, "axes") or list(range(value.rank))
    if context.has(node, 3):
        wanted = context.input(node, 3)
        parts = []
        for axis in (2, 3):
            if axis not in axes:
                parts.append(size_of(build, value, axis))
                continue
            parts.append(_entry(context, node, wanted, list(axes).index(axis)))
        known = [int(part.data) if part.data is not None else FREE for part in parts]
        return [None, None], vector(build, parts), known
    raw = context.const(node, 2)
    if raw is None:
        raise Unsupported("its scales must be constant")
    full = np.ones(value.rank)
    full[list(axes)] = raw
    return _scaled(build, value, full)


def _entry(context: Context, node: ir.Node, wanted: Value, place: int) -> Value:
    from exporters.tflite.ops.shapes import entry_of

    known = context.contents.get(node.inputs[3])
    if known is not None and isinstance(known[place], int):
        return constant(np.int64(int(known[place] or 0)))
    return entry_of(context.build, wanted, place)


def _scaled(build: Builder, value: Value, given: Sequence[float] | NDArray[Any] | None) -> Target:
    """The target of constant scales; over free dimensions they must be whole or one over a whole number."""
    if given is None or len(given) != 4 or given[0] != 1 or given[1] != 1:
        raise Unsupported("scales that are not constant or not of height and width alone")
    parts: list[Value] = []
    for axis in (2, 3):
        scale = float(np.float32(given[axis]))
        if value.dims[axis] != FREE:
            parts.append(constant(np.int64(np.floor(np.float32(value.dims[axis]) * np.float32(scale)))))
            continue
        whole, divisor = round(scale), round(1 / scale)
        if whole and whole == scale:
            parts.append(arithmetic(build, "MUL", size_of(build, value, axis), constant(np.int64(whole))))
        elif divisor and scale == 1 / divisor:
            parts.append(arithmetic(build, "FLOOR_DIV", size_of(build, value, axis), constant(np.int64(divisor))))
        else:
            raise Unsupported(f"the scale {scale} of a free dimension")
    known = [int(part.data) if part.data is not None else FREE for part in parts]
    return [float(given[2]), float(given[3])], vector(build, parts), known


def _check_scale(size: int, target: int, scale: float | None, coordinates: str) -> None:
    """TFLite steps by input size / output size; ONNX by the scale given, which may differ where it was rounded."""
    if scale is None or coordinates == "align_corners":
        return
    exact = scale >= 1 and scale == round(scale) if size == FREE else abs(size * scale - target) < 1e-4
    if not exact:
        raise Unsupported(f"the scale {scale} of size {size}, which does not give a whole size")


def _kernel(
    build: Builder, op: str, value: Value, tensor: int, target: Value, sizes: Sequence[int], flags: tuple[bool, bool]
) -> Value:
    inputs = [tensor, build.place(target, dtype="int32")]
    dims = (value.dims[0], *sizes, value.dims[1])
    options = {"align_corners": flags[0], "half_pixel_centers": flags[1]}
    return build.value(build.emit(op, inputs, dims, build.dtype_of(tensor), options), NHWC, value.dtype)


def _nearest(build: Builder, value: Value, tensor: int, goal: Target, coordinates: str, rounding: str) -> Value:
    scales, target, sizes = goal
    if FREE in (*value.dims[2:], *sizes):
        whole = all(scale is not None and scale >= 1 and scale == round(scale) for scale in scales)
        flags = {("asymmetric", "floor"): (False, False)}.get((coordinates, rounding))
        if coordinates == "half_pixel" and whole:
            flags = (False, True)
        if coordinates == "asymmetric" and rounding == "floor" and all(scale is None for scale in scales):
            whole = True
        if flags is None or not whole:
            raise Unsupported(f"nearest {coordinates}/{rounding} over a free dimension")
        return _kernel(build, "RESIZE_NEAREST_NEIGHBOR", value, tensor, target, sizes, flags)
    wanted = [_places(value.dims[2 + axis], sizes[axis], scales[axis], coordinates, rounding) for axis in (0, 1)]
    for flags in ((False, False), (False, True)):
        if all(
            np.array_equal(wanted[axis], _tflite_places(value.dims[2 + axis], sizes[axis], flags[1])) for axis in (0, 1)
        ):
            return _kernel(build, "RESIZE_NEAREST_NEIGHBOR", value, tensor, target, sizes, flags)
    kind = build.dtype_of(tensor)
    for axis in (0, 1):
        dims = list(build.dims_of(tensor))
        dims[1 + axis] = sizes[axis]
        tensor = build.emit(
            "GATHER", [tensor, build.const(wanted[axis].astype(np.int32))], dims, kind, {"axis": 1 + axis}
        )
    return build.value(tensor, NHWC, value.dtype)


def _places(size: int, target: int, scale: float | None, coordinates: str, rounding: str) -> NDArray[np.int64]:
    """The row of the input that each row of the output copies (ONNX, Resize)."""
    step = np.float32(scale) if scale is not None else np.float32(target) / np.float32(size)
    out = np.arange(target, dtype=np.float32)
    if coordinates == "asymmetric":
        place = out / step
    elif coordinates == "align_corners":
        place = out * np.float32(size - 1) / np.float32(target - 1) if target > 1 else out * 0
    elif coordinates == "half_pixel" or (coordinates == "pytorch_half_pixel" and target > 1):
        place = (out + np.float32(0.5)) / step - np.float32(0.5)
    elif coordinates == "pytorch_half_pixel":
        place = out * 0
    else:
        raise Unsupported(f"nearest with the coordinates {coordinates}")
    rounded = {
        "floor": np.floor(place), "ceil": np.ceil(place), "round_prefer_floor": np.ceil(place - np.float32(0.5)),
        "round_prefer_ceil": np.floor(place + np.float32(0.5)),
    }[rounding]  # fmt: skip
    return np.asarray(np.clip(rounded, 0, size - 1), np.int64)


def _tflite_places(size: int, target: int, half_pixel: bool) -> NDArray[np.int64]:
    """The same as TFLite's kernel computes it (GetNearestNeighbor in reference/resize_nearest_neighbor.h)."""
    step = np.float32(size) / np.float32(target)
    place = np.floor((np.arange(target, dtype=np.float32) + np.float32(0.5 if half_pixel else 0)) * step)
    return np.asarray(np.clip(place, 0, size - 1), np.int64)
