"""What is to be stored, by its content: sizes, hashes and chunks, found on the host in one pass."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mobile.errors import UsageError
from mobile.formats.chunks import Span, model_spans, spans
from mobile.push.scripts import INDEX_NAME
from mobile.transports.files import opened


@dataclass(frozen=True)
class Chunk(Span):
    """A chunk, its SHA-256, and that of everything up to its end."""

    sha256: str
    prefix_sha256: str


@dataclass(frozen=True)
class Content:
    """One file to be stored: where its bytes are, its name in the store, and what it must hash to there."""

    source: Path | bytes
    name: str
    size_bytes: int
    sha256: str
    chunks: tuple[Chunk, ...]


def content(source: Path | bytes, name: str, cut: Sequence[Span] | None = None) -> Content:
    """The file with its size, hash and chunks, those of ``cut`` if given.

    UsageError when it cannot be read, changes meanwhile, or the name leads out of its folder.
    """
    check_name(name)
    running = hashlib.sha256()
    chunks = []
    # Two hashes of all bytes: side by side, for over a fast link they take as long as the sending.
    with opened(source) as (stream, size_bytes), ThreadPoolExecutor(1) as aside:
        for span in spans(size_bytes) if cut is None else cut:
            data = stream.read(span.length)
            if len(data) != span.length:
                raise _changed(source)
            prefix = aside.submit(_extended, running, data)
            own = hashlib.sha256(data).hexdigest()
            chunks.append(Chunk(span.offset, span.length, own, prefix.result()))
        if stream.read(1):
            raise _changed(source)
    return Content(source, name, size_bytes, running.hexdigest(), tuple(chunks))


def contents(paths: Sequence[Path]) -> list[Content]:
    """The files, named by their place relative to the first one's folder, which all must lie in.

    The first is the model; all are cut along its tensors.
    """
    for path in paths:
        with opened(path):  # the clear error for one that cannot be read comes from there
            pass
    folder = paths[0].parent
    names = [os.path.relpath(path, folder).replace(os.sep, "/") for path in paths]
    for name in names:
        check_name(name)
    return [content(path, name, cut) for path, name, cut in zip(paths, names, model_spans(paths), strict=True)]


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
    """Nothing, or UsageError for a name that is empty, absolute, ours, or leads out of its folder."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or name.endswith("/") or ".." in parts or "\0" in name:
        raise UsageError(f"{name!r} is no name for a stored file", hint="give a file inside the model's folder")
    if parts[0].startswith(INDEX_NAME):
        raise UsageError(f"{name!r} is a name that edgewise uses itself", hint="give the file another name")


def _extended(running: hashlib._Hash, data: bytes) -> str:
    running.update(data)
    return running.copy().hexdigest()


def _changed(source: Path | bytes) -> UsageError:
    return UsageError(f"{source!s:.200} changes while it is read", hint="wait until it is written, and try again")
