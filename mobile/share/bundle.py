"""Runs as one archive: documents, raw columns, models where asked for, and a manifest with the hash of each part.

A zip of stored (not compressed) members in an order and with dates that do not vary, so equal runs give equal bytes,
whatever the version of zlib; a column is compressed in itself (mobile/results/columns.py). `take_in.py` reads it.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile.errors import InputError, UsageError
from mobile.results.document import from_document, to_columns, to_document
from mobile.results.run import Run
from mobile.share.privacy import Privacy
from mobile.share.rerun import command_line, not_told

if TYPE_CHECKING:
    from mobile.benchmark.models import Model

TYPE, SCHEMA = "edgewise-bundle", "1.0"
MANIFEST, README = "manifest.json", "README.txt"
IMPORTED = "imported"  # in a run's environment: where an imported run came from
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip can express
_UNIX = 3
_CHUNK_BYTES = 1 << 20

_WORDS = """\
{count} measured by edgewise. `edgewise import FILE.zip` takes them into a store, where report, compare and history
work on them as on runs of one's own. {models}

  manifest.json         what is in here: SHA-256 and size of every part
  runs/ID/run.json      what was asked for, the device's facts, sensors, events: as text
  runs/ID/columns/*     raw samples. Each file: one byte of coding (p plain, d differences), one byte of type (q and i
                        whole numbers of 8 and 4 bytes, d doubles, a missing one is NaN), 8 bytes with the number of
                        values, then zlib data of the values; all little-endian. The manifest says which column it is.
  models/SHA256/*       the files of a model, where they were put in; the manifest says their names

To measure them once more:

{lines}
Names of users and hosts, network addresses, serial numbers, passwords and tokens were replaced by markers such as
redacted-host-1. A program cannot know all that is private to you: look through run.json before you send this on.
Hashes show damage, they do not show who made it.
"""


@dataclass(frozen=True)
class Bundled:
    """What was written: ``redacted`` says how often something was taken out, by kind."""

    path: Path
    sha256: str
    size_bytes: int
    runs: tuple[str, ...]
    models: tuple[str, ...]
    redacted: Mapping[str, int] = field(default_factory=dict)
    rerun: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As `edgewise bundle --json` has it."""
        return {
            "file": str(self.path), "sha256": self.sha256, "size_bytes": self.size_bytes, "runs": list(self.runs),
            "models": list(self.models), "redacted": dict(self.redacted), "rerun": list(self.rerun),
        }  # fmt: skip


def write_bundle(target: Path, runs: Sequence[Run], privacy: Privacy, models: Sequence[Model] = ()) -> Bundled:
    """What was written to ``target``, whole or not at all. ``models``: files to put in, by their runs' hashes.

    UsageError for no runs, or a model of none of them. InputError when the file cannot be written, or a model changed.
    """
    ordered = sorted({run.id: run for run in runs}.values(), key=lambda run: run.id)
    if not ordered:
        raise UsageError("there is no run to bundle", "`edgewise runs` lists them.")
    wanted = {run.spec.model.sha256 for run in ordered}
    for model in models:
        if model.ref.sha256 not in wanted:
            raise UsageError(
                f"{model.path}: none of the runs measured it", "A model is found by its content: is it another version?"
            )
    chosen = {model.ref.sha256: model for model in models}
    try:
        with _whole(target) as stream:
            writer = _Writer(stream)
            about = [_put_run(writer, run, privacy) for run in ordered]
            told = [_put_model(writer, chosen[key]) for key in sorted(chosen)]
            lines = tuple(dict.fromkeys(line for one in about for line in one["rerun"]))
            writer.put(README, _readme(len(ordered), len(told), lines).encode())
            manifest = {
                "type": TYPE, "schema": SCHEMA, "edgewise": _version(), "runs": about, "models": told,
                "redacted": privacy.counts, "parts": writer.parts,
            }  # fmt: skip
            writer.put(MANIFEST, _pretty(manifest))
            writer.close()
            stream.seek(0)
            digest, size = _hash_of(stream)
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror or error}") from error
    names = tuple(model.ref.name for model in chosen.values())
    return Bundled(target, digest, size, tuple(run.id for run in ordered), names, privacy.counts, lines)


class _Writer:
    """Members of a zip, with their hashes."""

    def __init__(self, stream: Any) -> None:
        self.parts: dict[str, dict[str, Any]] = {}
        self._archive = zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, allowZip64=True)

    def put(self, name: str, data: bytes) -> str:
        """The member's name, once it is written."""
        with self._archive.open(_entry(name, len(data)), "w") as member:
            member.write(data)
        self.parts[name] = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
        return name

    def put_file(self, name: str, path: Path) -> str:
        """The same of a file, a piece at a time."""
        with path.open("rb") as source, self._archive.open(_entry(name, path.stat().st_size), "w") as member:
            digest, size = hashlib.sha256(), 0
            while chunk := source.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
                member.write(chunk)
        self.parts[name] = {"sha256": digest.hexdigest(), "size_bytes": size}
        return name

    def close(self) -> None:
        """Nothing; the zip's directory is written."""
        self._archive.close()


def redacted(run: Run, privacy: Privacy) -> tuple[dict[str, Any], dict[str, tuple[int, bytes]]]:
    """(the document, (number of values, blob) of each column) of a run as it is handed on, without what is private."""
    document = to_document(run)
    document["environment"] = {key: value for key, value in document["environment"].items() if key != IMPORTED}
    columns = {_column_name(name, privacy): (count, blob) for name, count, blob in to_columns(run)}
    return privacy.document(document), dict(sorted(columns.items()))


def _column_name(name: str, privacy: Privacy) -> str:
    prefix = "samples/column/"
    return prefix + privacy.sensor(name.removeprefix(prefix)) if name.startswith(prefix) else name


def _put_run(writer: _Writer, run: Run, privacy: Privacy) -> dict[str, Any]:
    document, columns = redacted(run, privacy)
    folder = f"runs/{run.id}"
    told = [
        {"name": name, "count": count, "part": writer.put(f"{folder}/columns/{place:04d}.bin", blob)}
        for place, (name, (count, blob)) in enumerate(columns.items())
    ]
    told_of = from_document(document, {})  # as it is handed on
    model, line = told_of.spec.model, command_line(told_of)
    return {
        "id": run.id,
        "created_utc": run.created_utc,
        "device": run.spec.device,
        "provenance": run.provenance,
        "model": {"name": model.name, "sha256": model.sha256, "format": model.format},
        "document": writer.put(f"{folder}/run.json", _pretty(document)),
        "columns": told,
        "rerun": [line],
        "rerun_leaves_out": not_told(run),
        IMPORTED: privacy.document(run.environment.get(IMPORTED)),
    }


def _put_model(writer: _Writer, model: Model) -> dict[str, Any]:
    assert model.path is not None  # NO_MODEL has no hash that a run could have
    base = model.path.parent
    parts = []
    for place, path in enumerate(model.files):
        part = writer.put_file(f"models/{model.ref.sha256}/{place:04d}.bin", path)
        parts.append({"file": path.relative_to(base).as_posix(), "part": part})
    return {"name": model.ref.name, "sha256": model.ref.sha256, "format": model.ref.format, "files": parts}


def _readme(runs: int, models: int, lines: Sequence[str]) -> str:
    with_models = f"{models} of their models {'is' if models == 1 else 'are'} in here." if models else (
        "No model is in here: its hash says which it was."
    )  # fmt: skip
    count = f"{runs} {'run' if runs == 1 else 'runs'}"
    return _WORDS.format(count=count, models=with_models, lines="".join(f"  $ {line}\n" for line in lines))


def _entry(name: str, size: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.create_system = _UNIX
    entry.external_attr = 0o100644 << 16
    entry.file_size = size
    return entry


def _hash_of(stream: Any) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while chunk := stream.read(_CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


@contextmanager
def _whole(target: Path) -> Iterator[Any]:
    """A file beside the target that takes its place at the end of the block, and is removed when the block raises."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    try:
        with os.fdopen(handle, "w+b") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _pretty(document: Any) -> bytes:
    return (json.dumps(document, indent=1, allow_nan=False, ensure_ascii=True) + "\n").encode()


def _version() -> str:
    from mobile import __version__

    return __version__
