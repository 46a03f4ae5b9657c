"""Predicted peak memory: which activations are alive at once, plus weights, plus an allowance for the runtime.

The prediction walks the steps in order. A tensor lives from the step that makes it to the last that reads it; inputs
and outputs live throughout. What a runtime does not keep twice is counted once: views (Reshape and the like),
element-wise steps that overwrite an input which ends there, and quantisation pairs, which fuse into the step between
them, so that the short tensor is what is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from exporters.inspection.graph import Graph, Step

# Resident memory of a Python process with numpy, the runtime and a session of one node. Measured on Linux x86-64 with
# onnxruntime 1.32 and ai-edge-litert 2.3; what a process of another kind takes differs.
RUNTIME_BYTES = {"onnx": 0, "tflite": 0}

_VIEW_NAMES = "Reshape Flatten Squeeze Unsqueeze Identity RESHAPE SQUEEZE EXPAND_DIMS READ_VARIABLE"
_IN_PLACE_NAMES = """
Relu LeakyRelu Sigmoid Tanh Clip Add Sub Mul Div HardSwish HardSigmoid Elu Erf Gelu Exp Sqrt Neg Abs Softplus
BatchNormalization Pow Dropout RELU RELU6 LOGISTIC TANH HARD_SWISH ADD MUL SUB DIV
"""
_VIEWS = frozenset(_VIEW_NAMES.split())
_IN_PLACE = frozenset(_IN_PLACE_NAMES.split())


@dataclass(frozen=True)
class MemoryPrediction:
    """Bytes, all predicted. ``total`` and ``activations_peak`` are None with a reason in ``why``."""

    weights: int
    activations_peak: int | None
    runtime: int
    why: str | None
    peak_at: str | None  # the operator at which most is alive

    @property
    def total(self) -> int | None:
        """Weights, the activations' peak and the runtime's allowance."""
        return None if self.activations_peak is None else self.weights + self.activations_peak + self.runtime

    def to_json(self) -> dict[str, Any]:
        """The prediction as a JSON object that says what it is."""
        return {
            "kind": "predicted",
            "peak_bytes": self.total,
            "weights_bytes": self.weights,
            "activations_peak_bytes": self.activations_peak,
            "runtime_allowance_bytes": self.runtime,
            "peak_at": self.peak_at,
            "why_missing": self.why,
            "note": "weights + activations alive at once + an allowance for the process and its runtime; not measured",
        }


def predict(graph: Graph, weight_bytes: int, form: str) -> MemoryPrediction:
    """The prediction for a graph whose stored tensors take ``weight_bytes``; ``form`` is "onnx" or "tflite"."""
    runtime = RUNTIME_BYTES[form]
    folded, steps = _fold(graph)
    read = {name for step in steps for name in step.inputs} | set(graph.outputs)
    sized = (name for step in steps for name in step.outputs if name in read)
    unknown = next((name for name in sized if graph.bytes(name) is None), None)
    if unknown is not None:
        return MemoryPrediction(weight_bytes, None, runtime, f"the size of tensor {unknown!r} is unknown", None)
    weights = weight_bytes + folded
    if any(graph.bytes(name) is None for name in graph.inputs):
        return MemoryPrediction(weights, None, runtime, "the size of an input is unknown", None)
    peak, where = _walk(graph, steps)
    return MemoryPrediction(weights, peak, runtime, None, where)


def _fold(graph: Graph) -> tuple[int, list[Step]]:
    """Bytes of what is computed from constants alone, once, at load; and the steps that remain.

    A constant's DequantizeLinear is left out of the count: it fuses into the step that uses the weight.
    """
    constants, made = set(graph.constants), set[str]()
    remaining: list[Step] = []
    for step in graph.steps:
        if all(not name or name in constants for name in step.inputs):
            constants.update(step.outputs)
            if step.operator not in ("Constant", "DequantizeLinear", "DEQUANTIZE", "DENSIFY"):
                made.update(step.outputs)
        else:
            remaining.append(step)
    read = {name for step in remaining for name in step.inputs}
    return sum(graph.bytes(name) or 0 for name in made & read), remaining


def _walk(graph: Graph, steps: list[Step]) -> tuple[int, str | None]:
    """The largest sum of bytes alive at a step, and its operator."""
    last: dict[str, int] = {}
    for number, step in enumerate(steps):
        for name in step.inputs:
            last[name] = number
    home = _storage(graph, steps, last)
    ends = {home.get(name, name) for name in graph.outputs}
    until: dict[str, int] = {}
    for name, number in last.items():
        owner = home.get(name, name)
        until[owner] = max(number, until.get(owner, 0))
    made = {name for step in steps for name in step.outputs}
    alive = {name: graph.bytes(name) or 0 for name in graph.inputs}
    peak, where = sum(alive.values()), None
    forever = ends | set(graph.inputs)
    for number, step in enumerate(steps):
        for name in step.outputs:
            owner = home.get(name, name)
            if name and owner not in alive and (owner in made or owner == name):
                alive[owner] = graph.bytes(owner) or 0
        total = sum(alive.values())
        if total > peak:
            peak, where = total, step.operator
        for name in (*step.inputs, *step.outputs):
            owner = home.get(name, name)
            if owner not in forever and until.get(owner, -1) <= number:
                alive.pop(owner, None)
    return peak, where


def _storage(graph: Graph, steps: list[Step], last: dict[str, int]) -> dict[str, str]:
    """Tensor -> the tensor whose memory it uses, where that is another."""
    home: dict[str, str] = {}
    readers: dict[str, set[str]] = {}
    for step in steps:
        for name in step.inputs:
            readers.setdefault(name, set()).add(step.operator)
    for number, step in enumerate(steps):
        if not step.inputs or not step.outputs:
            continue
        out = step.outputs[0]
        source = next((name for name in step.inputs if name and name not in graph.constants), "")
        if step.operator == "QuantizeLinear" and readers.get(source) == {"QuantizeLinear"}:
            home[source] = out
        elif step.operator in (*_VIEWS, "DequantizeLinear", "DEQUANTIZE") or (
            step.operator in _IN_PLACE and _ends_here(graph, source, out, last.get(source) == number)
        ):
            home[out] = home.get(source, source)
    return home


def _ends_here(graph: Graph, source: str, out: str, last: bool) -> bool:
    """Whether a step may overwrite its input: it is the last to read it, and the sizes are equal."""
    return last and source not in graph.inputs and graph.bytes(source) == graph.bytes(out)
