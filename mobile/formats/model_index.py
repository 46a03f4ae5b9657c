"""The index of a model file: its tensors, where their bytes lie, and its operators."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

Dim = int | str | None
"""A dimension: a number, a symbolic name, or None where the model says nothing."""


@dataclass(frozen=True)
class TensorInfo:
    """An input or output. ``shape`` is None when even the rank is unknown."""

    name: str
    dtype: str
    shape: tuple[Dim, ...] | None


@dataclass(frozen=True)
class TensorBytes:
    """A stored tensor and where its bytes lie.

    ``offset`` counts from the start of ``file`` (None: the model file itself, else the external file's
    location relative to the model's folder, with ``/``). It is None when the bytes are not one contiguous
    little-endian run (``stored`` is "typed"). ``length`` is the size of the tensor's values in bytes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int | None
    length: int
    file: str | None = None
    stored: str = "raw"  # "raw", "external", or "typed" (protobuf's own encoding of numbers or strings)
    # "initializer", "constant" (in a node's attribute) or "sparse" (values or indices of one)
    role: str = "initializer"
    bits: int = 0  # width of one value; 0 for strings


@dataclass(frozen=True)
class FileInfo:
    """A file that belongs to the model. ``location`` is relative to the model's folder, "" for the model file
    itself.
    """

    location: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class ModelIndex:
    """Everything that reading a model file's structure tells.

    ``sha256`` identifies the content: the file's SHA-256, or, with external data, the combined hash of
    `mobile.formats.hashing`. ``size_bytes`` counts the external files too. ``operators`` counts nodes by
    name, subgraphs and function bodies included; ONNX names outside the default domain are ``domain.Name``,
    TFLite's are its builtin names or ``custom:NAME``.
    """

    path: Path
    format: str  # "onnx" or "tflite"
    sha256: str
    size_bytes: int
    files: tuple[FileInfo, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    tensors: tuple[TensorBytes, ...]
    operators: dict[str, int]
    opsets: dict[str, int] = field(default_factory=dict)  # ONNX: domain ("" is the default one) -> version
    operator_versions: dict[str, int] = field(default_factory=dict)  # TFLite: operator -> highest version used
    ir_version: int | None = None  # ONNX's IR version, TFLite's schema version
    producer: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    functions: tuple[str, ...] = ()  # ONNX model-local functions, as operator names

    @property
    def external_files(self) -> tuple[str, ...]:
        """The locations of the external data files, sorted; empty when the model is one file."""
        return tuple(info.location for info in self.files if info.location)

    def to_json(self) -> dict[str, Any]:
        """The index as a JSON object; ``path`` is left out, so that equal models give equal documents."""
        document: dict[str, Any] = _lists(asdict(self))
        del document["path"]
        document["external_files"] = list(self.external_files)
        return document


def _lists(value: Any) -> Any:
    """Tuples as lists, as they come back from JSON."""
    if isinstance(value, dict):
        return {key: _lists(inner) for key, inner in value.items()}
    return [_lists(inner) for inner in value] if isinstance(value, (tuple, list)) else value
