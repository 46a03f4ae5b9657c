"""A recording as one zip of plain text files, in an order that does not vary, and back.

Members are read by their known names, never unpacked by what the archive calls them: a path inside cannot leave its
place. Sizes are bounded while reading, whatever the archive says of itself.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mobile.errors import InputError
from mobile.record.document import Recording, recording_of

MANIFEST, README, SENSORS = "manifest.json", "README.txt", "sensors.json"
LISTS = ("files", "folders", "links", "programs")
LIMIT_BYTES = 64 * 1024 * 1024  # of one member, unpacked
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip can express

_WORDS = """\
A recording of a board by `edgewise doctor --record`: {board}, {date}.

Everything in here is plain text. Look through it before you send it to anybody:

  manifest.json   what this is, and how often something was taken out, by kind
  files.jsonl     each file that was read: its contents, in which pass, and how long each reading took
  folders.jsonl   each folder that was listed
  links.jsonl     where the links on the way lead
  programs.jsonl  each program that was run: arguments, output, duration, exit code
  sensors.json    what the agent made of it: facts, sensors, first values

Serial numbers, network addresses, the names of host and user, phone numbers of equipment (IMEI), Android ids, SSIDs and
mail addresses were replaced on the board by markers such as redacted-serial-1. A program cannot know all that is
private to you: that is why you should look.
"""


def write_archive(recording: dict[str, Any]) -> bytes:
    """The zip of a recording (the agent's answer): the same text for the same recording. InputError when it is none."""
    checked = recording_of(recording, "the device's answer")
    links = [{"path": path, "leads_to": target} for path, target in recording["links"].items()]
    members = {
        README: _WORDS.format(board=checked.board, date=checked.date),
        MANIFEST: _pretty(_manifest(recording, checked)),
        SENSORS: _pretty({key: recording[key] for key in ("facts", "sensors", "readings")}),
        "files.jsonl": _lines(recording["files"]),
        "folders.jsonl": _lines(recording["folders"]),
        "links.jsonl": _lines(links),
        "programs.jsonl": _lines(recording["programs"]),
    }
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(members):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            entry.create_system = 3  # Unix, wherever it is written
            archive.writestr(entry, members[name])
    return target.getvalue()


def read_archive(path: Path) -> Recording:
    """The recording in a zip. InputError when it is missing, damaged, too large or none."""
    try:
        with zipfile.ZipFile(path) as archive:
            document: dict[str, Any] = {**_object(archive, MANIFEST, path), **_object(archive, SENSORS, path)}
            for name in LISTS:
                member = f"{name}.jsonl"
                lines = _member(archive, member, path).split(b"\n")
                document[name] = [_json(line, path, member) for line in lines if line.strip()]
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise InputError(
            f"{path}: not a recording: {error}", "Make it with `edgewise doctor NAME --record`."
        ) from error
    except (ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a recording: {error}") from error
    links = document["links"]
    if not all(isinstance(link, dict) and {"path", "leads_to"} <= set(link) for link in links):
        raise InputError(f"{path}: links.jsonl has a line that is no link")
    document["links"] = {str(link["path"]): link["leads_to"] for link in links}
    return recording_of(document, str(path))


def _manifest(recording: dict[str, Any], checked: Recording) -> dict[str, Any]:
    keys = ("type", "schema", "date", "agent", "as_root", "times_s", "looked_for", "notes", "redacted")
    counts = {name: len(recording[name]) for name in (*LISTS, "sensors")}
    return {"board": checked.board, **{key: recording[key] for key in keys}, "counts": counts}


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    try:
        with archive.open(name) as member:
            data = member.read(LIMIT_BYTES + 1)
    except KeyError as error:
        raise InputError(f"{path}: not a recording: it has no {name}") from error
    except zlib.error as error:
        raise InputError(f"{path}: {name} is damaged: {error}") from error
    if len(data) > LIMIT_BYTES:
        raise InputError(f"{path}: {name} is over {LIMIT_BYTES} bytes")
    return data


def _object(archive: zipfile.ZipFile, name: str, path: Path) -> dict[str, Any]:
    document = _json(_member(archive, name, path), path, name)
    if not isinstance(document, dict):
        raise InputError(f"{path}: {name} is no object")
    return document


def _json(data: bytes, path: Path, name: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: {name} is damaged: {error}") from error


def _lines(entries: Iterable[Any]) -> str:
    return "".join(json.dumps(entry, allow_nan=False) + "\n" for entry in entries)


def _pretty(document: Any) -> str:
    return json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n"
