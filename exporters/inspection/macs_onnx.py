"""Multiply-accumulates of ONNX operators, from shapes alone.

One multiply-accumulate is one multiplication with its addition: 2 operations in figures given as FLOPs. Padding counts
as computed. Element-wise operators, pooling and normalisation do none in this sense, as in most published tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from exporters.inspection.graph import Graph, NotCounted

Attributes = Mapping[str, Any]
_Count = Callable[[Graph, tuple[str, ...], tuple[str, ...], Attributes], int]


def _conv(weight: int) -> _Count:
    """Output values times the weights that each of them reads: channels of a group times the kernel's size."""

    def count(graph: Graph, inputs: tuple[str, ...], outputs: tuple[str, ...], _: Attributes) -> int:
        return graph.elements(outputs[0]) * math.prod(graph.shape(inputs[weight])[1:])

    return count


def _conv_transpose(graph: Graph, inputs: tuple[str, ...], _: tuple[str, ...], __: Attributes) -> int:
    """Input values times the weights that each of them is spread with."""
    return graph.elements(inputs[0]) * math.prod(graph.shape(inputs[1])[1:])


def _gemm(graph: Graph, inputs: tuple[str, ...], outputs: tuple[str, ...], attributes: Attributes) -> int:
    shape = graph.shape(inputs[0])
    return graph.elements(outputs[0]) * shape[0 if attributes.get("transA") else -1]


def _matmul(graph: Graph, inputs: tuple[str, ...], outputs: tuple[str, ...], attributes: Attributes) -> int:
    shape = graph.shape(inputs[0])
    if attributes.get("transA"):
        return graph.elements(outputs[0]) * shape[-2]
    return graph.elements(outputs[0]) * shape[-1]


def _matmul_nbits(graph: Graph, _: tuple[str, ...], outputs: tuple[str, ...], attributes: Attributes) -> int:
    return graph.elements(outputs[0]) * int(attributes["K"])


def _recurrent(graph: Graph, inputs: tuple[str, ...], _: tuple[str, ...], __: Attributes) -> int:
    """Steps times items times all gate weights, of the input and of the state."""
    shape = graph.shape(inputs[0])
    return shape[0] * shape[1] * (graph.elements(inputs[1]) + graph.elements(inputs[2]))


COUNTS: dict[str, _Count] = {
    "Conv": _conv(1),
    "ConvInteger": _conv(1),
    "QLinearConv": _conv(3),
    "com.microsoft.FusedConv": _conv(1),
    "com.microsoft.NhwcFusedConv": _conv(1),
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "com.microsoft.FusedGemm": _gemm,
    "com.microsoft.QGemm": _gemm,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "QLinearMatMul": _matmul,
    "com.microsoft.FusedMatMul": _matmul,
    "com.microsoft.DynamicQuantizeMatMul": _matmul,
    "com.microsoft.MatMulIntegerToFloat": _matmul,
    "com.microsoft.MatMulNBits": _matmul_nbits,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
}

# They multiply, but how much is not counted here.
_NOT_COUNTED = """
Attention Einsum DeformConv LinearAttention FlexAttention com.microsoft.Attention com.microsoft.MultiHeadAttention
com.microsoft.GroupQueryAttention com.microsoft.QMoE com.microsoft.MoE com.microsoft.MatMulBnb4
com.microsoft.QAttention com.microsoft.PackedAttention com.microsoft.DynamicQuantizeLSTM
com.microsoft.LinearAttention
"""
UNKNOWN: dict[str, str] = {
    **dict.fromkeys(_NOT_COUNTED.split(), "this operator's work is not counted"),
    "Loop": "how often a loop runs is unknown",
    "Scan": "how often a loop runs is unknown",
}


def count_macs(
    operator: str, graph: Graph, inputs: tuple[str, ...], outputs: tuple[str, ...], attributes: Attributes
) -> int:
    """The multiply-accumulates of one node, 0 for those that do none. NotCounted says why they are unknown."""
    if operator in UNKNOWN:
        raise NotCounted(UNKNOWN[operator])
    count = COUNTS.get(operator)
    if count is None:
        return 0
    try:
        return count(graph, inputs, outputs, attributes)
    except (IndexError, KeyError, ValueError) as error:
        if isinstance(error, NotCounted):
            raise
        raise NotCounted("its inputs are not what the operator takes") from error
