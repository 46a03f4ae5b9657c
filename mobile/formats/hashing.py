"""SHA-256 of model files, and the one hash that identifies a model of several files.

A model of one file is identified by that file's SHA-256. A model with external data is identified by the
SHA-256 of this text (ASCII escapes, newline at the end of every line), the model file first, then the
external files sorted by location::

    edgewise-model-v1
    <sha256> <size in bytes> ""
    <sha256> <size in bytes> "<location as a JSON string>"

The model file's own name is not part of it, so a renamed model stays the same model; the external locations
are, since the model names them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from mobile.errors import ModelError
from mobile.formats.model_index import FileInfo

_CHUNK_BYTES = 1 << 20


def file_sha256(path: Path) -> str:
    """The hexadecimal SHA-256 of a file, read in pieces of 1 MiB. ModelError when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})", "Check the path and its permissions.") from error
    return digest.hexdigest()


def content_sha256(files: Iterable[FileInfo]) -> str:
    """The hash of a model of these files, as the module describes: the file's own when there is only one."""
    ordered = sorted(files, key=lambda info: info.location)
    if len(ordered) == 1:
        return ordered[0].sha256
    lines = [f"{info.sha256} {info.size_bytes} {json.dumps(info.location)}\n" for info in ordered]
    return hashlib.sha256("".join(["edgewise-model-v1\n", *lines]).encode("ascii")).hexdigest()
