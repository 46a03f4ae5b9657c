"""The bytes of one pass on their way: chunk by chunk, packed where that is faster, metered.

Packed, a stream is one gzip member whose chunks are compressed or only stored, each as its own deflate blocks; so the
device needs nothing but a gunzip, and what pays is decided for each chunk when its turn has come.
"""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import BinaryIO

from mobile.errors import TransportError
from mobile.push.ahead import Ahead
from mobile.push.content import Chunk, Content
from mobile.push.plan import Send
from mobile.transports.files import opened

PIECE_BYTES = 256 * 1024
LEAST_PIECE_BYTES, MOST_PIECE_BYTES = 64 * 1024, 1024 * 1024
PIECE_S = 0.1  # adb waits for an answer after each piece: few, but often enough for the progress
SAMPLE_BYTES = 64 * 1024
SAMPLES = 8
WORTH = 0.97  # what the time of a chunk must shrink to
GUESS_WORTH = 0.7  # what its size must shrink to while the link's rate is not known yet
TOO_FAST = 150e6  # bytes a second of a link that no compression keeps up with
_BURST_BYTES = 4 * 1024 * 1024  # buffers on the way (ssh's window, TCP's) take so much at once, whatever the link does
_SETTLE_S = 1.0
_PIECES_AHEAD = 4
_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # gzip (RFC 1952) without name and time
_LAST_BLOCK = b"\x03\0"  # an empty last block of deflate (RFC 1951)
# Weights hold few repetitions: to code their bytes by frequency alone is as good as level 1, at several times its rate.
_WAYS = ((1, zlib.Z_DEFAULT_STRATEGY), (1, zlib.Z_HUFFMAN_ONLY))
STORED = (0, zlib.Z_DEFAULT_STRATEGY)
Way = tuple[int, int]  # zlib's level and strategy


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


def squeeze(data: bytes, link_rate: float | None, clock: Callable[[], float] = time.perf_counter) -> Way:
    """How a chunk is there soonest, over a link of that many bytes a second: by a sample from its middle."""
    if link_rate is not None and link_rate > TOO_FAST:
        return STORED
    middle = max(0, (len(data) - SAMPLE_BYTES) // 2)
    sample = data[middle : middle + SAMPLE_BYTES]
    best, least = STORED, GUESS_WORTH if link_rate is None else WORTH / link_rate
    for way in _WAYS:
        start_s = clock()
        ratio = _size(sample, way) / max(1, len(sample))
        rate = len(sample) / max(1e-9, clock() - start_s)
        cost = ratio if link_rate is None else max(ratio / link_rate, 1 / rate)
        if cost < least:
            best, least = way, cost
    return best


def worth_packing(content: Content, send: Send) -> bool:
    """True when a sample of the chunks holds some that shrink: then the stream is packed, and each chunk decides."""
    step = max(1, len(send.chunks) // SAMPLES)
    with opened(content.source) as (stream, _):
        for chunk in send.chunks[::step]:
            stream.seek(chunk.offset + max(0, (chunk.length - SAMPLE_BYTES) // 2))
            sample = stream.read(SAMPLE_BYTES)
            if sample and _size(sample, _WAYS[1]) / len(sample) < WORTH:
                return True
    return False


class Judge:
    """Whether packing pays in truth, with the device's gunzip and our processor in it: by rates of the file's bytes.

    While chunks are only stored their rate is taken, and again while they are packed; if that is lower, it ends.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stored_rate: float | None = None
        self._since: tuple[float, int] | None = None  # when packing had settled, and the bytes then
        self._packed_bytes = 0
        self._first_s: float | None = None
        self.packs = True

    def packed(self, count: int, stored_rate: float | None) -> None:
        """Nothing; so many bytes of the file were packed, after bytes that were only stored at that rate."""
        now_s = self._clock()
        self._packed_bytes += count
        if self._first_s is None:
            self._first_s, self._stored_rate = now_s, stored_rate
        if self._stored_rate is None or self._packed_bytes < _BURST_BYTES or now_s - self._first_s < _SETTLE_S:
            return
        if self._since is None:
            self._since = (now_s, self._packed_bytes)
        elif now_s - self._since[0] >= _SETTLE_S:
            rate = (self._packed_bytes - self._since[1]) / (now_s - self._since[0])
            self.packs = rate >= self._stored_rate


def pieces(
    content: Content, send: Send, *, packed: bool, meter: Meter, on_bytes: Callable[[int], None]
) -> Generator[bytes, None, None]:
    """What goes to the device. ``on_bytes`` is told how many bytes of the file were handed over with each piece."""
    with opened(content.source) as (stream, _):
        made = (_packed if packed else _raw)(content, send, stream, meter)
        with Ahead(made, _PIECES_AHEAD) as ahead:
            for piece, count in ahead:
                if piece:
                    yield piece
                meter.sent(len(piece))
                on_bytes(count)


def _raw(content: Content, send: Send, stream: BinaryIO, meter: Meter) -> Iterator[tuple[bytes, int]]:
    for chunk in send.chunks:
        stream.seek(chunk.offset)
        left_bytes = chunk.length
        while left_bytes:
            piece = stream.read(min(meter.piece_bytes(), left_bytes))
            if not piece:
                raise _shorter(content)
            left_bytes -= len(piece)
            yield piece, len(piece)


def _packed(content: Content, send: Send, stream: BinaryIO, meter: Meter) -> Iterator[tuple[bytes, int]]:
    yield _HEADER, 0
    check, judge = 0, Judge()
    for chunk in send.chunks:
        data = _read(stream, chunk, content)
        check = zlib.crc32(data, check)
        rate = meter.rate()
        way = squeeze(data, rate) if judge.packs else STORED
        yield from _deflated(data, way, meter)
        if way != STORED:
            judge.packed(len(data), rate)
    yield _LAST_BLOCK + struct.pack("<II", check, send.length & 0xFFFFFFFF), 0


def _deflated(data: bytes, way: Way, meter: Meter) -> Iterator[tuple[bytes, int]]:
    """Pieces of deflate blocks, each with how many bytes of the data it took."""
    packer = _packer(way)
    start = 0
    while start < len(data):
        part = data[start : start + meter.piece_bytes()]
        start += len(part)
        piece = packer.compress(part)
        if start == len(data):
            piece += packer.flush(zlib.Z_FULL_FLUSH)  # the next chunk's blocks refer to nothing before them
        yield piece, len(part)


def _packer(way: Way) -> zlib._Compress:
    level, strategy = way
    return zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, strategy)


def _size(sample: bytes, way: Way) -> int:
    packer = _packer(way)
    return len(packer.compress(sample)) + len(packer.flush())


def _read(stream: BinaryIO, chunk: Chunk, content: Content) -> bytes:
    stream.seek(chunk.offset)
    data = stream.read(chunk.length)
    if len(data) != chunk.length:
        raise _shorter(content)
    return data


def _shorter(content: Content) -> TransportError:
    return TransportError(f"{content.name}: the file became shorter while it was sent")
