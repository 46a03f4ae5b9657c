"""Ways to a device. ``open_transport`` chooses by the inventory; programs on top see the protocol in base.py only."""

from __future__ import annotations

from typing import Protocol

from mobile.errors import UsageError
from mobile.transports.base import Completed, Transport

__all__ = ["Address", "Completed", "Transport", "open_transport"]


class Address(Protocol):
    """What a transport must know of a device; :class:`mobile.inventory.Device` has it all."""

    @property
    def name(self) -> str: ...
    @property
    def transport(self) -> str: ...
    @property
    def provenance(self) -> str: ...
    @property
    def host(self) -> str | None: ...
    @property
    def port(self) -> int | None: ...
    @property
    def serial(self) -> str | None: ...
    @property
    def user(self) -> str | None: ...
    @property
    def key_file(self) -> str | None: ...
    @property
    def passphrase_env(self) -> str | None: ...
    @property
    def password_env(self) -> str | None: ...
    @property
    def known_hosts(self) -> str | None: ...
    @property
    def host_key_policy(self) -> str: ...
    @property
    def proxy_jump(self) -> str | None: ...
    @property
    def ssh_alias(self) -> str | None: ...


def open_transport(device: Address) -> Transport:
    """A transport to the device, not connected yet: the first call connects. UsageError for an unknown transport."""
    if device.transport == "local":
        from mobile.transports.local import LocalTransport

        return LocalTransport(device.name, provenance=device.provenance)
    if device.transport == "ssh":
        from mobile.transports.ssh import SshTransport

        return SshTransport(device)
    if device.transport == "adb":
        from mobile.transports.adb import AdbTransport

        return AdbTransport(device)
    if device.transport == "adb":
        from mobile.transports.adb import AdbTransport

        return AdbTransport(device)
    raise UsageError(f"{device.name}: transport {device.transport!r} is unknown, expected local, ssh or adb")
