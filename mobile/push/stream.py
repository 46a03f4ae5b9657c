"""The bytes of one pass on their way: chunk by chunk, packed where that is faster, metered.

Packed, a stream is one gzip member whose chunks are compressed or only stored, each as its own deflate blocks; so the
device needs nothing but a gunzip, and what pays is decided for each chunk when its turn has come.
"""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

from mobile.errors import TransportError
from mobile.push.content import Chunk, Content
from mobile.push.plan import Send
from mobile.transports.files import opened

PIECE_BYTES = 256 * 1024
LEAST_PIECE_BYTES, MOST_PIECE_BYTES = 64 * 1024, 1024 * 1024
PIECE_S = 0.1  # adb waits for an answer after each piece: few, but often enough for the progress
SAMPLE_BYTES = 64 * 1024
SAMPLES = 8
WORTH = 0.9  # what a chunk must shrink to: below it, the time of the device's gunzip is paid for too
GUESS_WORTH = 0.7  # the same while the link's rate is not known yet
_BURST_BYTES = 4 * 1024 * 1024  # buffers on the way (ssh's window, TCP's) take so much at once, whatever the link does
_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # gzip (RFC 1952) without name and time
_LAST_BLOCK = b"\x03\0"  # an empty last block of deflate (RFC 1951)


class Meter:
    """How fast the link takes bytes, in bytes a second. None until its buffers are full."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.sent_bytes = 0
        self._full_at: tuple[float, int] | None = None

    def sent(self, size_bytes: int) -> None:
        """Nothing; so many bytes more are on their way."""
        self.sent_bytes += size_bytes
        if self._full_at is None and self.sent_bytes >= _BURST_BYTES:
            self._full_at = (self._clock(), self.sent_bytes)

    def rate(self) -> float | None:
        """Bytes a second since the buffers were full."""
        if self._full_at is None:
            return None
        start_s, start_bytes = self._full_at
        elapsed_s = self._clock() - start_s
        if elapsed_s < 0.2 or self.sent_bytes == start_bytes:
            return None
        return (self.sent_bytes - start_bytes) / elapsed_s

    def piece_bytes(self) -> int:
        """How much to hand over at once."""
        rate = self.rate()
        if rate is None:
            return PIECE_BYTES
        return min(MOST_PIECE_BYTES, max(LEAST_PIECE_BYTES, int(rate * PIECE_S)))


class Squeeze:
    """What compression would do to some bytes, by a sample from their middle."""

    def __init__(self, data: bytes, clock: Callable[[], float] = time.perf_counter) -> None:
        middle = max(0, (len(data) - SAMPLE_BYTES) // 2)
        sample = data[middle : middle + SAMPLE_BYTES]
        start_s = clock()
        packed_bytes = len(zlib.compress(sample, 1))
        self.ratio = packed_bytes / max(1, len(sample))
        self.rate = len(sample) / max(1e-9, clock() - start_s)  # bytes a second of this machine

    def pays(self, link_rate: float | None) -> bool:
        """True when the chunk is there sooner compressed, over a link of that many bytes a second."""
        if link_rate is None:
            return self.ratio < GUESS_WORTH
        return self.ratio < WORTH and self.rate > link_rate


def worth_packing(content: Content, send: Send) -> bool:
    """True when a sample of the chunks holds some that shrink: then the stream is packed, and each chunk decides."""
    step = max(1, len(send.chunks) // SAMPLES)
    with opened(content.source) as (stream, _):
        return any(Squeeze(_read(stream, chunk, content)).ratio < WORTH for chunk in send.chunks[::step])


def pieces(
    content: Content, send: Send, *, packed: bool, meter: Meter, on_bytes: Callable[[int], None]
) -> Iterator[bytes]:
    """What goes to the device. ``on_bytes`` is told how many bytes of the file were handed over with each piece."""
    form = _packed if packed else _raw
    with opened(content.source) as (stream, _):
        yield from form(content, send, stream, meter, on_bytes)


def _raw(
    content: Content, send: Send, stream: BinaryIO, meter: Meter, on_bytes: Callable[[int], None]
) -> Iterator[bytes]:
    for chunk in send.chunks:
        stream.seek(chunk.offset)
        left_bytes = chunk.length
        while left_bytes:
            piece = stream.read(min(meter.piece_bytes(), left_bytes))
            if not piece:
                raise _shorter(content)
            yield piece
            left_bytes -= len(piece)
            meter.sent(len(piece))
            on_bytes(len(piece))


def _packed(
    content: Content, send: Send, stream: BinaryIO, meter: Meter, on_bytes: Callable[[int], None]
) -> Iterator[bytes]:
    yield _HEADER
    check = 0
    for chunk in send.chunks:
        data = _read(stream, chunk, content)
        check = zlib.crc32(data, check)
        level = 1 if Squeeze(data).pays(meter.rate()) else 0
        packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
        for start in range(0, len(data), PIECE_BYTES):
            part = data[start : start + PIECE_BYTES]
            piece = packer.compress(part)
            if start + PIECE_BYTES >= len(data):
                piece += packer.flush(zlib.Z_FULL_FLUSH)  # the next chunk's blocks refer to nothing before them
            if piece:
                yield piece
            meter.sent(len(piece))
            on_bytes(len(part))
    yield _LAST_BLOCK + struct.pack("<II", check, send.length & 0xFFFFFFFF)


def _read(stream: BinaryIO, chunk: Chunk, content: Content) -> bytes:
    stream.seek(chunk.offset)
    data = stream.read(chunk.length)
    if len(data) != chunk.length:
        raise _shorter(content)
    return data


def _shorter(content: Content) -> TransportError:
    return TransportError(f"{content.name}: the file became shorter while it was sent")
