"""The checks of `edgewise doctor` on the way to a device: its name, its port, who it is, whether it lets us in."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from mobile.deadline import Deadline
from mobile.errors import AuthenticationFailed, ConfigError, DeviceUnreachable, EdgewiseError, TransportError
from mobile.provision.findings import Examination

if TYPE_CHECKING:
    from mobile.inventory import Device
    from mobile.transports.base import Transport

NAME_LIMIT_S = 10.0
CONNECT_LIMIT_S = 45.0
_ADB_PORT = 5555


def check_way(seen: Examination, device: Device, transport: Transport) -> bool:
    """Whether commands run on the device; what was found on the way is noted."""
    try:
        return _check_address(seen, device) and _check_login(seen, device, transport)
    except ConfigError as error:
        seen.problem("settings", error.message, error.hint)
        return False


def _check_address(seen: Examination, device: Device) -> bool:
    """Name and port, where there is a direct way; behind a jump or a server the login tells."""
    place = _address(device)
    if place is None:
        return True
    host, port = place
    return _check_name(seen, host, port) and _check_port(seen, device.name, host, port)


def _address(device: Device) -> tuple[str, int] | None:
    if device.transport == "ssh":
        from mobile.transports.ssh_settings import settings_of

        settings = settings_of(device)
        return None if settings.jump is not None else (settings.host, settings.port)
    if device.transport == "adb" and device.host:
        return device.host.strip("[]"), device.port or _ADB_PORT
    return None


def _check_name(seen: Examination, host: str, port: int) -> bool:
    from mobile.transports.bounded import bounded

    def ask() -> list[str]:
        return sorted({str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})

    try:
        addresses = bounded(ask, NAME_LIMIT_S, f"resolving {host}")
    except (OSError, UnicodeError) as error:
        seen.unreachable = True
        seen.problem("name", f"{host!r} does not resolve ({error})", "check `host` in devices.yaml, and the network")
        return False
    seen.ok("name", host if addresses == [host] else f"{host} is {', '.join(addresses)}")
    return True


def _check_port(seen: Examination, device: str, host: str, port: int) -> bool:
    from mobile.transports.sockets import LINK_TIMEOUT_S, connect

    try:
        connect(device, host, port, Deadline(CONNECT_LIMIT_S), LINK_TIMEOUT_S).close()
    except DeviceUnreachable as error:
        seen.unreachable = True
        seen.problem("port", _without(device, error.message), error.hint)
        return False
    seen.ok("port", f"{host} answers on port {port}")
    return True


def _check_login(seen: Examination, device: Device, transport: Transport) -> bool:
    try:
        done = transport.run(["true"], deadline=Deadline(CONNECT_LIMIT_S))
    except EdgewiseError as error:
        seen.unreachable = error.exit_code == 3
        seen.problem(_kind_of(error), _without(device.name, error.message), error.hint)
        return False
    if device.transport == "ssh":
        policy = device.host_key_policy
        if policy == "insecure":
            seen.warning("host key", "is not checked: anyone may stand in between", "host_key_policy: strict")
        else:
            seen.ok("host key", "is the known one")
    if device.transport != "local":
        seen.ok("login", "the device lets us in")
    if not done.ok:
        seen.problem("shell", f"`true` ended with {done.why()}", "the user's shell must be a POSIX shell")
    return done.ok


def _kind_of(error: EdgewiseError) -> str:
    if isinstance(error, AuthenticationFailed):
        return "host key" if "host key" in error.message.lower() else "login"
    if isinstance(error, DeviceUnreachable):
        return "service"
    if isinstance(error, ConfigError):
        return "settings"
    return "shell" if isinstance(error, TransportError) and "shell" in error.message else "connection"


def _without(device: str, message: str) -> str:
    """The message without the device's name before it: every line of the page is about that device."""
    return message.removeprefix(f"{device}: ")
