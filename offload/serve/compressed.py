"""Bodies that come compressed (Content-Encoding): opened only as far as a body may be long.

For clients that compress whatever they send. A device does better with a codec: what gzip makes of float32 is a tenth
smaller, and takes longer than its way over most links.
"""

from __future__ import annotations

import zlib

from offload.serve.messages import Refused

CODINGS = {"gzip": 31, "deflate": 15, "zstd": None}  # zlib's window bits: with gzip's or zlib's own head
ZSTD_WINDOW_BYTES = 8 << 20  # what RFC 9659 allows a sender


def coding_of(header: bytes | None) -> str:
    """The coding that a header names, "" for none. Refused(415) for one that is not known, or more than one."""
    if header is None:
        return ""
    name = header.decode("latin-1").strip().lower()
    if name in ("", "identity"):
        return ""
    if name not in CODINGS or (name == "zstd" and not _has_zstd()):
        raise Refused(415, f"a body may be compressed with {', '.join(CODINGS)}; zstd needs its package here")
    return name


def opened(body: memoryview, coding: str, limit_bytes: int) -> memoryview:
    """What was compressed. Refused(400) when it is damaged, (413) beyond the limit; no more than that is made."""
    try:
        found = _unzstd(body, limit_bytes) if coding == "zstd" else _inflated(body, coding, limit_bytes)
    except (zlib.error, ValueError, MemoryError) as error:
        raise Refused(400, f"the body is not {coding}") from error
    if len(found) > limit_bytes:
        raise Refused(413, f"a body may have {limit_bytes} bytes when it is opened")
    return memoryview(found)


def _inflated(body: memoryview, coding: str, limit_bytes: int) -> bytes:
    opener = zlib.decompressobj(CODINGS[coding] or 15)
    found = opener.decompress(body, limit_bytes + 1)
    if len(found) <= limit_bytes and (not opener.eof or opener.unused_data):
        raise ValueError("cut, or something is behind it")
    return found


def _unzstd(body: memoryview, limit_bytes: int) -> bytes:
    import zstandard

    try:
        with zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES).stream_reader(body) as reader:
            found: bytes = reader.read(limit_bytes + 1)
            return found
    except zstandard.ZstdError as error:
        raise ValueError("not zstd") from error


def _has_zstd() -> bool:
    from importlib.util import find_spec

    return find_spec("zstandard") is not None
