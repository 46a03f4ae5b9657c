"""LSTM, GRU and RNN, unrolled or as a loop: TFLite's own sequence operators keep their state between calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporters.tflite.context import Context, Unsupported, lowers
from exporters.tflite.ir import Graph
from exporters.tflite.layout import FREE, Builder, Value, constant
from exporters.tflite.ops.matrix import fully_connected
from exporters.tflite.prims import binary, runtime, scalar, size_of, squeeze, unary, unsqueeze, vector

_MAX_UNROLLED = 64  # steps; more become a loop, whose body is a graph of its own
_ACTIVATIONS = {"Sigmoid": "LOGISTIC", "Tanh": "TANH", "Relu": "RELU"}
Array = NDArray[np.float32]
Step = Callable[[Builder, "Cell", Value, list[Value]], list[Value]]


@dataclass(frozen=True)
class Cell:
    """One direction's weights: ``inputs`` [gates * H, I], ``states`` [gates * H, H], their biases, activations."""

    inputs: Array
    states: Array
    input_bias: Array
    state_bias: Array
    hidden: int
    activations: tuple[str, ...]
    linear_before_reset: bool


def _cells(context: Context, node: ir.Node, gates: int, defaults: Sequence[str]) -> list[Cell]:
    weights = context.need_const(node, 1, "its weights")
    states = context.need_const(node, 2, "its recurrent weights")
    hidden, directions = states.shape[2], len(weights)
    bias = context.const(node, 3)
    bias = np.zeros((directions, 2 * gates * hidden), np.float32) if bias is None else bias
    names = context.attr(node, "activations") or list(defaults) * directions
    if any(name not in _ACTIVATIONS for name in names):
        raise Unsupported(f"the activations {', '.join(names)}")
    for name, neutral in (("clip", None), ("input_forget", 0), ("layout", 0)):
        if context.attr(node, name, neutral) != neutral:
            raise Unsupported(f"the attribute {name}")
    each = len(defaults)
    return [
        Cell(weights[n], states[n], bias[n, : gates * hidden], bias[n, gates * hidden :], hidden,
             tuple(_ACTIVATIONS[name] for name in names[each * n : each * n + each]),
             bool(context.attr(node, "linear_before_reset", 0)))
        for n in range(directions)
    ]  # fmt: skip


def _unrolled(
    context: Context, node: ir.Node, gates: int, defaults: Sequence[str], step: Step, state_inputs: Sequence[int]
) -> list[Value]:
    """Y, and the last state of each kind, as ONNX orders them."""
    build, sequence = context.build, runtime(context.build, context.input(node, 0))
    steps = sequence.dims[0]
    lengths = context.const(node, 4)
    if context.has(node, 4) and (lengths is None or (lengths != steps).any()):
        raise Unsupported("sequence_lens that differ from the length")
    if node.op_type == "LSTM" and context.has(node, 7):
        raise Unsupported("peephole weights")
    cells = _cells(context, node, gates, defaults)
    direction = context.attr(node, "direction", "forward")
    looped = steps == FREE or steps > _MAX_UNROLLED
    results, finals = [], []
    for number, cell in enumerate(cells):
        states = [_initial(context, node, index, number, sequence, cell.hidden) for index in state_inputs]
        backwards = direction == "reverse" or number == 1
        if looped:
            made, states = _loop(context, cell, sequence, states, step, backwards)
        else:
            parts, states = _run(build, cell, sequence, states, step, backwards)
            made = _stack(build, parts, 0)
        results.append(made)
        finals.append(states)
    outputs = [_stack(build, results, 1)]
    for kind in range(len(state_inputs)):
        outputs.append(_stack(build, [states[kind] for states in finals], 0))
    return outputs


def _run(
    build: Builder, cell: Cell, sequence: Value, states: list[Value], step: Step, backwards: bool
) -> tuple[list[Value], list[Value]]:
    """The hidden state after each step, in the sequence's order, and the last states."""
    projected = fully_connected(build, sequence, cell.inputs, cell.input_bias)
    parts = _unstack(build, projected)
    made = []
    for part in reversed(parts) if backwards else parts:
        states = step(build, cell, part, states)
        made.append(states[0])
    return made[::-1] if backwards else made, states


def _loop(
    context: Context, cell: Cell, sequence: Value, states: list[Value], step: Step, backwards: bool
) -> tuple[Value, list[Value]]:
    """The same by a WHILE over the steps: (every hidden state [T, N, H], the last states)."""
    build = context.build
    projected = fully_connected(build, sequence, cell.inputs, cell.input_bias)
    steps, batch = size_of(build, sequence, 0), size_of(build, sequence, 1)
    shape = vector(build, [steps, batch, constant(np.int64(cell.hidden))])
    dims = (*sequence.dims[:2], cell.hidden)
    empty = build.emit("FILL", [build.place(shape, dtype="int32"), build.const(np.float32(0))], dims, "float32")
    tensors = [build.ints(0), build.place(steps, dtype="int32"), build.place(projected), empty]
    tensors += [build.place(state) for state in states]
    kinds = [(build.dims_of(tensor), build.dtype_of(tensor)) for tensor in tensors]
    context.graphs += [_condition(kinds), _body(kinds, cell, step, backwards)]
    last = len(context.graphs)
    options = {"cond_subgraph_index": last - 1, "body_subgraph_index": last}
    made = build.emit_many("WHILE", tensors, kinds, options)
    return build.value(made[3]), [build.value(tensor) for tensor in made[4:]]


Kinds = Sequence[tuple[Sequence[int], str]]


def _carried(kinds: Kinds, name: str) -> tuple[Builder, list[int]]:
    """A graph that takes what the loop carries: step, number of steps, projected inputs, results, states."""
    build = Builder()
    build.scope = build.graph.name = name
    tensors = [build.tensor(f"{name}/{place}", dims, kind) for place, (dims, kind) in enumerate(kinds)]
    build.graph.inputs.extend(tensors)
    return build, tensors


def _condition(kinds: Kinds) -> Graph:
    build, tensors = _carried(kinds, "more steps")
    build.graph.outputs.append(build.emit("LESS", tensors[:2], [], "bool"))
    return build.graph


def _body(kinds: Kinds, cell: Cell, step: Step, backwards: bool) -> Graph:
    build, tensors = _carried(kinds, "step")
    number, steps, projected, results, *states = tensors
    one = constant(np.int32(1))
    after = binary(build, "ADD", build.value(number), one)
    place = binary(build, "SUB", build.value(steps), after) if backwards else build.value(number)
    dims = build.dims_of(projected)[1:]
    part = build.emit("GATHER", [projected, build.place(place)], dims, "float32", {"axis": 0, "batch_dims": 0})
    new = step(build, cell, build.value(part), [build.value(state) for state in states])
    row = unsqueeze(build, new[0], [0])
    start = build.emit("PACK", [build.place(place), build.ints(0), build.ints(0)], [3], "int32", {"values_count": 3})
    inputs = [results, build.place(row), start]
    written = build.emit("DYNAMIC_UPDATE_SLICE", inputs, build.dims_of(results), "float32")
    build.graph.outputs += [build.place(after), steps, projected, written, *(build.place(state) for state in new)]
    return build.graph


def _initial(context: Context, node: ir.Node, index: int, number: int, sequence: Value, hidden: int) -> Value:
    """A state at the start: one direction's part of an input, or zeros, [N, H]."""
    build = context.build
    if not context.has(node, index):
        if sequence.dims[1] != FREE:
            return runtime(build, constant(np.zeros((sequence.dims[1], hidden), np.float32)))
        shape = vector(build, [size_of(build, sequence, 1), constant(np.int64(hidden))])
        inputs = [build.place(shape, dtype="int32"), build.const(np.float32(0))]
        return build.value(build.emit("FILL", inputs, (FREE, hidden), "float32"))
    value = context.tensor_input(node, index)
    if value.dims[0] == 1:
        return squeeze(build, value, [0])
    return _unstack(build, value)[number]


def _unstack(build: Builder, value: Value) -> list[Value]:
    """The entries along the first dimension."""
    if value.dims[0] == 1:
        return [squeeze(build, value, [0])]
    tensor = build.place(value)
    count = value.dims[0]
    made = build.emit_many("UNPACK", [tensor], [(value.dims[1:], value.dtype)] * count, {"num": count, "axis": 0})
    return [build.value(part) for part in made]


def _stack(build: Builder, values: Sequence[Value], axis: int) -> Value:
    if len(values) == 1:
        return unsqueeze(build, values[0], [axis])
    tensors = [build.place(value) for value in values]
    dims = list(values[0].dims)
    dims.insert(axis, len(values))
    return build.value(build.emit("PACK", tensors, dims, "float32", {"values_count": len(values), "axis": axis}))


def _gates(build: Builder, value: Value, count: int) -> list[Value]:
    tensor = build.place(value)
    dims = (value.dims[0], value.dims[1] // count)
    made = build.emit_many("SPLIT", [build.ints(1), tensor], [(dims, "float32")] * count, {"num_splits": count})
    return [build.value(part) for part in made]


def _lstm_step(build: Builder, cell: Cell, part: Value, states: list[Value]) -> list[Value]:
    """ONNX's LSTM: gates i, o, f, c; C = f * C + i * c; H = o * h(C)."""
    total = binary(build, "ADD", part, fully_connected(build, states[0], cell.states, cell.state_bias))
    enter, leave, forget, fresh = _gates(build, total, 4)
    gate, squash, last = cell.activations
    kept = binary(build, "MUL", unary(build, gate, forget), states[1])
    memory = binary(build, "ADD", kept, binary(build, "MUL", unary(build, gate, enter), unary(build, squash, fresh)))
    return [binary(build, "MUL", unary(build, gate, leave), unary(build, last, memory)), memory]


def _gru_step(build: Builder, cell: Cell, part: Value, states: list[Value]) -> list[Value]:
    """ONNX's GRU: gates z, r, h; H = (1 - z) * h + z * H, with the reset before or after the product."""
    gate, squash = cell.activations
    size, before = cell.hidden, states[0]
    if cell.linear_before_reset:
        update, reset, fresh = _gates(build, fully_connected(build, before, cell.states, cell.state_bias), 3)
    else:
        both = fully_connected(build, before, cell.states[: 2 * size], cell.state_bias[: 2 * size])
        update, reset = _gates(build, both, 2)
        fresh = before
    x_update, x_reset, x_fresh = _gates(build, part, 3)
    z = unary(build, gate, binary(build, "ADD", x_update, update))
    r = unary(build, gate, binary(build, "ADD", x_reset, reset))
    inner = binary(build, "MUL", r, fresh)
    if not cell.linear_before_reset:
        inner = fully_connected(build, inner, cell.states[2 * size :], cell.state_bias[2 * size :])
    h = unary(build, squash, binary(build, "ADD", x_fresh, inner))
    rest = binary(build, "MUL", binary(build, "SUB", scalar(1, "float32"), z), h)
    return [binary(build, "ADD", rest, binary(build, "MUL", z, before))]


def _rnn_step(build: Builder, cell: Cell, part: Value, states: list[Value]) -> list[Value]:
    """H = f(x W + H R + biases)."""
    total = binary(build, "ADD", part, fully_connected(build, states[0], cell.states, cell.state_bias))
    return [unary(build, cell.activations[0], total)]


@lowers("LSTM")
def lstm(context: Context, node: ir.Node) -> list[Value]:
    """LSTM, unrolled."""
    return _unrolled(context, node, 4, ("Sigmoid", "Tanh", "Tanh"), _lstm_step, (5, 6))


@lowers("GRU")
def gru(context: Context, node: ir.Node) -> list[Value]:
    """GRU, unrolled."""
    return _unrolled(context, node, 3, ("Sigmoid", "Tanh"), _gru_step, (5,))


@lowers("RNN")
def rnn(context: Context, node: ir.Node) -> list[Value]:
    """RNN, unrolled."""
    return _unrolled(context, node, 1, ("Tanh",), _rnn_step, (5,))
