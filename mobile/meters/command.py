"""Any command of this host that prints watts: run for each reading, or once, printing a line for each."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import PurePath

from mobile.meters.base import Info, MeterFault, Reading
from mobile.meters.texts import watts

LIMIT_S = 5.0
MAX_OUTPUT_BYTES = 4096
MAX_LINE_BYTES = 1024


class _Child:
    """A program in a session of its own, so that what it starts ends with it."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.name = PurePath(argv[0]).name
        try:
            self.process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise MeterFault(f"{self.name} cannot be started: {why}") from error
        assert self.process.stdout is not None  # a pipe
        self.output = self.process.stdout.fileno()

    def wait_readable(self, deadline: float) -> bool:
        """True when something can be read before ``deadline`` (monotonic seconds)."""
        poller = select.poll()  # not select: this process may have thousands of open files
        poller.register(self.output, select.POLLIN | select.POLLHUP)
        return bool(poller.poll(max(0.0, deadline - time.monotonic()) * 1e3))

    def end(self) -> int:
        """The exit code, once the program and what it started are gone."""
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        code = self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


class CommandMeter:
    """A command that prints one line with the power now, and ends."""

    def __init__(self, argv: Sequence[str], info: Info, limit_s: float = LIMIT_S) -> None:
        self.info = info
        self._argv = list(argv)
        self._limit_s = limit_s

    def read(self) -> Reading:
        """What the command prints now. MeterFault when it fails, takes too long, or prints something else."""
        child = _Child(self._argv)
        deadline = time.monotonic() + self._limit_s
        output, ended = b"", False
        try:
            while not ended and len(output) <= MAX_OUTPUT_BYTES and child.wait_readable(deadline):
                data = os.read(child.output, MAX_OUTPUT_BYTES)
                output, ended = output + data, not data
            if ended:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.process.wait(max(0.0, deadline - time.monotonic()))
        finally:
            code = child.end()
        if not ended:
            much = len(output) > MAX_OUTPUT_BYTES
            raise MeterFault(f"{child.name} " + ("prints too much" if much else "did not end in time"))
        if code != 0:
            raise MeterFault(f"{child.name} ended with {code}")
        lines = [line for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
        if len(lines) != 1:
            raise MeterFault(f"{child.name} printed {len(lines)} lines, expected one")
        return watts(lines[0], self.info.offset_w)

    def close(self) -> None:
        """Nothing is held between two readings."""


class StreamMeter:
    """A command that goes on and prints a line for each reading. Started by the first; one that ended starts anew."""

    def __init__(self, argv: Sequence[str], info: Info, limit_s: float = LIMIT_S) -> None:
        self.info = info
        self._argv = list(argv)
        self._limit_s = limit_s
        self._child: _Child | None = None
        self._rest = b""

    def read(self) -> Reading:
        """The newest whole line; waits for one. MeterFault when none comes in time, or the command has ended."""
        if self._child is None:
            self._child, self._rest = _Child(self._argv), b""
        child, deadline = self._child, time.monotonic() + self._limit_s
        newest: bytes | None = None
        while newest is None or child.wait_readable(0.0):
            if not child.wait_readable(deadline):
                raise MeterFault(f"{child.name} printed nothing for {self._limit_s:g} s")
            data = os.read(child.output, MAX_OUTPUT_BYTES)
            if not data:
                self._child = None
                raise MeterFault(f"{child.name} ended with {child.end()}")
            *whole, self._rest = (self._rest + data).split(b"\n")
            self._rest = self._rest[-MAX_LINE_BYTES:]
            newest = next((line for line in reversed(whole) if line.strip()), newest)
        return watts(newest[:MAX_LINE_BYTES].decode("utf-8", "replace"), self.info.offset_w)

    def close(self) -> None:
        """The command and what it started are gone."""
        child, self._child = self._child, None
        if child is not None:
            child.end()
