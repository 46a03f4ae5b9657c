"""What each onnxruntime release can load: the newest operator sets and IR version, and how that is known."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from mobile.errors import UsageError


@dataclass(frozen=True)
class Target:
    """A runtime release and the newest model it loads.

    ``opset`` is the default domain's, ``ml_opset`` that of ai.onnx.ml. ``provenance`` says how these are known.
    """

    version: tuple[int, int]
    opset: int
    ir_version: int
    ml_opset: int
    provenance: str

    @property
    def name(self) -> str:
        """The release as users write it, such as ``onnxruntime 1.19``."""
        return f"onnxruntime {self.version[0]}.{self.version[1]}"

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

TARGETS: tuple[Target, ...] = tuple(
    Target(version, opset, ir_version, ml_opset, "measured: newest that its wheel loads")
    for version, (opset, ml_opset, ir_version) in sorted(_MEASURED.items())
)

_PATTERN = re.compile(r"(?:onnxruntime|ort)\s*(?:-|==|=|@|_)?\s*v?(\d{1,3})\.(\d{1,4})(?:\.\d+)*", re.IGNORECASE)
MIN_OPSET = 7  # every onnxruntime reads back to it (onnxruntime's compatibility page)


def parse_target(text: str) -> Target:
    """The target of "ort-1.19", "ort1.32" or "onnxruntime==1.23.2". UsageError lists what is known.

    >>> parse_target("onnxruntime==1.23.2").opset
    23
    """
    found = _PATTERN.fullmatch(text.strip())
    oldest, newest = TARGETS[0], TARGETS[-1]
    known = f"known are onnxruntime {_dotted(oldest.version)} to {_dotted(newest.version)}"
    if found is None:
        raise UsageError(f"target {text!r} is not a runtime release; {known}", "Write it like onnxruntime==1.19.")
    version = int(found[1]), int(found[2])
    for target in TARGETS:
        if target.version == version:
            return target
    if version > newest.version:
        words = f"assumed: as {newest.name}, since a newer release loads what an older one did"
        return Target(version, newest.opset, newest.ir_version, newest.ml_opset, words)
    raise UsageError(f"target {text!r}: {known}", "Choose a known release; `edgewise doctor NAME` shows a board's.")


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
