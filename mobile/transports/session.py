"""One command on a device behind a wire: what a wire must offer, and the loop that runs a command over it.

ssh and adb differ in how bytes travel; when a command is ended, what is kept and what is told is decided here for both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from mobile.deadline import Deadline
from mobile.errors import TransportError
from mobile.transports.base import Completed
from mobile.transports.command import LINGER_S, Output

KILL_GRACE_S = 2.0  # between SIGTERM and SIGKILL: time for the agent to finish its stream
_TICK_S = 0.5  # the longest wait before the deadline is looked at again
# The longest wait for the device to take more input before its output is looked at: a command such as `cat` takes no
# more until its output is read.
_SEND_S = 0.02
_PREAMBLE_LIMIT_BYTES = 1024 * 1024  # what a login shell may print before the command begins


@dataclass(frozen=True)
class Event:
    """What came from the device: a piece of output, how the command ended ("exit"), or that no more comes ("end")."""

    kind: Literal["stdout", "stderr", "exit", "end"]
    data: bytes = b""
    exit_code: int | None = None
    signal: int | None = None


class LinkBroken(TransportError):
    """The connection broke under a command; there is no use in ending the command over it."""


class Session(Protocol):
    """A command on the wire. LinkBroken from any of these when the connection breaks. No wait is unbounded."""

    def send(self, data: memoryview, timeout_s: float) -> int:
        """The number of bytes that the device took within the time; 0 when it took none."""

    def end_input(self) -> None:
        """Nothing; the command sees the end of its input."""

    def receive(self, timeout_s: float) -> Event | None:
        """The next event; None when none came within the time. After "end" nothing comes but perhaps "exit"."""

    def close(self) -> None:
        """Nothing, at once; what the command is doing is not waited for."""


Kill = Callable[[int, str], bool]  # sends a signal, by name, to a process group; whether the device answered


class Exchange:
    """The talk with one session: feeds it, sorts what comes, and knows how far the command is."""

    def __init__(self, session: Session, output: Output, opening: str, device: str) -> None:
        self.pid: int | None = None
        self.exit: Event | None = None
        self.ended = False
        self._session = session
        self._output = output
        self._device = device
        self._opening = re.compile(re.escape(opening.encode()) + rb" ([0-9]+)\r?\n")
        self._preamble = bytearray()

    def turn(self, timeout_s: float) -> bool:
        """Whether anything came within the time. It has been handed over."""
        event = self._session.receive(min(timeout_s, _TICK_S))
        if event is None:
            return False
        if event.kind == "stdout":
            self._stdout(event.data)
        elif event.kind == "stderr":
            self._output.stderr(event.data)
        elif event.kind == "exit":
            self.exit = self.exit or event
        else:
            self.ended = True
        return True

    def over(self) -> bool:
        """True once the command has ended and all its output is here."""
        return self.exit is not None and self.ended

    def feed(self, blocks: Iterator[bytes], deadline: Deadline, what: str) -> None:
        """Nothing, once all blocks are sent or the command has ended. Takes what comes meanwhile."""
        for block in blocks:
            rest = memoryview(block)
            while rest and self.exit is None and not self.ended:
                deadline.check(what)
                rest = rest[self._session.send(rest, min(_SEND_S, deadline.remaining_s())) :]
                while self.turn(0.0):
                    pass
            if self.exit is not None or self.ended:
                return
        self._session.end_input()

    def finish(self, deadline: Deadline, what: str, kill: Kill) -> Completed:
        """How the command ended. Children that hold its outputs LINGER_S longer are ended."""
        while self.exit is None:
            deadline.check(what)
            self.turn(deadline.remaining_s())
        linger = deadline.sooner(LINGER_S)
        while not self.ended and not linger.expired():
            self.turn(linger.remaining_s())
        if not self.ended and self.pid is not None:
            kill(self.pid, "TERM")
            kill(self.pid, "KILL")
        if self.pid is None:
            self._never_began()
        return self._output.completed(self.exit.exit_code, self.exit.signal)

    def end(self, kill: Kill, grace_s: float) -> None:
        """Nothing, once the command and its children are ended, or the connection has proved dead."""
        grace = Deadline(grace_s)
        while self.pid is None and not self.over() and not grace.expired():
            self.turn(grace.remaining_s())
        if self.pid is None:
            return
        if not kill(self.pid, "TERM"):
            return
        try:
            grace = Deadline(grace_s)
            while not self.over() and not grace.expired():
                self.turn(grace.remaining_s())
        finally:
            kill(self.pid, "KILL")

    def _stdout(self, data: bytes) -> None:
        if self.pid is not None:
            self._output.stdout(data)
            return
        self._preamble += data
        found = self._opening.search(self._preamble)
        if found:
            self.pid = int(found[1])
            rest = bytes(self._preamble[found.end() :])
            self._preamble.clear()
            if rest:
                self._output.stdout(rest)
        elif len(self._preamble) > _PREAMBLE_LIMIT_BYTES:
            raise TransportError(f"{self._device}: the login shell prints without end")

    def _never_began(self) -> None:
        assert self.exit is not None
        done = self._output.completed(self.exit.exit_code, self.exit.signal)
        said = (bytes(self._preamble) + done.stderr).decode("utf-8", "replace").strip().splitlines()
        raise TransportError(
            f"{self._device}: the login shell did not run the command (exit code {done.exit_code})"
            + (f": {said[-1]}" if said else ""),
            hint="the user's shell must be a POSIX shell that runs commands",
        )
