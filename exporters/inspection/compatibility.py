"""Who can run a model: the oldest runtime that loads it, and what is known to need more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from exporters.targets import SLOW_2_BITS, TARGETS, TFLITE_TARGETS, Target, nbits_of, smallest_for
from mobile.formats import ModelIndex

_STANDARD = ("", "ai.onnx.ml")
_NBITS_NAME = "com.microsoft.MatMulNBits"


@dataclass(frozen=True)
class TargetVerdict:
    """Whether one release runs the model; None: not known. ``why`` says what stands against it, or how it is known."""

    target: str
    runs: bool | None
    why: str


@dataclass(frozen=True)
class Compatibility:
    """``runtime`` is the oldest that loads the model ("onnxruntime 1.19"), None when unknown, and ``why`` says how it
    is known. ``targets`` judges the releases that boards have.
    """

    runtime: str | None
    why: str
    notes: tuple[str, ...] = ()
    targets: tuple[TargetVerdict, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The finding as a JSON object."""
        return {"oldest_runtime": self.runtime, "why": self.why, "notes": list(self.notes),
                "targets": [asdict(verdict) for verdict in self.targets]}  # fmt: skip


def compatibility(found: ModelIndex, nbits: set[int]) -> Compatibility:
    """Who can run the model; ``nbits`` are the widths of its MatMulNBits nodes."""
    result = _onnx(found, nbits) if found.format == "onnx" else _tflite(found)
    return replace(result, targets=tuple(_verdicts(found, nbits)))


_SHOWN = ((1, 19), (1, 23), (1, 32))  # the newest for Python 3.9, 3.10, and 3.11 and newer


def _verdicts(found: ModelIndex, nbits: set[int]) -> Iterator[TargetVerdict]:
    for target in TARGETS:
        if target.version in _SHOWN:
            yield _on_onnxruntime(found, nbits, target)
    for target in TFLITE_TARGETS:
        yield _on_tflite(found, target)


def _on_onnxruntime(found: ModelIndex, nbits: set[int], target: Target) -> TargetVerdict:
    if found.format != "onnx":
        return TargetVerdict(target.name, False, "it is a TFLite file")
    against = []
    if found.opsets.get("", 0) > target.opset:
        against.append(f"opset {found.opsets['']}, it ends at {target.opset}")
    if found.opsets.get("ai.onnx.ml", 0) > target.ml_opset:
        against.append(f"ai.onnx.ml {found.opsets['ai.onnx.ml']}, it ends at {target.ml_opset}")
    if (found.ir_version or 0) > target.ir_version:
        against.append(f"IR version {found.ir_version}, it ends at {target.ir_version}")
    lacking = [f"{bits} bits" for bits in sorted(nbits) if bits not in nbits_of(target.version)]
    if lacking:
        against.append(f"it has no MatMulNBits of {' and '.join(lacking)}")
    own = sorted(set(found.opsets) - set(_STANDARD) - {name.rpartition(".")[0] for name in found.functions})
    unknown = sorted(
        name for name in found.operators if name != _NBITS_NAME and any(name.startswith(f"{domain}.") for domain in own)
    )
    if against:
        return TargetVerdict(target.name, False, "; ".join(against))
    if unknown:
        return TargetVerdict(target.name, None, f"which release brought {', '.join(unknown[:3])} is not known here")
    return TargetVerdict(target.name, True, "its operator sets and widths are within what the release loads")


def _on_tflite(found: ModelIndex, target: Target) -> TargetVerdict:
    if found.format != "tflite":
        return TargetVerdict(target.name, False, "it is an ONNX file; export it with --format tflite")
    custom = [name for name in found.operators if name.startswith("custom:")]
    against = [f"custom operators: {', '.join(custom[:3])}"] if custom else []
    dtypes = {tensor.dtype for tensor in found.tensors}
    if target.runtime == "tflite":
        if dtypes & {"int2", "uint4"}:
            against.append("2-bit weights")
        if "int4" in dtypes and any(name in found.operators for name in ("CONV_2D", "DEPTHWISE_CONV_2D", "DEQUANTIZE")):
            against.append("4-bit weights outside FULLY_CONNECTED")
        if found.operator_versions.get("FULLY_CONNECTED", 0) > 11:
            against.append("FULLY_CONNECTED version 12")
    if against:
        return TargetVerdict(target.name, False, "; ".join(against))
    return TargetVerdict(target.name, None, "nothing known stands against it; the versions of its operators decide")


def _onnx(found: ModelIndex, nbits: set[int]) -> Compatibility:
    target = smallest_for(found.opsets, found.ir_version)
    versions = f"opset {found.opsets.get('', 'none')}, IR version {found.ir_version}"
    notes = [_NBITS[bits] for bits in sorted(nbits) if bits in _NBITS]
    local = {name.rpartition(".")[0] for name in found.functions}
    own = sorted(set(found.opsets) - set(_STANDARD) - local)
    used = [domain for domain in own if any(name.startswith(f"{domain}.") for name in found.operators)]
    if used:
        notes.append(f"operators of {', '.join(used)}: which release brought them is not known here")
    if target is None:
        newest = TARGETS[-1]
        return Compatibility(None, f"{versions}: newer than {newest.name}, the newest known", tuple(notes))
    return Compatibility(target.name, f"{versions}; {target.provenance}", tuple(notes))


# Measured: see exporters.targets.
_SLOW = " to ".join(f"{major}.{minor}" for major, minor in SLOW_2_BITS)
_NBITS = {
    2: f"MatMulNBits with 2 bits: runs on onnxruntime 1.28 and newer; {_SLOW} accept it and take 100 times as long",
    4: "MatMulNBits with 4 bits: runs on onnxruntime 1.18 and newer",
    8: "MatMulNBits with 8 bits: runs on onnxruntime 1.22 and newer",
}


def _tflite(found: ModelIndex) -> Compatibility:
    version = found.metadata.get("min_runtime_version", "").strip()
    dtypes = {tensor.dtype for tensor in found.tensors}
    notes = []
    # Measured on tflite-runtime 2.14.0 and ai-edge-litert 2.3.0.
    if dtypes & {"int2", "uint4"}:
        notes.append("2-bit weights: LiteRT 2.3 loads them, tflite-runtime 2.14 does not")
    if "int4" in dtypes:
        notes.append("4-bit weights: tflite-runtime 2.14 runs them in FULLY_CONNECTED only")
    if found.operator_versions.get("FULLY_CONNECTED", 0) > 11:
        notes.append("FULLY_CONNECTED version 12: unknown to tflite-runtime 2.14")
    custom = sorted(name for name in found.operators if name.startswith("custom:"))
    if custom:
        notes.append(f"custom operators, which the runtime must be given: {', '.join(custom[:10])}")
    if version:
        return Compatibility(f"TensorFlow Lite {version}", "as the converter wrote into the file", tuple(notes))
    return Compatibility(None, "the file does not say; the versions of its operators do", tuple(notes))
