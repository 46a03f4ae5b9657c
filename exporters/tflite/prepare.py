"""An ONNX graph made ready for conversion: functions inlined, constants folded, shapes known as far as they can be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from exporters.passes import eliminate_identities, remove_dead, sort_topologically, weights_are_no_inputs
from exporters.runtime import quiet
from exporters.tflite.contents import Contents, sizes
from exporters.tflite.fold import constant, fold_constants, fold_ifs, make_constant

_ROUNDS = 12  # folding makes shapes known, which lets more be folded


def prepare(model: ir.Model, dims: Mapping[str, int]) -> ir.Model:
    """A copy of the model in which all that can be computed now is; ``dims`` fixes free dimensions by their names.

    Free dimensions that are not named there stay free.
    """
    import onnx_ir.passes.common as common

    model = model.clone()
    weights_are_no_inputs(model)
    with quiet("onnx_ir"):
        common.InlinePass()(model)
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    eliminate_identities(model)
    widen(model)
    pin(model, dims)
    for _ in range(_ROUNDS):
        _infer(model)
        changed = False
        for graph in list(model.graphs()):
            changed |= fold_constants(model, graph)
            changed |= _fold_contents(graph)
            changed |= fold_ifs(graph)
            rewritten = [_write_out_ceiling(node) for node in graph]
            if any(rewritten):
                _forget_shapes(graph)
                changed = True
        if not changed:
            break
    _name_free(model)
    for graph in model.graphs():
        _fold_contents(graph)
    remove_dead(model)
    sort_topologically(model)
    return model


def _name_free(model: ir.Model) -> None:
    """A name for every free dimension that has none, so that it is known again where its size is read and used."""
    count = 0
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        for output in node.outputs:
            known = sizes(output)
            if known is None or None not in known:
                continue
            named: list[int | str] = []
            for size in known:
                count += size is None
                named.append(f"free:{count}" if size is None else size)
            output.shape = ir.Shape(named)


_HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def widen(model: ir.Model) -> None:
    """What is computed in 16-bit floats is computed in float32: TFLite's kernels have no others. Inputs, too."""
    for graph in model.graphs():
        for value in list(graph.initializers.values()):
            if value.const_value is not None and value.dtype in _HALVES:
                array = value.const_value.numpy().astype(np.float32)
                value.const_value = ir.tensor(array, name=value.name)
                value.type = ir.TensorType(ir.DataType.FLOAT)
        for value in [*graph.inputs, *graph.outputs, *(output for node in graph for output in node.outputs)]:
            if value.dtype in _HALVES:
                value.type = ir.TensorType(ir.DataType.FLOAT)
        for node in graph:
            to, fill = node.attributes.get("to"), node.attributes.get("value")
            if node.op_type == "Cast" and to is not None and to.value in _HALVES:
                node.attributes["to"] = ir.AttrInt64("to", int(ir.DataType.FLOAT))
            if fill is not None and fill.type == ir.AttributeType.TENSOR and fill.as_tensor().dtype in _HALVES:
                array = fill.as_tensor().numpy().astype(np.float32)
                node.attributes["value"] = ir.AttrTensor("value", ir.tensor(array))


def pin(model: ir.Model, dims: Mapping[str, int]) -> None:
    """Gives the inputs' free dimensions of these names their sizes; shapes inferred before are forgotten.

    A dimension without a name is called ``input:axis``.
    """
    for value in model.graph.inputs:
        if value.shape is None:
            continue
        sizes: list[Any] = []
        for axis, size in enumerate(value.shape):
            name = getattr(size, "value", size)
            key = name if isinstance(name, str) else f"{value.name}:{axis}"
            sizes.append(size if isinstance(size, int) else dims.get(key, size))
        value.shape = ir.Shape(sizes)
    for value in model.graph.outputs:
        value.shape = None  # what is declared may be a name of its own, or another model's size
    if dims:
        _forget_shapes(model.graph)


def _forget_shapes(graph: ir.Graph) -> None:
    """What was inferred before no longer holds."""
    for node in ir.traversal.RecursiveGraphIterator(graph):
        for output in node.outputs:
            output.shape = None


def _infer(model: ir.Model) -> None:
    """Shapes and types of everything between the inputs and the outputs; the inputs keep theirs."""
    import onnx_ir.passes.common as common

    declared = [(value, value.shape, value.type) for value in model.graph.inputs]
    with quiet("onnx_ir"):
        common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
    for value, shape, kind in declared:
        value.shape, value.type = shape, kind


def _fold_contents(graph: ir.Graph) -> bool:
    """Whether an integer vector of which every entry became known was made a constant, or a shape better known."""
    known = Contents(graph)
    changed = False
    for node in list(graph):
        for output in node.outputs:
            entries = known.get(output)
            if entries is None or constant(output) is not None or output.is_graph_output():
                continue
            if all(isinstance(entry, int) for entry in entries):
                dtype = output.dtype.numpy() if output.dtype is not None else np.dtype(np.int64)
                array = np.array(entries, dtype)
                make_constant(graph, output, array.reshape(()) if known.is_scalar(output) else array)
                changed = True
        changed |= known.refine(node)
    return changed


def _write_out_ceiling(node: ir.Node) -> bool:
    """Whether a pool's ceil_mode was turned into paddings at the end, which give the same result.

    onnx's shape inference before opset 22 counts windows that start beyond the padded image; onnxruntime and opset 22
    do not.
    """
    known = sizes(node.inputs[0]) if node.op_type in ("MaxPool", "AveragePool") else None
    named = {name: attribute.value for name, attribute in node.attributes.items()}
    counted = named.get("count_include_pad", 0) and any(named.get("pads", []))
    if known is None or not named.get("ceil_mode", 0) or counted or named.get("auto_pad", "NOTSET") != "NOTSET":
        return False
    image = [size for size in known[2:] if isinstance(size, int)]
    kernel = named["kernel_shape"]
    if len(image) != len(kernel):
        return False
    rank = len(kernel)
    steps, spread = named.get("strides") or [1] * rank, named.get("dilations") or [1] * rank
    pads = list(named.get("pads") or [0] * 2 * rank)
    for axis, size in enumerate(image):
        pads[rank + axis] += overhang(size, (kernel[axis] - 1) * spread[axis] + 1, steps[axis],
                                      (pads[axis], pads[rank + axis]))  # fmt: skip
    node.attributes["pads"] = ir.AttrInt64s("pads", pads)
    node.attributes["ceil_mode"] = ir.AttrInt64("ceil_mode", 0)
    return True


def overhang(size: int, span: int, stride: int, pads: tuple[int, int]) -> int:
    """How far ceil_mode's last window reaches beyond the padded image.

    A window that would start beyond the image and its first padding is not counted (onnxruntime,
    PoolAttributes::ComputeSizePadDilations).
    """
    padded = size + pads[0] + pads[1]
    out = -(-(padded - span) // stride) + 1
    if (out - 1) * stride >= size + pads[0]:
        out -= 1
    return max((out - 1) * stride + span - padded, 0)
