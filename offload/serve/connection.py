"""One HTTP/1.1 connection: heads parsed by httptools, bodies received where they will be used, limits on everything.

The body's memory is asked for once, when the head has been accepted, and the kernel writes into it. With 1 MB bodies
this is what keeps the server near raw sockets (benchmarks/serve_overhead.py): a server that feeds its parser with the
body copies it three times. A body that is refused is read on and thrown away, so that a client that sends all of it
before it reads sees why.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from offload.serve.bodies import Chunks, Counted, Kept, Sink
from offload.serve.messages import Answer, Head, Refused, Request, parse_head, refusal

HEAD_BYTES = 32 << 10
LINGER_BYTES = 64 << 20  # of a refused body are read and thrown away; behind that the connection is cut
JOIN_BYTES = 64 << 10  # smaller answers go out in one piece
SAME_HEAD_BYTES = 2048  # a head up to this is remembered: a device says the same one with every frame
MAX_CONNECTIONS = 1024  # each has a buffer of HEAD_BYTES
HEAD, BODY, LINGER, BUSY = "head", "body", "linger", "busy"


@dataclass(frozen=True)
class Patience:
    """How long a client may take, in seconds; beyond ``body_s`` a body must come at ``body_rate`` bytes per second."""

    idle_s: float = 75.0
    head_s: float = 10.0
    body_s: float = 30.0
    linger_s: float = 5.0
    write_s: float = 60.0
    body_rate: float = 4096.0


@dataclass(frozen=True)
class Admission:
    """What to do with a body: keep it, or count it only. ``release`` is called when its memory is free again."""

    limit_bytes: int
    keep: bool = True
    release: Callable[[], None] = lambda: None


class Application(Protocol):
    """What answers requests. ``draining``: the server is about to end, so no connection stays."""

    draining: bool

    def admit(self, head: Head) -> Admission:
        """Whether the body is wanted; Refused when not. Called before any memory is taken for it."""

    def handle(self, request: Request, respond: Callable[[Answer], None]) -> None:
        """Answers by calling ``respond`` once, on the event loop, now or later. Refused is answered as well."""


class Connection(asyncio.BufferedProtocol):
    """The server's end of one connection. All of it runs on the event loop."""

    def __init__(self, app: Application, patience: Patience, open_ones: set[Connection]) -> None:
        self._app, self._patience, self._open = app, patience, open_ones
        self._transport: Any = None
        self._buffer = bytearray(HEAD_BYTES)
        self._view = memoryview(self._buffer)
        self._have = 0  # bytes in the buffer
        self._state = HEAD
        self._since = time.monotonic()  # when the state began, or the first byte of a head came
        self._began_ns = 0  # when the head of the request had come
        self._sink: Sink | None = None
        self._head: Head | None = None
        self._same: tuple[bytes, Head] | None = None  # the last head, as it came and as it was understood
        self._admission: Admission | None = None
        self._request: Request | None = None
        self._last = False  # this request is the connection's last
        self._paused = False
        self._slow_since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        self._transport = transport
        full = len(self._open) >= MAX_CONNECTIONS
        self._open.add(self)
        if full:
            self._turn_away(Refused(503, "too many connections", [("Retry-After", "1")]), None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone: what it waits for need not be computed."""
        self._open.discard(self)
        if self._request is not None:
            self._request.gone = True
        if self._state != BUSY:
            self._release()
        self._sink = None

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return self._sink.room() if self._sink is not None else self._view[self._have :]

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have come, to where ``get_buffer`` said."""
        if self._sink is not None:
            self._took(nbytes)
            return
        if self._state == HEAD and not self._have:
            self._since = time.monotonic()
        self._have += nbytes
        if self._state == HEAD:
            self._look()
        elif self._have == HEAD_BYTES:  # the client sends on while we work: it has to wait
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The client sends no more: as with other servers that means that it has gone, and the connection closes."""
        return False

    def pause_writing(self) -> None:
        """The client takes its answer slowly."""
        self._slow_since = time.monotonic()

    def resume_writing(self) -> None:
        """The client has taken most of its answer."""
        self._slow_since = None

    def watch(self, now: float) -> None:
        """Ends a connection whose client took too long; called every second or so."""
        limits, waited_s = self._patience, now - self._since
        if self._slow_since is not None and now - self._slow_since > limits.write_s:
            self._transport.abort()
        elif self._state == HEAD:
            if self._have and waited_s > limits.head_s:
                self._turn_away(Refused(408, "the request's head took too long"), None)
            elif not self._have and (waited_s > limits.idle_s or self._app.draining):
                self._transport.close()
        elif self._state == LINGER:
            if waited_s > limits.linger_s:
                self._transport.abort()
        elif self._sink is not None and waited_s > max(limits.body_s, self._sink.received / limits.body_rate):
            self._turn_away(Refused(408, "the request's body took too long"), None)

    def abort(self) -> None:
        """Nothing; the connection is cut."""
        self._transport.abort()

    # A request, from its head to its answer

    def _look(self) -> None:
        """Takes the next request out of the buffer, when its head is whole."""
        end = self._buffer.find(b"\r\n\r\n", 0, self._have)
        if end < 0:
            if self._have == HEAD_BYTES:
                self._turn_away(Refused(431, f"a request's head may have {HEAD_BYTES} bytes here"), None)
            return
        data = bytes(self._view[: end + 4])
        self._drop(end + 4)
        try:
            self._head = head = self._parsed(data)
        except Refused as error:
            self._turn_away(error, None)
            return
        self._last = self._last or not head.keep_alive
        try:
            self._admission = admission = self._app.admit(head)
            self._enter(BODY)
            self._began_ns = time.monotonic_ns()
            self._sink = self._sink_for(head, admission)
        except Refused as error:
            self._turn_away(error, head)
            return
        if head.expects_continue and not self._have and not self._sink.complete:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._fill()

    def _parsed(self, data: bytes) -> Head:
        """The head of a request. Nobody changes a Head, so one that comes again need not be parsed again."""
        if self._same is not None and self._same[0] == data:
            return self._same[1]
        head = parse_head(data)
        if len(data) <= SAME_HEAD_BYTES:
            self._same = (data, head)
        return head

    def _sink_for(self, head: Head, admission: Admission) -> Sink:
        if head.length is None:
            self._last = True  # the parser of chunks may have swallowed what comes behind them
            return Chunks(admission.limit_bytes, admission.keep)
        if admission.keep:
            return Kept(head.length, min(head.header_length or 0, head.length))
        return Counted(head.length)

    def _fill(self) -> None:
        """Moves what came together with the head to where the body goes."""
        while self._sink is not None and self._have and not self._sink.complete:
            room = self._sink.room()
            count = min(self._have, len(room))
            room[:count] = self._view[:count]
            self._drop(count)
            self._took(count)
        if self._sink is not None and self._sink.complete and self._state == BODY:
            self._whole()

    def _took(self, count: int) -> None:
        sink = self._sink
        if sink is None:
            return
        try:
            sink.took(count)
        except Refused as error:
            self._turn_away(error, None)
            return
        if not sink.complete:
            return
        if self._state == LINGER:
            self._sink = None
            self._next()
        else:
            self._whole()

    def _whole(self) -> None:
        """Hands the request to the application."""
        sink, head = self._sink, self._head
        if sink is None or head is None:
            return
        self._sink = None
        self._enter(BUSY)
        self._request = request = Request(head, sink.body(), sink.received, self._began_ns, time.monotonic_ns())
        try:
            self._app.handle(request, self._respond)
        except Refused as error:
            self._respond(refusal(error))

    def _respond(self, answer: Answer) -> None:
        self._request = None
        self._release()
        if self._transport.is_closing():
            return
        self._last = self._last or self._app.draining
        self._write(answer, self._last)
        self._next()

    def _next(self) -> None:
        """Waits for the connection's next request, or ends it."""
        if self._last or self._app.draining:
            self._transport.close()
            return
        self._enter(HEAD)
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        if self._have:  # by way of the loop: a thousand requests in one packet must not be a thousand calls deep
            asyncio.get_running_loop().call_soon(self._again)

    def _again(self) -> None:
        if self._state == HEAD and self._have and not self._transport.is_closing():
            self._look()

    def _turn_away(self, error: Refused, head: Head | None) -> None:
        """Answers with a refusal. Without a head the stream is out of step, and ends; else the body is read past."""
        self._release()
        length = head.length if head is not None and not head.expects_continue else None
        self._last = self._last or length is None or length > LINGER_BYTES
        self._write(refusal(error), self._last)
        if self._last and self._transport.can_write_eof():
            self._transport.write_eof()
        self._sink = Counted(LINGER_BYTES if length is None else min(length, LINGER_BYTES))
        self._enter(LINGER)
        if self._sink.complete:
            self._sink = None
            self._next()
        else:
            self._fill()

    def _write(self, answer: Answer, close: bool) -> None:
        head = answer.head(close)
        if answer.size_bytes <= JOIN_BYTES:
            self._transport.write(b"".join((head, *answer.pieces)))
            return
        self._transport.write(head)
        for piece in answer.pieces:
            self._transport.write(piece)

    def _drop(self, count: int) -> None:
        """Takes so many bytes off the buffer's front."""
        rest = self._have - count
        if rest:
            self._buffer[:rest] = self._buffer[count : self._have]
        self._have = rest

    def _enter(self, state: str) -> None:
        self._state = state
        self._since = time.monotonic()

    def _release(self) -> None:
        admission, self._admission = self._admission, None
        if admission is not None:
            admission.release()
