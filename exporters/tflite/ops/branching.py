"""If, whose branches become subgraphs of their own."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from exporters.tflite.context import Context, Unsupported, lowers
from exporters.tflite.fold import constant
from exporters.tflite.layout import FREE, Value, identity
from exporters.tflite.prims import squeeze


@lowers("If")
def branch(context: Context, node: ir.Node) -> list[Value]:
    """IF; values of the graph around it that a branch reads are its inputs."""
    build = context.build
    graphs = [node.attributes[name].as_graph() for name in ("then_branch", "else_branch")]
    captured = _captured(context, graphs)
    if context.branch is None:
        raise AssertionError("branches are converted by `convert`")
    condition = context.tensor_input(node, 0)
    condition = squeeze(build, condition, range(condition.rank))
    before = len(context.problems)
    made = [context.branch(context, graph, captured) for graph in graphs]
    if len(context.problems) > before:
        raise Unsupported("a branch holds what cannot be converted")
    inputs = [build.place(condition)]
    for value in captured:
        held = context.values[value]
        inputs.append(build.place(held, identity(held.rank), build.dtype_of(held.tensor)))
    outputs = []
    for left, right in zip(*(inner.build.graph.outputs for inner in made), strict=True):
        dims, other = made[0].build.dims_of(left), made[1].build.dims_of(right)
        if len(dims) != len(other) or made[0].build.dtype_of(left) != made[1].build.dtype_of(right):
            raise Unsupported("its branches differ in rank or type")
        merged = [a if a == b else FREE for a, b in zip(dims, other, strict=True)]
        outputs.append((merged, made[0].build.dtype_of(left)))
    context.graphs.extend(inner.build.graph for inner in made)
    for inner, name in zip(made, ("then", "else"), strict=True):
        inner.build.graph.name = f"{node.name or 'if'}/{name}"
    last = len(context.graphs)
    options = {"then_subgraph_index": last - 1, "else_subgraph_index": last}
    return [build.value(tensor) for tensor in build.emit_many("IF", inputs, outputs, options)]


def _captured(context: Context, graphs: Sequence[ir.Graph]) -> list[ir.Value]:
    """The values computed outside that the branches read, each once."""
    found: dict[ir.Value, None] = {}
    for graph in graphs:
        inside = {output for node in graph for output in node.outputs}
        read = [value for node in ir.traversal.RecursiveGraphIterator(graph) for value in node.inputs]
        for value in [*read, *graph.outputs]:
            if value is None or value in inside or constant(value) is not None:
                continue
            if value in context.values and not context.values[value].is_const:
                found[value] = None
    return list(found)
