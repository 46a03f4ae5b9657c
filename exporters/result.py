"""What an export gives back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporters.accuracy import LabelledAccuracy
from exporters.loading import Loading
from exporters.parity import Parity
from exporters.proof import Proof
from exporters.quantize import QuantizationError
from mobile.formats import Manifest, manifest_path


@dataclass(frozen=True)
class ExportResult:
    """A published artifact with its manifest and the evidence for it.

    ``parity`` compares the exported graph with the source (before quantisation, where there is a scheme); None when
    verification was turned off. ``quantization`` holds the figures of a quantised artifact against the source.
    Of compressed weights: ``proof`` checks each against its dequantised reference, ``reference`` holds the figures of
    the outputs against that reference. ``accuracy`` is there where labels were given.
    """

    path: Path
    manifest: Manifest
    parity: Parity | None
    quantization: QuantizationError | None = None
    proof: Proof | None = None
    reference: QuantizationError | None = None
    accuracy: LabelledAccuracy | None = None
    loading: Loading | None = None

    def to_json(self) -> dict[str, Any]:
        """The result as a JSON object."""
        return {
            "path": str(self.path),
            "manifest_path": str(manifest_path(self.path)),
            "manifest": self.manifest.to_json(),
            "parity": self.parity.to_json() if self.parity else None,
            "quantization_error": self.quantization.to_json() if self.quantization else None,
            "weights_proof": self.proof.to_json() if self.proof else None,
            "reference_error": self.reference.to_json() if self.reference else None,
            "accuracy": self.accuracy.to_json() if self.accuracy else None,
            "loading": self.loading.to_json() if self.loading else None,
        }

    def lines(self) -> list[str]:
        """The result in words, one fact a line."""
        made = self.manifest
        scheme = f", {made.scheme}" if made.scheme else ""
        opset = made.opsets.get("")
        target = f", for {made.target}" if made.target else ""
        version = f"opset {opset}, IR version {made.ir_version}" if made.format == "onnx" else "TFLite"
        lines = [
            f"{self.path}: {made.size_bytes:,} bytes{scheme}, {version}{target}"
            f" (the source has {made.sizes.get('source_bytes', 0):,} bytes)"
        ]
        if self.parity is None and made.origin.get("kind") == "tflite":
            pass  # nothing but its weights is written anew, and what that changed is said below
        elif self.parity is None:
            lines.append("not verified against the source, as asked")
        else:
            graph = "the graph before compression" if made.quantization else "it"
            verdict = "equals the source" if self.parity.ok else "DIFFERS from the source"
            over = f"over {self.parity.inferences} {self.parity.inputs} inputs"
            lines.append(f"verified: {graph} {verdict} {over}; {self.parity.worst.said()}")
        lines += self._weights()
        if self.quantization is not None:
            lines += [_said(tensor, "from the source") for tensor in self.quantization.tensors]
        lines += [found.said() for found in (self.accuracy, self.loading) if found is not None]
        return lines + [f"note: {note}" for note in made.notes]

    def _weights(self) -> list[str]:
        """What became of the weights, and the proof."""
        lines = []
        stored = (self.manifest.quantization or {}).get("stored")
        if stored:
            lines.append("stored as " + ", ".join(f"{way} ({count})" for way, count in stored.items()))
        for (family, carriers), entries in _by_carrier(self.manifest).items():
            packed = sum(entry["packed_bytes"] for entry in entries)
            values = sum(math.prod(entry["shape"]) for entry in entries)
            lines.append(
                f"{len(entries)} weights {family}: {packed:,} bytes, {8 * packed / values:.3g} bits each, as {carriers}"
            )
        worst = self.proof.worst if self.proof else None
        if self.proof is not None and worst is not None:
            verdict = "each equals" if self.proof.ok else "DIFFERS from"
            lines.append(
                f"weights: {verdict} its dequantised reference within the carrier's arithmetic;"
                f" at most {worst.ratio or 0:.2g} of the bound ({worst.weight})"
            )
        if self.reference is not None:
            lines += [_said(tensor, "from the dequantised reference") for tensor in self.reference.tensors]
        return lines


def _by_carrier(manifest: Manifest) -> dict[tuple[str, str], list[dict[str, Any]]]:
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    if manifest.format != "onnx":
        return found
    for entry in (manifest.quantization or {}).get("tensors", []):
        found.setdefault((entry["family"], ", ".join(entry["carriers"])), []).append(entry)
    return found


def _said(tensor: Any, against: str) -> str:
    relative = "the source is zero" if tensor.relative_error is None else f"relative error {tensor.relative_error:.3g}"
    snr = "" if tensor.snr_db is None else f", SNR {tensor.snr_db:.1f} dB"
    agreement = ""
    if tensor.argmax_agreement is not None:
        agreement = f", same arg-max in {tensor.argmax_agreement:.1%} of {tensor.rows} rows"
    return f"error of {tensor.name!r} {against}: {relative}{snr}{agreement}"
