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


@dataclass(frozen=True)
class _Process:
    """What a process needs: by itself, and per byte of weights and of activations.

    Fitted to the peak resident memory of a Python process with numpy and the runtime, one thread, on Linux x86-64
    (onnxruntime 1.32 on eleven models, ai-edge-litert 2.3 on eleven); all but one within 20 %. A weight is there more
    than once: in the file's message while it is loaded, as a tensor, and repacked for the kernels. Allocators keep more
    than is alive.
    """

    base_bytes: int
    per_weight_byte: float
    per_activation_byte: float


_PROCESSES = {"onnx": _Process(59_000_000, 2.5, 2.0), "tflite": _Process(41_600_000, 2.0, 2.3)}

_VIEW_NAMES = "Reshape Flatten Squeeze Unsqueeze Identity RESHAPE SQUEEZE EXPAND_DIMS READ_VARIABLE"
_IN_PLACE_NAMES = """
Relu LeakyRelu Sigmoid Tanh Clip Add Sub Mul Div HardSwish HardSigmoid Elu Erf Gelu Exp Sqrt Neg Abs Softplus
BatchNormalization Pow Dropout RELU RELU6 LOGISTIC TANH HARD_SWISH ADD MUL SUB DIV
"""
_SAME_MEMORY = frozenset(_VIEW_NAMES.split()) | {"DequantizeLinear", "DEQUANTIZE"}
_IN_PLACE = frozenset(_IN_PLACE_NAMES.split())


@dataclass(frozen=True)
class MemoryPrediction:
    """Bytes, all predicted. ``activations_peak`` and ``total`` are None with a reason in ``why``."""

    weights: int
    activations_peak: int | None
    form: str
    why: str | None
    peak_at: str | None  # the operator at which most is alive

    @property
    def total(self) -> int | None:
        """Peak resident memory of a process that runs the model."""
        if self.activations_peak is None:
            return None
        process = _PROCESSES[self.form]
        held = process.per_weight_byte * self.weights + process.per_activation_byte * self.activations_peak
        return process.base_bytes + round(held)

    def to_json(self) -> dict[str, Any]:
        """The prediction as a JSON object that says what it is."""
        process = _PROCESSES[self.form]
        return {
            "kind": "predicted",
            "peak_bytes": self.total,
            "weights_bytes": self.weights,
            "activations_peak_bytes": self.activations_peak,
            "runtime_allowance_bytes": process.base_bytes,
            "per_weight_byte": process.per_weight_byte,
            "per_activation_byte": process.per_activation_byte,
            "peak_at": self.peak_at,
            "why_missing": self.why,
            "note": "allowance + per_weight_byte * weights + per_activation_byte * activations alive at once;"
            " predicted for a Python process on x86-64, not measured",
        }


def predict(graph: Graph, weight_bytes: int, form: str) -> MemoryPrediction:
    """The prediction for a graph whose stored tensors take ``weight_bytes``; ``form`` is "onnx" or "tflite"."""
    folded, steps = _fold(graph)
    read = {name for step in steps for name in step.inputs} | set(graph.outputs)
    sized = (name for step in steps for name in step.outputs if name in read)
    unknown = next((name for name in sized if graph.bytes(name) is None), None)
    if unknown is not None:
        return MemoryPrediction(weight_bytes, None, form, f"the size of tensor {unknown!r} is unknown", None)
    weights = weight_bytes + folded
    if any(graph.bytes(name) is None for name in graph.inputs):
        return MemoryPrediction(weights, None, form, "the size of an input is unknown", None)
    peak, where = _walk(graph, steps)
    return MemoryPrediction(weights, peak, form, None, where)


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
        elif step.operator in _SAME_MEMORY or (last.get(source) == number and _may_overwrite(graph, step, source)):
            home[out] = home.get(source, source)
    return home


def _may_overwrite(graph: Graph, step: Step, source: str) -> bool:
    """Whether an element-wise step can write its result over its input, if nobody reads that later."""
    same = graph.bytes(source) == graph.bytes(step.outputs[0])
    return step.operator in _IN_PLACE and source not in graph.inputs and same
