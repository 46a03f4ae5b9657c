"""Which operators have int8 kernels in both runtimes, and how their inputs' and outputs' scales are bound.

Source: TensorFlow Lite's 8-bit quantisation specification and the kernels' checks when they are prepared; each entry is
run on both runtimes by the tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporters.tflite.ir import Graph, Operator

# Weighted operators: (data, weights, bias or None, the weights' axis of output channels).
WEIGHTED: dict[str, tuple[int, int, int, int]] = {
    "CONV_2D": (0, 1, 2, 0),
    "DEPTHWISE_CONV_2D": (0, 1, 2, 3),
    "FULLY_CONNECTED": (0, 1, 2, 0),
    "TRANSPOSE_CONV": (2, 1, 3, 0),
}
# Operators whose output has a scale of its own.
FREE = {
    "ADD", "SUB", "MUL", "MEAN", "LEAKY_RELU", "PRELU", "HARD_SWISH", "BATCH_MATMUL", "RELU", "RELU6",
}  # fmt: skip
# Operators that prescribe their output's scale and zero point.
FIXED: dict[str, tuple[float, int]] = {
    "SOFTMAX": (1 / 256, -128),
    "LOGISTIC": (1 / 256, -128),
    "TANH": (1 / 128, 0),
    "L2_NORMALIZATION": (1 / 128, 0),
}
# Operators that pass values on: the inputs that share the output's scale.
MOVES: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(
        ("RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "SLICE", "STRIDED_SLICE", "PAD", "MIRROR_PAD", "GATHER",
         "TILE", "BROADCAST_TO", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "MAX_POOL_2D", "AVERAGE_POOL_2D",
         "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "REDUCE_MAX", "REDUCE_MIN", "SPLIT_V", "UNPACK"),
        (0,),
    ),
    "PADV2": (0, 2),
    "SPLIT": (1,),
    "MAXIMUM": (0, 1),
    "MINIMUM": (0, 1),
}  # fmt: skip
JOINS = {"CONCATENATION", "PACK"}  # moves of all their inputs


def shared_inputs(operator: Operator) -> tuple[int, ...]:
    """The places of the inputs that have the output's scale."""
    if operator.op in JOINS:
        return tuple(range(len(operator.inputs)))
    return MOVES.get(operator.op, ())


def known(operator: Operator) -> bool:
    """Whether the operator has an int8 kernel."""
    op = operator.op
    return op in WEIGHTED or op in FREE or op in FIXED or op in MOVES or op in JOINS


def floats(graph: Graph, places: list[int]) -> list[int]:
    """Those of the tensors that are float32."""
    return [place for place in places if place >= 0 and graph.tensors[place].dtype == "float32"]
