"""What a conversion of one ONNX operator works with: its inputs as values, its attributes, the graph that grows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporters.tflite.contents import Contents, Entry, sizes
from exporters.tflite.fold import constant as constant_of
from exporters.tflite.ir import Graph
from exporters.tflite.layout import FREE, Builder, Value, constant
from exporters.tflite.prims import runtime, scalar


class Unsupported(Exception):
    """TFLite has nothing that computes this; the message says what."""


Lowering = Callable[["Context", ir.Node], "Value | Sequence[Value]"]
LOWERINGS: dict[str, Lowering] = {}


def lowers(*ops: str) -> Callable[[Lowering], Lowering]:
    """Registers a function as the conversion of these ONNX operators."""

    def register(function: Lowering) -> Lowering:
        for op in ops:
            LOWERINGS[op] = function
        return function

    return register


def dtype_name(value: ir.Value) -> str:
    """Numpy's name of a value's element type."""
    if value.dtype is None:
        raise Unsupported(f"the type of {value.name} is unknown")
    return "string" if value.dtype == ir.DataType.STRING else str(value.dtype.numpy().name)


class Context:
    """The state of a conversion."""

    def __init__(self, graph: ir.Graph, opset: int) -> None:
        self.build = Builder()
        self.contents = Contents(graph)
        self.opset = opset
        self.values: dict[ir.Value, Value] = {}
        self.keep_weights = False  # whether weights must stay as they are, with no factor folded in
        self.problems: list[tuple[ir.Node, str]] = []  # what cannot be converted, of all graphs
        self.graphs: list[Graph] = []  # branches, beside the main graph
        self.branch: Callable[[Context, ir.Graph, Sequence[ir.Value]], Context] | None = None

    def has(self, node: ir.Node, index: int) -> bool:
        """Whether the optional input is given."""
        return index < len(node.inputs) and node.inputs[index] is not None

    def input(self, node: ir.Node, index: int) -> Value:
        """An input's value."""
        value = node.inputs[index]
        if value is None:
            raise Unsupported(f"its input {index} is missing")
        if value not in self.values:
            array = constant_of(value)
            if array is None:
                raise Unsupported(f"its input {value.name} is made by a graph around it")
            self.values[value] = constant(array, dtype_name(value))
        return self.values[value]

    def tensor_input(self, node: ir.Node, index: int) -> Value:
        """An input's value, in a tensor also where it is constant."""
        return runtime(self.build, self.input(node, index))

    def const(self, node: ir.Node, index: int) -> NDArray[Any] | None:
        """A constant input's values; None when it is not given or computed at run time."""
        return constant_of(node.inputs[index]) if self.has(node, index) else None

    def need_const(self, node: ir.Node, index: int, what: str) -> NDArray[Any]:
        """A constant input's values; Unsupported when it is computed at run time."""
        array = self.const(node, index)
        if array is None:
            raise Unsupported(f"{what} must be constant")
        return array

    def ints(self, node: ir.Node, name: str, index: int, default: Sequence[int] | None = None) -> list[int] | None:
        """Integers that older operator sets hold in the attribute ``name`` and newer ones in input ``index``."""
        found = self.attr(node, name)
        if found is not None:
            return [int(number) for number in np.atleast_1d(found)]
        if not self.has(node, index):
            return None if default is None else list(default)
        return [int(number) for number in np.atleast_1d(self.need_const(node, index, name))]

    def attr(self, node: ir.Node, name: str, default: Any = None) -> Any:
        """An attribute's value, strings as str."""
        found = node.attributes.get(name)
        return default if found is None else found.value

    def entries(self, value: ir.Value | None) -> list[Entry]:
        """A value's shape: sizes, names of free dimensions, None where nothing is known."""
        known = sizes(value)
        if value in self.values:
            have = self.values[value].dims
            if known is None or len(known) != len(have):
                return [None if size == FREE else size for size in have]
            return [size if size != FREE else entry for size, entry in zip(have, known, strict=True)]
        if known is None:
            raise Unsupported(f"the rank of {'an input' if value is None else value.name} is unknown")
        return known

    def dims(self, value: ir.Value | None) -> list[int]:
        """A value's shape with -1 where it is free."""
        return [entry if isinstance(entry, int) else FREE for entry in self.entries(value)]

    def like(self, number: float, value: Value) -> Value:
        """A constant scalar of the value's element type."""
        return scalar(number, value.dtype)
