"""Random graphs of operators that move, cut, join and reduce dimensions, so that layouts meet in every combination."""

from __future__ import annotations

import math
import random

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.support.tflite_cases import weights

_MAX_ELEMENTS = 20_000


class _Graph:
    """A graph that grows: ``shape`` is that of the last value, whose first dimension may be free."""

    def __init__(self, seed: int, free: bool) -> None:
        self.random = random.Random(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.tables: list[onnx.TensorProto] = []
        self.shape: tuple[int, ...] = (2, 4, 6, 5)
        self.value = "x"
        self.free = free
        self.seen: list[tuple[str, tuple[int, ...]]] = [("x", self.shape)]

    def table(self, array: np.ndarray) -> str:
        name = f"c{len(self.tables)}"
        self.tables.append(numpy_helper.from_array(array, name))
        return name

    def add(self, op: str, inputs: list[str], shape: tuple[int, ...], outputs: int = 1, **attrs: object) -> None:
        made = [f"v{len(self.nodes)}_{n}" for n in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, made, **attrs))
        self.value, self.shape = self.random.choice(made), shape
        self.seen.append((self.value, shape))

    def axis(self) -> int:
        """A dimension that is not the free one."""
        return self.random.randrange(1, len(self.shape))


def _elementwise(graph: _Graph) -> None:
    graph.add(graph.random.choice(["Relu", "Tanh", "Sigmoid", "Neg"]), [graph.value], graph.shape)


def _conv(graph: _Graph) -> None:
    if len(graph.shape) != 4 or min(graph.shape[2:]) < 2:
        return
    channels = graph.shape[1]
    if graph.random.random() < 0.5:
        table = graph.table(weights(6, channels, 1, 1, scale=0.5))
        graph.add("Conv", [graph.value, table], (graph.shape[0], 6, *graph.shape[2:]))
        return
    table = graph.table(weights(channels, 1, 3, 3, scale=0.5))
    graph.add("Conv", [graph.value, table], graph.shape, group=channels, pads=[1, 1, 1, 1])


def _transpose(graph: _Graph) -> None:
    rest = list(range(1, len(graph.shape)))
    graph.random.shuffle(rest)
    order = [0, *rest]
    graph.add("Transpose", [graph.value], tuple(graph.shape[axis] for axis in order), perm=order)


def _merge(graph: _Graph) -> None:
    if len(graph.shape) < 3:
        return
    axis = graph.random.randrange(1, len(graph.shape) - 1)
    shape = (*graph.shape[:axis], graph.shape[axis] * graph.shape[axis + 1], *graph.shape[axis + 2 :])
    target = graph.table(np.array([0 if place < axis else size for place, size in enumerate(shape)], np.int64))
    graph.add("Reshape", [graph.value, target], shape)


def _split_dimension(graph: _Graph) -> None:
    axis = graph.axis()
    size = graph.shape[axis]
    factors = [factor for factor in (2, 3, 5) if size % factor == 0]
    if not factors or len(graph.shape) > 4:
        return
    factor = graph.random.choice(factors)
    shape = (*graph.shape[:axis], factor, size // factor, *graph.shape[axis + 1 :])
    target = graph.table(np.array([-1, *shape[1:]], np.int64))
    graph.add("Reshape", [graph.value, target], shape)


def _flatten_all(graph: _Graph) -> None:
    shape = (graph.shape[0], math.prod(graph.shape[1:]))
    graph.add("Flatten", [graph.value], shape)
    size = shape[1]
    factor = next((factor for factor in (4, 3, 5, 2) if size % factor == 0), 1)
    target = graph.table(np.array([0, factor, -1], np.int64))
    graph.add("Reshape", [graph.value, target], (shape[0], factor, size // factor))


def _units(graph: _Graph) -> None:
    ones = [axis for axis, size in enumerate(graph.shape) if size == 1 and axis]
    if ones and len(graph.shape) > 2 and graph.random.random() < 0.6:
        axis = graph.random.choice(ones)
        shape = (*graph.shape[:axis], *graph.shape[axis + 1 :])
        graph.add("Squeeze", [graph.value, graph.table(np.array([axis], np.int64))], shape)
    elif len(graph.shape) < 5:
        axis = graph.random.randrange(1, len(graph.shape) + 1)
        shape = (*graph.shape[:axis], 1, *graph.shape[axis:])
        graph.add("Unsqueeze", [graph.value, graph.table(np.array([axis], np.int64))], shape)


def _constant(graph: _Graph) -> None:
    rank = graph.random.randrange(1, len(graph.shape) + 1)
    shape = [size if graph.random.random() < 0.6 else 1 for size in graph.shape[len(graph.shape) - rank :]]
    if rank == len(graph.shape):
        shape[0] = 1
    op = graph.random.choice(["Add", "Mul", "Sub"])
    graph.add(op, [graph.value, graph.table(weights(*shape))], graph.shape)


def _with_an_earlier_one(graph: _Graph) -> None:
    fitting = [name for name, shape in graph.seen if shape == graph.shape and name != graph.value]
    other = graph.random.choice(fitting or [graph.value])
    if graph.random.random() < 0.5:
        graph.add("Add", [graph.value, other], graph.shape)
        return
    axis = graph.axis()
    shape = tuple(size * (1 + (place == axis)) for place, size in enumerate(graph.shape))
    if math.prod(shape) <= _MAX_ELEMENTS:
        graph.add("Concat", [graph.value, other], shape, axis=axis)


def _cut(graph: _Graph) -> None:
    axis = graph.axis()
    if graph.shape[axis] < 2:
        return
    if graph.shape[axis] % 2 == 0 and graph.random.random() < 0.5:
        shape = tuple(size // (1 + (place == axis)) for place, size in enumerate(graph.shape))
        graph.add("Split", [graph.value], shape, outputs=2, axis=axis)
        return
    bounds = [graph.table(np.array([number], np.int64)) for number in (1, 2**62, axis)]
    shape = tuple(size - (place == axis) for place, size in enumerate(graph.shape))
    graph.add("Slice", [graph.value, *bounds], shape)


def _pad(graph: _Graph) -> None:
    axis = graph.axis()
    amounts = [0] * (2 * len(graph.shape))
    amounts[axis], amounts[axis + len(graph.shape)] = 1, 2
    shape = tuple(size + 3 * (place == axis) for place, size in enumerate(graph.shape))
    if math.prod(shape) <= _MAX_ELEMENTS and len(shape) <= 5:
        graph.add("Pad", [graph.value, graph.table(np.array(amounts, np.int64))], shape)


def _reduce(graph: _Graph) -> None:
    axis, keep = graph.axis(), graph.random.random() < 0.5
    if len(graph.shape) < 3 and not keep:
        return
    before, after = graph.shape[:axis], graph.shape[axis + 1 :]
    shape = (*before, 1, *after) if keep else (*before, *after)
    graph.add(graph.random.choice(["ReduceMean", "ReduceMax"]), [graph.value], shape, axes=[axis], keepdims=int(keep))


def _softmax(graph: _Graph) -> None:
    graph.add("Softmax", [graph.value], graph.shape, axis=graph.axis())


def _gather(graph: _Graph) -> None:
    axis = graph.axis()
    places = [graph.random.randrange(-graph.shape[axis], graph.shape[axis]) for _ in range(3)]
    shape = (*graph.shape[:axis], 3, *graph.shape[axis + 1 :])
    graph.add("Gather", [graph.value, graph.table(np.array(places, np.int64))], shape, axis=axis)


def _matmul(graph: _Graph) -> None:
    if len(graph.shape) < 2:
        return
    if len(graph.shape) == 4 and graph.random.random() < 0.4:
        order = [0, 1, 3, 2]
        first, size = graph.value, graph.shape[2]
        graph.add("Transpose", [first], tuple(graph.shape[axis] for axis in order), perm=order)
        graph.add("MatMul", [first, graph.value], (*graph.seen[-1][1][:2], size, size))
        return
    table = graph.table(weights(graph.shape[-1], 4, scale=0.5))
    graph.add("MatMul", [graph.value, table], (*graph.shape[:-1], 4))


_STEPS = (
    _elementwise, _conv, _conv, _transpose, _transpose, _merge, _split_dimension, _flatten_all, _units, _constant,
    _constant, _with_an_earlier_one, _cut, _pad, _reduce, _softmax, _gather, _matmul,
)  # fmt: skip


def random_model(seed: int, free: bool, length: int = 12) -> onnx.ModelProto:
    """A graph of about ``length`` random operators on x [2, 4, 6, 5]; with ``free`` the batch is not fixed."""
    graph = _Graph(seed, free)
    while len(graph.nodes) < length:
        graph.random.choice(_STEPS)(graph)
    dims = ["N" if free else 2, 4, 6, 5]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)]
    made = helper.make_graph(graph.nodes, "random", inputs, [onnx.ValueInfoProto(name=graph.value)], graph.tables)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)
