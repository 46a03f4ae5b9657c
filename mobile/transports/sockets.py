"""TCP connections that cannot hang: bounded name resolution and connect, no Nagle, and a dead peer is noticed."""

from __future__ import annotations

import contextlib
import select
import socket
import sys

from mobile.deadline import Deadline
from mobile.errors import DeviceUnreachable
from mobile.transports.bounded import bounded

CONNECT_LIMIT_S = 15.0  # a device that does not answer is given up after this, however long the deadline is
LINK_TIMEOUT_S = 20.0  # a connection whose peer has not acknowledged anything for so long is dead
_DARWIN_RXT_CONNDROPTIME = 0x80  # <netinet/tcp.h> of macOS: seconds of unacknowledged data
_DARWIN_KEEPALIVE = 0x10  # there the idle time before the first probe


def connect(device: str, host: str, port: int, deadline: Deadline, link_timeout_s: float) -> socket.socket:
    """A connected socket. DeviceUnreachable in clear words when the name, the host or the port does not answer."""
    limit = deadline.sooner(CONNECT_LIMIT_S)
    error: OSError | None = None
    addresses = _resolve(device, host, port, limit)
    for index, (family, kind, protocol, _, address) in enumerate(addresses):
        if limit.expired():
            break
        connected = socket.socket(family, kind, protocol)
        try:
            connected.settimeout(max(0.01, limit.remaining_s() / (len(addresses) - index)))
            connected.connect(address)
            watch(connected, link_timeout_s)
            return connected
        except OSError as failed:
            connected.close()
            error = failed
    if deadline.seconds < CONNECT_LIMIT_S:  # it was the caller's time that ran out, not ours for a silent device
        deadline.check(f"{device}: connecting to {host} port {port}")
    raise _unreachable(device, host, port, error) from error


def watch(connected: socket.socket, link_timeout_s: float) -> None:
    """Nothing; sets TCP_NODELAY, and the kernel to give up ``link_timeout_s`` after the peer has vanished."""
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    probe_s = max(1, round(link_timeout_s / 4))
    if sys.platform == "darwin":
        options = [
            (_DARWIN_KEEPALIVE, probe_s),
            (_DARWIN_RXT_CONNDROPTIME, max(1, round(link_timeout_s))),
        ]
    else:
        options = [
            (socket.TCP_KEEPIDLE, probe_s),
            (socket.TCP_USER_TIMEOUT, round(link_timeout_s * 1000)),
        ]
    options += [(socket.TCP_KEEPINTVL, probe_s), (socket.TCP_KEEPCNT, 3)]
    for option, value in options:
        with contextlib.suppress(OSError):  # a system without it still has our deadlines
            connected.setsockopt(socket.IPPROTO_TCP, option, value)


def ready(channel: int | socket.socket, timeout_s: float, *, to_write: bool = False) -> bool:
    """Whether it can be read from (or written to) within the time; its end counts."""
    poll = select.poll()  # select.select knows descriptors below 1024 only
    poll.register(channel, select.POLLOUT if to_write else select.POLLIN)
    return bool(poll.poll(max(0.0, timeout_s) * 1000))


def _resolve(device: str, host: str, port: int, limit: Deadline) -> list[tuple]:  # type: ignore[type-arg]
    def ask() -> list[tuple]:  # type: ignore[type-arg]
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)

    try:
        return bounded(ask, limit.remaining_s(), f"resolving {host}")
    except (OSError, UnicodeError) as error:  # UnicodeError: a label longer than 63 characters
        raise DeviceUnreachable(
            f"{device}: the name {host!r} does not resolve", hint="check `host` in devices.yaml, and the network"
        ) from error


def _unreachable(device: str, host: str, port: int, error: OSError | None) -> DeviceUnreachable:
    if isinstance(error, ConnectionRefusedError):
        return DeviceUnreachable(
            f"{device}: {host} refuses connections on port {port}",
            hint="is its server running, and the port right?",
        )
    if error is None or isinstance(error, TimeoutError):
        return DeviceUnreachable(
            f"{device}: {host} port {port} does not answer within {CONNECT_LIMIT_S:g} s",
            hint="is the device on, and in this network?",
        )
    return DeviceUnreachable(
        f"{device}: {host} port {port}: {error.strerror or error}", hint="is the device on, and in this network?"
    )
