"""Which outputs are a sigmoid's: onnxruntime computes small ones of them less exactly than TFLite does."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

# What a sigmoid's output is compared at, when all of it is smaller. onnxruntime's Sigmoid on the CPU is off by up to
# 1.0e-7 whatever the value is (measured against float64 on 1.32: 8.3e-7 instead of 8.4e-7 at -14, and several times too
# large at -20); LiteRT's by 4e-7 of the value. A share of 1e-4 of this is 4e-7.
LEAST_SCALE = 4e-3
_MOVES = {
    "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Flatten", "Slice", "Concat", "ReduceMean", "Gather",
}  # fmt: skip


def least_scales(model: ir.Model) -> dict[str, float]:
    """By name, the scale at which small outputs are compared: outputs that are sigmoids, moved or averaged."""
    return {value.name or "": LEAST_SCALE for value in model.graph.outputs if _is_sigmoid(value, len(model.graph))}


def _is_sigmoid(value: ir.Value, steps: int) -> bool:
    """Whether the value, followed back through at most ``steps`` moves, is a Sigmoid's result."""
    for _ in range(steps):
        node = value.producer()
        if node is None or (node.op_type not in _MOVES and node.op_type != "Sigmoid"):
            return False
        if node.op_type == "Sigmoid":
            return True
        sources = [given for given in node.inputs if given is not None]
        if not sources or (node.op_type == "Concat" and not all(_is_sigmoid(given, steps - 1) for given in sources)):
            return False
        value = sources[0]
    return False
