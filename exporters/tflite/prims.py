"""The steps that conversions are written in: on values in ONNX's terms, whatever the order their dimensions lie in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from exporters.tflite.layout import FREE, Builder, Perm, Value, constant, identity, moves_only_units

Options = dict[str, Any]
NO_FUSED: Options = {"fused_activation_function": "NONE"}
_FUSABLE = {"ADD", "SUB", "MUL", "DIV"}


def scalar(number: float, dtype: str) -> Value:
    """A constant of rank 0."""
    return constant(np.asarray(number, dtype))


def runtime(build: Builder, value: Value) -> Value:
    """The value in a tensor: a constant gets one."""
    return build.value(build.place(value), dtype=value.dtype) if value.is_const else value


def unary(build: Builder, op: str, value: Value, options: Options | None = None, dtype: str | None = None) -> Value:
    """``op`` on each element."""
    value = runtime(build, value)
    kind = dtype or build.dtype_of(value.tensor)
    made = build.emit(op, [value.tensor], build.dims_of(value.tensor), kind, options)
    return build.value(made, value.perm, dtype or value.dtype)


def binary(build: Builder, op: str, left: Value, right: Value, dtype: str | None = None) -> Value:
    """``op`` on pairs of elements, broadcast as ONNX does."""
    return elementwise(build, op, [left, right], dtype, NO_FUSED if op in _FUSABLE else None)


def elementwise(
    build: Builder, op: str, values: Sequence[Value], dtype: str | None = None, options: Options | None = None,
    typed_from: int = 0,
) -> Value:  # fmt: skip
    """``op`` on elements of several values, broadcast. ``dtype``: the result's, when not the operands'.

    ``typed_from``: the first operand that has the common type (1 for a select, whose first one is the condition).
    """
    rank = max(value.rank for value in values)
    perm = common_order(values, rank)
    kind = values[typed_from].dtype
    physical = operand_type(build, values[typed_from:])
    tensors = []
    for place, value in enumerate(values):
        wanted = physical if place >= typed_from else value.dtype
        tensors.append(aligned(build, value, rank, perm, wanted))
    dims = broadcast([build.dims_of(tensor) for tensor in tensors])
    return build.value(build.emit(op, tensors, dims, dtype or physical, options), perm, dtype or kind)


def operand_type(build: Builder, values: Sequence[Value]) -> str:
    """The element type to compute in: int32 for int64 values that all lie in int32."""
    kind = values[0].dtype
    if kind != "int64":
        return kind
    computed = [value for value in values if not value.is_const]
    return "int32" if computed and all(build.is_narrow(value) for value in values) else "int64"


def common_order(values: Sequence[Value], rank: int) -> Perm:
    """The order to compute in: that of the largest operand which would have to be transposed for another one."""
    best: tuple[tuple[int, ...], Perm] | None = None
    for value in values:
        if value.is_const or value.rank != rank:
            continue
        bound = not moves_only_units(value.dims, value.perm, identity(rank))
        real = sum(size != 1 for size in value.dims)
        size = math.prod(max(size, 1) for size in value.dims)
        weight = (real, size, int(bound))
        if best is None or weight > best[0]:
            best = weight, value.perm
    return best[1] if best is not None else identity(rank)


def aligned(build: Builder, value: Value, rank: int, perm: Perm, dtype: str) -> int:
    """The tensor of a value that is broadcast to ``rank`` dimensions lying in the order ``perm``."""
    if perm == identity(rank):
        return build.place(value, dtype=dtype)
    missing = rank - value.rank
    if value.is_const or missing:
        if value.is_const and value.dims in ((), (1,)):
            return build.place(value, dtype=dtype)
        value = unsqueeze(build, value, range(missing))
    return build.place(value, perm, dtype)


def broadcast(shapes: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The dimensions of operands broadcast against each other; -1 where that is decided later."""
    rank = max(len(shape) for shape in shapes)
    result = []
    for place in range(rank):
        sizes = {shape[place - rank + len(shape)] for shape in shapes if place - rank + len(shape) >= 0}
        known = [size for size in sizes if size not in (1, FREE)]
        result.append(known[0] if known else FREE if FREE in sizes else 1)
    return tuple(result)


def unsqueeze(build: Builder, value: Value, axes: Sequence[int]) -> Value:
    """Dimensions of size 1 put in: ``axes`` are their places in the result."""
    axes = sorted(axes)
    if not axes:
        return value
    rank = value.rank + len(axes)
    kept = [axis for axis in range(rank) if axis not in axes]
    if value.data is not None:
        return constant(np.expand_dims(value.data, tuple(axes)), value.dtype)
    perm = [kept[axis] for axis in value.perm]
    for axis in reversed(axes):  # each lies before the dimension that follows it
        perm.insert(perm.index(axis + 1) if axis + 1 < rank else len(perm), axis)
    return _restacked(build, value, tuple(perm), {**dict.fromkeys(axes, 1), **dict(zip(kept, value.dims, strict=True))})


def squeeze(build: Builder, value: Value, axes: Sequence[int]) -> Value:
    """Dimensions of size 1 taken out."""
    gone = {axis % value.rank for axis in axes} if value.rank else set()
    if not gone:
        return value
    if value.data is not None:
        return constant(value.data.squeeze(tuple(sorted(gone))), value.dtype)
    kept = [axis for axis in range(value.rank) if axis not in gone]
    renamed = {axis: place for place, axis in enumerate(kept)}
    perm = tuple(renamed[axis] for axis in value.perm if axis not in gone)
    return _restacked(build, value, perm, {renamed[axis]: value.dims[axis] for axis in kept})


def _restacked(build: Builder, value: Value, perm: Perm, dims: dict[int, int]) -> Value:
    """The value with dimensions of size 1 come or gone; the others lie as they did."""
    physical = [dims[axis] for axis in perm]
    free = [place for place, size in enumerate(physical) if size < 0]
    if len(free) <= 1:
        made = reshape_to(build, value.tensor, physical)
        return build.value(made, perm, value.dtype)
    source = build.dims_of(value.tensor)
    kind = build.dtype_of(value.tensor)
    if len(physical) < len(source):
        gone = _dropped(source, physical)
        made = build.emit("SQUEEZE", [value.tensor], physical, kind, {"squeeze_dims": gone})
        return build.value(made, perm, value.dtype)
    tensor, have = value.tensor, list(source)
    for place, size in enumerate(physical):
        if size == 1 and (place >= len(have) or have[place] != 1 or len(have) - place < len(physical) - place):
            have.insert(place, 1)
            tensor = build.emit("EXPAND_DIMS", [tensor, build.ints(place)], have, kind)
        if len(have) == len(physical) and have == physical:
            break
    return build.value(tensor, perm, value.dtype)


def _dropped(source: Sequence[int], kept: Sequence[int]) -> list[int]:
    """Which dimensions of size 1 to take out of ``source`` to leave ``kept``."""
    gone, place = [], 0
    for index, size in enumerate(source):
        left = len(source) - index
        if size == 1 and (place >= len(kept) or kept[place] != 1 or left > len(kept) - place):
            gone.append(index)
        else:
            place += 1
    return gone


def reshape_to(build: Builder, tensor: int, dims: Sequence[int]) -> int:
    """A RESHAPE of a tensor as it lies; at most one of ``dims`` is free."""
    if tuple(dims) == build.dims_of(tensor):
        return tensor
    inputs = [tensor, build.ints(list(dims))]
    return build.emit("RESHAPE", inputs, dims, build.dtype_of(tensor), {"new_shape": list(dims)})


def narrow(build: Builder, value: Value) -> int:
    """The int32 tensor of indices or sizes, in ONNX's order."""
    return build.place(value, dtype="int32")


def vector(build: Builder, entries: Sequence[Value]) -> Value:
    """A vector of int64 scalars (kept in int32): a constant where all are."""
    if all(entry.is_const for entry in entries):
        return constant(np.array([int(entry.data) for entry in entries if entry.data is not None], np.int64))
    tensors = [build.place(entry, dtype="int32") for entry in entries]
    made = build.emit("PACK", tensors, [len(entries)], "int32", {"values_count": len(entries), "axis": 0})
    return build.value(made, dtype="int64")


def shape_of(build: Builder, value: Value) -> Value:
    """The sizes of the value's dimensions: an int64 vector (kept in int32), constant when they are known."""
    if FREE not in value.dims:
        return constant(np.array(value.dims, np.int64))
    if value.perm == identity(value.rank):
        return build.value(_shape(build, value.tensor), dtype="int64")
    return vector(build, [size_of(build, value, axis) for axis in range(value.rank)])


def size_of(build: Builder, value: Value, axis: int) -> Value:
    """The size of one dimension: an int64 scalar (kept in int32), constant when it is known."""
    axis %= value.rank
    if value.dims[axis] != FREE:
        return constant(np.int64(value.dims[axis]))
    place = value.perm.index(axis)
    shape = _shape(build, value.tensor)
    picked = build._once(
        ("size", value.tensor, place), "STRIDED_SLICE",
        [shape, build.ints([place]), build.ints([place + 1]), build.ints([1])], [], "int32", {"shrink_axis_mask": 1},
    )  # fmt: skip
    return build.value(picked, dtype="int64")


def _shape(build: Builder, tensor: int) -> int:
    rank = len(build.dims_of(tensor))
    return build._once(("shape", tensor), "SHAPE", [tensor], [rank], "int32", {"out_type": "int32"})


def arithmetic(build: Builder, op: str, left: Value, right: Value) -> Value:
    """ADD, SUB, MUL or FLOOR_DIV of int64 scalars, computed now where both are constant."""
    if left.data is not None and right.data is not None:
        a, b = int(left.data), int(right.data)
        return constant(np.int64({"ADD": a + b, "SUB": a - b, "MUL": a * b, "FLOOR_DIV": a // b if b else 0}[op]))
    return binary(build, op, left, right)


def reduce(build: Builder, op: str, value: Value, axes: Sequence[int], keep: bool) -> Value:
    """A reduction over ``axes``."""
    value = runtime(build, value)
    gone = sorted({axis % value.rank for axis in axes})
    if not gone:
        return value
    places = sorted(value.perm.index(axis) for axis in gone)
    physical = list(build.dims_of(value.tensor))
    kept = [axis for axis in range(value.rank) if axis not in gone]
    renamed = {axis: place for place, axis in enumerate(kept)}
    if keep:
        dims, perm = [1 if place in places else size for place, size in enumerate(physical)], value.perm
    else:
        dims = [size for place, size in enumerate(physical) if place not in places]
        perm = tuple(renamed[axis] for axis in value.perm if axis not in gone)
    kind = build.dtype_of(value.tensor)
    made = build.emit(op, [value.tensor, build.ints(places)], dims, kind, {"keep_dims": keep})
    return build.value(made, perm, value.dtype)


def along_last(value: Value, axis: int) -> Perm:
    """The order nearest to the value's in which ``axis`` lies last."""
    axis %= value.rank
    return (*(other for other in value.perm if other != axis), axis)


def ordered(build: Builder, value: Value, perm: Perm) -> Value:
    """The value in a tensor with that order."""
    return replace(value, perm=perm, tensor=build.place(value, perm, _kind(build, value)), data=None)


def _kind(build: Builder, value: Value) -> str:
    return value.dtype if value.is_const else build.dtype_of(value.tensor)
