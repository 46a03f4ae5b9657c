"""The compressed spec: one safetensors file with codes at their true width and a JSON description in its metadata.

The description is the metadata entry ``edgewise.compressed``: {"schema": 1, "origin": {...}, "tensors": {NAME: entry}};
the arrays of a weight are NAME.codes, NAME.scales and so on. docs/compressed.md describes every field.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from exporters.compress.entries import describe, restore, restore_shared
from exporters.compress.fields import Fields
from exporters.compress.tensors import CompressedModel, CompressedTensor, Shared
from mobile.errors import ExportError, ModelError

KEY = "edgewise.compressed"
SCHEMA = 1
MAX_DESCRIPTION = 64 << 20  # characters of JSON
MAX_TENSORS = 100_000


def is_spec(path: Path) -> bool:
    """Whether the file is a safetensors file with a compressed spec in it. Reads its header only."""
    try:
        with path.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            return 0 < size <= 2 * MAX_DESCRIPTION and f'"{KEY}"'.encode() in stream.read(size)
    except OSError:
        return False


def write_spec(model: CompressedModel, path: Path, *, trits: bool = False) -> None:
    """Writes the model's weights to ``path``, whole or not at all. ``trits``: ternary codes at 1.6 bits instead of 2.

    ExportError when the file cannot be written, or a shared weight's source is not in the model.
    """
    from safetensors.numpy import save_file

    entries: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    for name, tensor in model.tensors.items():
        if isinstance(tensor, Shared):
            entries[name] = _shared_entry(name, tensor, model.tensors)
            continue
        entries[name], parts = describe(tensor, trits)
        arrays.update({f"{name}.{part}": _contiguous(array) for part, array in parts.items()})
    text = json.dumps({"schema": SCHEMA, "origin": dict(model.origin), "tensors": entries}, allow_nan=False)
    handle, part = -1, ""
    try:
        handle, part = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        save_file(arrays, part, metadata={KEY: text, "format": "np"})
        Path(part).chmod(0o644)
        Path(part).replace(path)
    except OSError as error:
        raise ExportError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        if part:
            Path(part).unlink(missing_ok=True)


def _contiguous(array: Any) -> Any:
    import numpy as np

    return np.ascontiguousarray(array)


def _shared_entry(name: str, tensor: Shared, tensors: Mapping[str, CompressedTensor]) -> dict[str, Any]:
    source = next((other for other, found in tensors.items() if found is tensor.source), None)
    if source is None:
        raise ExportError(f"weight {name!r} shares {tensor.source.name!r}, which is not in the model")
    return {
        "family": "shared", "shape": list(tensor.shape), "axis": tensor.axis, "group": tensor.group, "source": source,
    }  # fmt: skip


def read_entries(path: Path) -> dict[str, Any]:
    """The entry of each weight in a compressed spec, without reading an array. ModelError as of `read_spec`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            found = _document(path, file.metadata() or {})["tensors"]
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: is no readable safetensors file: {_line(error)}") from error
    return {name: entry for name, entry in found.items() if isinstance(entry, dict)}


def read_spec(path: Path, *, only: Collection[str] | None = None) -> CompressedModel:
    """The model in a compressed spec, every part checked. ModelError names file, weight and what does not fit.

    dtypes and shapes are compared with what the description says before an array is read, so what is allocated is
    bounded by the file's own size. ``only`` the weights of these names are read, and what they share.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            document = _document(path, file.metadata() or {})
            stored = {key: _stored(file.get_slice(key)) for key in file.keys()}  # noqa: SIM118 - not a mapping
            return _model(path, document, stored, file, only)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: is no readable safetensors file: {_line(error)}") from error


def _stored(part: Any) -> tuple[str, tuple[int, ...]]:
    return str(part.get_dtype()), tuple(part.get_shape())


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _document(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    text = metadata.get(KEY)
    if text is None:
        raise ModelError(f"{path}: has no compressed spec in it (no metadata entry {KEY!r})")
    if len(text) > MAX_DESCRIPTION:
        raise ModelError(f"{path}: a description of {len(text)} characters is more than {MAX_DESCRIPTION}")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: its description is not JSON: {_line(error)}") from error
    if not isinstance(document, dict) or not isinstance(document.get("tensors"), dict):
        raise ModelError(f"{path}: its description has no object 'tensors'")
    if document.get("schema") != SCHEMA:
        raise ModelError(
            f"{path}: schema {document.get('schema')!r:.40} is not {SCHEMA}", "A newer edgewise may read it."
        )
    if len(document["tensors"]) > MAX_TENSORS:
        raise ModelError(f"{path}: {len(document['tensors'])} weights are more than {MAX_TENSORS}")
    return document


def _model(
    path: Path,
    document: dict[str, Any],
    stored: Mapping[str, tuple[str, tuple[int, ...]]],
    file: Any,
    only: Collection[str] | None,
) -> CompressedModel:
    tensors: dict[str, CompressedTensor] = {}
    entries: dict[str, Any] = document["tensors"]
    if only is not None:
        sources = [entries[name].get("source") for name in only if isinstance(entries.get(name), dict)]
        entries = {name: entry for name, entry in entries.items() if name in only or name in sources}
    try:
        for name, entry in entries.items():
            if not isinstance(entry, dict):
                raise ModelError(f"weight {name!r}: its entry is no object")
            if entry.get("family") != "shared":
                tensors[name] = restore(Fields(name, entry, stored, partial(_load, file), name))
        for name, entry in entries.items():
            if entry.get("family") == "shared":
                fields = Fields(name, entry, stored, partial(_load, file), name)
                source = tensors.get(fields.text("source"))
                if source is None or isinstance(source, Shared):
                    raise fields.wrong(f"its source {fields.text('source')!r:.80} is no weight with values of its own")
                tensors[name] = restore_shared(fields, source)
    except ModelError as error:
        raise ModelError(f"{path}: {error.message}", error.hint) from error
    origin = document.get("origin")
    ordered = {name: tensors[name] for name in entries}
    return CompressedModel(ordered, origin if isinstance(origin, dict) else {})


def _load(file: Any, key: str) -> Any:
    import ml_dtypes  # noqa: F401 - teaches numpy the dtype bfloat16

    return file.get_tensor(key)
