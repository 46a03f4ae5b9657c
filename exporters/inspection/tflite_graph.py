"""A TFLite file as a `Graph`. Its tensors carry concrete shapes, those of the sizes it was converted with."""

from __future__ import annotations

import math
from collections.abc import Callable

from exporters.inspection.graph import Graph, NotCounted, Step
from mobile.formats.flatbuffer import Buffer
from mobile.formats.tflite_scan import TfliteNode, TfliteTensor, scan_tflite

_Shapes = list[tuple[int, ...]]


def _conv(inputs: _Shapes, outputs: _Shapes) -> int:
    """Weights [out, height, width, in of a group]."""
    return math.prod(outputs[0]) * math.prod(inputs[1][1:])


def _depthwise(inputs: _Shapes, outputs: _Shapes) -> int:
    """Weights [1, height, width, out]."""
    return math.prod(outputs[0]) * math.prod(inputs[1][1:3])


def _transpose_conv(inputs: _Shapes, _: _Shapes) -> int:
    """Inputs: output shape, weights [out, height, width, in], data."""
    return math.prod(inputs[2]) * math.prod(inputs[1][:3])


def _fully_connected(inputs: _Shapes, outputs: _Shapes) -> int:
    """Weights [out, in]."""
    return math.prod(outputs[0]) * inputs[1][-1]


def _conv_3d(inputs: _Shapes, outputs: _Shapes) -> int:
    """Weights [depth, height, width, in, out]."""
    return math.prod(outputs[0]) * math.prod(inputs[1][:4])


def _svdf(inputs: _Shapes, _: _Shapes) -> int:
    """Per item: every filter over the features, then over the memory."""
    return inputs[0][0] * (math.prod(inputs[1]) + math.prod(inputs[2]))


_COUNTS: dict[str, Callable[[_Shapes, _Shapes], int]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transpose_conv,
    "FULLY_CONNECTED": _fully_connected,
    "CONV_3D": _conv_3d,
    "SVDF": _svdf,
}
_UNKNOWN = {
    **dict.fromkeys(("WHILE", "IF", "CALL", "STABLEHLO_COMPOSITE"), "what it calls is not counted"),
    **dict.fromkeys(
        (
            "LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "RNN", "UNIDIRECTIONAL_SEQUENCE_RNN",
            "BIDIRECTIONAL_SEQUENCE_RNN", "CONV_3D_TRANSPOSE", "STABLEHLO_DOT_GENERAL", "STABLEHLO_CONVOLUTION",
        ),
        "this operator's work is not counted",
    ),
}  # fmt: skip


def read_tflite(buffer: Buffer, size: int, batch: int) -> tuple[Graph, list[str]]:
    """The main subgraph, and notes. FlatError when the bytes are not a model."""
    scan = scan_tflite(buffer, size)
    main = scan.graphs[0]
    names = [f"{number}:{tensor.name}" for number, tensor in enumerate(main.tensors)]
    notes = []
    resized = batch != 1 and any(
        (signature := main.tensors[number].signature) and signature[0] is None for number in main.inputs
    )
    if resized:
        notes.append("the file holds shapes for one size only; figures are for that, not for the batch asked for")
    graph = Graph(
        inputs=tuple(names[number] for number in main.inputs),
        outputs=tuple(names[number] for number in main.outputs),
        constants={names[number] for number, tensor in enumerate(main.tensors) if tensor.data is not None},
        shapes={names[number]: tensor.shape for number, tensor in enumerate(main.tensors)},
        bits={names[number]: tensor.bits for number, tensor in enumerate(main.tensors)},
    )
    graph.steps = [_step(node, main.tensors, names) for node in main.nodes]
    return graph, notes


def _step(node: TfliteNode, tensors: tuple[TfliteTensor, ...], names: list[str]) -> Step:
    inputs = tuple(names[number] if number >= 0 else "" for number in node.inputs)
    outputs = tuple(names[number] if number >= 0 else "" for number in node.outputs)
    try:
        return Step(node.operator, inputs, outputs, _macs(node, tensors))
    except NotCounted as error:
        return Step(node.operator, inputs, outputs, None, str(error))


def _macs(node: TfliteNode, tensors: tuple[TfliteTensor, ...]) -> int:
    if node.operator in _UNKNOWN:
        raise NotCounted(_UNKNOWN[node.operator])
    if node.operator == "BATCH_MATMUL":
        return _batch_matmul(node, tensors)
    count = _COUNTS.get(node.operator)
    if count is None:
        return 0
    try:
        return count(
            [tensors[n].shape if n >= 0 else () for n in node.inputs], [tensors[n].shape for n in node.outputs]
        )
    except IndexError as error:
        raise NotCounted("its inputs are not what the operator takes") from error


def _batch_matmul(node: TfliteNode, tensors: tuple[TfliteTensor, ...]) -> int:
    """adj_x is the options' first field: the left side is then stored transposed."""
    left = tensors[node.inputs[0]].shape
    if len(left) < 2:
        raise NotCounted("its inputs are not what the operator takes")
    adjoint = node.options is not None and bool(node.options.scalar(0, "<B"))
    return math.prod(tensors[node.outputs[0]].shape) * left[-2 if adjoint else -1]
