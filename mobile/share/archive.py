"""A bundle that somebody sent, read without trusting it: every size is bounded before anything is allocated.

Members are read by the names that the checked manifest gives them and never unpacked by what the archive calls them. A
member that is larger than it says, compressed in another way than by deflate, encrypted, a link, named twice, or not in
the manifest is refused, and so is one whose SHA-256 differs.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mobile.errors import EdgewiseError, InputError
from mobile.share.bundle import MANIFEST, SCHEMA, TYPE

MAX_MEMBERS = 100_000
MAX_DIRECTORY_BYTES = 64 * 1024 * 1024
MAX_MANIFEST_BYTES = 32 * 1024 * 1024
MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
MAX_COLUMN_BYTES = 264 * 1024 * 1024  # mobile.results.columns.MAX_VALUES of 8 bytes, and what zlib adds to noise
MAX_TOTAL_BYTES = 64 * 1024**3
_CHUNK_BYTES = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ +@-]{0,200}(?:/[A-Za-z0-9._][A-Za-z0-9._ +@-]{0,200}){0,8}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_END, _END64 = b"PK\x05\x06", b"PK\x06\x06"
_ANEW = "Ask for it anew; `edgewise bundle` makes it."


class Archive:
    """An open bundle whose manifest has been checked."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path = path
        self._archive = archive
        self._members = _members(path, archive)
        self.manifest = self._manifest()
        self._parts = self._checked_parts()

    def part(self, name: Any, limit_bytes: int) -> bytes:
        """The bytes of a part, of the size and the hash that the manifest gives it. InputError when they are not."""
        about = self._about(name)
        if about["size_bytes"] > limit_bytes:
            raise InputError(f"{self.path}: {name} has {about['size_bytes']} bytes, the limit is {limit_bytes}")
        data = self._read(str(name), about["size_bytes"])
        if hashlib.sha256(data).hexdigest() != about["sha256"]:
            raise InputError(f"{self.path}: {name} is damaged: its SHA-256 is another than the manifest's", _ANEW)
        return data

    def copy(self, name: Any, target: Any) -> None:
        """Nothing, once a part was written to an open file, a piece at a time. InputError as ``part``."""
        about, digest, size = self._about(name), hashlib.sha256(), 0
        with self._reading(str(name)), self._archive.open(self._members[str(name)]) as member:
            while chunk := member.read(_CHUNK_BYTES):
                size += len(chunk)
                if size > about["size_bytes"]:
                    break
                digest.update(chunk)
                target.write(chunk)
        if size != about["size_bytes"] or digest.hexdigest() != about["sha256"]:
            raise InputError(f"{self.path}: {name} is damaged: its SHA-256 is another than the manifest's", _ANEW)

    def document(self, name: Any) -> dict[str, Any]:
        """The JSON object of a part."""
        return _object(self.part(name, MAX_DOCUMENT_BYTES), f"{self.path}: {name}")

    def _about(self, name: Any) -> Mapping[str, Any]:
        if not isinstance(name, str) or name not in self._parts:
            raise InputError(f"{self.path}: its manifest names a part that is not there: {str(name)[:80]!r}", _ANEW)
        return self._parts[name]

    def _manifest(self) -> dict[str, Any]:
        entry = self._members.get(MANIFEST)
        if entry is None:
            raise InputError(f"{self.path}: a zip, but no bundle of edgewise: it has no {MANIFEST}", _ANEW)
        if entry.file_size > MAX_MANIFEST_BYTES:
            raise InputError(f"{self.path}: its manifest is over {MAX_MANIFEST_BYTES} bytes")
        found = _object(self._read(MANIFEST, entry.file_size), f"{self.path}: {MANIFEST}")
        if found.get("type") != TYPE:
            raise InputError(f"{self.path}: a zip, but no bundle of edgewise", _ANEW)
        schema = str(found.get("schema"))
        major = schema.split(".")[0]
        if not major.isdigit():
            raise InputError(f"{self.path}: its manifest has no schema")
        if int(major) > int(SCHEMA.split(".")[0]):
            raise InputError(
                f"{self.path}: made by a newer edgewise ({str(found.get('edgewise'))[:40]}, schema {schema[:20]}; this"
                f" one reads {SCHEMA})",
                "Update edgewise.",
            )
        return found

    def _checked_parts(self) -> dict[str, dict[str, Any]]:
        parts = self.manifest.get("parts")
        if not isinstance(parts, dict):
            raise InputError(f"{self.path}: its manifest lists no parts", _ANEW)
        for name, about in parts.items():
            if not isinstance(about, dict) or not isinstance(about.get("size_bytes"), int):
                raise InputError(f"{self.path}: its manifest does not say how large {name[:80]!r} is", _ANEW)
            if not _SHA256.fullmatch(str(about.get("sha256"))):
                raise InputError(f"{self.path}: its manifest has no hash of {name[:80]!r}", _ANEW)
            entry = self._members.get(name)
            if entry is None or entry.file_size != about["size_bytes"]:
                what = "missing" if entry is None else f"of {entry.file_size} bytes, not {about['size_bytes']}"
                raise InputError(f"{self.path}: {name[:80]!r} is {what}", _ANEW)
        unnamed = sorted(set(self._members) - {*parts, MANIFEST})
        if unnamed:
            raise InputError(f"{self.path}: its manifest does not name {unnamed[0]!r}, which is in it")
        return parts

    def _read(self, name: str, size: int) -> bytes:
        with self._reading(name), self._archive.open(self._members[name]) as member:
            data = member.read(size + 1)
        if len(data) != size:
            raise InputError(f"{self.path}: {name} has another size than it says", _ANEW)
        return data

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
            raise InputError(f"{self.path}: {name} is damaged: {error}", _ANEW) from error


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """The bundle of a file. InputError when it is missing, damaged, none, too large, or of a newer edgewise."""
    try:
        directory = _directory_bytes(path)
        if directory > MAX_DIRECTORY_BYTES:
            raise InputError(f"{path}: its list of members has {directory} bytes, the limit is {MAX_DIRECTORY_BYTES}")
        with zipfile.ZipFile(path) as archive:
            yield Archive(path, archive)
    except EdgewiseError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise InputError(f"{path}: no zip, or a damaged one: {error}", _ANEW) from error


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    found: dict[str, zipfile.ZipInfo] = {}
    total = 0
    for entry in archive.infolist():
        name = entry.filename
        why = _why_not(entry)
        if name in found:
            why = "is in it twice"
        total += max(0, entry.file_size)
        if len(found) >= MAX_MEMBERS:
            why = f"is one more than the {MAX_MEMBERS} that are allowed"
        if total > MAX_TOTAL_BYTES:
            why = f"makes it more than {MAX_TOTAL_BYTES} bytes"
        if why is not None:
            raise InputError(f"{path}: refused: {name[:80]!r} {why}")
        found[name] = entry
    return found


def _why_not(entry: zipfile.ZipInfo) -> str | None:
    name = entry.filename
    if not _NAME.fullmatch(name) or any(part in (".", "..") for part in name.split("/")):
        return "is no name of a part: it may lead out of its folder"
    if entry.flag_bits & 0x1:
        return "is encrypted"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"is compressed in a way (method {entry.compress_type}) that bundles do not use"
    kind = entry.external_attr >> 28
    if entry.create_system == 3 and kind not in (0, 0o10):  # S_IFREG
        return "is a link or another special file"
    return None


def _directory_bytes(path: Path) -> int:
    """How large the zip's list of members says it is; the reader takes it into memory whole.

    PKWARE's APPNOTE 6.3.10: end record (4.3.16), its zip64 form (4.3.14).
    """
    with path.open("rb") as stream:
        stream.seek(0, 2)
        size = stream.tell()
        stream.seek(max(0, size - 22 - 65_535 - 20 - 56))
        tail = stream.read(22 + 65_535 + 20 + 56)
    place = tail.rfind(_END)
    if place < 0 or place + 22 > len(tail):
        raise zipfile.BadZipFile("it has no end record")
    (told,) = struct.unpack_from("<L", tail, place + 12)
    wide = tail.rfind(_END64)
    if told == 0xFFFFFFFF and wide >= 0 and wide + 48 <= len(tail):
        (told,) = struct.unpack_from("<Q", tail, wide + 40)
    return int(told)


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{what} is damaged: {error}", _ANEW) from error
    if not isinstance(found, dict):
        raise InputError(f"{what} is no object", _ANEW)
    return found


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no number that a run can have")
