"""A read model's stored weights as float32 constants: what DEQUANTIZE and DENSIFY would compute when it is loaded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from exporters.tflite.edit import Editor
from exporters.tflite.ir import Graph, Program, Tensor
from exporters.tflite.sparse import dense

if TYPE_CHECKING:
    from numpy.typing import NDArray


def float_program(program: Program) -> Program:
    """The program whose main graph has its weights in float32, so that it can be quantised anew."""
    return replace(program, graphs=[_float_graph(program.main), *program.graphs[1:]])


def _float_graph(graph: Graph) -> Graph:
    edit = Editor(graph)
    for operator in graph.operators:
        source = edit.graph.tensors[operator.inputs[0]] if operator.inputs else None
        if operator.op not in ("DEQUANTIZE", "DENSIFY") or source is None or source.data is None:
            edit.add(operator)
            continue
        place = operator.outputs[0]
        values = dense(source) if operator.op == "DENSIFY" else dequantised(source)
        edit.graph.tensors[place] = replace(edit.graph.tensors[place], data=values)
    return edit.finished()


def dequantised(tensor: Tensor) -> NDArray[np.float32]:
    """The real values of a constant: scale * (stored - zero point), float32; a float16 one widened."""
    values = dense(tensor) if tensor.sparsity is not None else tensor.data
    assert values is not None
    if tensor.quant is None:
        return values.astype(np.float32)
    quant = tensor.quant
    if quant.block:
        return _scaled(values, np.repeat(quant.scales, quant.block, axis=-1).reshape(values.shape))
    shape = [1] * values.ndim
    if len(quant.scales) > 1:
        shape[quant.axis] = -1
    centred = values.astype(np.int32) - quant.zero_points.reshape(shape).astype(np.int32)
    return _scaled(centred, quant.scales.reshape(shape))


def _scaled(values: NDArray[Any], scales: NDArray[Any]) -> NDArray[np.float32]:
    product: NDArray[np.float32] = values.astype(np.float32) * scales.astype(np.float32)
    return product
