"""Weights in few bits, activations in float: dynamic int8, int4 and int2, by rounding to the nearest code.

Fully connected layers multiply in integers with activations quantised per call ("dynamic"); what else has weights
stores them in 8 bits and computes in float. Ranges of activations are not needed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from exporters.tflite import affine
from exporters.tflite.edit import Editor
from exporters.tflite.int8_operators import WEIGHTED
from exporters.tflite.ir import Graph, Operator, Program, Quant
from exporters.tflite.rules import Runtime
from exporters.tflite.stored import Stored, StoredReport, operand
from mobile.errors import ExportError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCHEMES = ("int8-dynamic", "int4", "int2")
_BITS = {"int8-dynamic": 8, "int4": 4, "int2": 2}
MIN_WEIGHTS = 1024  # fewer are not worth a scale each
_BLOCK = 32  # columns of a fully connected int4 layer that share a scale, where the runtime has blocks


def quantise_weights(program: Program, scheme: str, runtime: Runtime) -> tuple[Program, StoredReport]:
    """The program with its large weights in few bits, and how they are stored.

    ExportError when the runtime has no operator for the scheme's width, or the model no weight to quantise.
    """
    if scheme == "int2" and not runtime.int2:
        raise ExportError(f"{runtime.name} has no int2 weights", "Use --scheme int4, or --target litert:2.3.")
    report = StoredReport()
    graph = _graph(program.main, scheme, runtime, report)
    if not report.ways:
        raise ExportError(f"{scheme} found no weights that it could quantise", "Export it without --scheme.")
    return replace(program, graphs=[graph, *program.graphs[1:]]), report


def weights_in_bytes(graph: Graph, runtime: Runtime) -> tuple[Graph, StoredReport]:
    """The graph with those large weights in 8 bits that are still float, such as embedding tables."""
    report = StoredReport()
    return _graph(graph, "int8-dynamic", runtime, report), report


def weight_places(graph: Graph, operator: Operator) -> list[int]:
    """The constant float operands of an operator that are weights: matrices, kernels and embedding tables."""
    places = {
        **{op: (entry[1],) for op, entry in WEIGHTED.items()},
        "GATHER": (0,),
        "GATHER_ND": (0,),
        "BATCH_MATMUL": (0, 1),
    }
    found = []
    for place in places.get(operator.op, ()):
        tensor = graph.tensors[operator.inputs[place]]
        if tensor.data is not None and tensor.dtype == "float32" and tensor.rank >= 2 and tensor.sparsity is None:
            found.append(place)
    return found


def _graph(graph: Graph, scheme: str, runtime: Runtime, report: StoredReport) -> Graph:
    edit = Editor(graph)
    for operator in graph.operators:
        for place in weight_places(graph, operator):
            values = graph.tensors[operator.inputs[place]].data
            assert values is not None
            if values.size >= MIN_WEIGHTS:
                stored = _rounded(operator, place, values, scheme, runtime)
                operator = operand(edit, operator, place, stored, runtime, report)
        edit.add(operator)
    return edit.finished()


def _rounded(operator: Operator, place: int, values: NDArray[Any], scheme: str, runtime: Runtime) -> Stored:
    bits = _BITS[scheme] if operator.op == "FULLY_CONNECTED" else 8  # rounded to 4 bits, convolutions lose all accuracy
    dtype = f"int{bits}"
    if operator.op == "FULLY_CONNECTED" and bits == 4 and runtime.blocks and values.shape[-1] % _BLOCK == 0:
        return _blocks(values)
    axis: int | None = WEIGHTED[operator.op][3] if operator.op in WEIGHTED else 0
    if operator.op == "BATCH_MATMUL":
        axis = values.ndim - 1
    if bits == 4 and not runtime.fc_channels:
        axis = None  # its kernel takes one scale, and it unpacks no int4
    codes, quant = affine.weights(values, axis, bits)
    return Stored(codes, dtype, quant)


def _blocks(values: NDArray[Any]) -> Stored:
    """int4 codes with a scale per row and block of columns; scales as float16 hold them in the file."""
    rows = values.reshape(-1, _BLOCK)
    _, quant = affine.weights(rows, 0, 4)
    scales = np.maximum(quant.scales.astype(np.float16).astype(np.float32), np.float32(2.0**-24))
    codes = np.clip(np.rint(rows / scales[:, None]), -7, 7).astype(np.int8).reshape(values.shape)
    shaped = scales.reshape(values.shape[0], -1)
    return Stored(codes, "int4", Quant(shaped, np.zeros(shaped.shape, np.int64), 0, _BLOCK))
