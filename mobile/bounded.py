"""Small files and packed data, read whole: a larger one is found out before it fills memory."""

from __future__ import annotations

import zlib
from pathlib import Path

from mobile.errors import EdgewiseError


def read_bounded(path: Path, most_bytes: int, refusal: type[EdgewiseError]) -> bytes:
    """The content of a file of at most ``most_bytes``. ``refusal`` when it is larger or cannot be read."""
    try:
        with path.open("rb") as stream:
            data = stream.read(most_bytes + 1)
    except OSError as error:
        raise refusal(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(data) > most_bytes:
        raise refusal(f"{path}: larger than {most_bytes} bytes, which is the limit for such files")
    return data


def inflate(packed: bytes, size_bytes: int) -> tuple[bytes, bool]:
    """What zlib data holds, and whether that is all of it and exactly ``size_bytes``.

    Never makes more than one byte beyond ``size_bytes``, whatever the data says. zlib.error when it is damaged.
    """
    inflater = zlib.decompressobj()
    data = inflater.decompress(packed, size_bytes + 1)
    return data, inflater.eof and len(data) == size_bytes
