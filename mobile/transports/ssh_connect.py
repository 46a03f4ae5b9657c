"""One authenticated ssh connection, through its jumps. Every step has a limit, and a dead link is noticed."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from typing import Any

import paramiko

from mobile.deadline import Deadline
from mobile.errors import DeviceUnreachable, EdgewiseError, TransportError
from mobile.transports.sockets import CONNECT_LIMIT_S, connect
from mobile.transports.ssh_auth import authenticate
from mobile.transports.ssh_hosts import HostKey, KnownHosts
from mobile.transports.ssh_settings import SshSettings
from mobile.transports.ssh_wire import Wire

_KEEPALIVE_S = 5  # gives the kernel something unacknowledged to see a dead link by
_JOIN_S = 2.0


@dataclass
class Connection:
    """An open connection: its wire, the socket at its root, and the connections that it goes through."""

    wire: Wire
    root: socket.socket
    through: list[Wire] = field(default_factory=list)
    # paramiko keeps one failure per connection: two openings side by side would take each other's.
    opening: threading.Lock = field(default_factory=threading.Lock)

    def alive(self) -> bool:
        """False once the connection has broken or was closed."""
        return self.wire.is_active() and self.wire.is_authenticated()

    def open_session(self, deadline: Deadline) -> paramiko.Channel:
        """A new channel. paramiko's exceptions; ChannelException when the device allows no further one."""
        if not self.opening.acquire(timeout=min(deadline.remaining_s(), threading.TIMEOUT_MAX)):
            raise paramiko.SSHException("another session is being opened all the while")
        try:
            return self.wire.open_session(timeout=max(0.1, deadline.remaining_s()))
        finally:
            self.opening.release()

    def abort(self) -> None:
        """Nothing; whatever waits on the connection, in any thread, ends."""
        with contextlib.suppress(OSError):
            self.root.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Nothing, once it is closed."""
        self.abort()
        _close([*self.through, self.wire], [self.root])


def open_connection(settings: SshSettings, deadline: Deadline, link_timeout_s: float) -> Connection:
    """The connection. DeviceUnreachable, AuthenticationFailed, ConfigError or DeadlineExceeded."""
    limit = deadline.sooner(CONNECT_LIMIT_S * (1 + _hops(settings)))
    root: list[socket.socket] = []
    wires: list[Wire] = []
    try:
        _open(settings, limit, link_timeout_s, root, wires)
    except BaseException as error:
        _close(wires, root)
        if isinstance(error, EdgewiseError) or not isinstance(error, (OSError, EOFError, paramiko.SSHException)):
            raise
        deadline.check(f"{settings.device}: connecting")
        raise mapped(error, settings, limit) from error
    return Connection(wires[-1], root[0], wires[:-1])


def mapped(error: Exception, settings: SshSettings, limit: Deadline | None = None) -> TransportError:
    """The one place where errors of paramiko become ours."""
    where = f"{settings.host} port {settings.port}"
    if limit is not None and limit.expired():
        return DeviceUnreachable(
            f"{settings.device}: {where} does not finish the ssh handshake within {limit.seconds:g} s",
            hint="is this an ssh port, and is the device responsive?",
        )
    if isinstance(error, paramiko.ChannelException):
        return TransportError(f"{settings.device}: the device opens no further session ({error.text})")
    if limit is None:
        return TransportError(f"{settings.device}: {where}: {error or type(error).__name__}")
    if isinstance(error, EOFError) or "reading SSH protocol banner" in str(error):
        return DeviceUnreachable(
            f"{settings.device}: {where} closes the connection during the ssh handshake",
            hint="is this an ssh port? sshd also closes when it has too many connections (MaxStartups)",
        )
    words = (str(error).splitlines() or [type(error).__name__])[0]
    return DeviceUnreachable(f"{settings.device}: no ssh handshake with {where}: {words}", hint="is this an ssh port?")


def _close(wires: list[Wire], root: list[socket.socket]) -> None:
    for wire in reversed(wires):
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):  # what it goes through is down already
            wire.close()
    for opened in root:
        opened.close()
    for wire in wires:
        if wire.is_alive() and wire is not threading.current_thread():
            wire.join(_JOIN_S)


def _hops(settings: SshSettings) -> int:
    return 0 if settings.jump is None else 1 + _hops(settings.jump)


def _open(
    settings: SshSettings, limit: Deadline, link_timeout_s: float, root: list[socket.socket], wires: list[Wire]
) -> None:
    if settings.jump is None:
        sock: Any = connect(settings.device, settings.host, settings.port, limit, link_timeout_s)
        root.append(sock)
    else:
        _open(settings.jump, limit, link_timeout_s, root, wires)
        sock = _through(wires[-1], settings, limit)
    known = KnownHosts(settings.known_hosts, settings.host, settings.port)
    wire = Wire(sock)
    wires.append(wire)
    _prefer(wire, known.kinds)
    _negotiate(wire, limit)
    key = wire.get_remote_server_key()
    known.check(settings.device, HostKey(key.get_name(), key.asbytes()), settings.policy)
    authenticate(wire, settings, limit)
    wire.set_keepalive(_KEEPALIVE_S)


def _through(jump: Wire, settings: SshSettings, limit: Deadline) -> Any:
    try:
        return jump.open_channel(
            "direct-tcpip", (settings.host, settings.port), ("127.0.0.1", 0), timeout=max(0.1, limit.remaining_s())
        )
    except paramiko.ChannelException as error:
        raise DeviceUnreachable(
            f"{settings.device}: the jump host cannot reach {settings.host} port {settings.port} ({error.text})"
        ) from error


def _prefer(wire: Wire, kinds: list[str]) -> None:
    """Asks for a type of host key that is known, as ssh does; else a new type would look like an unknown host."""
    algorithms = {
        algorithm
        for kind in kinds
        for algorithm in (("rsa-sha2-512", "rsa-sha2-256") if kind == "ssh-rsa" else (kind,))
    }
    options = wire.get_security_options()
    options.key_types = tuple(sorted(options.key_types, key=lambda kind: kind not in algorithms))


def _negotiate(wire: Wire, limit: Deadline) -> None:
    wire.banner_timeout = wire.handshake_timeout = max(0.1, limit.remaining_s())
    done = threading.Event()
    wire.start_client(event=done)
    while not done.wait(min(0.1, limit.remaining_s())) and not limit.expired():
        if not wire.is_active():
            break
    if not wire.is_active() or not done.is_set():
        raise wire.get_exception() or EOFError("no ssh handshake")
