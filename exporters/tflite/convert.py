"""An ONNX graph turned into a TFLite program, without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import onnx_ir as ir

from exporters.tflite import ops
from exporters.tflite.contents import Entry, sizes
from exporters.tflite.context import LOWERINGS, Context, Lowering, Unsupported, dtype_name
from exporters.tflite.fold import constant as constant_of
from exporters.tflite.ir import Operator, Program, Tensor
from exporters.tflite.layout import FREE, Value, constant, identity
from exporters.tflite.passes import clean
from exporters.tflite.patterns import fuse
from exporters.tflite.prepare import prepare
from mobile.errors import ExportError

_TYPES = {"float32", "int64", "int32", "int16", "int8", "uint8", "bool"}
_AS_STANDARD = {("com.microsoft", "Gelu"), ("com.microsoft", "SimplifiedLayerNormalization")}
_QUANTISED = "it is quantised already; give the float model, with --scheme int8 for an int8 file"
_MAX_RANK = 6  # of XNNPACK's and most of TFLite's kernels
# What free dimensions stand at in the file when nobody says: 64 is a multiple of 32, as most image networks need.
_SAMPLE_PIXELS, _SAMPLE_LENGTH, _IMAGE_RANK = 64, 16, 4
_SHOWN = 30  # entries of a list of what cannot be converted


def convert(
    model: ir.Model,
    dims: Mapping[str, int] | None = None,
    sample: Mapping[str, Sequence[int]] | None = None,
    keep_weights: bool = False,
) -> Program:
    """The model as a TFLite program with the same inputs and outputs, in ONNX's order of dimensions.

    ``dims`` fixes free dimensions by name for good. ``sample`` are the shapes that the file's free dimensions stand at
    until an interpreter resizes them (a batch of 1, 64 pixels, 16 steps where not given). ExportError lists every node
    that TFLite cannot compute; the model itself is not changed. ``keep_weights``: no factor is folded into a weight.
    """
    assert ops  # the conversions register themselves on import
    source = prepare(model, dims or {})
    fuse(source)
    context = Context(source.graph, source.opset_imports.get("", 0))
    context.branch, context.keep_weights = _branch, keep_weights
    _inputs(context, source.graph, sample or {})
    _nodes(context, source.graph)
    if context.problems:
        raise _refusal(context.problems)
    _outputs(context, source.graph)
    program = Program(graphs=[context.build.graph, *context.graphs])
    program.input_names = [value.name or "" for value in source.graph.inputs]
    program.output_names = [value.name or "" for value in source.graph.outputs]
    for graph in program.graphs:
        clean(graph, keep_weights)
    return program


def _nodes(context: Context, graph: ir.Graph) -> None:
    """Every node; what cannot be converted is noted, and all looked at that does not follow from it."""
    for node in graph:
        if context.problems and _follows(context, node):
            continue
        try:
            _node(context, node)
        except Unsupported as reason:
            context.problems.append((node, str(reason)))
            _stand_in(context, node)


def _follows(context: Context, node: ir.Node) -> bool:
    """Whether a node reads what could not be converted and has no known shape either."""
    given = [value for value in node.inputs if value is not None]
    return any(value not in context.values and constant_of(value) is None for value in given)


def _branch(outer: Context, graph: ir.Graph, captured: Sequence[ir.Value]) -> Context:
    """The conversion of an If's branch, whose inputs are the outer graph's values that it reads."""
    context = Context(graph, outer.opset)
    context.graphs, context.problems, context.branch = outer.graphs, outer.problems, outer.branch
    context.keep_weights = outer.keep_weights
    for value in captured:
        held = outer.values[value]
        kind = outer.build.dtype_of(held.tensor)
        tensor = context.build.tensor(value.name or "", held.dims, kind)
        context.build.graph.inputs.append(tensor)
        context.values[value] = context.build.value(tensor, dtype=held.dtype)
    _nodes(context, graph)
    if not context.problems:
        _outputs(context, graph)
    return context


def _sample(entries: Sequence[Entry], chosen: dict[str, int]) -> list[int]:
    """A shape for an input whose free dimensions nobody set; dimensions of one name get one size."""
    image = len(entries) == _IMAGE_RANK
    shape = []
    for axis, entry in enumerate(entries):
        size = entry if isinstance(entry, int) else 1 if axis == 0 else _SAMPLE_PIXELS if image else _SAMPLE_LENGTH
        shape.append(chosen.setdefault(entry, size) if isinstance(entry, str) else size)
    return shape


def _inputs(context: Context, graph: ir.Graph, sample: Mapping[str, Sequence[int]]) -> None:
    chosen: dict[str, int] = {}
    for value in graph.inputs:
        entries = sizes(value)
        name = value.name or ""
        if entries is None:
            raise ExportError(f"input {name!r} has no known rank, which TFLite needs", "Export it with a shape.")
        if dtype_name(value) not in _TYPES:
            raise ExportError(f"input {name!r} is {dtype_name(value)}, which TFLite's kernels do not take")
        dims = [entry if isinstance(entry, int) else FREE for entry in entries]
        tensor = context.build.tensor(name, dims, dtype_name(value))
        stands = sample[name] if name in sample else _sample(entries, chosen)
        context.build.graph.tensors[tensor].shape = tuple(stands)
        context.build.graph.inputs.append(tensor)
        context.values[value] = context.build.value(tensor)


def _node(context: Context, node: ir.Node) -> None:
    standard = node.domain in ("", "ai.onnx") or (node.domain, node.op_type) in _AS_STANDARD
    if not standard:
        raise Unsupported(f"operators of the domain {node.domain} are not converted")
    lowering: Lowering | None = LOWERINGS.get(node.op_type)
    if lowering is None:
        raise Unsupported(
            _QUANTISED if "Linear" in node.op_type or "Integer" in node.op_type else "it is not converted"
        )
    _check_results(node)
    context.build.scope = node.name or node.op_type
    made = lowering(context, node)
    values = [made] if isinstance(made, Value) else list(made)
    for output, value in zip(node.outputs, values, strict=False):
        if output.name:
            context.values[output] = _refined(context, output, value)


def _check_results(node: ir.Node) -> None:
    for value in node.outputs:
        if value.dtype is not None and dtype_name(value) not in _TYPES:
            raise Unsupported(f"it makes {dtype_name(value)}, which TFLite's kernels do not take")
        if value.shape is not None and len(value.shape) > _MAX_RANK:
            raise Unsupported(f"it makes {len(value.shape)} dimensions, TFLite's kernels end at {_MAX_RANK}")


def _refined(context: Context, output: ir.Value, value: Value) -> Value:
    """The value with the sizes that shape inference knows and the conversion did not; they never contradict."""
    entries = sizes(output)
    if entries is None or value.is_const:
        return value
    if len(entries) != value.rank:
        raise Unsupported(f"it makes {list(value.dims)} where shape inference says {entries}")
    dims = list(value.dims)
    for axis, entry in enumerate(entries):
        if isinstance(entry, int) and dims[axis] == FREE:
            dims[axis] = entry
        elif isinstance(entry, int) and dims[axis] != entry:
            raise Unsupported(f"it makes {list(value.dims)} where shape inference says {entries}")
    tensor = context.build.graph.tensors[value.tensor]
    physical = tuple(dims[axis] for axis in value.perm)
    if value.tensor not in context.build.graph.inputs:
        tensor.shape = tuple(max(size, 1) if size < 0 else size for size in physical)
        tensor.signature = physical if FREE in physical else None
    return replace(value, dims=tuple(dims))


def _stand_in(context: Context, node: ir.Node) -> None:
    """Values in the place of what could not be converted, so that the rest is looked at too."""
    for output in node.outputs:
        entries = sizes(output)
        if entries is None or output.dtype is None:
            continue
        dims = [entry if isinstance(entry, int) else FREE for entry in entries]
        context.values[output] = context.build.value(context.build.tensor(output.name or "", dims, dtype_name(output)))


def _refusal(problems: Sequence[tuple[ir.Node, str]]) -> ExportError:
    names = sorted({node.op_type for node, _ in problems})
    lines = [f"{node.op_type} {node.name or node.outputs[0].name!r}: {reason}" for node, reason in problems[:_SHOWN]]
    more = f" (and {len(problems) - _SHOWN} more)" if len(problems) > _SHOWN else ""
    return ExportError(
        f"TFLite cannot compute {', '.join(names)}: {'; '.join(lines)}{more}",
        "Export to ONNX, or replace these operators where the model is made.",
    )


def _outputs(context: Context, graph: ir.Graph) -> None:
    """Each output in ONNX's order and type, in a tensor of its own."""
    build = context.build
    taken = set(build.graph.inputs)
    for output in graph.outputs:
        value = context.values.get(output)
        array = constant_of(output)
        if value is None and array is not None:
            value = constant(array)
        if value is None:
            raise ExportError(f"output {output.name!r} is made by no operator", "Check the model first.")
        build.scope = output.name or "output"
        tensor = build.place(value, identity(value.rank))
        if tensor in taken or build.graph.tensors[tensor].data is not None:
            tensor = _copy(context, tensor)
        build.graph.tensors[tensor].name = output.name or ""
        taken.add(tensor)
        build.graph.outputs.append(tensor)


def _copy(context: Context, tensor: int) -> int:
    """The same values in another tensor."""
    build = context.build
    old: Tensor = build.graph.tensors[tensor]
    made = build.tensor(old.name, old.dims, old.dtype)
    options = {"in_data_type": old.dtype, "out_data_type": old.dtype}
    build.graph.operators.append(Operator("CAST", [tensor], [made], options))
    return made
