"""Bundles into a store: checked whole before the first run is kept, never over a run that is there already.

A run keeps its id, its time and its provenance, and its environment says under ``imported`` where it came from. Names
of devices are names in somebody else's inventory: runs of another origin are therefore not compared with one's own
unless that is meant (mobile/compare/conditions.py, ``origin``).
"""

from __future__ import annotations

import hashlib
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile.errors import EdgewiseError, InputError, UsageError
from mobile.results.columns import MAX_VALUES, values_in
from mobile.results.document import from_document
from mobile.results.run import PHASES, PROVENANCES, Run
from mobile.share.archive import MAX_COLUMN_BYTES, Archive, open_archive
from mobile.share.bundle import IMPORTED, redacted
from mobile.share.privacy import Privacy, neutral

if TYPE_CHECKING:
    from mobile.results.store import RunStore

MAX_RUNS, MAX_COLUMNS = 10_000, 10_000
_ID = re.compile(r"[0-9]{8}-[0-9a-z]{4,32}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_ORIGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,62}")
_MEMBER = re.compile(r"[^/\\\0:]{1,255}(?:/[^/\\\0:]{1,255}){0,8}")
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class TakenIn:
    """What became of a bundle's runs: ``new`` are in the store now, ``known`` were there with the same content.

    ``refused``: id and reason of those that were there with another. ``models``: the files that were written.
    ``rerun``: the command lines that measure them once more, without repeats.
    """

    path: Path
    sha256: str
    origin: str
    new: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    models: tuple[str, ...] = ()
    with_models: tuple[str, ...] = ()
    rerun: tuple[str, ...] = field(default_factory=tuple)

    def to_json(self) -> dict[str, Any]:
        """As `edgewise import --json` has it."""
        return {
            "file": str(self.path), "sha256": self.sha256, "origin": self.origin, "new": list(self.new),
            "known": list(self.known), "refused": [{"id": one, "reason": why} for one, why in self.refused],
            "models": list(self.models), "with_models": list(self.with_models), "rerun": list(self.rerun),
        }  # fmt: skip


def take_in(
    path: Path,
    store: RunStore,
    *,
    origin: str | None = None,
    models_to: Path | None = None,
    names: Iterable[tuple[str, str]] = (),
) -> TakenIn:
    """What became of the runs of a bundle.

    ``origin``: a name for where they are from, to compare several bundles of one place; else the start of the file's
    hash. ``models_to``: the folder for the models that are in it. ``names``: what a bundle of this host would leave out
    (privacy.names_in), to know its own runs again. InputError for a file that is damaged, no bundle, or
    of a newer edgewise; then nothing was kept. StoreError as the store has it.
    """
    if origin is not None and not _ORIGIN.fullmatch(origin):
        raise UsageError(f"--as {origin!r} is no name", "Letters, digits, '.', '_', '-' and blanks.")
    with open_archive(path) as archive:
        sha256 = _file_hash(path)
        named = origin or sha256[:12]
        came = {"origin": named, "file": path.name, "sha256": sha256, "at_utc": _now()}
        for _ in _runs(archive, came):  # one at a time: all are whole before the first is kept
            pass
        written = _put_models(archive, models_to) if models_to is not None else []
        found = [_kept(run, store, tuple(names)) for run in _runs(archive, came)]
        told = [line for about in archive.manifest["runs"] for line in _lines(about)]
        return TakenIn(
            path,
            sha256,
            named,
            tuple(run for run, state in found if state == "new"),
            tuple(run for run, state in found if state == "known"),
            tuple((run, state) for run, state in found if state not in ("new", "known")),
            tuple(written),
            tuple(str(about.get("name")) for about in _models(archive)),
            tuple(dict.fromkeys(told)),
        )


def _runs(archive: Archive, came: Mapping[str, Any]) -> Iterator[Run]:
    """The runs of the bundle, each checked so far that its figures can be computed."""
    listed = archive.manifest.get("runs")
    if not isinstance(listed, list) or not listed or len(listed) > MAX_RUNS:
        raise InputError(f"{archive.path}: its manifest lists no runs, or more than {MAX_RUNS}")
    seen: set[str] = set()
    for about in listed:
        if not isinstance(about, dict) or not _ID.fullmatch(str(about.get("id"))):
            raise InputError(f"{archive.path}: its manifest lists a run without an id")
        run = _run(archive, about, _columns(archive, about))
        run.environment = {**run.environment, IMPORTED: {**came, **_before(about)}}
        if run.id in seen:
            raise InputError(f"{archive.path}: run {run.id} is in it twice")
        seen.add(run.id)
        yield run


def _columns(archive: Archive, about: Mapping[str, Any]) -> dict[str, bytes]:
    """The blobs of a run by name. InputError when they would be more than MAX_VALUES in memory."""
    listed = about.get("columns")
    if not isinstance(listed, list) or len(listed) > MAX_COLUMNS:
        raise InputError(f"{archive.path}: run {about['id']} lists no columns, or more than {MAX_COLUMNS}")
    blobs: dict[str, bytes] = {}
    total = 0
    for column in listed:
        if not isinstance(column, dict) or not isinstance(column.get("name"), str):
            raise InputError(f"{archive.path}: run {about['id']} has a column without a name")
        blob = archive.part(column.get("part"), MAX_COLUMN_BYTES)
        total += values_in(blob)
        if total > MAX_VALUES:
            raise InputError(f"{archive.path}: run {about['id']} has more than {MAX_VALUES} values in all")
        blobs[column["name"]] = blob
    return blobs


def _run(archive: Archive, about: Mapping[str, Any], blobs: Mapping[str, bytes]) -> Run:
    from mobile.results.summary import summary

    where = f"{archive.path}: run {about['id']}"
    try:
        document = _shown(archive.document(about.get("document")))
        run = from_document(document, blobs)
        _check(run, str(about["id"]))
        summary(run)  # its figures, from which the store makes a line
    except EdgewiseError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, IndexError, RecursionError) as error:
        raise InputError(f"{where} cannot be read: {type(error).__name__}: {str(error)[:200]}") from error
    return run


def _check(run: Run, wanted: str) -> None:
    """ValueError for what no run of edgewise has."""
    model = run.spec.model
    texts = (run.spec.device, model.name, model.sha256, model.format)
    if run.id != wanted or not _TIME.fullmatch(run.created_utc):
        raise ValueError("its id or its time is another than the manifest's")
    if run.provenance not in PROVENANCES or not all(isinstance(text, str) and len(text) <= 1024 for text in texts):
        raise ValueError("its provenance, its device or its model is none")
    if not isinstance(model.size_bytes, int) or not isinstance(run.spec.agent_spec, dict):
        raise ValueError("its model's size or what was asked of it is none")
    if not isinstance(run.environment, dict) or not isinstance(run.samples.reasons, dict):
        raise ValueError("its environment is none")
    for found in (run.sensors, run.events):
        if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
            raise ValueError("its sensors or its events are none")
    if not all(isinstance(found, (dict, type(None))) for found in (run.failure, run.done)):
        raise ValueError("its end is none")
    _check_lengths(run)


def _check_lengths(run: Run) -> None:
    for name, phase in run.phases.items():
        lengths = {len(phase.start_ns), len(phase.duration_ns)}
        lengths |= {len(column) for column in phase.stages.values()}
        lengths |= {len(column) for column in phase.notes.values()}
        if name not in PHASES or len(lengths) > 1:
            raise ValueError(f"the columns of its phase {name[:40]!r} differ in length")
    samples = run.samples
    if any(len(column) != len(samples.t_ns) for column in samples.columns.values()):
        raise ValueError("its sensors' columns differ in length")
    meter = run.meter
    if meter is not None and any(
        column and len(column) != len(meter.t_ns) for column in (meter.power_w, meter.energy_j)
    ):
        raise ValueError("its meter's columns differ in length")


def _kept(run: Run, store: RunStore, names: tuple[tuple[str, str], ...]) -> tuple[str, str]:
    """(id, "new" once it is kept, "known", or why it was refused)."""
    if not store.has(run.id):
        store.add(run)
        return run.id, "new"
    there = store.get(run.id)
    if _content(there, names) == _content(run, names):
        return run.id, "known"
    return run.id, "a run of that id is stored already, with another content: it was left as it is"


def _content(run: Run, names: tuple[tuple[str, str], ...]) -> tuple[Any, Any]:
    """What makes two runs the same, whoever took out what is private."""
    document, columns = redacted(run, Privacy(names))
    return neutral(document), neutral(_by_value(columns))


def _by_value(columns: Mapping[str, tuple[int, bytes]]) -> dict[str, str]:
    """A hash of each column by its name."""
    return {name: hashlib.sha256(blob).hexdigest() for name, (_, blob) in columns.items()}


def _models(archive: Archive) -> list[dict[str, Any]]:
    listed = archive.manifest.get("models") or []
    if not isinstance(listed, list) or not all(isinstance(about, dict) for about in listed):
        raise InputError(f"{archive.path}: its manifest's list of models is none")
    return listed


def _put_models(archive: Archive, folder: Path) -> list[str]:
    """The paths of the models' files in ``folder``. InputError for a file that is there with another content."""
    written = []
    for about in _models(archive):
        files = about.get("files")
        if not isinstance(files, list) or not files:
            raise InputError(f"{archive.path}: its manifest lists a model without files")
        for entry in files:
            name = str(entry.get("file")) if isinstance(entry, dict) else ""
            if not _MEMBER.fullmatch(name) or any(part in (".", "..") for part in name.split("/")):
                raise InputError(f"{archive.path}: refused: the model's file {name[:80]!r} would leave its folder")
            target = folder / name
            if not target.resolve().is_relative_to(folder.resolve()):
                raise InputError(f"{archive.path}: refused: {name[:80]!r} would leave {folder} by a link in it")
            _put_file(archive, entry.get("part"), target)
            written.append(str(target))
        _check_model(archive, about, folder / str(files[0]["file"]))
    return written


def _put_file(archive: Archive, part: Any, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", suffix=".part") as stream:
            archive.copy(part, stream)
            stream.flush()
            if target.exists():
                if _file_hash(target) != _file_hash(Path(stream.name)):
                    raise InputError(f"{target} is there already, with another content", "Name another folder.")
                return
            target.hardlink_to(stream.name)  # never over a file that came meanwhile
            target.chmod(0o644)
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror or error}") from error


def _check_model(archive: Archive, about: Mapping[str, Any], path: Path) -> None:
    from mobile.benchmark.models import open_model

    found = open_model(path.parent if about.get("format") == "split" else path).ref.sha256
    if found != about.get("sha256"):
        raise InputError(f"{archive.path}: {path} is another model than the manifest says: {found[:12]}")


def _lines(about: Mapping[str, Any]) -> list[str]:
    """The command lines of a run, as far as they can be shown on a terminal; nothing ever runs them."""
    told = about.get("rerun")
    listed = told if isinstance(told, list) else []
    return [line for line in listed if isinstance(line, str) and len(line) <= 8192 and line.isprintable()]


def _before(about: Mapping[str, Any]) -> dict[str, Any]:
    """Where the run had come from to the one who made the bundle; {} where it was his own."""
    told = about.get(IMPORTED)
    if not isinstance(told, dict):
        return {}
    return {"before": {key: _shown(str(told.get(key))[:64]) for key in ("origin", "sha256")}}


def _shown(value: Any) -> Any:
    """The JSON value without control characters in its texts: a terminal would obey them."""
    if isinstance(value, str):
        return value if value.isprintable() else "".join(c if c.isprintable() or c in "\n\t" else "?" for c in value)
    if isinstance(value, dict):
        return {_shown(key): _shown(item) for key, item in value.items()}
    return [_shown(item) for item in value] if isinstance(value, list) else value


def _file_hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
