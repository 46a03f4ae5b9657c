"""Operators that change shapes or ask for them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from exporters.tflite.contents import Entry
from exporters.tflite.context import Context, Unsupported, lowers
from exporters.tflite.layout import FREE, NHWC, Builder, Value, constant
from exporters.tflite.prims import (
    NO_FUSED,
    binary,
    common_order,
    elementwise,
    operand_type,
    runtime,
    scalar,
    shape_of,
    size_of,
    squeeze,
    unsqueeze,
    vector,
)
from exporters.tflite.reshaping import gather_vector, reshape


@lowers("Identity", "Dropout")
def same(context: Context, node: ir.Node) -> Value:
    """The value itself; Dropout does nothing in inference."""
    if len(node.outputs) > 1 and node.outputs[1].uses():
        raise Unsupported("the mask of Dropout is not converted")
    return context.input(node, 0)


@lowers("Shape")
def shape(context: Context, node: ir.Node) -> Value:
    """The sizes, known ones as constants."""
    value = context.input(node, 0)
    start, end = context.attr(node, "start", 0), context.attr(node, "end")
    if start == 0 and end is None:
        return shape_of(context.build, value)
    axes = range(value.rank)[start:end]
    return vector(context.build, [size_of(context.build, value, axis) for axis in axes])


@lowers("Size")
def size(context: Context, node: ir.Node) -> Value:
    """The product of the sizes."""
    sizes = shape_of(context.build, context.input(node, 0))
    if sizes.data is not None:
        return constant(np.int64(np.prod(sizes.data)))
    made = context.build.emit("REDUCE_PROD", [sizes.tensor, context.build.ints([0])], [], "int32", {"keep_dims": False})
    return context.build.value(made, dtype="int64")


@lowers("Transpose")
def transpose(context: Context, node: ir.Node) -> Value:
    """Only the order is written down; see `layout`."""
    value = context.input(node, 0)
    return value.permuted(context.attr(node, "perm") or list(reversed(range(value.rank))))


@lowers("Reshape")
def reshape_node(context: Context, node: ir.Node) -> Value:
    """RESHAPE; entries 0 and -1 of the target are resolved where the shapes are known."""
    value, given = context.input(node, 0), context.entries(node.inputs[0])
    target = context.contents.reshaped(node)
    if target is None:
        array = context.attr(node, "shape")
        rank = context.dims(node.inputs[1])[0] if len(node.inputs) > 1 else len(array or ())
        if rank == FREE:
            raise Unsupported("the rank of its result is not known")
        target = [None] * rank if array is None else _old_target(given, array)
    if sum(not isinstance(entry, int) for entry in target) <= 1:
        return reshape(context.build, value, given, target, None)
    return reshape(context.build, value, given, target, _sizes(context, node, value))


def _old_target(given: list[Entry], array: list[int]) -> list[Entry]:
    known = [given[axis] if entry == 0 else int(entry) for axis, entry in enumerate(array)]
    return [None if entry == -1 else entry for entry in known]


def _sizes(context: Context, node: ir.Node, value: Value) -> Value:
    """The target as a vector for RESHAPE: copied sizes in the place of 0; -1 stays, TFLite computes it too."""
    raw = context.contents.get(node.inputs[1])
    target = context.input(node, 1)
    if raw is None or 0 not in raw or context.attr(node, "allowzero", 0):
        return target
    parts = []
    for axis, entry in enumerate(raw):
        if entry == 0:
            parts.append(size_of(context.build, value, axis))
        elif isinstance(entry, int):
            parts.append(constant(np.int64(entry)))
        else:
            parts.append(entry_of(context.build, target, axis))
    return vector(context.build, parts)


def entry_of(build: Builder, entries: Value, place: int) -> Value:
    """One entry of a vector as a scalar."""
    if entries.data is not None:
        return constant(entries.data[place], entries.dtype)
    kind = build.dtype_of(entries.tensor)
    bounds = [build.ints([place]), build.ints([place + 1]), build.ints([1])]
    made = build.emit("STRIDED_SLICE", [entries.tensor, *bounds], [], kind, {"shrink_axis_mask": 1})
    return build.value(made, dtype=entries.dtype)


@lowers("Flatten")
def flatten(context: Context, node: ir.Node) -> Value:
    """All dimensions before ``axis`` as one, the others as another."""
    value, given = context.input(node, 0), context.entries(node.inputs[0])
    axis = context.attr(node, "axis", 1)
    axis = axis + value.rank if axis < 0 else axis
    parts: list[Entry] = []
    for part in (given[:axis], given[axis:]):
        numbers = [entry for entry in part if isinstance(entry, int)]
        others = [entry for entry in part if not isinstance(entry, int)]
        whole = int(np.prod(numbers)) if numbers else 1
        parts.append(whole if not others else others[0] if len(others) == 1 and whole == 1 else None)
    sizes = None
    if sum(not isinstance(part, int) for part in parts) > 1:
        first = size_of(context.build, value, 0) if axis == 1 else None
        if first is None:
            raise Unsupported("Flatten over several free dimensions on both sides")
        sizes = vector(context.build, [first, constant(np.int64(-1))])
    return reshape(context.build, value, given, parts, sizes)


@lowers("Squeeze")
def squeeze_node(context: Context, node: ir.Node) -> Value:
    """Dimensions of size 1 taken out."""
    value = context.input(node, 0)
    axes = context.ints(node, "axes", 1)
    if axes is None:
        if FREE in value.dims:
            raise Unsupported("Squeeze without axes over free dimensions")
        axes = [axis for axis, size in enumerate(value.dims) if size == 1]
    return squeeze(context.build, value, axes)


@lowers("Unsqueeze")
def unsqueeze_node(context: Context, node: ir.Node) -> Value:
    """Dimensions of size 1 put in."""
    value = context.input(node, 0)
    axes = context.ints(node, "axes", 1) or []
    rank = value.rank + len(axes)
    return unsqueeze(context.build, value, [axis % rank for axis in axes])


@lowers("Concat")
def concat(context: Context, node: ir.Node) -> Value:
    """CONCATENATION, in the order of the largest part."""
    build = context.build
    values = [context.input(node, index) for index in range(len(node.inputs))]
    values = [value for value in values if 0 not in value.dims or (value.rank == 1 and len(values) == 1)] or values[:1]
    if len(values) == 1:
        return values[0]
    axis = context.attr(node, "axis") % values[0].rank
    perm = common_order(values, values[0].rank)
    physical = operand_type(build, values)
    tensors = [build.place(value, perm, physical) for value in values]
    parts = [build.dims_of(tensor) for tensor in tensors]
    place = perm.index(axis)
    dims = [max(sizes) for sizes in zip(*parts, strict=True)]
    dims[place] = FREE if any(part[place] == FREE for part in parts) else sum(part[place] for part in parts)
    made = build.emit("CONCATENATION", tensors, dims, physical, {"axis": place, **NO_FUSED})
    return build.value(made, perm, values[0].dtype)


@lowers("Split")
def split(context: Context, node: ir.Node) -> list[Value]:
    """SPLIT into equal parts, SPLIT_V into others."""
    build, value = context.build, context.tensor_input(node, 0)
    axis = context.attr(node, "axis", 0) % value.rank
    count, total = len(node.outputs), value.dims[axis]
    sizes = context.ints(node, "split", 1)
    if sizes is None:
        if total == FREE and context.attr(node, "num_outputs"):
            raise Unsupported("Split of a free dimension, whose last part may be smaller")
        each = FREE if total == FREE else -(-total // count)
        sizes = [FREE if total == FREE else min(each, total - each * number) for number in range(count)]
    if count == 1:
        return [value]
    place = value.perm.index(axis)
    outputs = []
    for part in sizes:
        dims = list(build.dims_of(value.tensor))
        dims[place] = part
        outputs.append((dims, build.dtype_of(value.tensor)))
    if len(set(sizes)) == 1:
        made = build.emit_many("SPLIT", [build.ints(place), value.tensor], outputs, {"num_splits": count})
    else:
        inputs = [value.tensor, build.ints(sizes), build.ints(place)]
        made = build.emit_many("SPLIT_V", inputs, outputs, {"num_splits": count})
    return [build.value(tensor, value.perm, value.dtype) for tensor in made]


@lowers("Expand")
def expand(context: Context, node: ir.Node) -> Value:
    """BROADCAST_TO, when anything grows."""
    build, value = context.build, context.input(node, 0)
    target = context.contents.get(node.inputs[1])
    rank_of_target = len(target) if target is not None else context.dims(node.inputs[1])[0]
    if rank_of_target == FREE:
        raise Unsupported("the rank of its result is not known")
    rank = max(value.rank, rank_of_target)
    value = unsqueeze(build, runtime(build, value), range(rank - value.rank))
    entries: list[Entry] = [1] * (rank - rank_of_target)
    entries += target if target is not None else [None] * rank_of_target
    given: list[Entry] = [1] * (rank - len(context.entries(node.inputs[0])))
    given += context.entries(node.inputs[0])
    if all(entry == 1 or (entry is not None and entry == have) for entry, have in zip(entries, given, strict=True)):
        return value
    dims = [_grown(have, entry) for have, entry in zip(value.dims, entries, strict=True)]
    if FREE not in dims:
        sizes = constant(np.array(dims, np.int64))
    else:
        sizes = context.input(node, 1)
        if rank > rank_of_target:
            ones = constant(np.ones(rank - rank_of_target, np.int64))
            sizes = _chained(build, ones, sizes)
        if any(entry != 1 and have != 1 for entry, have in zip(entries, value.dims, strict=True)) or 1 in entries:
            sizes = binary(build, "MAXIMUM", sizes, shape_of(build, value))
    physical = [dims[axis] for axis in value.perm]
    kind = build.dtype_of(value.tensor)
    made = build.emit("BROADCAST_TO", [value.tensor, gather_vector(build, sizes, value.perm)], physical, kind)
    return build.value(made, value.perm, value.dtype)


def _grown(have: int, entry: Entry) -> int:
    if entry == 1:
        return have
    if isinstance(entry, int):
        return entry
    return have if have > 1 else FREE


def _chained(build: Builder, first: Value, second: Value) -> Value:
    tensors = [build.place(part, dtype="int32") for part in (first, second)]
    length = [sum(build.dims_of(tensor)[0] for tensor in tensors)]
    made = build.emit("CONCATENATION", tensors, length, "int32", {"axis": 0, **NO_FUSED})
    return build.value(made, dtype="int64")


@lowers("Tile")
def tile(context: Context, node: ir.Node) -> Value:
    """TILE."""
    build, value = context.build, context.tensor_input(node, 0)
    entries = context.contents.get(node.inputs[1]) or [None] * value.rank
    dims = []
    for axis in value.perm:
        count, size = entries[axis], value.dims[axis]
        dims.append(size * count if isinstance(count, int) and size != FREE else FREE)
    repeats = gather_vector(build, context.input(node, 1), value.perm)
    kind = build.dtype_of(value.tensor)
    return build.value(build.emit("TILE", [value.tensor, repeats], dims, kind), value.perm, value.dtype)


@lowers("ConstantOfShape")
def constant_of_shape(context: Context, node: ir.Node) -> Value:
    """FILL."""
    build, sizes = context.build, context.input(node, 0)
    fill = context.attr(node, "value")
    number = np.float32(0) if fill is None else fill.numpy().reshape(-1)[0]
    entries = context.contents.get(node.inputs[0]) or [None] * sizes.dims[0]
    dims = [entry if isinstance(entry, int) else FREE for entry in entries]
    physical = "int32" if number.dtype == np.int64 and abs(int(number)) < 1 << 31 else number.dtype.name
    made = build.emit("FILL", [build.place(sizes, dtype="int32"), build.const(number.astype(physical))], dims, physical)
    return build.value(made, dtype=number.dtype.name)


@lowers("Range")
def numbers(context: Context, node: ir.Node) -> Value:
    """RANGE."""
    build = context.build
    parts = [squeeze(build, part, range(part.rank)) for part in (context.input(node, index) for index in range(3))]
    physical = operand_type(build, parts)
    made = build.emit("RANGE", [build.place(part, dtype=physical) for part in parts], [FREE], physical)
    return build.value(made, dtype=parts[0].dtype)


@lowers("Trilu")
def triangle(context: Context, node: ir.Node) -> Value:
    """The upper or lower triangle of the last two dimensions, zeros elsewhere."""
    build, value = context.build, context.tensor_input(node, 0)
    shift = int(context.need_const(node, 1, "k").reshape(-1)[0]) if context.has(node, 1) else 0
    upper = context.attr(node, "upper", 1)
    rows, columns = (_counted(build, value, axis) for axis in (-2, -1))
    distance = binary(build, "SUB", unsqueeze(build, columns, [0]), unsqueeze(build, rows, [1]))
    if distance.data is not None:
        mask = constant(distance.data >= shift if upper else distance.data <= shift)
    else:
        op = "GREATER_EQUAL" if upper else "LESS_EQUAL"
        mask = binary(build, op, distance, constant(np.int64(shift)), "bool")
    return elementwise(build, "SELECT_V2", [mask, value, scalar(0, value.dtype)], typed_from=1)


def _counted(build: Builder, value: Value, axis: int) -> Value:
    """0, 1, 2 ... along a dimension."""
    length = size_of(build, value, axis)
    ends = [build.ints(0), build.place(length, dtype="int32"), build.ints(1)]
    made = build.emit("RANGE", ends, [value.dims[axis]], "int32")
    return build.value(made, dtype="int64")


@lowers("DepthToSpace")
def depth_to_space(context: Context, node: ir.Node) -> Value:
    """DEPTH_TO_SPACE orders channels as ONNX's DCR; CRD's are put in that order first."""
    build, value = context.build, context.tensor_input(node, 0)
    block = context.attr(node, "blocksize")
    tensor = build.place(value, NHWC)
    channels = value.dims[1]
    if context.attr(node, "mode", "DCR") == "CRD":
        order = np.arange(channels).reshape(channels // block**2, block * block).T.reshape(-1)
        inputs = [tensor, build.ints(order.tolist())]
        tensor = build.emit("GATHER", inputs, build.dims_of(tensor), build.dtype_of(tensor), {"axis": 3})
    batch, height, width = (value.dims[axis] for axis in (0, 2, 3))
    dims = [batch, *(size * block if size != FREE else FREE for size in (height, width)), channels // block**2]
    made = build.emit("DEPTH_TO_SPACE", [tensor], dims, build.dtype_of(tensor), {"block_size": block})
    return build.value(made, NHWC)


@lowers("SpaceToDepth")
def space_to_depth(context: Context, node: ir.Node) -> Value:
    """SPACE_TO_DEPTH."""
    build, value = context.build, context.tensor_input(node, 0)
    block = context.attr(node, "blocksize")
    tensor = build.place(value, NHWC)
    batch, height, width = (value.dims[axis] for axis in (0, 2, 3))
    dims = [batch, *(size // block if size != FREE else FREE for size in (height, width)), value.dims[1] * block**2]
    made = build.emit("SPACE_TO_DEPTH", [tensor], dims, build.dtype_of(tensor), {"block_size": block})
    return build.value(made, NHWC)


@lowers("EyeLike")
def eye(context: Context, node: ir.Node) -> Value:
    """Ones on a diagonal, of a known shape."""
    value = context.input(node, 0)
    if FREE in value.dims:
        raise Unsupported("EyeLike of a free shape")
    kind = ir.DataType(context.attr(node, "dtype", ir.DataType.FLOAT)).numpy()
    return constant(np.eye(value.dims[0], value.dims[1], context.attr(node, "k", 0), dtype=kind))
