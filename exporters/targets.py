"""What each runtime release loads and runs well: operator sets, IR version, low-bit kernels, and how that is known."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from mobile.errors import UsageError


@dataclass(frozen=True)
class Target:
    """A runtime release and the newest model it loads.

    ``opset`` is the default domain's, ``ml_opset`` that of ai.onnx.ml; both and ``ir_version`` are 0 for the TFLite
    runtimes ("litert", "tflite"). ``nbits`` are the widths of MatMulNBits that it has *and* runs well. ``provenance``
    says how these are known.
    """

    version: tuple[int, int]
    opset: int
    ir_version: int
    ml_opset: int
    provenance: str
    runtime: str = "onnxruntime"
    nbits: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The release as users write it, such as ``onnxruntime 1.19``."""
        return f"{_SHOWN[self.runtime]} {_dotted(self.version)}"

    @property
    def format(self) -> str:
        """The model format that it loads: "onnx" or "tflite"."""
        return "onnx" if self.runtime == "onnxruntime" else "tflite"

    def to_json(self) -> dict[str, Any]:
        """The target as a JSON object."""
        return {"name": self.name, **asdict(self)}


# Measured: the newest opset, ai.onnx.ml opset and IR version with which the release's Linux x86-64 wheel (the last
# patch of each minor version) loads a one-node model. It bounds what a model may declare; a kernel may still be
# missing.
_MEASURED: dict[tuple[int, int], tuple[int, int, int]] = {
    (1, 8): (14, 2, 7), (1, 9): (15, 2, 8), (1, 10): (15, 2, 8), (1, 11): (16, 3, 8), (1, 12): (17, 3, 8),
    (1, 13): (17, 3, 8), (1, 14): (18, 3, 8), (1, 15): (18, 3, 9), (1, 16): (19, 3, 9), (1, 17): (20, 4, 9),
    (1, 18): (21, 5, 10), (1, 19): (21, 5, 10), (1, 20): (21, 5, 10), (1, 21): (22, 5, 10), (1, 22): (22, 5, 10),
    (1, 23): (23, 5, 11), (1, 24): (25, 5, 13), (1, 25): (26, 5, 13), (1, 26): (26, 5, 13), (1, 27): (26, 5, 13),
    (1, 28): (26, 5, 13), (1, 29): (26, 5, 13), (1, 30): (26, 5, 13), (1, 31): (26, 5, 13), (1, 32): (28, 5, 14),
}  # fmt: skip

_SHOWN = {"onnxruntime": "onnxruntime", "litert": "LiteRT", "tflite": "tflite-runtime"}

# Measured with the Linux x86-64 wheels of 1.16 to 1.32, one 1024 x 1024 product of each width at accuracy level 4.
# The first release that runs a width as fast as it should. 1.24 to 1.27 accept 2 bits, and take 100 times as long as
# with 4 (3 to 8 ms instead of 0.03): they do not count as having it. Nor does 1.17 with 4 bits: where the columns are
# no multiple of the block it takes 3 to 12 ms instead of 0.1.
_NBITS_SINCE = {4: (1, 18), 8: (1, 22), 2: (1, 28)}
SLOW_2_BITS = ((1, 24), (1, 27))


def nbits_of(version: tuple[int, int]) -> tuple[int, ...]:
    """The widths of MatMulNBits that an onnxruntime release has and runs well, ascending.

    >>> nbits_of((1, 23))
    (4, 8)
    """
    return tuple(sorted(width for width, since in _NBITS_SINCE.items() if version >= since))


TARGETS: tuple[Target, ...] = tuple(
    Target(version, opset, ir_version, ml_opset, "measured: newest that its wheel loads", nbits=nbits_of(version))
    for version, (opset, ml_opset, ir_version) in sorted(_MEASURED.items())
)
TFLITE_TARGETS: tuple[Target, ...] = tuple(
    Target(version, 0, 0, 0, "measured with its wheel", runtime)
    for runtime, version in (("tflite", (2, 14)), ("litert", (2, 3)))
)

_RELEASE = r"\s*(?:-|==|=|@|_|:)?\s*v?(\d{1,3})\.(\d{1,4})(?:\.\d+)*"
_PATTERN = re.compile(rf"(?:onnxruntime|ort){_RELEASE}", re.IGNORECASE)
_TFLITE_PATTERN = re.compile(rf"(litert|ai[-_]edge[-_]litert|tflite|tflite[-_]runtime){_RELEASE}", re.IGNORECASE)
MIN_OPSET = 7  # every onnxruntime reads back to it (onnxruntime's compatibility page)


def parse_target(text: str) -> Target:
    """The target of "ort:1.19", "onnxruntime==1.23.2", "litert:2.3" or "tflite:2.14". UsageError lists what is known.

    >>> parse_target("onnxruntime==1.23.2").opset
    23
    """
    other = _TFLITE_PATTERN.fullmatch(text.strip())
    if other is not None:
        return _tflite_target(other, text)
    found = _PATTERN.fullmatch(text.strip())
    oldest, newest = TARGETS[0], TARGETS[-1]
    known = f"known are onnxruntime {_dotted(oldest.version)} to {_dotted(newest.version)}"
    if found is None:
        known += ", litert:2.3 and tflite:2.14"
        raise UsageError(f"target {text!r} is not a runtime release; {known}", "Write it like ort:1.19.")
    version = int(found[1]), int(found[2])
    for target in TARGETS:
        if target.version == version:
            return target
    if version > newest.version:
        words = f"assumed: as {newest.name}, since a newer release loads what an older one did"
        return Target(version, newest.opset, newest.ir_version, newest.ml_opset, words, nbits=newest.nbits)
    raise UsageError(f"target {text!r}: {known}", "Choose a known release; `edgewise doctor NAME` shows a board's.")


def _tflite_target(found: re.Match[str], text: str) -> Target:
    runtime = "litert" if "litert" in found[1].lower() else "tflite"
    version = int(found[2]), int(found[3])
    (known,) = (target for target in TFLITE_TARGETS if target.runtime == runtime)
    if version == known.version:
        return known
    if version > known.version and runtime == "litert":
        return Target(version, 0, 0, 0, f"assumed: as {known.name}", runtime)
    raise UsageError(f"target {text!r}: of this runtime {known.name} is known", "Write litert:2.3 or tflite:2.14.")


def smallest_for(opsets: dict[str, int], ir_version: int | None) -> Target | None:
    """The oldest known target that loads these operator sets and IR version, None when not even the newest does.

    Domains other than the two standard ones say nothing about the release and are left out.
    """
    for target in TARGETS:
        fits = opsets.get("", 0) <= target.opset and opsets.get("ai.onnx.ml", 0) <= target.ml_opset
        if fits and (ir_version or 0) <= target.ir_version:
            return target
    return None


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
