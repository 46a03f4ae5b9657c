"""Groups of ONNX nodes that TFLite has one operator for."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from exporters.passes import remove_dead
from exporters.tflite.fold import constant


def fuse(model: ir.Model) -> None:
    """Replaces the groups by single nodes, which the conversions know."""
    for graph in model.graphs():
        for node in list(graph):
            if node.op_type == "Erf":
                _gelu(graph, node)
            elif node.op_type == "HardSigmoid":
                _hard_swish(graph, node)
            elif node.op_type == "Clip":
                _written_out_hard_swish(graph, node)
    remove_dead(model)


def _number(value: ir.Value | None) -> float | None:
    array = constant(value)
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None


def _only_user(value: ir.Value, op: str) -> ir.Node | None:
    users = list(value.uses())
    return users[0][0] if len(users) == 1 and users[0][0].op_type == op and not value.is_graph_output() else None


def _other(node: ir.Node, value: ir.Value) -> ir.Value | None:
    return node.inputs[1] if node.inputs[0] is value else node.inputs[0]


def _close(value: float | None, wanted: float) -> bool:
    return value is not None and math.isclose(value, wanted, rel_tol=1e-5)


def _scaled_source(node: ir.Node | None) -> ir.Value | None:
    """x of x / sqrt(2) or x * sqrt(1/2)."""
    if node is None or node.op_type not in ("Div", "Mul"):
        return None
    for source, factor in ((node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])):
        wanted = math.sqrt(2) if node.op_type == "Div" else math.sqrt(0.5)
        if _close(_number(factor), wanted) and (node.op_type == "Mul" or factor is node.inputs[1]):
            return source
    return None


def _gelu(graph: ir.Graph, erf: ir.Node) -> None:
    """0.5 * x * (1 + erf(x / sqrt(2))), multiplied in any order."""
    source = _scaled_source(erf.inputs[0].producer() if erf.inputs[0] is not None else None)
    add = _only_user(erf.outputs[0], "Add")
    if source is None or add is None or not _close(_number(_other(add, erf.outputs[0])), 1.0):
        return
    product = _only_user(add.outputs[0], "Mul")
    if product is None:
        return
    factor = _other(product, add.outputs[0])
    if factor is source:
        last = _only_user(product.outputs[0], "Mul")
        if last is None or not _close(_number(_other(last, product.outputs[0])), 0.5):
            return
    elif _close(_number(factor), 0.5):
        last = _only_user(product.outputs[0], "Mul")
        if last is None or _other(last, product.outputs[0]) is not source:
            return
    else:
        half = factor.producer() if factor is not None else None
        if half is None or half.op_type != "Mul" or source not in half.inputs:
            return
        if not _close(_number(_other(half, source)), 0.5):
            return
        last = product
    _replace(graph, last, "Gelu", source)


def _hard_swish(graph: ir.Graph, gate: ir.Node) -> None:
    """x * hardsigmoid(x) with alpha 1/6 and beta 1/2."""
    alpha, beta = gate.attributes.get("alpha"), gate.attributes.get("beta")
    if not _close(alpha.value if alpha else 0.2, 1 / 6) or (beta is not None and beta.value != np.float32(0.5)):
        return
    product = _only_user(gate.outputs[0], "Mul")
    source = gate.inputs[0]
    if product is not None and source is not None and _other(product, gate.outputs[0]) is source:
        _replace(graph, product, "HardSwish", source)


def _written_out_hard_swish(graph: ir.Graph, clip: ir.Node) -> None:
    """x * clip(x + 3, 0, 6) / 6, divided before or after the product."""
    add = clip.inputs[0].producer() if clip.inputs[0] is not None else None
    if add is None or add.op_type != "Add" or _bounds(clip) != (0.0, 6.0):
        return
    threes = [value for value in add.inputs if _close(_number(value), 3.0)]
    if len(threes) != 1:
        return
    source = _other(add, threes[0]) if threes[0] is not None else None
    last: ir.Node | None = clip
    divided = multiplied = False
    while last is not None and not (divided and multiplied):
        before = last.outputs[0]
        product, quotient = _only_user(before, "Mul"), _only_user(before, "Div")
        if not multiplied and product is not None and _other(product, before) is source:
            last, multiplied = product, True
        elif not divided and product is not None and _close(_number(_other(product, before)), 1 / 6):
            last, divided = product, True
        elif not divided and quotient is not None and _close(_number(quotient.inputs[1]), 6.0):
            last, divided = quotient, True
        else:
            return
    if last is not None and source is not None:
        _replace(graph, last, "HardSwish", source)


def _bounds(clip: ir.Node) -> tuple[float | None, float | None]:
    """A Clip's bounds, from its attributes or its inputs."""
    found = []
    for place, name in ((1, "min"), (2, "max")):
        given = clip.attributes.get(name)
        found.append(given.value if given else _number(clip.inputs[place]) if place < len(clip.inputs) else None)
    return found[0], found[1]


def _replace(graph: ir.Graph, last: ir.Node, op: str, source: ir.Value) -> None:
    """Puts one node in the place of a group that ends in ``last``."""
    old = last.outputs[0]
    node = ir.node(op, [source], name=last.name)
    (made,) = node.outputs
    made.name, made.shape, made.type = f"{old.name}/fused", old.shape, old.type
    graph.insert_before(last, node)
    old.replace_all_uses_with(made, replace_graph_outputs=True)
