"""The clean-up that every exported graph goes through, as a declared list of onnx-ir passes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from exporters.runtime import one_line, quiet
from exporters.streaming import digest
from mobile.errors import ExportError

if TYPE_CHECKING:
    import onnx_ir as ir

# A path of this machine: /home/x/..., C:\Users\..., or a file URL.
_MACHINE_PATH = re.compile(r"(?:^|[\s\"'=(\[])(?:/[\w.+-]+){2,}|\b[A-Za-z]:\\|file://")


def remove_dead(model: ir.Model) -> None:
    """Nodes, functions and operator sets that nothing needs."""
    import onnx_ir.passes.common as common

    common.RemoveUnusedNodesPass()(model)
    common.RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]


def weights_are_no_inputs(model: ir.Model) -> None:
    """Initializers leave the list of inputs, where files before IR version 4 had to name them too."""
    import onnx_ir.passes.common as common

    common.RemoveInitializersFromInputsPass()(model)
    model.ir_version = max(model.ir_version or 0, 4)


def lift_constants(model: ir.Model) -> None:
    """Constant nodes of 16 values or more become initializers, where weights are looked for."""
    import onnx_ir.passes.common as common

    common.LiftConstantsToInitializersPass()(model)


def eliminate_identities(model: ir.Model) -> None:
    """Identity nodes that only rename, in subgraphs too; those that make a graph's output stay.

    onnx-ir's own pass of this kind fails where a subgraph's output comes from the graph around it (silero-vad has
    such).
    """
    import onnx_ir as ir

    for node in list(ir.traversal.RecursiveGraphIterator(model.graph)):
        if node.op_type != "Identity" or node.domain not in ("", "ai.onnx"):
            continue
        (source,), (renamed,) = node.inputs, node.outputs
        if source is None or renamed.is_graph_output() or node.graph is None:
            continue
        source.shape = source.shape or renamed.shape
        source.type = source.type or renamed.type
        renamed.replace_all_uses_with(source)
        node.graph.remove(node, safe=True)


def share_equal_subexpressions(model: ir.Model) -> None:
    """Equal nodes with equal inputs are computed once. Quantisation pairs are left: runtimes fuse them per consumer."""
    import onnx_ir.passes.common as common

    if not _quantised(model):
        common.CommonSubexpressionEliminationPass()(model)


def share_equal_weights(model: ir.Model) -> None:
    """Equal initializers of a graph become one.

    Not those that a QuantizeLinear or DequantizeLinear reads: onnxruntime fuses a weight's DequantizeLinear into the
    MatMul behind it only when neither weight nor scale is shared, and is 50 to 100 times slower where it cannot.
    """
    for graph in model.graphs():
        kept: dict[tuple[Any, ...], ir.Value] = {}
        for value in list(graph.initializers.values()):
            tensor = value.const_value
            if tensor is None or value.is_graph_input() or value.is_graph_output() or _feeds_quantisation(value):
                continue
            key = (str(tensor.dtype), tuple(tensor.shape), _digest(tensor))
            if key in kept:
                value.replace_all_uses_with(kept[key])
                del graph.initializers[value.name or ""]
            else:
                kept[key] = value


def infer_shapes(model: ir.Model) -> None:
    """Shapes of intermediate tensors; the inputs' and outputs' own declared shapes stay as they were."""
    import onnx_ir.passes.common as common

    ends = [*model.graph.inputs, *model.graph.outputs]
    declared = [(value, value.shape, value.type) for value in ends]
    common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
    for value, shape, kind in declared:
        value.shape = shape
        value.type = kind


def sort_topologically(model: ir.Model) -> None:
    """Nodes in an order in which each comes after those it reads."""
    import onnx_ir.passes.common as common

    common.TopologicalSortPass()(model)


def strip_documentation(model: ir.Model) -> None:
    """Doc strings and metadata of nodes and values (exporters leave stack traces there), and machine paths anywhere.

    The model's own metadata (labels, alphabets) stays, except entries that hold a path of the machine it was made on.
    """
    import onnx_ir.passes.common as common

    common.ClearMetadataAndDocStringPass()(model)
    for graph in model.graphs():
        values = [*graph.inputs, *graph.initializers.values()]
        values += [output for node in graph for output in node.outputs]
        for value in values:
            value.metadata_props.clear()
            value.doc_string = None
    for key, text in list(model.metadata_props.items()):
        if _MACHINE_PATH.search(f"{key}={text}"):
            del model.metadata_props[key]
    if model.doc_string and _MACHINE_PATH.search(model.doc_string):
        model.doc_string = None


def remove_unused_operator_sets(model: ir.Model) -> None:
    """Imports of domains that no node belongs to; the default domain's always stays."""
    import onnx_ir.passes.common as common

    version = model.opset_imports.get("")
    common.RemoveUnusedOpsetsPass()(model)
    if version is not None:
        model.opset_imports[""] = version


PASSES: tuple[Callable[[Any], None], ...] = (
    weights_are_no_inputs,
    lift_constants,
    eliminate_identities,
    remove_dead,
    share_equal_weights,
    share_equal_subexpressions,
    remove_dead,
    infer_shapes,
    sort_topologically,
    strip_documentation,
    remove_unused_operator_sets,
)
AFTER_QUANTISATION: tuple[Callable[[Any], None], ...] = (
    remove_dead,
    sort_topologically,
    strip_documentation,
    remove_unused_operator_sets,
)


def run_passes(model: ir.Model, passes: tuple[Callable[[Any], None], ...], name: str) -> list[str]:
    """The names of the passes that were run on the model, in order. ExportError names the one that failed."""
    import onnx_ir.passes

    for step in passes:
        try:
            with quiet("onnx_ir"):
                step(model)
        except (onnx_ir.passes.InvariantError, onnx_ir.passes.PassError, ValueError, KeyError, TypeError) as error:
            raise ExportError(
                f"{name}: the pass {step.__name__} failed: {one_line(error)}",
                "Please report it with the model's structure.",
            ) from error
    return [step.__name__ for step in passes]


def _quantised(model: ir.Model) -> bool:
    return any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph)


def _feeds_quantisation(value: ir.Value) -> bool:
    return any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in value.consumers())


def _digest(tensor: Any) -> bytes:
    """A hash of the values; strings have no bytes of their own, so their lengths go in too."""
    if str(tensor.dtype) == "STRING":
        parts = tensor.string_data()
        return hashlib.sha256(b"".join(len(part).to_bytes(8, "little") + part for part in parts)).digest()
    return digest(tensor)
