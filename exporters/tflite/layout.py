"""Tensors that know in which order their dimensions lie, so that a transposition costs nothing until it must happen.

A `Value` is what ONNX means: dimensions in ONNX's order. Its tensor holds them in the order ``perm``. A convolution
leaves its result as (0, 2, 3, 1), channels last; what works element by element keeps that; ONNX's Transpose only
writes another ``perm``. TRANSPOSE is emitted where an operator needs another order, once per tensor and order, and as
a RESHAPE where only dimensions of size 1 move.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.tflite.ir import NO_TENSOR, Graph, Operator, Tensor
from mobile.errors import ExportError

Perm = tuple[int, ...]
NHWC: Perm = (0, 2, 3, 1)
FREE = -1
_INT32 = np.iinfo(np.int32)


@dataclass(frozen=True)
class Value:
    """A value in ONNX's terms: ``dims`` in ONNX's order (-1 where free) and ONNX's element type.

    The tensor's dimension i is dimension ``perm[i]`` of the value. A constant has ``data`` in ONNX's order and no
    tensor yet. An int64 value of sizes and indices may lie in an int32 tensor.
    """

    dims: tuple[int, ...]
    dtype: str
    perm: Perm
    tensor: int = NO_TENSOR
    data: NDArray[Any] | None = None

    @property
    def rank(self) -> int:
        """The number of dimensions."""
        return len(self.dims)

    @property
    def is_const(self) -> bool:
        """Whether the values are known now."""
        return self.data is not None

    def permuted(self, order: Sequence[int]) -> Value:
        """The transposition of the value: dimension i of the result is dimension ``order[i]``. Costs nothing."""
        if self.data is not None:
            return constant(self.data.transpose(tuple(order)), self.dtype)
        place = {old: new for new, old in enumerate(order)}
        dims = tuple(self.dims[old] for old in order)
        return replace(self, dims=dims, perm=tuple(place[old] for old in self.perm))


def constant(array: NDArray[Any] | np.generic, dtype: str | None = None) -> Value:
    """A constant value."""
    data = np.asarray(array)
    return Value(tuple(data.shape), dtype or data.dtype.name, tuple(range(data.ndim)), data=data)


def identity(rank: int) -> Perm:
    """The order of ONNX."""
    return tuple(range(rank))


def inverse(perm: Perm) -> Perm:
    """The permutation that undoes ``perm``."""
    return tuple(int(place) for place in np.argsort(perm))


def moves_only_units(dims: Sequence[int], before: Perm, after: Perm) -> bool:
    """Whether two orders of a value's dimensions differ in the places of dimensions of size 1 only."""
    return [axis for axis in before if dims[axis] != 1] == [axis for axis in after if dims[axis] != 1]


class Builder:
    """Collects tensors and operators of a graph, each constant and each transposition once."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.scope = ""  # the ONNX node in work, for the tensors' names
        self._constants: dict[tuple[Any, ...], int] = {}
        self._made: dict[tuple[Any, ...], int] = {}

    def tensor(self, name: str, dims: Sequence[int], dtype: str) -> int:
        """The index of a new computed tensor; -1 in ``dims`` is a free dimension."""
        free = any(size < 0 for size in dims)
        shape = tuple(max(size, 1) if size < 0 else size for size in dims)
        self.graph.tensors.append(Tensor(name, shape, dtype, tuple(dims) if free else None))
        return len(self.graph.tensors) - 1

    def emit(
        self, op: str, inputs: Sequence[int], dims: Sequence[int], dtype: str, options: dict[str, Any] | None = None
    ) -> int:
        """The tensor that a new operator with one output makes."""
        return self.emit_many(op, inputs, [(dims, dtype)], options)[0]

    def emit_many(
        self,
        op: str,
        inputs: Sequence[int],
        outputs: Sequence[tuple[Sequence[int], str]],
        options: dict[str, Any] | None = None,
    ) -> list[int]:
        """The tensors that a new operator makes."""
        made = [self.tensor(f"{self.scope}/{op.lower()}", dims, dtype) for dims, dtype in outputs]
        self.graph.operators.append(Operator(op, list(inputs), made, dict(options or {})))
        return made

    def const(self, array: NDArray[Any] | np.generic | Sequence[int] | int | float, dtype: str | None = None) -> int:
        """The tensor of a constant, one for equal ones."""
        data = np.ascontiguousarray(np.asarray(array, dtype=dtype)).reshape(np.shape(array))
        key = (data.shape, data.dtype.name, hashlib.blake2b(data.tobytes()).digest())
        if key not in self._constants:
            self.graph.tensors.append(Tensor(f"{self.scope}/const", tuple(data.shape), data.dtype.name, data=data))
            self._constants[key] = len(self.graph.tensors) - 1
        return self._constants[key]

    def ints(self, numbers: Sequence[int] | int) -> int:
        """An int32 constant, as operators want axes, paddings and shapes."""
        return self.const(np.asarray(numbers, np.int32))

    def dims_of(self, tensor: int) -> tuple[int, ...]:
        """A tensor's dimensions as they lie, -1 where free."""
        return self.graph.tensors[tensor].dims

    def dtype_of(self, tensor: int) -> str:
        """A tensor's element type."""
        return self.graph.tensors[tensor].dtype

    def value(self, tensor: int, perm: Perm | None = None, dtype: str | None = None) -> Value:
        """The value of a tensor whose dimensions lie in the order ``perm`` (ONNX's, when None)."""
        dims = self.dims_of(tensor)
        perm = identity(len(dims)) if perm is None else perm
        logical = [0] * len(dims)
        for place, axis in enumerate(perm):
            logical[axis] = dims[place]
        return Value(tuple(logical), dtype or self.dtype_of(tensor), perm, tensor)

    def place(self, value: Value, perm: Perm | None = None, dtype: str | None = None) -> int:
        """The tensor of a value in the order ``perm`` and of the element type ``dtype`` (the value's, when None).

        Transposes and casts where it must.
        """
        perm = identity(value.rank) if perm is None else perm
        wanted = dtype or value.dtype
        if value.data is not None:
            return self.const(self._as_type(value.data, wanted).transpose(perm))
        if self.dtype_of(value.tensor) != wanted and self._narrows(value.tensor, wanted):
            return self.cast(self._ordered(value, perm), wanted)
        return self._ordered(replace(value, tensor=self.cast(value.tensor, wanted)), perm)

    def _narrows(self, tensor: int, wanted: str) -> bool:
        return np.dtype(wanted).itemsize < np.dtype(self.dtype_of(tensor)).itemsize

    def _as_type(self, data: NDArray[Any], dtype: str) -> NDArray[Any]:
        if dtype == "int32" and data.dtype.kind in "iu" and data.dtype.itemsize > 4 and data.size:
            clipped = np.clip(data, _INT32.min, _INT32.max)
            if not np.array_equal(clipped, data):
                raise ExportError(f"{self.scope}: an int64 constant does not fit int32, which TFLite takes here")
        return data.astype(dtype)

    def cast(self, tensor: int, dtype: str) -> int:
        """The tensor in another element type."""
        have = self.dtype_of(tensor)
        if have == dtype:
            return tensor
        options = {"in_data_type": have, "out_data_type": dtype}
        return self._once(("cast", tensor, dtype), "CAST", [tensor], self.dims_of(tensor), dtype, options)

    def _ordered(self, value: Value, perm: Perm) -> int:
        """The tensor with its dimensions in the order ``perm``."""
        if value.perm == perm:
            return value.tensor
        dims = [value.dims[axis] for axis in perm]
        dtype = self.dtype_of(value.tensor)
        if moves_only_units(value.dims, value.perm, perm) and sum(size < 0 for size in dims) <= 1:
            shape = self.ints(dims)
            return self._once(
                ("reshape", value.tensor, tuple(dims)), "RESHAPE", [value.tensor, shape], dims, dtype,
                {"new_shape": list(dims)},
            )  # fmt: skip
        order = [value.perm.index(axis) for axis in perm]
        inputs = [value.tensor, self.ints(order)]
        return self._once(("transpose", value.tensor, tuple(order)), "TRANSPOSE", inputs, dims, dtype, {})

    def _once(
        self, key: tuple[Any, ...], op: str, inputs: Sequence[int], dims: Sequence[int], dtype: str,
        options: dict[str, Any],
    ) -> int:  # fmt: skip
        if key not in self._made:
            self._made[key] = self.emit(op, inputs, dims, dtype, options)
        return self._made[key]

    def is_narrow(self, value: Value) -> bool:
        """Whether an int64 value lies in an int32 tensor, or is a constant that fits one."""
        if value.data is None:
            return self.dtype_of(value.tensor) == "int32"
        data = value.data
        return not data.size or bool(_INT32.min <= data.min() and data.max() <= _INT32.max)
