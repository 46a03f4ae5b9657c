"""Slices, paddings, and whatever picks values by their places."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from exporters.tflite.context import Context, Unsupported, lowers
from exporters.tflite.layout import FREE, Builder, Value, constant, identity
from exporters.tflite.ops.shapes import entry_of
from exporters.tflite.prims import (
    NO_FUSED,
    along_last,
    binary,
    elementwise,
    runtime,
    scalar,
    size_of,
    squeeze,
    vector,
)

_MAX_PAD_RANK = 5
_FAR = np.iinfo(np.int32).max


@lowers("Slice")
def slice_node(context: Context, node: ir.Node) -> Value:
    """STRIDED_SLICE, which counts from behind and cuts off at the ends as ONNX does."""
    build, value = context.build, context.tensor_input(node, 0)
    starts, ends = (_bounds(context, node, name, index) for name, index in (("starts", 1), ("ends", 2)))
    count = starts.dims[0]
    axes = context.ints(node, "axes", 3, list(range(count))) or []
    steps = context.ints(node, "steps", 4, [1] * count) or []
    if count == FREE:
        raise Unsupported("the number of sliced dimensions is not known")
    parts = {axis % value.rank: number for number, axis in enumerate(axes)}
    begin, end, strides = [], [], []
    begin_mask = end_mask = 0
    dims = list(build.dims_of(value.tensor))
    for place, axis in enumerate(value.perm):
        if axis not in parts:
            first, last, step = constant(np.int64(0)), constant(np.int64(0)), 1
            begin_mask, end_mask = begin_mask | 1 << place, end_mask | 1 << place
        else:
            number = parts[axis]
            first, last, step = _entry(build, starts, number), _entry(build, ends, number), steps[number]
            dims[place] = _length(value.dims[axis], first, last, step)
            if last.data is not None and _beyond(int(last.data), step, value.dims[axis]):
                end_mask |= 1 << place
                last = constant(np.int64(0))
        begin.append(first)
        end.append(last)
        strides.append(step)
    if tuple(dims) == build.dims_of(value.tensor) and FREE not in dims and set(strides) == {1}:
        return value
    inputs = [
        value.tensor,
        *(build.place(vector(build, part), dtype="int32") for part in (begin, end)),
        build.ints(strides),
    ]
    options = {"begin_mask": begin_mask, "end_mask": end_mask}
    made = build.emit("STRIDED_SLICE", inputs, dims, build.dtype_of(value.tensor), options)
    return build.value(made, value.perm, value.dtype)


def _bounds(context: Context, node: ir.Node, name: str, index: int) -> Value:
    """Starts or ends, cut to what int32 holds."""
    attribute = context.attr(node, name)
    value = constant(np.array(attribute, np.int64)) if attribute is not None else context.input(node, index)
    if value.data is not None:
        return constant(np.clip(value.data.astype(np.int64), -_FAR, _FAR))
    if context.build.is_narrow(value):
        return value
    low = binary(context.build, "MAXIMUM", value, scalar(-_FAR, value.dtype))
    return binary(context.build, "MINIMUM", low, scalar(_FAR, value.dtype))


def _entry(build: Builder, entries: Value, place: int) -> Value:
    if entries.data is None and entries.dims[0] == 1:
        return squeeze(build, entries, [0])
    return entry_of(build, entries, place)


def _beyond(end: int, step: int, size: int) -> bool:
    """Whether an end means "to the last one"."""
    if step < 0:
        return end <= -_FAR or (size != FREE and end < -size)
    return end >= _FAR or (size != FREE and end >= size)


def _length(size: int, first: Value, last: Value, step: int) -> int:
    if size == FREE or first.data is None or last.data is None:
        return FREE
    return len(
        range(*slice(int(first.data), int(last.data) if step > 0 or last.data > -_FAR else None, step).indices(size))
    )


@lowers("Pad")
def pad(context: Context, node: ir.Node) -> Value:
    """PAD, PADV2 or MIRROR_PAD; negative paddings cut off; edge and wrap repeat slices."""
    build, value = context.build, context.tensor_input(node, 0)
    amounts = context.ints(node, "pads", 1)
    axes = context.ints(node, "axes", 3) or list(range(value.rank))
    if amounts is None:
        raise Unsupported("pads must be constant")
    before, after = [0] * value.rank, [0] * value.rank
    for number, axis in enumerate(axes):
        before[axis], after[axis] = amounts[number], amounts[number + len(axes)]
    value = _cut(build, value, [min(count, 0) for count in before], [min(count, 0) for count in after])
    before, after = [max(count, 0) for count in before], [max(count, 0) for count in after]
    if not any(before) and not any(after):
        return value
    if value.rank > _MAX_PAD_RANK:
        raise Unsupported(f"{value.rank} dimensions, PAD ends at {_MAX_PAD_RANK}")
    mode = context.attr(node, "mode", "constant")
    if mode in ("edge", "wrap"):
        return _repeated(build, value, before, after, mode)
    table = build.const(np.array([[before[axis], after[axis]] for axis in value.perm], np.int32))
    dims = [FREE if value.dims[axis] == FREE else value.dims[axis] + before[axis] + after[axis] for axis in value.perm]
    kind = build.dtype_of(value.tensor)
    if mode == "reflect":
        made = build.emit("MIRROR_PAD", [value.tensor, table], dims, kind, {"mode": "REFLECT"})
        return build.value(made, value.perm, value.dtype)
    fill = context.const(node, 2)
    number = fill.reshape(-1)[0] if fill is not None and fill.size else context.attr(node, "value", 0.0)
    if context.has(node, 2) and fill is None:
        raise Unsupported("its fill value must be constant")
    inputs = [value.tensor, table]
    if number:
        inputs.append(build.const(np.asarray(number, kind)))
    return build.value(build.emit("PADV2" if number else "PAD", inputs, dims, kind), value.perm, value.dtype)


def _cut(build: Builder, value: Value, before: Sequence[int], after: Sequence[int]) -> Value:
    """Without ``-before`` entries at the start and ``-after`` at the end of each dimension."""
    if not any(before) and not any(after):
        return value
    for axis in range(value.rank):
        if before[axis] or after[axis]:
            value = _part(build, value, axis, -before[axis], after[axis] or None)
    return value


def _part(build: Builder, value: Value, axis: int, start: int, stop: int | None) -> Value:
    """A slice along one dimension."""
    place, rank = value.perm.index(axis), value.rank
    mask = (1 << rank) - 1
    begin, end = [0] * rank, [0] * rank
    begin[place], end[place] = start, stop or 0
    size = value.dims[axis]
    if size != FREE:
        length = len(range(*slice(start, stop).indices(size)))
    else:
        length = (
            stop - start
            if stop is not None and (start < 0) == (stop < 0)
            else -start
            if start < 0 and stop is None
            else FREE
        )
    dims = list(build.dims_of(value.tensor))
    dims[place] = length
    options = {"begin_mask": mask & ~(1 << place), "end_mask": mask if stop is None else mask & ~(1 << place)}
    inputs = [value.tensor, build.ints(begin), build.ints(end), build.ints([1] * rank)]
    made = build.emit("STRIDED_SLICE", inputs, dims, build.dtype_of(value.tensor), options)
    return build.value(made, value.perm, value.dtype)


def _repeated(build: Builder, value: Value, before: Sequence[int], after: Sequence[int], mode: str) -> Value:
    for axis in range(value.rank):
        if not before[axis] and not after[axis]:
            continue
        if mode == "edge":
            first, last = _part(build, value, axis, 0, 1), _part(build, value, axis, -1, None)
            parts = [first] * before[axis] + [value] + [last] * after[axis]
        else:
            parts = [_part(build, value, axis, -before[axis], None)] if before[axis] else []
            parts += [value] + ([_part(build, value, axis, 0, after[axis])] if after[axis] else [])
        place = value.perm.index(axis)
        dims = list(build.dims_of(value.tensor))
        dims[place] = FREE if dims[place] == FREE else dims[place] + before[axis] + after[axis]
        tensors = [build.place(part, value.perm, build.dtype_of(value.tensor)) for part in parts]
        made = build.emit("CONCATENATION", tensors, dims, build.dtype_of(value.tensor), {"axis": place, **NO_FUSED})
        value = build.value(made, value.perm, value.dtype)
    return value


_NEVER_NEGATIVE = {"RANGE", "ARG_MAX", "ARG_MIN", "TOPK_V2", "SHAPE", "WHERE"}


def _maker(build: Builder, tensor: int) -> str:
    """The operator that makes a tensor, "" for an input."""
    return next((step.op for step in reversed(build.graph.operators) if tensor in step.outputs), "")


def _wrapped(build: Builder, places: Value, size: Value) -> Value:
    """Places counted from behind made to count from the start."""
    if places.data is not None and not (places.data < 0).any():
        return places
    if places.data is None and _maker(build, places.tensor) in _NEVER_NEGATIVE:
        return places
    if places.data is not None and size.data is not None:
        return constant(np.where(places.data < 0, places.data + int(size.data), places.data))
    negative = binary(build, "LESS", places, scalar(0, places.dtype), "bool")
    return elementwise(build, "SELECT_V2", [negative, binary(build, "ADD", places, size), places], typed_from=1)


def _indices(build: Builder, value: Value) -> Value:
    """Indices in an integer type that TFLite gathers by."""
    if value.dtype not in ("int32", "int64"):
        raise Unsupported(f"indices of type {value.dtype}")
    return value


@lowers("Gather")
def gather(context: Context, node: ir.Node) -> Value:
    """GATHER; the data's dimensions stay as they lie, and a constant index is a slice."""
    build, value = context.build, context.input(node, 0)
    places = _indices(build, context.input(node, 1))
    axis = context.attr(node, "axis", 0) % value.rank
    if places.data is not None and places.rank == 0:
        number = int(places.data)
        part = _part(build, runtime(build, value), axis, number, number + 1 if number != -1 else None)
        return squeeze(build, part, [axis])
    value = runtime(build, value)
    places = _wrapped(build, places, _as(size_of(build, value, axis), places.dtype))
    kind = build.dtype_of(value.tensor)
    indices = build.place(
        places, dtype="int32" if places.dtype == "int64" and build.is_narrow(places) else places.dtype
    )
    place = value.perm.index(axis)
    source = build.dims_of(value.tensor)
    dims = (*source[:place], *build.dims_of(indices), *source[place + 1 :])
    made = build.emit("GATHER", [value.tensor, indices], dims, kind, {"axis": place, "batch_dims": 0})
    return build.value(made, _gathered_order(value.perm, axis, places.rank), value.dtype)


def _as(value: Value, dtype: str) -> Value:
    return constant(value.data, dtype) if value.data is not None else Value(value.dims, dtype, value.perm, value.tensor)


def _gathered_order(perm: Sequence[int], axis: int, count: int) -> tuple[int, ...]:
    order: list[int] = []
    for other in perm:
        if other == axis:
            order.extend(range(axis, axis + count))
        else:
            order.append(other if other < axis else other + count - 1)
    return tuple(order)


@lowers("GatherND")
def gather_nd(context: Context, node: ir.Node) -> Value:
    """GATHER_ND."""
    build = context.build
    value, places = runtime(build, context.input(node, 0)), _indices(build, context.input(node, 1))
    if context.attr(node, "batch_dims", 0):
        raise Unsupported("GatherND with batch_dims")
    depth = places.dims[-1]
    if depth == FREE or ((places.data is None and not build.is_narrow(places)) and FREE in value.dims[:depth]):
        raise Unsupported("GatherND over free dimensions with computed indices")
    limits = vector(build, [size_of(build, value, axis) for axis in range(depth)])
    places = _wrapped(build, places, _as(limits, places.dtype))
    indices = build.place(places, dtype="int32" if build.is_narrow(places) or places.dtype == "int32" else "int64")
    tensor = build.place(value, dtype=build.dtype_of(value.tensor))
    dims = (*places.dims[:-1], *value.dims[depth:])
    made = build.emit("GATHER_ND", [tensor, indices], dims, build.dtype_of(tensor))
    return build.value(made, dtype=value.dtype)


@lowers("GatherElements")
def gather_elements(context: Context, node: ir.Node) -> Value:
    """GATHER with as many batch dimensions as lie before the last one."""
    build = context.build
    value, places = runtime(build, context.input(node, 0)), _indices(build, context.input(node, 1))
    axis = context.attr(node, "axis", 0) % value.rank
    others = [at for at in range(value.rank) if at != axis]
    if any(value.dims[at] != places.dims[at] or value.dims[at] == FREE for at in others):
        given, wanted = context.entries(node.inputs[0]), context.entries(node.inputs[1])
        if any(given[at] is None or given[at] != wanted[at] for at in others):
            raise Unsupported("its indices have other sizes than the data beside the axis")
    places = _wrapped(build, places, _as(size_of(build, value, axis), places.dtype))
    perm = along_last(value, axis)
    tensor = build.place(value, perm, build.dtype_of(value.tensor))
    indices = build.place(places, perm, "int32" if build.is_narrow(places) else places.dtype)
    options = {"axis": value.rank - 1, "batch_dims": value.rank - 1}
    made = build.emit("GATHER", [tensor, indices], build.dims_of(indices), build.dtype_of(tensor), options)
    return build.value(made, perm, value.dtype)


@lowers("ScatterND")
def scatter_nd(context: Context, node: ir.Node) -> Value:
    """The data with places replaced by updates: SCATTER_ND of both, chosen by a mask. Constant, distinct indices only.

    SCATTER_ND adds up what goes to the same place, where ONNX's result is not defined.
    """
    build = context.build
    value = runtime(build, context.input(node, 0))
    places = context.need_const(node, 1, "its indices")
    depth = places.shape[-1]
    if context.attr(node, "reduction", "none") != "none" or value.dtype != "float32":
        raise Unsupported("ScatterND with a reduction, or of another type than float32")
    if FREE in value.dims:
        raise Unsupported("ScatterND into free dimensions")
    places = np.where(places < 0, places + np.array(value.dims[:depth]), places)
    if len(np.unique(places.reshape(-1, depth), axis=0)) != places.size // depth:
        raise Unsupported("its indices are not distinct")
    written = np.zeros(value.dims, bool)
    written[tuple(np.moveaxis(places, -1, 0))] = True
    inputs = [build.const(places.astype(np.int32)), build.place(context.input(node, 2)), build.ints(value.dims)]
    spread = build.value(build.emit("SCATTER_ND", inputs, value.dims, "float32"))
    return elementwise(build, "SELECT_V2", [constant(written), spread, value], typed_from=1)


@lowers("OneHot")
def one_hot(context: Context, node: ir.Node) -> Value:
    """ONE_HOT; places counted from behind count from the start."""
    build, places = context.build, context.input(node, 0)
    depth = context.need_const(node, 1, "its depth")
    values = context.need_const(node, 2, "its values")
    count = int(depth.reshape(-1)[0])
    if places.dtype == "float32":
        places = build.value(build.cast(build.place(places), "int64"))
    places = runtime(build, _wrapped(build, places, scalar(count, places.dtype)))
    rank = places.rank + 1
    axis = context.attr(node, "axis", -1) % rank
    tensor = build.place(places, dtype="int32" if build.is_narrow(places) else places.dtype)
    dims = list(build.dims_of(tensor))
    dims.insert(axis, count)
    kind = values.dtype.name
    inputs = [tensor, build.ints(count), build.const(values[1]), build.const(values[0])]
    made = build.emit("ONE_HOT", inputs, dims, kind, {"axis": -1 if axis == rank - 1 else axis})
    return build.value(made, identity(rank))


@lowers("NonZero")
def non_zero(context: Context, node: ir.Node) -> Value:
    """WHERE, turned: one row per dimension."""
    build, value = context.build, context.tensor_input(node, 0)
    tensor = build.place(value)
    if value.dtype != "bool":
        zero = build.const(np.zeros((), value.dtype))
        tensor = build.emit("NOT_EQUAL", [tensor, zero], build.dims_of(tensor), "bool")
    made = build.emit("WHERE", [tensor], [FREE, value.rank], "int64")
    return build.value(made, (1, 0))


@lowers("ReverseSequence")
def reverse_sequence(context: Context, node: ir.Node) -> Value:
    """REVERSE_SEQUENCE."""
    build, value = context.build, context.tensor_input(node, 0)
    tensor = build.place(value)
    lengths = build.place(context.input(node, 1), dtype="int32")
    options = {"seq_dim": context.attr(node, "time_axis", 0), "batch_dim": context.attr(node, "batch_axis", 1)}
    return build.value(build.emit("REVERSE_SEQUENCE", [tensor, lengths], build.dims_of(tensor), value.dtype, options))
