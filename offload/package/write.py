"""Writes a split package: parts under the names of their hashes, the manifest last, the folder whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from device_agents.split import package as reading
from device_agents.split.codecs import Range
from device_agents.split.frames import DTYPES, NUMPY_NAMES
from mobile.errors import ExportError
from mobile.formats.atomic import write_atomically
from offload.model.halves import part_model, parts_of
from offload.model.pieces import PieceGraph
from offload.model.values import Observed, value_infos
from offload.plan.problem import Crossing, Line

MAX_PART_BYTES = (1 << 31) - 1  # a protobuf message


@dataclass(frozen=True)
class Planned:
    """One placement to be packed: pieces on the server, and (value, up, codec) of what crosses."""

    id: str
    label: str
    on_server: tuple[bool, ...]
    crossings: tuple[tuple[str, bool, str], ...] = ()
    predicted: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """A model to be split: its file's name and hash, the loaded proto, its pieces and what was seen of its values."""

    name: str
    sha256: str
    size_bytes: int
    model: Any
    graph: PieceGraph
    observed: Mapping[str, Observed]


def planned(name: str, label: str, line: Line, values: Sequence[str], codecs: Sequence[Sequence[str]]) -> Planned:
    """The placement of a line. ``values[i]`` is the tensor i of its problem, ``codecs[i]`` the names of its ways up."""

    def told(crossing: Crossing) -> tuple[str, bool, str]:
        names = codecs[crossing.tensor]
        codec = names[crossing.way] if crossing.up and crossing.way < len(names) else "raw"
        return values[crossing.tensor], crossing.up, codec

    sides = tuple(bool(side) for side in line.sides)
    return Planned(name, label, sides, tuple(told(crossing) for crossing in line.crossings))


def write(
    target: Path,
    source: Source,
    placements: Sequence[Planned],
    *,
    table: Mapping[str, Any] | None = None,
    evidence: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> reading.Package:
    """The package, once it stands in the folder ``target``. ExportError when it cannot be written.

    A package that was there is replaced as a whole; a folder that is none is left alone and refused.
    """
    if target.exists() and not (target / reading.MANIFEST).is_file():
        raise ExportError(f"{target}: is there and is no split package", "Name another folder with -o.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise ExportError(f"{target}: {error.strerror}") from error
    try:
        document = _fill(folder, source, placements, table, evidence, notes)
        _publish(folder, target)
    except OSError as error:
        raise ExportError(f"{target}: {error.strerror}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return reading.from_json(document, str(target))


def _fill(
    folder: Path,
    source: Source,
    placements: Sequence[Planned],
    table: Mapping[str, Any] | None,
    evidence: Mapping[str, Any] | None,
    notes: Sequence[str],
) -> dict[str, Any]:
    from mobile import __version__

    (folder / reading.PARTS).mkdir()
    infos = value_infos(source.observed)
    packed = [_placement(folder, source, one, infos) for one in placements]
    crossing = {crossing["value"] for one in packed for crossing in one["crossings"]}
    document: dict[str, Any] = {
        "schema": reading.SCHEMA,
        "kind": reading.KIND,
        "name": _name(source.name),
        "model": {"name": source.name, "sha256": source.sha256, "size_bytes": source.size_bytes},
        "inputs": [_value(source.observed[name]) for name in source.graph.inputs],
        "outputs": [_value(source.observed[name]) for name in source.graph.outputs],
        "values": {name: _value(source.observed[name]) for name in sorted(crossing)},
        "ranges": {name: found for name in sorted(crossing) if (found := _range(source.observed[name])) is not None},
        "placements": packed,
        "table": dict(table) if table is not None else None,
        "evidence": dict(evidence) if evidence is not None else None,
        "edgewise_version": __version__,
        "notes": list(notes),
    }
    document["id"] = reading.identity(document)
    _write_durably(folder / reading.MANIFEST, _hashed(document))
    return document


def rewrite_costs(
    package: Path, change: Callable[[dict[str, Any]], dict[str, Any]], calibration: Mapping[str, Any]
) -> reading.Package:
    """The package with the table of costs that ``change`` makes of its own, once its manifest is replaced.

    ``calibration`` says where it is from. The id stays: it is the same parts. PackageError when the package is damaged
    or has no table, ExportError when it cannot be written.
    """
    path = package / reading.MANIFEST
    if reading.read(str(package)).table is None:  # also: in order, and of a size that may be read
        raise reading.PackageError("the package has no table of costs")
    try:
        document = json.loads(path.read_bytes())
        document.update(table=change(document["table"]), calibration=dict(calibration))
        write_atomically(path, _hashed(document))
    except OSError as error:
        raise ExportError(f"{path}: {error.strerror}") from error
    return reading.from_json(document, str(package))


def _hashed(document: dict[str, Any]) -> bytes:
    """The manifest as a file; its table's hash is put in."""
    document["table_sha256"] = None if document["table"] is None else reading.costs_identity(document)
    return json.dumps(document, indent=1, sort_keys=True, allow_nan=False).encode("ascii") + b"\n"


def _placement(folder: Path, source: Source, one: Planned, infos: Mapping[str, Any]) -> dict[str, Any]:
    parts = parts_of(source.graph, one.on_server)
    entries = []
    for part in parts:
        # A placement of one part is the model itself, as it is: nothing about it can differ.
        made = source.model if len(parts) == 1 else part_model(source.model, source.graph, part, infos)
        inputs = source.graph.inputs if len(parts) == 1 else part.inputs
        outputs = source.graph.outputs if len(parts) == 1 else part.outputs
        entries.append(
            {
                "number": part.number,
                "place": part.place,
                "inputs": list(inputs),
                "outputs": list(outputs),
                **_store(folder, made),
            }
        )
    crossings = [{"value": value, "up": up, "codec": codec} for value, up, codec in one.crossings]
    return {
        "id": one.id,
        "label": one.label,
        "parts": entries,
        "crossings": crossings,
        "server": [piece.name for piece, there in zip(source.graph.pieces, one.on_server, strict=True) if there],
        "predicted": one.predicted or None,
    }


def _store(folder: Path, model: Any) -> dict[str, Any]:
    """Where a part stands, once it is written: parts that are equal are one file."""
    if model.ByteSize() > MAX_PART_BYTES:
        raise ExportError("a part is larger than 2 GiB, which one ONNX file cannot hold", "Quantise the model first.")
    # Deterministic: the same part has the same hash wherever it is made.
    data = model.SerializeToString(deterministic=True)
    digest = hashlib.sha256(data).hexdigest()
    file = f"{reading.PARTS}/{digest[:16]}.onnx"
    if not (folder / file).exists():
        _write_durably(folder / file, data)
    return {"file": file, "sha256": digest, "size_bytes": len(data)}


def _value(seen: Observed) -> dict[str, Any]:
    if seen.dtype not in NUMPY_NAMES:
        raise ExportError(f"{seen.name} is of type {seen.dtype}, which cannot be sent")
    return {"name": seen.name, "dtype": DTYPES[NUMPY_NAMES.index(seen.dtype)], "shape": list(seen.shape)}


def _range(seen: Observed) -> dict[str, Any] | None:
    """The range over all channels; None for what is not quantised."""
    if not seen.dtype.startswith("float"):
        return None
    return Range((min(seen.low),), (max(seen.high),)).to_json()


def _name(name: str) -> str:
    """A file's name as a model's name on a server: letters, digits, dots and dashes."""
    stem = name.removesuffix(".onnx")
    safe = "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in stem)
    return safe.lstrip(".-")[:120] or "model"


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _publish(folder: Path, target: Path) -> None:
    """Nothing; the folder stands at ``target``. One that was there is set aside first and put back on an error."""
    folder.chmod(0o755)
    if not target.exists():
        folder.rename(target)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    aside.rmdir()
    target.rename(aside)
    try:
        folder.rename(target)
    except OSError:
        aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)
