"""The clean-up of a converted graph: fewer moves, activations and factors inside the operators before them."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from exporters.tflite.ir import NO_TENSOR, Graph, Operator, Tensor

_ACTIVATIONS = {"RELU", "RELU6", "RELU_N1_TO_1"}
_TAKES_ACTIVATION = {
    "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "SUB", "MUL", "DIV", "MAX_POOL_2D", "AVERAGE_POOL_2D",
}  # fmt: skip
# The dimension of the weights that is the output channel.
_CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}


def clean(graph: Graph, keep_weights: bool = False) -> None:
    """Runs every pass; the graph computes the same, up to the rounding of folded factors."""
    remove_dead(graph)
    fold_moves(graph)
    remove_dead(graph)
    fold_factors(graph, keep_weights)
    fuse_activations(graph)
    remove_dead(graph)
    drop_unused_tensors(graph)


def _makers(graph: Graph) -> dict[int, Operator]:
    return {tensor: step for step in graph.operators for tensor in step.outputs}


def _uses(graph: Graph) -> Counter[int]:
    return Counter([tensor for step in graph.operators for tensor in step.inputs] + graph.outputs)


def remove_dead(graph: Graph) -> None:
    """Operators without which every output stays."""
    needed = set(graph.outputs)
    kept = []
    for step in reversed(graph.operators):
        if any(tensor in needed for tensor in step.outputs):
            kept.append(step)
            needed.update(step.inputs)
    graph.operators[:] = kept[::-1]


def fold_moves(graph: Graph) -> None:
    """A RESHAPE of a RESHAPE and a TRANSPOSE of a TRANSPOSE become one; those that change nothing go."""
    makers = _makers(graph)
    renamed: dict[int, int] = {}
    kept = []
    for step in graph.operators:
        step.inputs = [renamed.get(tensor, tensor) for tensor in step.inputs]
        before = makers.get(step.inputs[0]) if step.inputs else None
        if step.op == "RESHAPE" and before is not None and before.op == "RESHAPE":
            step.inputs[0] = before.inputs[0]
        elif step.op == "TRANSPOSE" and before is not None and before.op == "TRANSPOSE":
            _compose(graph, before, step)
        if _is_nothing(graph, step) and step.outputs[0] not in graph.outputs:
            renamed[step.outputs[0]] = step.inputs[0]
            continue
        kept.append(step)
    graph.operators[:] = kept


def _compose(graph: Graph, first: Operator, second: Operator) -> None:
    a, b = (graph.tensors[step.inputs[1]].data for step in (first, second))
    if a is None or b is None:
        return
    second.inputs = [first.inputs[0], _constant(graph, a[b].astype(np.int32))]


def _is_nothing(graph: Graph, step: Operator) -> bool:
    if step.op == "TRANSPOSE":
        order = graph.tensors[step.inputs[1]].data
        return order is not None and bool(np.array_equal(order, np.arange(len(order))))
    if step.op != "RESHAPE":
        return False
    before, after = graph.tensors[step.inputs[0]], graph.tensors[step.outputs[0]]
    return before.dims == after.dims and after.signature is None


def _constant(graph: Graph, data: NDArray[np.generic]) -> int:
    graph.tensors.append(Tensor("folded", tuple(data.shape), data.dtype.name, data=data))
    return len(graph.tensors) - 1


def fold_factors(graph: Graph, keep_weights: bool) -> None:
    """A constant factor or summand per channel goes into the weights and the bias of the operator before it.

    ``keep_weights``: summands alone.
    """
    makers, uses = _makers(graph), _uses(graph)
    renamed: dict[int, int] = {}
    kept = []
    for step in graph.operators:
        step.inputs = [renamed.get(tensor, tensor) for tensor in step.inputs]
        target = None if keep_weights and step.op == "MUL" else _foldable(graph, step, makers, uses)
        if target is None:
            kept.append(step)
            continue
        before, numbers = target
        _absorb(graph, before, step.op, numbers)
        old = before.outputs[0]
        before.outputs = [step.outputs[0]]
        before.options["fused_activation_function"] = step.options.get("fused_activation_function", "NONE")
        makers[step.outputs[0]] = before
        renamed[old] = step.outputs[0]
    graph.operators[:] = kept


def _foldable(
    graph: Graph, step: Operator, makers: dict[int, Operator], uses: Counter[int]
) -> tuple[Operator, NDArray[np.float64]] | None:
    """The operator before a factor or summand, and one number per channel, when they can become one."""
    if step.op not in ("ADD", "SUB", "MUL") or len(step.inputs) != 2:
        return None
    for computed, fixed in (step.inputs, step.inputs[::-1]):
        data, before = graph.tensors[fixed].data, makers.get(computed)
        if data is None or before is None or before.op not in _CHANNEL_AXIS or uses[computed] != 1:
            continue
        if step.op == "SUB" and fixed != step.inputs[1]:
            continue
        if before.options.get("fused_activation_function", "NONE") != "NONE" or data.dtype != np.float32:
            continue
        weights = graph.tensors[before.inputs[1]].data
        shape = graph.tensors[computed].shape
        if weights is None or data.size not in (1, shape[-1]) or data.ndim > len(shape):
            continue
        if data.size > 1 and data.shape[-1] != data.size:
            continue
        if step.op == "MUL" and uses[before.inputs[1]] > 1:
            continue  # shared weights stay shared
        channels = weights.shape[_CHANNEL_AXIS[before.op]]
        return before, np.broadcast_to(data.reshape(-1).astype(np.float64), (channels,))
    return None


def _absorb(graph: Graph, before: Operator, op: str, numbers: NDArray[np.float64]) -> None:
    bias_index = before.inputs[2] if len(before.inputs) > 2 else NO_TENSOR
    bias = graph.tensors[bias_index].data if bias_index != NO_TENSOR else None
    start = np.zeros(len(numbers)) if bias is None else bias.astype(np.float64)
    if op == "MUL":
        weights = graph.tensors[before.inputs[1]].data
        if weights is not None:
            spread = [1] * weights.ndim
            spread[_CHANNEL_AXIS[before.op]] = len(numbers)
            product = weights.astype(np.float64) * numbers.reshape(spread)
            before.inputs[1] = _constant(graph, product.astype(np.float32))
        start = start * numbers
    else:
        start = start + numbers if op == "ADD" else start - numbers
    if op != "MUL" or bias is not None:
        before.inputs[2:] = [_constant(graph, start.astype(np.float32))]


def fuse_activations(graph: Graph) -> None:
    """RELU and its kin become part of the operator before them, where nothing else reads its result."""
    makers, uses = _makers(graph), _uses(graph)
    kept = []
    for step in graph.operators:
        before = makers.get(step.inputs[0]) if step.op in _ACTIVATIONS else None
        fits = (
            before is not None
            and before.op in _TAKES_ACTIVATION
            and before.options.get("fused_activation_function", "NONE") == "NONE"
            and uses[step.inputs[0]] == 1
            and graph.tensors[step.inputs[0]].dtype == "float32"
        )
        if before is None or not fits:
            kept.append(step)
            continue
        before.options["fused_activation_function"] = step.op
        before.outputs = [step.outputs[0]]
        makers[step.outputs[0]] = before
    graph.operators[:] = kept


def drop_unused_tensors(graph: Graph) -> None:
    """Leaves out tensors that nothing reads or makes, and numbers the others anew."""
    used = set(graph.inputs) | set(graph.outputs)
    for step in graph.operators:
        used.update(step.inputs)
        used.update(step.outputs)
    used.discard(NO_TENSOR)
    order = sorted(used)
    new = {old: place for place, old in enumerate(order)} | {NO_TENSOR: NO_TENSOR}
    graph.tensors[:] = [graph.tensors[old] for old in order]
    for step in graph.operators:
        step.inputs = [new[tensor] for tensor in step.inputs]
        step.outputs = [new[tensor] for tensor in step.outputs]
    graph.inputs[:] = [new[tensor] for tensor in graph.inputs]
    graph.outputs[:] = [new[tensor] for tensor in graph.outputs]
