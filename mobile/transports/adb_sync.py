"""adbd's own way for files (AOSP, packages/modules/adb/SYNC.TXT, version 1).

Only its STAT has sizes of 32 bits, and that is not used: files may be larger than 4 GiB.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from mobile.deadline import Deadline
from mobile.errors import RemoteFileError, TransportError
from mobile.transports.adb_link import AdbStream
from mobile.transports.base import BytesSink
from mobile.transports.session import LinkBroken

_REQUEST = struct.Struct("<4sI")
_CHUNK_BYTES = 64 * 1024  # SYNC_DATA_MAX
# One packet of the wire, which costs a round trip: never to be outgrown by a few bytes.
_PACKET_BYTES = 1024 * 1024
_PATH_BYTES = 1024
_TICK_S = 0.5


class Sync:
    """The service "sync:" on a stream. FAIL of the device is a RemoteFileError in its words."""

    def __init__(self, device: str, stream: AdbStream, deadline: Deadline, what: str) -> None:
        self._device = device
        self._stream = stream
        self._deadline = deadline
        self._what = what
        self._inbox = bytearray()

    def push(self, path: str, mode: int, blocks: Iterator[bytes]) -> None:
        """Nothing, once the device has written the file and closed it."""
        place = self._path(path) + b",%d" % (0o100000 | mode)
        framed = bytearray(_REQUEST.pack(b"SEND", len(place)) + place)
        for block in blocks:
            for start in range(0, len(block), _CHUNK_BYTES):
                chunk = block[start : start + _CHUNK_BYTES]
                if len(framed) + _REQUEST.size + len(chunk) > _PACKET_BYTES:
                    self._send(framed)
                    framed = bytearray()
                framed += _REQUEST.pack(b"DATA", len(chunk))
                framed += chunk
        self._send(framed + _REQUEST.pack(b"DONE", 0))
        answer, size = self._receive_header()
        if answer != b"OKAY":
            raise self._failed(path, answer, size)

    def pull(self, path: str, sink: BytesSink) -> None:
        """Nothing, once all bytes of the file have gone to the sink."""
        place = self._path(path)
        self._send(bytearray(_REQUEST.pack(b"RECV", len(place)) + place))
        while True:
            answer, size = self._receive_header()
            if answer == b"DONE":
                return
            if answer != b"DATA" or size > _CHUNK_BYTES:
                raise self._failed(path, answer, size)
            sink(self._receive(size))

    def _path(self, path: str) -> bytes:
        place = path.encode("utf-8", "surrogateescape")
        if len(place) > _PATH_BYTES:
            raise RemoteFileError(f"{self._device}: adb takes paths of {_PATH_BYTES} bytes, not {len(place)}", path)
        return place

    def _send(self, data: bytearray) -> None:
        view = memoryview(data)
        while view:
            self._deadline.check(self._what)
            view = view[self._stream.send(view, min(_TICK_S, self._deadline.remaining_s())) :]
            self._look()

    def _look(self) -> None:
        """Takes an early FAIL: the device reads no more then."""
        data = self._stream.receive(0.0)
        if data is None:
            return
        self._inbox += data
        if not data or self._inbox.startswith(b"FAIL"):
            answer, size = self._receive_header()
            raise self._failed("", answer, size)

    def _receive_header(self) -> tuple[bytes, int]:
        answer, size = _REQUEST.unpack(self._receive(_REQUEST.size))
        return answer, size

    def _receive(self, size: int) -> bytes:
        while len(self._inbox) < size:
            self._deadline.check(self._what)
            data = self._stream.receive(min(_TICK_S, self._deadline.remaining_s()))
            if data == b"":
                raise LinkBroken(f"{self._what}: the device closed the stream")
            self._inbox += data or b""
        taken = bytes(self._inbox[:size])
        del self._inbox[:size]
        return taken

    def _failed(self, path: str, answer: bytes, size: int) -> TransportError:
        if answer != b"FAIL" or size > _CHUNK_BYTES:
            return TransportError(f"{self._what}: the device answered {answer!r} out of turn")
        return SyncFailed(self._receive(size).decode("utf-8", "replace"), path)


class SyncFailed(RemoteFileError):
    """The device's own word for why a file could not be read or written."""
