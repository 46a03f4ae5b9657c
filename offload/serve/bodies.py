"""Where a request's body goes while it comes: into its own memory, into nothing but a count, or out of chunks."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from offload.serve.messages import Refused

SCRATCH_BYTES = 256 << 10
ALIGNMENT = 64  # of the first tensor, as vector instructions like it
SMALL_BYTES = 32 << 10  # a body up to this is not placed: to copy a tensor out of it costs less
CHUNKS_HEAD = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
# What goes there is never read, so all connections share it.
_SCRATCH = memoryview(bytearray(SCRATCH_BYTES))


class Sink(Protocol):
    """Takes a body. ``received``: how many bytes have come; ``complete``: whether that was all."""

    received: int
    complete: bool

    def room(self) -> memoryview:
        """Where the next bytes go; never empty, and never beyond the body where its length is known."""

    def took(self, count: int) -> None:
        """So many bytes were put there. Refused when they are not in order or too many."""

    def body(self) -> memoryview:
        """The body, when it is complete."""


class Kept:
    """A body of known length in memory of its own, placed so that what is behind ``header_length`` is aligned.

    The memory is not written to before the bytes come: what a client only announces takes no memory.
    """

    def __init__(self, length: int, header_length: int) -> None:
        if length <= SMALL_BYTES:
            self._view = memoryview(bytearray(length))
        else:
            memory = np.empty(length + ALIGNMENT, np.uint8)
            start = -(memory.__array_interface__["data"][0] + header_length) % ALIGNMENT
            self._view = memory.data[start : start + length]
        self.received = 0
        self.complete = length == 0

    def room(self) -> memoryview:
        """The rest of the body's memory."""
        return self._view[self.received :]

    def took(self, count: int) -> None:
        """Counts."""
        self.received += count
        self.complete = self.received == len(self._view)

    def body(self) -> memoryview:
        """All of it."""
        return self._view


class Counted:
    """A body of known length that nobody wants."""

    def __init__(self, length: int) -> None:
        self._length = length
        self.received = 0
        self.complete = length == 0

    def room(self) -> memoryview:
        """A place that is never looked at."""
        return _SCRATCH[: self._length - self.received]

    def took(self, count: int) -> None:
        """Counts."""
        self.received += count
        self.complete = self.received >= self._length

    def body(self) -> memoryview:
        """Nothing of it."""
        return memoryview(b"")


class Chunks:
    """A body that comes in chunks, taken apart by httptools; at most ``limit_bytes``, kept or only counted."""

    def __init__(self, limit_bytes: int, keep: bool) -> None:
        import httptools

        self._errors = httptools.HttpParserError
        self._parser = httptools.HttpRequestParser(self)
        self._limit_bytes, self._keep = limit_bytes, keep
        self._parts: list[bytes] = []
        self._room = memoryview(bytearray(SCRATCH_BYTES // 4))
        self.received = 0
        self.complete = False
        self._parser.feed_data(CHUNKS_HEAD)

    def on_body(self, part: bytes) -> None:
        """What the parser found of the body."""
        self.received += len(part)
        if self._keep and self.received <= self._limit_bytes:
            self._parts.append(part)

    def on_message_complete(self) -> None:
        """The last chunk has come."""
        self.complete = True

    def room(self) -> memoryview:
        """A place for chunks as they travel."""
        return self._room

    def took(self, count: int) -> None:
        """Takes the chunks apart."""
        try:
            self._parser.feed_data(bytes(self._room[:count]))
        except self._errors as error:
            if not self.complete:  # what follows the body is not ours: the connection ends with this request
                raise Refused(400, "the body's chunks are damaged") from error
        if self.received > self._limit_bytes:
            raise Refused(413, f"a body may have {self._limit_bytes} bytes here")

    def body(self) -> memoryview:
        """The parts as one."""
        return memoryview(b"".join(self._parts))
