"""What every transport does alike with a command: check it, and keep what it writes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mobile.errors import TransportError, UsageError
from mobile.transports.base import BytesSink, Completed

LINGER_S = 1.0  # how long the outputs of a command that has ended may stay open in the hands of its children
NOT_FOUND = 127  # exit codes as a POSIX shell gives them (XCU 2.8.2)
NOT_EXECUTABLE = 126

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def check_command(argv: Sequence[str], env: Mapping[str, str] | None) -> list[str]:
    """The argument list, checked. UsageError for a plain string, an empty list, a NUL, or an unusable variable name.

    >>> check_command(["uname", "-m"], {"LC_ALL": "C"})
    ['uname', '-m']
    """
    if isinstance(argv, (str, bytes)) or not argv:
        raise UsageError(f"a command is a list of arguments, not {argv!r}")
    for argument in argv:
        if not isinstance(argument, str) or "\0" in argument:
            raise UsageError(f"an argument is {argument!r}, expected a str without NUL")
    for name, value in (env or {}).items():
        if not _NAME.match(name):
            raise UsageError(f"environment variable {name!r}: expected letters, digits and underscores")
        if "\0" in value:
            raise UsageError(f"environment variable {name} is {value!r}, expected a str without NUL")
    return list(argv)


class Output:
    """The two outputs of one command: kept up to a limit, or stdout handed over as it comes.

    After ``on_stdout`` has raised it is not called again; what still comes is dropped.
    """

    def __init__(self, device: str, on_stdout: BytesSink | None, limit_bytes: int) -> None:
        self._device = device
        self._on_stdout = on_stdout
        self._limit_bytes = limit_bytes
        self._kept_bytes = 0
        self._stdout: list[bytes] = []
        self._stderr: list[bytes] = []
        self._dropping = False

    def stdout(self, data: bytes) -> None:
        """Nothing, once the bytes are kept or handed over. TransportError over the limit."""
        if self._dropping:
            return
        if self._on_stdout is None:
            self._keep(self._stdout, data)
            return
        try:
            self._on_stdout(data)
        except BaseException:
            self._dropping = True
            raise

    def stderr(self, data: bytes) -> None:
        """Nothing, once the bytes are kept. TransportError over the limit."""
        if not self._dropping:
            self._keep(self._stderr, data)

    def completed(self, exit_code: int | None, signal: int | None = None) -> Completed:
        """How the command ended, with what was kept."""
        return Completed(exit_code, b"".join(self._stdout), b"".join(self._stderr), signal)

    def _keep(self, chunks: list[bytes], data: bytes) -> None:
        self._kept_bytes += len(data)
        if self._kept_bytes > self._limit_bytes:
            self._dropping = True
            raise TransportError(
                f"{self._device}: the command wrote more than {self._limit_bytes} bytes",
                hint="send its output to a file on the device and get that, or read it with on_stdout",
            )
        chunks.append(data)
