"""An ONNX graph made ready for conversion: functions inlined, constants folded, shapes known as far as they can be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from exporters.passes import eliminate_identities, infer_shapes, remove_dead, sort_topologically, weights_are_no_inputs
from exporters.runtime import quiet
from exporters.tflite.contents import Contents
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
    pin(model, dims)
    for _ in range(_ROUNDS):
        with quiet("onnx_ir"):
            infer_shapes(model)
        changed = fold_constants(model)
        changed |= _fold_contents(model)
        changed |= fold_ifs(model)
        if not changed:
            break
    remove_dead(model)
    sort_topologically(model)
    return model


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
    if not dims:
        return
    for node in model.graph:
        for output in node.outputs:
            output.shape = None
    for value in model.graph.outputs:
        value.shape = None


def _fold_contents(model: ir.Model) -> bool:
    """Whether an integer vector of which every entry became known was made a constant, or a shape became better known."""
    known = Contents(model.graph)
    changed = False
    for node in list(model.graph):
        for output in node.outputs:
            entries = known.get(output)
            if entries is None or constant(output) is not None or output.is_graph_output():
                continue
            if all(isinstance(entry, int) for entry in entries):
                dtype = output.dtype.numpy() if output.dtype is not None else np.dtype(np.int64)
                array = np.array(entries, dtype)
                make_constant(model.graph, output, array.reshape(()) if known.is_scalar(output) else array)
                changed = True
        changed |= known.refine(node)
    return changed
