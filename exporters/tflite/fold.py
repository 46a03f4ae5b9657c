"""What of a graph depends on constants alone is computed now, by onnxruntime, and put there as constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporters.runtime import one_line, onnx_errors
from mobile.errors import ExportError

_RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
_EMBED_LIMIT_BYTES = 1 << 20  # larger constants go in as inputs, so that no message comes near protobuf's 2 GB


def constant(value: ir.Value | None) -> NDArray[Any] | None:
    """The values of an initializer, None for what is computed or fed."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return np.asarray(value.const_value.numpy())


def make_constant(graph: ir.Graph, value: ir.Value, array: NDArray[Any]) -> None:
    """Replaces a computed value by an initializer of the same name."""
    name = f"{value.name}/folded"
    while name in graph.initializers:
        name += "_"
    fresh = ir.Value(name=name, const_value=ir.tensor(array, name=name))
    fresh.shape = ir.Shape(array.shape)
    fresh.type = ir.TensorType(ir.DataType.from_numpy(array.dtype))
    graph.register_initializer(fresh)
    value.replace_all_uses_with(fresh, replace_graph_outputs=True)


def fold_constants(model: ir.Model, graph: ir.Graph) -> bool:
    """Whether something was folded: nodes whose inputs are all constant, also whole chains of them."""
    fixed: set[ir.Value] = set()
    chain: list[ir.Node] = []
    for node in graph:
        given = [value for value in node.inputs if value is not None]
        foldable = node.op_type not in _RANDOM and not _has_graphs(node)
        if foldable and all(value in fixed or constant(value) is not None for value in given):
            chain.append(node)
            fixed.update(node.outputs)
    wanted = [value for node in chain for value in node.outputs if _leaves(value, set(chain))]
    if not wanted:
        return False
    for value, array in zip(wanted, _evaluate(model, chain, wanted), strict=True):
        make_constant(graph, value, array)
    for node in reversed(chain):
        graph.remove(node, safe=False)
    return True


def _has_graphs(node: ir.Node) -> bool:
    return any(attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for attribute in _attributes(node))


def _attributes(node: ir.Node) -> list[ir.Attr]:
    return [attribute for attribute in node.attributes.values() if isinstance(attribute, ir.Attr)]


def _leaves(value: ir.Value, chain: set[ir.Node]) -> bool:
    return value.is_graph_output() or any(user not in chain for user, _ in value.uses())


def _evaluate(model: ir.Model, chain: list[ir.Node], wanted: list[ir.Value]) -> list[NDArray[Any]]:
    """The values of ``wanted``, from onnxruntime without optimisation."""
    import onnx
    import onnxruntime

    inputs = {value for node in chain for value in node.inputs if value is not None and constant(value) is not None}
    graph = onnx.GraphProto(name="constants")
    feeds: dict[str, NDArray[Any]] = {}
    for value in inputs:
        array, name = constant(value), value.name or ""
        if array is None or value.const_value is None:
            continue
        if array.nbytes <= _EMBED_LIMIT_BYTES or array.dtype.name not in _FED:
            proto = ir.to_proto(ir.tensor(value.const_value.numpy(), dtype=value.const_value.dtype, name=name))
            graph.initializer.append(proto)
        else:
            kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
            graph.input.append(onnx.helper.make_tensor_value_info(name, kind, array.shape))
            feeds[name] = array
    graph.node.extend(ir.to_proto(node) for node in chain)
    graph.output.extend(onnx.ValueInfoProto(name=value.name or "") for value in wanted)
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in model.opset_imports.items()]
    proto_model = onnx.helper.make_model(graph, opset_imports=imports, ir_version=min(model.ir_version or 8, 13))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            proto_model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return [np.asarray(array) for array in session.run([value.name for value in wanted], feeds)]
    except onnx_errors() as error:
        raise ExportError(f"its constants cannot be computed: {one_line(error)}", "Check the model first.") from error


_FED = {"float32", "float64", "float16", "int64", "int32", "int8", "uint8", "bool"}


def fold_ifs(graph: ir.Graph) -> bool:
    """Whether an If whose condition is constant was replaced by the branch that it takes."""
    changed = False
    for node in list(graph):
        if node.op_type != "If":
            continue
        condition = constant(node.inputs[0])
        if condition is None:
            continue
        taken = node.attributes["then_branch" if bool(condition.reshape(-1)[0]) else "else_branch"]
        _inline(graph, node, taken.as_graph())
        changed = True
    return changed


def _inline(graph: ir.Graph, node: ir.Node, branch: ir.Graph) -> None:
    """Puts the branch's nodes in the place of the If."""
    prefix = node.name or node.outputs[0].name
    for value in list(branch.initializers.values()):
        branch.initializers.pop(value.name or "")
        value.name = f"{prefix}/{value.name}"
        graph.register_initializer(value)
    results = list(branch.outputs)
    inner = list(branch)
    branch.outputs.clear()
    for step in inner:
        branch.remove(step, safe=False)
        for output in step.outputs:
            output.name = f"{prefix}/{output.name}"
        graph.insert_before(node, step)
    for output, result in zip(node.outputs, results, strict=True):
        output.replace_all_uses_with(result, replace_graph_outputs=True)
    graph.remove(node, safe=False)
