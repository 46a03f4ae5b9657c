"""Who can run a model: the oldest runtime that loads it, and what is known to need more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from exporters.targets import TARGETS, smallest_for
from mobile.formats import ModelIndex

_STANDARD = ("", "ai.onnx.ml")


@dataclass(frozen=True)
class Compatibility:
    """``runtime`` is the oldest that loads the model ("onnxruntime 1.19"), None when unknown, and ``why`` says how it
    is known.
    """

    runtime: str | None
    why: str
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The finding as a JSON object."""
        return {"oldest_runtime": self.runtime, "why": self.why, "notes": list(self.notes)}


def compatibility(found: ModelIndex, nbits: set[int]) -> Compatibility:
    """Who can run the model; ``nbits`` are the widths of its MatMulNBits nodes."""
    return _onnx(found, nbits) if found.format == "onnx" else _tflite(found)


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


# Measured on onnxruntime 1.19.2, 1.23.2 and 1.32.0.
_NBITS = {
    2: "MatMulNBits with 2 bits: runs on onnxruntime 1.32, not on 1.19 or 1.23",
    4: "MatMulNBits with 4 bits: runs on onnxruntime 1.19 and newer",
    8: "MatMulNBits with 8 bits: runs on onnxruntime 1.23 and newer, not on 1.19",
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
