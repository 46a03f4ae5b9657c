"""Commands over adbd's shell service: version 2 with both streams and an exit code, or version 1, which has neither."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable

from mobile.deadline import Deadline
from mobile.transports.adb_link import AdbStream
from mobile.transports.session import Event, LinkBroken

_PACKET = struct.Struct("<BI")
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = 0, 1, 2, 3, 4
_PIECE_BYTES = 32 * 1024
_BURST_BYTES = 512 * 1024  # adbd answers once for so many pieces: the link is not idle after each
_SEND_S = 0.02


class Closing:
    """Finds the line "CLOSING EXIT_CODE" in a stream, wherever the pieces are cut."""

    def __init__(self, token: str) -> None:
        self._token = token.encode("ascii") + b" "
        self._held = b""
        self.exit_code: int | None = None

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """What comes before the line, and what comes after it. What may be its beginning is held back."""
        if self.exit_code is not None:
            return b"", data
        data = self._held + data
        self._held = b""
        before, token, after = data.partition(self._token)
        if token:
            number, newline, rest = after.partition(b"\n")
            if newline and number.isdigit():
                self.exit_code = int(number) & 0xFF
                return before, rest
            self._held = token + after
            return before, b""
        keep = next((n for n in range(len(self._token) - 1, 0, -1) if data.endswith(self._token[:n])), 0)
        self._held = data[len(data) - keep :]
        return data[: len(data) - keep], b""

    def flush(self) -> bytes:
        """What was held back, at the end of a stream that has no such line."""
        held, self._held = self._held, b""
        return held


class ShellV2Session:
    """The service "shell,v2,raw:"; see :class:`mobile.transports.session.Session`.

    Its exit packet comes only when every child has closed the outputs; the closing line says it before.
    """

    def __init__(self, stream: AdbStream, closing: str) -> None:
        self._stream = stream
        self._closing = Closing(closing)
        self._events: deque[Event] = deque()
        self._inbox = bytearray()
        self._outbox = b""
        self._exit_code: int | None = None
        self._over = False

    def send(self, data: memoryview, timeout_s: float) -> int:
        """The number of bytes taken into a packet, once the packet before is on its way."""
        if not self._flush(timeout_s):
            return 0
        burst = data[:_BURST_BYTES]
        pieces = [bytes(burst[start : start + _PIECE_BYTES]) for start in range(0, len(burst), _PIECE_BYTES)]
        self._outbox = b"".join(_PACKET.pack(_STDIN, len(piece)) + piece for piece in pieces)
        self._flush(0.0)
        return len(burst)

    def end_input(self) -> None:
        """Nothing; the end is on its way with what was sent before."""
        self._outbox += _PACKET.pack(_CLOSE_STDIN, 0)
        self._flush(0.0)

    def receive(self, timeout_s: float) -> Event | None:
        """The next event, None when there is none within the time."""
        limit = Deadline(timeout_s)
        while not self._events:
            if self._over:
                _check_exit(self._closing.exit_code if self._exit_code is None else self._exit_code)
                return None
            if self._outbox:
                self._flush(0.0)
            wait_s = min(limit.remaining_s(), _SEND_S) if self._outbox else limit.remaining_s()
            data = self._stream.receive(wait_s)
            if data == b"":
                self._end()
            elif data is not None:
                self._inbox += data
                self._parse()
            elif limit.expired():
                return None
        return self._events.popleft()

    def close(self) -> None:
        """Nothing; adbd ends what still reads from or writes to the stream with it."""
        self._stream.close()

    def _flush(self, timeout_s: float) -> bool:
        if self._outbox:
            sent = self._stream.send(memoryview(self._outbox), timeout_s)
            self._outbox = self._outbox[sent:]
        return not self._outbox

    def _parse(self) -> None:
        position = 0
        while len(self._inbox) - position >= _PACKET.size:
            kind, size = _PACKET.unpack_from(self._inbox, position)
            start = position + _PACKET.size
            if len(self._inbox) < start + size:
                break
            self._packet(kind, bytes(self._inbox[start : start + size]))
            position = start + size
        del self._inbox[:position]

    def _packet(self, kind: int, data: bytes) -> None:
        if kind == _STDOUT:
            had = self._closing.exit_code
            before, after = self._closing.feed(data)
            if before:
                self._events.append(Event("stdout", before))
            if had is None and self._closing.exit_code is not None:
                self._events.append(Event("exit", exit_code=self._closing.exit_code))
            if after:
                self._events.append(Event("stdout", after))
        elif kind == _STDERR:
            self._events.append(Event("stderr", data))
        elif kind == _EXIT and data:
            self._exit_code = data[0]

    def _end(self) -> None:
        self._over = True
        held = self._closing.flush()
        if held:
            self._events.append(Event("stdout", held))
        if self._closing.exit_code is None and self._exit_code is not None:
            self._events.append(Event("exit", exit_code=self._exit_code))
        self._events.append(Event("end"))


class ShellV1Session:
    """The service "exec:", which passes bytes both ways and nothing else.

    The input is put into a file first, as the service cannot pass on its end; stderr goes to a file, and comes after
    the closing line. ``begin`` gets the whole input and returns the running stream.
    """

    def __init__(self, begin: Callable[[bytes], AdbStream], closing: str) -> None:
        self._begin = begin
        self._closing = Closing(closing)
        self._input: list[bytes] = []
        self._stream: AdbStream | None = None
        self._events: deque[Event] = deque()
        self._over = False

    def send(self, data: memoryview, timeout_s: float) -> int:
        """All of it, kept until the input is whole."""
        self._input.append(bytes(data))
        return len(data)

    def end_input(self) -> None:
        """Nothing, once the command runs."""
        self._stream = self._begin(b"".join(self._input))
        self._input.clear()

    def receive(self, timeout_s: float) -> Event | None:
        """The next event, None when there is none within the time."""
        if self._events:
            return self._events.popleft()
        if self._stream is None:
            return None
        if self._over:
            _check_exit(self._closing.exit_code)
            return None
        data = self._stream.receive(timeout_s)
        if data is None:
            return None
        self._take(data)
        return self._events.popleft() if self._events else None

    def close(self) -> None:
        """Nothing; the stream is closed."""
        if self._stream is not None:
            self._stream.close()

    def _take(self, data: bytes) -> None:
        if not data:
            self._over = True
            held = self._closing.flush()
            if held:
                self._events.append(Event("stdout", held))
            self._events.append(Event("end"))
            return
        had = self._closing.exit_code
        before, after = self._closing.feed(data)
        if before:
            self._events.append(Event("stdout", before))
        if had is None and self._closing.exit_code is not None:
            self._events.append(Event("exit", exit_code=self._closing.exit_code))
        if after:
            self._events.append(Event("stderr", after))


def _check_exit(exit_code: int | None) -> None:
    if exit_code is None:
        raise LinkBroken("the device closed the session without saying how the command ended")
