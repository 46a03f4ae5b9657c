"""What is to be stored, by its content: sizes and hashes, found on the host."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mobile.errors import UsageError
from mobile.transports.files import BLOCK_BYTES, opened


@dataclass(frozen=True)
class Content:
    """One file to be stored: where its bytes are, its name in the store, and what it must hash to there."""

    source: Path | bytes
    name: str
    size_bytes: int
    sha256: str


def content(source: Path | bytes, name: str) -> Content:
    """The file with its size and hash. UsageError when it cannot be read, or the name leads out of its folder."""
    check_name(name)
    digest = hashlib.sha256()
    size_bytes = 0
    with opened(source) as (stream, _):
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
            size_bytes += len(block)
    return Content(source, name, size_bytes, digest.hexdigest())


def contents(paths: Sequence[Path]) -> list[Content]:
    """The files, named by their place relative to the first one's folder, which all must lie in."""
    folder = paths[0].parent
    found = []
    for path in paths:
        name = os.path.relpath(path, folder).replace(os.sep, "/")
        found.append(content(path, name))
    return found


def address(files: Sequence[Content]) -> str:
    """The hexadecimal address of files that belong together: one file's own SHA-256, else that of names and hashes.

    >>> one = content(b"", "m.onnx")
    >>> address([one]) == one.sha256
    True
    """
    if len(files) == 1:
        return files[0].sha256
    lines = sorted(f"{file.sha256}  {file.name}\n" for file in files)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def check_name(name: str) -> None:
    """Nothing, or UsageError for a name that is empty, absolute, or leads out of its folder."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or name.endswith("/") or ".." in parts or "\0" in name:
        raise UsageError(f"{name!r} is no name for a stored file", hint="give a file inside the model's folder")
