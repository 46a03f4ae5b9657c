"""An ONNX file as a `Graph`: dimensions bound, shapes inferred by onnx, nothing loaded but the structure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exporters.inspection.graph import Graph, NotCounted, Step
from exporters.inspection.macs_onnx import count_macs
from exporters.inspection.skeleton import skeleton
from exporters.runtime import one_line, onnx_errors
from mobile.errors import ModelError
from mobile.formats.dtypes import ONNX_TYPES
from mobile.formats.onnx_scan import operator_name
from mobile.formats.protowire import Buffer

# onnx knows no shapes for onnxruntime's own operators. For inference each stands as an operator whose output has the
# same shape: which one, and which of its inputs that takes.
_TWINS: dict[str, tuple[str, tuple[int, ...]]] = {
    "FusedConv": ("Conv", (0, 1)),
    "FusedMatMul": ("MatMul", (0, 1)),
    "MatMulIntegerToFloat": ("MatMul", (0, 1)),
    "DynamicQuantizeMatMul": ("MatMul", (0, 1)),
    "FusedGemm": ("Gemm", (0, 1)),
    "QGemm": ("Gemm", (0, 3)),
    "QLinearAdd": ("Add", (0, 3)),
    "QLinearMul": ("Mul", (0, 3)),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", (0,)),
    **dict.fromkeys(("Gelu", "FastGelu", "QuickGelu", "BiasGelu"), ("Identity", (0,))),
    **dict.fromkeys(("QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax"), ("Identity", (0,))),
    **dict.fromkeys(("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), ("Identity", (0,))),
}
_KEPT_ATTRIBUTES = {"Conv": ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"),
                    "Gemm": ("transA", "transB")}  # fmt: skip


def read_onnx(buffer: Buffer, size: int, name: str, batch: int, dims: Mapping[str, int]) -> tuple[Graph, list[str]]:
    """The graph and notes on what could not be found out. ModelError when onnx cannot read the structure."""
    import onnx

    notes: list[str] = []
    try:
        model = onnx.ModelProto.FromString(skeleton(buffer, size))
    except onnx_errors() as error:
        raise ModelError(f"{name}: onnx cannot read its structure: {one_line(error)}", "Export it again.") from error
    if model.functions:
        model = _inlined(model, notes)
    bound = bind(model.graph, batch, dims)
    if bound:
        notes.append("bound: " + ", ".join(f"{key} = {value}" for key, value in sorted(bound.items())))
    free = _free(model.graph)
    if free:
        notes.append(f"free dimensions without a size: {', '.join(free)}")
    return _read(model, _inferred(model, notes)), notes


def _inlined(model: Any, notes: list[str]) -> Any:
    import onnx.inliner

    try:
        return onnx.inliner.inline_local_functions(model)
    except onnx_errors() as error:
        notes.append(f"its functions were not looked into: {one_line(error, 120)}")
        return model


def bind(graph: Any, batch: int, dims: Mapping[str, int]) -> dict[str, int]:
    """Gives free dimensions their sizes: by name, and the first dimension of an input the batch. The bindings by
    name.
    """
    weights = {tensor.name for tensor in graph.initializer}
    bound = dict(dims)
    for value in (*graph.input, *graph.output, *graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.HasField("dim_value") and axis.dim_value < 0:  # some exporters write -1 for "any"
                axis.ClearField("dim_value")
    for value in graph.input:
        axes = value.type.tensor_type.shape.dim
        if value.name not in weights and axes and not axes[0].HasField("dim_value"):
            if axes[0].dim_param not in ("", "?"):
                bound.setdefault(axes[0].dim_param, batch)
            else:
                axes[0].dim_value = batch
    used: dict[str, int] = {}
    # "?" is Paddle's name for every unknown dimension: that of an input may be bound by it, others are not the same.
    elsewhere = {name: size for name, size in bound.items() if name != "?"}
    inputs = {value.name for value in graph.input}
    for value in (*graph.input, *graph.output, *graph.value_info):
        known = bound if value.name in inputs else elsewhere
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param in known:
                used[axis.dim_param] = bound[axis.dim_param]
                axis.dim_value = bound[axis.dim_param]
    return used


def _free(graph: Any) -> list[str]:
    """The dimensions of inputs that nothing was bound to, by name or as "input[axis]"."""
    weights = {tensor.name for tensor in graph.initializer}
    free: dict[str, None] = {}
    for value in graph.input:
        for number, axis in enumerate(value.type.tensor_type.shape.dim):
            if value.name not in weights and not axis.HasField("dim_value"):
                free[axis.dim_param or f"{value.name}[{number}]"] = None
    return list(free)


def _inferred(model: Any, notes: list[str]) -> Any:
    """The model with the shapes that onnx can tell; twins stand in for onnxruntime's own operators meanwhile."""
    import onnx

    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    for number, node in enumerate(twin.graph.node):
        if node.domain == "com.microsoft":
            _replace_by_twin(twin.graph, node, number)
    try:
        return onnx.shape_inference.infer_shapes(twin, strict_mode=False, data_prop=True)
    except onnx_errors() as error:  # what is written in the file is then all there is
        notes.append(f"shapes could not be inferred: {one_line(error, 160)}")
        return model


def _replace_by_twin(graph: Any, node: Any, number: int) -> None:
    if node.op_type == "MatMulNBits":
        sizes = {attribute.name: attribute.i for attribute in node.attribute}
        weight = graph.initializer.add(name=f"edgewise.twin.{number}", data_type=1, data_location=1)
        weight.dims.extend([sizes.get("K", 0), sizes.get("N", 0)])
        weight.external_data.add(key="location", value="none")
        kind, inputs = "MatMul", [node.input[0], weight.name]
    elif node.op_type in _TWINS:
        kind, places = _TWINS[node.op_type]
        inputs = [node.input[place] for place in places if place < len(node.input)]
    else:
        return
    kept = [attribute for attribute in node.attribute if attribute.name in _KEPT_ATTRIBUTES.get(kind, ())]
    first = node.output[0]
    node.op_type, node.domain = kind, ""
    for field in ("input", "output", "attribute"):
        node.ClearField(field)
    node.input.extend(inputs)
    node.output.append(first)
    node.attribute.extend(kept)


def _read(model: Any, inferred: Any) -> Graph:
    graph = Graph()
    weights = {tensor.name for tensor in model.graph.initializer}
    weights |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    graph.inputs = tuple(value.name for value in model.graph.input if value.name not in weights)
    graph.outputs = tuple(value.name for value in model.graph.output)
    read_body(graph, model.graph, inferred.graph)
    return graph


def read_body(graph: Graph, body: Any, inferred: Any) -> None:
    """Adds a graph's tensors and steps; ``inferred`` is the same graph with shapes."""
    for tensor in body.initializer:
        _note_tensor(graph, tensor.name, tensor)
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        _note_value(graph, value)
    for node, twin in zip(body.node, inferred.node, strict=True):
        if node.op_type in ("Constant", "ConstantOfShape") and not node.domain:
            _note_constant(graph, node)
        graph.steps.append(_step(graph, node, twin))


def _note_tensor(graph: Graph, name: str, tensor: Any) -> None:
    graph.constants.add(name)
    graph.shapes[name] = tuple(tensor.dims)
    graph.bits[name] = ONNX_TYPES.get(tensor.data_type, ("", 0))[1]


def _note_value(graph: Graph, value: Any) -> None:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        return
    graph.bits.setdefault(value.name, ONNX_TYPES.get(kind.elem_type, ("", 0))[1])
    if kind.HasField("shape") and all(axis.HasField("dim_value") and axis.dim_value >= 0 for axis in kind.shape.dim):
        graph.shapes.setdefault(value.name, tuple(axis.dim_value for axis in kind.shape.dim))


def _note_constant(graph: Graph, node: Any) -> None:
    for attribute in node.attribute:
        if node.op_type == "Constant" and attribute.name == "value":
            _note_tensor(graph, node.output[0], attribute.t)
    if node.op_type == "Constant":
        graph.constants.add(node.output[0])


def _step(graph: Graph, node: Any, twin: Any) -> Step:
    operator = operator_name(node.domain, node.op_type)
    inputs, outputs = tuple(node.input), tuple(node.output)
    if operator == "If":
        return _if_step(graph, node, twin)
    attributes = {attribute.name: attribute.i for attribute in node.attribute if attribute.type == 2}
    try:
        return Step(operator, inputs, outputs, count_macs(operator, graph, inputs, outputs, attributes))
    except NotCounted as error:
        return Step(operator, inputs, outputs, None, str(error))


def _if_step(graph: Graph, node: Any, twin: Any) -> Step:
    """An If counts as its larger branch; what the branches read from outside are its inputs."""
    inputs, worst = set(node.input), 0
    for attribute, inferred in zip(node.attribute, twin.attribute, strict=True):
        if not attribute.HasField("g"):
            continue
        inner = Graph(shapes=dict(graph.shapes), bits=dict(graph.bits), constants=set(graph.constants))
        read_body(inner, attribute.g, inferred.g)
        made = {name for step in inner.steps for name in step.outputs}
        inputs |= {name for step in inner.steps for name in step.inputs} - made - inner.constants
        unknown = next((step for step in inner.steps if step.macs is None), None)
        if unknown is not None:
            why = f"{unknown.operator} in a branch: {unknown.why}"
            return Step("If", tuple(inputs), tuple(node.output), None, why)
        worst = max(worst, sum(step.macs or 0 for step in inner.steps))
    return Step("If", tuple(inputs), tuple(node.output), worst)
