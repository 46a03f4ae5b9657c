"""What the two ways to a phone have in common: streams to the services of its adbd.

adb_direct.py speaks the device's own protocol over TCP, adb_server.py asks a running adb server. Everything above
(commands, files) is the same for both.
"""

from __future__ import annotations

from typing import Protocol

from mobile.deadline import Deadline

SHELL_V2 = "shell_v2"


class AdbStream(Protocol):
    """An open service. LinkBroken when the link breaks. Not to be used by two threads at once."""

    def send(self, data: memoryview, timeout_s: float) -> int:
        """The number of bytes taken within the time; 0 when none were, or the device has closed the stream."""

    def receive(self, timeout_s: float) -> bytes | None:
        """The next bytes; empty when the device has closed the stream, None when nothing came within the time."""

    def close(self) -> None:
        """Nothing, once the stream is closed on this side."""


class AdbLink(Protocol):
    """A way to one device's adbd. Thread-safe."""

    features: frozenset[str]  # those that both sides understand

    def open(self, service: bytes, deadline: Deadline) -> AdbStream:
        """The service as a stream. TransportError when the device refuses it."""

    def alive(self) -> bool:
        """False once the link has broken or was closed."""

    def close(self) -> None:
        """Nothing, once the link is closed."""
