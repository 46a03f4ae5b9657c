"""What an export gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporters.parity import Parity
from exporters.quantize import QuantizationError
from mobile.formats import Manifest, manifest_path


@dataclass(frozen=True)
class ExportResult:
    """A published artifact with its manifest and the evidence for it.

    ``parity`` compares the exported graph with the source (before quantisation, where there is a scheme); None when
    verification was turned off. ``quantization`` holds the figures of a quantised artifact against the source.
    """

    path: Path
    manifest: Manifest
    parity: Parity | None
    quantization: QuantizationError | None = None

    def to_json(self) -> dict[str, Any]:
        """The result as a JSON object."""
        return {
            "path": str(self.path),
            "manifest_path": str(manifest_path(self.path)),
            "manifest": self.manifest.to_json(),
            "parity": self.parity.to_json() if self.parity else None,
            "quantization_error": self.quantization.to_json() if self.quantization else None,
        }

    def lines(self) -> list[str]:
        """The result in words, one fact a line."""
        made = self.manifest
        scheme = f", {made.scheme}" if made.scheme else ""
        opset = made.opsets.get("")
        target = f", for {made.target}" if made.target else ""
        lines = [
            f"{self.path}: {made.size_bytes:,} bytes{scheme}, opset {opset}, IR version {made.ir_version}{target}"
            f" (the source has {made.sizes.get('source_bytes', 0):,} bytes)"
        ]
        if self.parity is None:
            lines.append("not verified against the source, as asked")
        else:
            graph = "the graph before quantisation" if made.scheme else "it"
            verdict = "equals the source" if self.parity.ok else "DIFFERS from the source"
            over = f"over {self.parity.inferences} {self.parity.inputs} inputs"
            lines.append(f"verified: {graph} {verdict} {over}; {self.parity.worst.said()}")
        if self.quantization is not None:
            lines += [_said(tensor) for tensor in self.quantization.tensors]
        return lines + [f"note: {note}" for note in made.notes]


def _said(tensor: Any) -> str:
    relative = "the source is zero" if tensor.relative_error is None else f"relative error {tensor.relative_error:.3g}"
    snr = "" if tensor.snr_db is None else f", SNR {tensor.snr_db:.1f} dB"
    agreement = ""
    if tensor.argmax_agreement is not None:
        agreement = f", same arg-max in {tensor.argmax_agreement:.1%} of {tensor.rows} rows"
    return f"quantisation error of {tensor.name!r}: {relative}{snr}{agreement}"
