"""The manifest that lies beside an exported model: what it is, where it came from, and how it was
verified.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mobile.errors import ModelError
from mobile.formats.atomic import write_atomically

SCHEMA = 1
_MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Manifest:
    """One exported artifact.

    ``inputs`` and ``outputs`` are objects with name, dtype and shape. ``evidence`` lists how it was checked
    against its source, one object per check with ``kind`` "parity" (within a tolerance, or not published) or
    "quantization-error" (figures, not a pass).
    """

    format: str
    sha256: str  # of the content, as mobile.formats.hashing describes
    size_bytes: int
    files: list[dict[str, Any]]  # location ("" is the artifact itself), size_bytes, sha256
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    origin: dict[str, Any]  # kind ("onnx", "torch-file", "torch-pt2"), name, sha256, size_bytes
    scheme: str | None
    target: str | None
    opsets: dict[str, int]
    ir_version: int | None
    edgewise_version: str
    created_utc: str  # ISO 8601, seconds, "Z"
    evidence: list[dict[str, Any]] = field(default_factory=list)
    passes: list[str] = field(default_factory=list)
    sizes: dict[str, Any] = field(default_factory=dict)  # source_bytes, weight_bytes, weight_bytes_by_bits
    quantization: dict[str, Any] | None = None
    tools: dict[str, str] = field(default_factory=dict)  # library -> version
    notes: list[str] = field(default_factory=list)
    # The items that its quality is told on: inputs (path from the artifact's folder), sha256, labels, metric, scale.
    evaluation: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The manifest as a JSON object with its schema number."""
        return {"schema": SCHEMA, **asdict(self)}

    def save(self, path: Path) -> None:
        """Writes it whole or not at all. OSError when it cannot be written."""
        text = json.dumps(self.to_json(), indent=2, allow_nan=False, ensure_ascii=False)
        write_atomically(path, (text + "\n").encode("utf-8"))

    @classmethod
    def load(cls, path: Path) -> Manifest:
        """The manifest in a file. ModelError when it is missing, not JSON, or not a manifest, naming the
        field.
        """
        return cls.from_json(_read_json(path), str(path))

    @classmethod
    def from_json(cls, document: Any, name: str = "manifest") -> Manifest:
        """The manifest of a JSON object; unknown fields are ignored. ModelError names the field that is
        wrong.
        """
        if not isinstance(document, dict):
            raise ModelError(f"{name}: not a manifest, a JSON object was expected", _HINT)
        if document.get("schema") != SCHEMA:
            raise ModelError(f"{name}: schema is {document.get('schema')!r}, this edgewise reads {SCHEMA}", _HINT)
        values: dict[str, Any] = {}
        for key, (kinds, needed) in _FIELDS.items():
            if key not in document:
                if needed:
                    raise ModelError(f"{name}: {key} is missing", _HINT)
                continue
            if not isinstance(document[key], kinds) or isinstance(document[key], bool):
                raise ModelError(f"{name}: {key} is {str(document[key])[:80]!r}, expected {_said(kinds)}", _HINT)
            values[key] = document[key]
        if len(values["sha256"]) != 64 or set(values["sha256"]) - set("0123456789abcdef"):
            raise ModelError(f"{name}: sha256 is {values['sha256'][:80]!r}, expected 64 hexadecimal digits", _HINT)
        return cls(**values)


_HINT = "Export the model again; the manifest is written beside it."
_NONE = type(None)
_FIELDS: dict[str, tuple[tuple[type, ...], bool]] = {
    "format": ((str,), True),
    "sha256": ((str,), True),
    "size_bytes": ((int,), True),
    "files": ((list,), True),
    "inputs": ((list,), True),
    "outputs": ((list,), True),
    "origin": ((dict,), True),
    "scheme": ((str, _NONE), True),
    "target": ((str, _NONE), True),
    "opsets": ((dict,), True),
    "ir_version": ((int, _NONE), True),
    "edgewise_version": ((str,), True),
    "created_utc": ((str,), True),
    "evidence": ((list,), False),
    "passes": ((list,), False),
    "sizes": ((dict,), False),
    "quantization": ((dict, _NONE), False),
    "tools": ((dict,), False),
    "notes": ((list,), False),
    "evaluation": ((dict, _NONE), False),
}


def manifest_path(artifact: str | Path) -> Path:
    """Where the manifest of an artifact lies: ``<file>.manifest.json`` beside it."""
    artifact = Path(artifact)
    return artifact.with_name(artifact.name + ".manifest.json")


def _read_json(path: Path) -> Any:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ModelError(f"{path}: {path.stat().st_size} bytes are no manifest", _HINT)
        return json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: the manifest cannot be read ({error.strerror})", _HINT) from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path}: the manifest is not JSON", _HINT) from error


def _said(kinds: tuple[type, ...]) -> str:
    words = {str: "text", int: "a whole number", list: "a list", dict: "an object", _NONE: "null"}
    return " or ".join(words[kind] for kind in kinds)
