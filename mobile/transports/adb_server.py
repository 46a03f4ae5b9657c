"""A running adb server (port 5037): the usual way to phones on USB and to those paired over the air.

Its protocol: AOSP, packages/modules/adb/SERVICES.TXT. Each stream is a connection of its own to the server.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

from mobile.deadline import Deadline
from mobile.errors import AuthenticationFailed, ConfigError, DeviceUnreachable, TransportError
from mobile.transports.session import LinkBroken
from mobile.transports.sockets import CONNECT_LIMIT_S, ready

DEFAULT_PORT = 5037
_RECEIVE_BYTES = 1024 * 1024
_START_S = 15.0

T = TypeVar("T")


def server_address() -> tuple[str, int]:
    """Host and port of the adb server, by the variables that adb itself reads. ConfigError for a bad port."""
    place = os.environ.get("ADB_SERVER_SOCKET", "")
    host, port = "", ""
    if place.startswith("tcp:"):
        host, _, port = place[len("tcp:") :].rpartition(":")
    host = host or os.environ.get("ANDROID_ADB_SERVER_ADDRESS", "") or "127.0.0.1"
    port = port or os.environ.get("ANDROID_ADB_SERVER_PORT", "") or str(DEFAULT_PORT)
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f"the adb server's port is {port!r}, expected a number from 1 to 65535")
    return host, int(port)


class ServerStream:
    """One service; see :class:`mobile.transports.adb_link.AdbStream`."""

    def __init__(self, device: str, connected: socket.socket) -> None:
        self._device = device
        self._socket = connected
        self._socket.setblocking(False)
        self._over = False

    def send(self, data: memoryview, timeout_s: float) -> int:
        """The number of bytes that the server took within the time."""
        if self._over or not ready(self._socket, timeout_s, to_write=True):
            return 0
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:  # the device has closed the service; what it said before is still to be read
            self._over = True
            return 0

    def receive(self, timeout_s: float) -> bytes | None:
        """The next bytes, empty at the end, None when there are none in time."""
        if not ready(self._socket, timeout_s):
            return None
        try:
            return self._socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return None
        except OSError as error:
            raise LinkBroken(f"{self._device}: the adb server ended the connection: {error.strerror}") from error

    def close(self) -> None:
        """Nothing, once the connection is closed."""
        self._socket.close()


class ServerLink:
    """A device of an adb server; see :class:`mobile.transports.adb_link.AdbLink`."""

    def __init__(self, device: str, serial: str | None, deadline: Deadline) -> None:
        self._device = device
        self._transport = f"host:transport:{serial}" if serial else "host:transport-any"
        self._serial = serial
        self._closed = False
        prefix = f"host-serial:{serial}" if serial else "host"
        limit = deadline.sooner(CONNECT_LIMIT_S)
        with contextlib.closing(self._connect(limit, start=True)) as connected:
            self._ask(connected, f"{prefix}:features", limit)
            features = self._talk(lambda: _counted(connected, limit), limit)
        self.features = frozenset(features.decode("ascii", "replace").split(","))

    def open(self, service: bytes, deadline: Deadline) -> ServerStream:
        """The service as a stream. TransportError when the server or the device refuses it."""
        if self._closed:
            raise TransportError(f"{self._device}: this transport is closed")
        connected = self._connect(deadline, start=False)
        try:
            self._ask(connected, self._transport, deadline)
            self._ask(connected, service, deadline)
        except BaseException:
            connected.close()
            raise
        return ServerStream(self._device, connected)

    def alive(self) -> bool:
        """Whether it is open: the server itself keeps the connection to the device."""
        return not self._closed

    def close(self) -> None:
        """Nothing. The server goes on."""
        self._closed = True

    def _connect(self, deadline: Deadline, *, start: bool) -> socket.socket:
        host, port = server_address()
        try:
            return socket.create_connection(
                (host, port), timeout=max(0.01, min(CONNECT_LIMIT_S, deadline.remaining_s()))
            )
        except OSError as error:
            if start and isinstance(error, ConnectionRefusedError) and host == "127.0.0.1" and _start(port, deadline):
                return self._connect(deadline, start=False)
            deadline.check(f"{self._device}: connecting to the adb server")
            raise DeviceUnreachable(
                f"{self._device}: no adb server answers at {host} port {port}",
                hint="run `adb start-server` (package adb or android-platform-tools),"
                " or give `host` to reach the phone over the network without one",
            ) from error

    def _ask(self, connected: socket.socket, request: str | bytes, deadline: Deadline) -> None:
        words = request.encode("ascii") if isinstance(request, str) else request
        if len(words) > 0xFFFF:
            raise TransportError(f"{self._device}: a request of {len(words)} bytes, the adb server takes 65535")

        def talk() -> bytes | None:
            connected.settimeout(max(0.01, min(CONNECT_LIMIT_S, deadline.remaining_s())))
            connected.sendall(b"%04x" % len(words) + words)
            answer = _exactly(connected, 4, deadline)
            if answer not in (b"OKAY", b"FAIL"):
                raise ValueError(answer)
            return None if answer == b"OKAY" else _counted(connected, deadline)

        said = self._talk(talk, deadline)
        if said is not None:
            raise self._refused(said.decode("utf-8", "replace"))

    def _talk(self, talk: Callable[[], T], deadline: Deadline) -> T:
        """What the talk with the server returns; its failures in our words."""
        try:
            return talk()
        except (ValueError, EOFError) as error:
            raise DeviceUnreachable(
                f"{self._device}: what answers at port {server_address()[1]} is no adb server"
            ) from error
        except OSError as error:
            deadline.check(f"{self._device}: asking the adb server")
            raise DeviceUnreachable(f"{self._device}: the adb server does not answer: {error}") from error

    def _refused(self, said: str) -> TransportError:
        """The one place where the adb server's words become our errors."""
        line = (said.strip().splitlines() or ["no reason given"])[0]
        name = self._serial or "the device"
        if "unauthorized" in said:
            return AuthenticationFailed(
                f"{self._device}: {name} is unauthorized",
                hint='accept the question on its screen ("Allow USB debugging?"), then try again',
            )
        if "not found" in said or "no devices" in said:
            return DeviceUnreachable(
                f"{self._device}: the adb server knows no device {self._serial or ''}".rstrip(),
                hint="`adb devices -l` lists those it knows; is the cable in, and USB debugging on?",
            )
        if "offline" in said or "still connecting" in said or "still authorizing" in said:
            return DeviceUnreachable(
                f"{self._device}: {name} is offline to the adb server", hint="plug it in again, or `adb reconnect`"
            )
        if "more than one" in said:
            return DeviceUnreachable(
                f"{self._device}: several phones are connected", hint="set `serial` to one that `adb devices` shows"
            )
        return TransportError(f"{self._device}: the adb server refuses: {line}")


def _counted(connected: socket.socket, deadline: Deadline) -> bytes:
    return _exactly(connected, int(_exactly(connected, 4, deadline), 16), deadline)


def _exactly(connected: socket.socket, size: int, deadline: Deadline) -> bytes:
    data = b""
    while len(data) < size:
        connected.settimeout(max(0.01, min(CONNECT_LIMIT_S, deadline.remaining_s())))
        piece = connected.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def _start(port: int, deadline: Deadline) -> bool:
    """Whether an adb server was started with the adb program of this machine."""
    adb = shutil.which("adb")
    if adb is None:
        return False
    limit = deadline.sooner(_START_S)
    with contextlib.suppress(subprocess.TimeoutExpired, OSError):
        done = subprocess.run(
            [adb, "-P", str(port), "start-server"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            timeout=limit.remaining_s(), check=False,
        )  # fmt: skip
        if done.returncode == 0:
            time.sleep(min(1.0, limit.remaining_s()))  # it has just begun to look for devices
            return True
    return False
