"""The chunk index of an artifact on a device: what its files hold, so that parts of them need not be sent again.

One line of JSON beside the artifact's files::

    {"v": 1, "files": [[name, size in bytes, [[length, start of its SHA-256], ...]], ...]}

A file's chunks follow each other and cover it. An index is a hint: what is built by it is hashed as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mobile.push.content import Content

VERSION = 1
DIGEST_CHARACTERS = 20  # 80 bits: more than enough to find a chunk by
LIMIT_BYTES = 8 * 1024 * 1024

Key = tuple[int, str]  # length and start of the SHA-256


@dataclass(frozen=True)
class Place:
    """Where bytes lie on the device."""

    path: str
    offset: int


def key(length: int, sha256: str) -> Key:
    """What a chunk is found by."""
    return length, sha256[:DIGEST_CHARACTERS]


def encode(files: Iterable[Content]) -> str:
    """The index of an artifact's files."""
    listed = [
        [file.name, file.size_bytes, [list(key(chunk.length, chunk.sha256)) for chunk in file.chunks]] for file in files
    ]
    return json.dumps({"v": VERSION, "files": listed}, separators=(",", ":"))


def decode(text: str, folder: str) -> list[tuple[Key, Place]]:
    """The chunks that an index lists, with their places under ``folder``; empty when it cannot be read."""
    if len(text) > LIMIT_BYTES:
        return []
    try:
        document = json.loads(text)
        if document["v"] != VERSION:
            return []
        return [found for name, _, chunks in document["files"] for found in _chunks(f"{folder}/{name}", chunks)]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []


def _chunks(path: str, chunks: Sequence[Any]) -> list[tuple[Key, Place]]:
    found = []
    offset = 0
    for length, digest in chunks:
        if type(length) is not int or not isinstance(digest, str) or length <= 0 or "\0" in path:
            raise ValueError(path)
        found.append(((length, digest), Place(path, offset)))
        offset += length
    return found
