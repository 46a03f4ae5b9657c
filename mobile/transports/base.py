"""What a transport can be asked: the whole of how edgewise talks to a device.

The protocol is small on purpose, and every transport passes one contract suite (tests/contracts/transport.py). If you
are tempted to add a verb, first try to write what you need as a command given to ``run``.

Device paths are POSIX ``str``; bytes that are not UTF-8 travel as surrogate escapes (``os.fsdecode``). Commands are
argument lists; quoting happens once, inside the transport, and data never becomes part of a shell string elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from mobile.deadline import Deadline

DEFAULT_OUTPUT_LIMIT_BYTES = 64 * 1024 * 1024

BytesSink = Callable[[bytes], None]
Input = bytes | Iterable[bytes]  # pieces are asked for as the device takes them
Progress = Callable[[int, int], None]  # bytes done, bytes in all


@dataclass(frozen=True)
class Completed:
    """How a command ended. ``exit_code`` is 0-255, or None when ``signal`` (a number) ended it."""

    exit_code: int | None
    stdout: bytes
    stderr: bytes
    signal: int | None = None

    @property
    def ok(self) -> bool:
        """True when it exited with 0."""
        return self.exit_code == 0

    def why(self) -> str:
        """How it ended, in words: "exit code 3: last line of stderr"."""
        end = f"signal {self.signal}" if self.signal is not None else f"exit code {self.exit_code}"
        lines = self.stderr.decode("utf-8", "replace").strip().splitlines()
        return f"{end}: {lines[-1]}" if lines else end


@runtime_checkable
class Transport(Protocol):
    """An open way to one device. Thread-safe: calls may run side by side. ``close`` is idempotent."""

    name: str  # the device's name in the inventory, for messages
    provenance: str  # "real", "emulated", "slowed" or "replayed"

    def run(
        self,
        argv: Sequence[str],
        *,
        deadline: Deadline,
        stdin: Input = b"",
        env: Mapping[str, str] | None = None,
        on_stdout: BytesSink | None = None,
        output_limit_bytes: int = DEFAULT_OUTPUT_LIMIT_BYTES,
    ) -> Completed:
        """How the command ended, once it has. With ``on_stdout``, output is handed over as it comes and not kept.

        ``stdin`` may be an iterable of pieces, each asked for when the one before it is on its way; what it raises goes
        on, as from ``on_stdout``.

        The command is ended, with its children, when the deadline passes (DeadlineExceeded), when ``on_stdout`` raises,
        or when the caller is interrupted (KeyboardInterrupt); the exception goes on. A program that does not exist is a
        Completed with exit code 127, one that may not be executed 126, as in a shell. Output over the limit:
        TransportError.
        """

    def put(
        self,
        source: Path | bytes,
        target: str,
        *,
        deadline: Deadline,
        mode: int = 0o644,
        progress: Progress | None = None,
    ) -> None:
        """Nothing, once ``target`` on the device has the bytes of ``source``, whole.

        Parent folders are made. The target appears at once or not at all: on any failure neither it nor a part of it is
        left, and an older file of that name is untouched. RemoteFileError or NoSpaceOnDevice when the device refuses.
        """

    def get(self, source: str, target: BinaryIO, *, deadline: Deadline, progress: Progress | None = None) -> int:
        """The number of bytes that were written to ``target``. RemoteFileError when there is no such file."""

    def start(self, argv: Sequence[str], *, log: str, deadline: Deadline, env: Mapping[str, str] | None = None) -> int:
        """The process id of a command that goes on when this transport is closed; its two outputs go to ``log``."""

    def close(self) -> None:
        """Nothing, once the connection is closed. What was started detached goes on."""
