"""The ADB protocol over TCP, as adbd speaks it (AOSP, packages/modules/adb/protocol.txt), with streams side by side.

Every byte is sent, whatever the socket takes at once; payloads are up to 1 MiB; a stream has one packet under way.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
from collections import deque
from dataclasses import dataclass

from mobile.deadline import Deadline
from mobile.errors import AuthenticationFailed, DeviceUnreachable, TransportError
from mobile.transports.adb_keys import HASH_BYTES, AdbKey, adb_keys
from mobile.transports.adb_link import SHELL_V2
from mobile.transports.session import LinkBroken
from mobile.transports.sockets import CONNECT_LIMIT_S, connect

DEFAULT_PORT = 5555
_VERSION = 0x01000001  # from this one on, checksums may be left out
_MAX_PAYLOAD_BYTES = 1024 * 1024
_HEADER = struct.Struct("<6I")
_SYNC, _CNXN, _AUTH, _OPEN, _OKAY, _CLSE, _WRTE, _STLS = (
    int.from_bytes(word, "little") for word in (b"SYNC", b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"CLSE", b"WRTE", b"STLS")
)
_TOKEN, _SIGNATURE, _PUBLIC_KEY = 1, 2, 3
_TICK_S = 1.0
_JOIN_S = 2.0


@dataclass(frozen=True)
class _Message:
    command: int
    arg0: int
    arg1: int
    payload: bytes


class _Pipe:
    """Messages over a socket. Sending is thread-safe, receiving is one thread's."""

    def __init__(self, sock: socket.socket, link_timeout_s: float) -> None:
        self._socket = sock
        self._link_timeout_s = link_timeout_s
        self._sending = threading.Lock()
        self.version = 0x01000000
        self.max_payload_bytes = 4096

    def send(self, command: int, arg0: int, arg1: int, payload: bytes = b"") -> None:
        """Nothing, once the kernel has every byte. OSError when it has taken none for the link's timeout."""
        checksum = 0 if self.version >= _VERSION else sum(payload) & 0xFFFFFFFF
        header = _HEADER.pack(command, arg0, arg1, len(payload), checksum, command ^ 0xFFFFFFFF)
        with self._sending:
            # One system call for both: a header alone would wait for its acknowledgement on the way.
            view = memoryview(header + payload)
            while view:
                view = view[self._send_some(view) :]

    def receive(self, limit: Deadline) -> _Message:
        """The next message. EOFError at the end, TimeoutError past the limit, ValueError for what is not ADB."""
        command, arg0, arg1, size, _, magic = _HEADER.unpack(self._receive(_HEADER.size, limit))
        if magic != command ^ 0xFFFFFFFF or size > _MAX_PAYLOAD_BYTES:
            raise ValueError("not an ADB message")
        return _Message(command, arg0, arg1, self._receive(size, limit))

    def close(self) -> None:
        """Nothing; a thread in ``receive`` ends."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _send_some(self, view: memoryview) -> int:
        limit = Deadline(self._link_timeout_s)
        while True:
            try:
                return self._socket.send(view)
            except TimeoutError:
                if limit.expired():
                    raise

    def _receive(self, size: int, limit: Deadline) -> bytes:
        parts = bytearray(size)
        view = memoryview(parts)
        while view:
            try:
                count = self._socket.recv_into(view)
            except TimeoutError:
                if limit.expired():
                    raise
                continue
            if not count:
                raise EOFError
            view = view[count:]
        return bytes(parts)


class DirectStream:
    """One service; see :class:`mobile.transports.adb_link.AdbStream`."""

    def __init__(self, link: DirectLink, local_id: int) -> None:
        self.local_id = local_id
        self.remote_id = 0
        self._link = link
        self._inbox: deque[bytes] = deque()
        self._ready = False  # the device has acknowledged what was sent last
        self._closed = False
        self._changed = threading.Condition()

    def take(self, message: _Message) -> None:
        """Nothing; called by the link's thread for each message to this stream."""
        with self._changed:
            if message.command == _OKAY:
                self.remote_id = message.arg0
                self._ready = True
            elif message.command == _WRTE:
                self._inbox.append(message.payload)
            else:
                self._closed = True
            self._changed.notify_all()

    def opened(self, deadline: Deadline) -> bool:
        """Whether the device has opened the service; it has refused it if not."""
        with self._changed:
            while not self._ready and not self._closed:
                self._link.check()
                deadline.check(f"{self._link.device}: opening a service")
                self._changed.wait(min(_TICK_S, deadline.remaining_s()))
            return self._ready

    def send(self, data: memoryview, timeout_s: float) -> int:
        """The number of bytes put on their way, once those before have arrived."""
        with self._changed:
            if not self._ready and not self._closed:
                self._changed.wait(timeout_s)
            self._link.check()
            if not self._ready or self._closed:
                return 0
            self._ready = False
        piece = bytes(data[: self._link.max_payload_bytes])
        self._link.post(_WRTE, self.local_id, self.remote_id, piece)
        return len(piece)

    def receive(self, timeout_s: float) -> bytes | None:
        """The next bytes, empty at the end, None when there are none in time."""
        with self._changed:
            if not self._inbox and not self._closed:
                self._changed.wait(timeout_s)
            if not self._inbox:
                if self._closed:
                    return b""
                self._link.check()
                return None
            data = self._inbox.popleft()
            closed = self._closed
        if not closed:
            self._link.post(_OKAY, self.local_id, self.remote_id)
        return data

    def close(self) -> None:
        """Nothing, once the device is told."""
        self._link.forget(self)
        if not self._closed:
            with contextlib.suppress(TransportError):
                self._link.post(_CLSE, self.local_id, self.remote_id)


class DirectLink:
    """A connection to an adbd; see :class:`mobile.transports.adb_link.AdbLink`."""

    def __init__(self, device: str, host: str, port: int, deadline: Deadline, link_timeout_s: float) -> None:
        self.device = device
        self._ids = itertools.count(1)
        self._streams: dict[int, DirectStream] = {}
        self._lock = threading.Lock()
        self._broken = False
        limit = deadline.sooner(CONNECT_LIMIT_S)
        self._socket = connect(device, host, port, deadline, link_timeout_s)
        self._socket.settimeout(min(_TICK_S, link_timeout_s))
        self._pipe = _Pipe(self._socket, link_timeout_s)
        try:
            banner = _handshake(self._pipe, device, f"{host}:{port}", limit, deadline)
        except BaseException:
            self._socket.close()
            raise
        self.features = banner & {SHELL_V2}
        self.max_payload_bytes = self._pipe.max_payload_bytes
        self._thread = threading.Thread(target=self._read, name=f"adb-{device}", daemon=True)
        self._thread.start()

    def open(self, service: bytes, deadline: Deadline) -> DirectStream:
        """The service as a stream. TransportError when the device refuses it."""
        with self._lock:
            stream = DirectStream(self, next(self._ids))
            self._streams[stream.local_id] = stream
        try:
            self.post(_OPEN, stream.local_id, 0, service + b"\0")
            if stream.opened(deadline):
                return stream
        except BaseException:
            self.forget(stream)
            raise
        self.forget(stream)
        raise TransportError(f"{self.device}: adbd refuses {service[:20].decode('ascii', 'replace')!r}")

    def alive(self) -> bool:
        """False once the link has broken or was closed."""
        return not self._broken

    def close(self) -> None:
        """Nothing, once the connection is closed."""
        self._broken = True
        self._pipe.close()
        if self._thread is not threading.current_thread():
            self._thread.join(_JOIN_S)
        self._socket.close()

    def check(self) -> None:
        """Nothing, or LinkBroken."""
        if self._broken:
            raise LinkBroken(
                f"{self.device}: the connection broke", hint="the device may be off, or out of the network's reach"
            )

    def post(self, command: int, arg0: int, arg1: int, payload: bytes = b"") -> None:
        """Nothing, once the message is on its way. LinkBroken."""
        self.check()
        try:
            self._pipe.send(command, arg0, arg1, payload)
        except OSError:
            self._break()
            self.check()

    def forget(self, stream: DirectStream) -> None:
        """Nothing; the stream gets no more messages."""
        with self._lock:
            self._streams.pop(stream.local_id, None)

    def _read(self) -> None:
        try:
            while not self._broken:
                message = self._pipe.receive(Deadline.never())
                with self._lock:
                    stream = self._streams.get(message.arg1)
                if stream is not None:
                    stream.take(message)
                elif message.command == _WRTE:  # it was closed here before this came
                    self._pipe.send(_CLSE, 0, message.arg0)
        except (OSError, EOFError, ValueError):
            self._break()

    def _break(self) -> None:
        self._broken = True
        self._pipe.close()
        with self._lock:
            streams = list(self._streams.values())
        for stream in streams:
            with stream._changed:
                stream._changed.notify_all()


def _handshake(pipe: _Pipe, device: str, where: str, limit: Deadline, deadline: Deadline) -> frozenset[str]:
    """The features that the device names, once it has let us in."""
    try:
        return _log_in(pipe, device, where, limit)
    except TransportError:  # is an OSError too
        raise
    except TimeoutError as error:
        deadline.check(f"{device}: connecting")
        raise DeviceUnreachable(
            f"{device}: {where} accepts connections but does not answer ADB within {CONNECT_LIMIT_S:g} s",
            hint=f"another adb may hold the device's only connection: try `adb disconnect {where}`",
        ) from error
    except ValueError as error:
        raise DeviceUnreachable(
            f"{device}: {where} speaks something else than ADB", hint="is `port` right? adbd's is usually 5555"
        ) from error
    except (OSError, EOFError) as error:
        raise DeviceUnreachable(
            f"{device}: {where} closes the connection during the ADB handshake",
            hint=f"another adb may hold the device's only connection: try `adb disconnect {where}`",
        ) from error


def _log_in(pipe: _Pipe, device: str, where: str, limit: Deadline) -> frozenset[str]:
    keys = adb_keys()
    left = list(keys)
    asked = False
    pipe.send(_CNXN, _VERSION, _MAX_PAYLOAD_BYTES, b"host::features=" + SHELL_V2.encode() + b"\0")
    while True:
        try:
            message = pipe.receive(limit)
        except TimeoutError as error:
            if not asked:
                raise
            raise _unauthorized(device, where, keys[0]) from error
        if message.command == _CNXN:
            pipe.version = min(_VERSION, message.arg0)
            pipe.max_payload_bytes = min(_MAX_PAYLOAD_BYTES, message.arg1)
            return _features(message.payload)
        if message.command == _STLS:
            raise AuthenticationFailed(
                f"{device}: {where} wants the encrypted ADB of paired phones",
                hint="pair it with `adb pair`, then set `serial` to what `adb devices` shows, instead of `host`",
            )
        if message.command == _AUTH and message.arg0 == _TOKEN and len(message.payload) == HASH_BYTES:
            if left:
                pipe.send(_AUTH, _SIGNATURE, 0, left.pop(0).sign(message.payload))
            elif not asked:
                asked = True
                pipe.send(_AUTH, _PUBLIC_KEY, 0, keys[0].public + b"\0")
            else:
                raise _unauthorized(device, where, keys[0])


def _unauthorized(device: str, where: str, key: AdbKey) -> AuthenticationFailed:
    return AuthenticationFailed(
        f"{device}: {where} is unauthorized: it does not know the key {key.path}",
        hint='accept the question on its screen ("Allow USB debugging?"), then try again',
    )


def _features(banner: bytes) -> frozenset[str]:
    """Out of "device::ro.product.name=x;features=shell_v2,cmd"."""
    _, _, fields = banner.decode("utf-8", "replace").strip("\0").partition("::")
    for field in fields.split(";"):
        name, _, value = field.partition("=")
        if name == "features":
            return frozenset(value.split(","))
    return frozenset()
