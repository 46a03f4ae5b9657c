"""The verbs of a device behind a wire, built on one ability: to run a command there.

Files travel through ``cat`` to a temporary name, are measured there, and get their name by a rename. adb has a protocol
of its own for the bytes and shares the rest.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from mobile.deadline import Deadline
from mobile.errors import TransportError, UsageError
from mobile.transports import files, scripts
from mobile.transports.base import DEFAULT_OUTPUT_LIMIT_BYTES, BytesSink, Completed, Input, Progress
from mobile.transports.command import Output, check_command
from mobile.transports.refusals import refusal
from mobile.transports.session import KILL_GRACE_S, Exchange, LinkBroken, Session

_KILL_S = 5.0  # for a signal to reach the device
_WORDS_BYTES = 1024 * 1024  # the most that our own scripts may answer
_ENGLISH = {"LC_ALL": "C"}  # refusals are told apart by their words


class RemoteTransport:
    """Base of ssh and adb. A subclass opens sessions and closes its connections."""

    def __init__(self, name: str, provenance: str, *, kill_grace_s: float = KILL_GRACE_S) -> None:
        self.name = name
        self.provenance = provenance
        self._kill_grace_s = kill_grace_s
        self._closed = False

    def _open_session(
        self, argv: Sequence[str], env: Mapping[str, str], opening: str, deadline: Deadline, *, urgent: bool = False
    ) -> AbstractContextManager[Session]:
        """The command, running, with the line "OPENING PID" first. ``urgent``: it ends another and must not queue."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing, once the connection is closed. What was started detached goes on."""
        self._closed = True

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
        """How the command ended; see :class:`mobile.transports.base.Transport`."""
        argv = check_command(argv, env)
        output = Output(self.name, on_stdout, output_limit_bytes)
        return self._exchange(argv, env or {}, output, deadline, f"{self.name}: {argv[0]}", _pieces(stdin))

    def put(
        self,
        source: Path | bytes,
        target: str,
        *,
        deadline: Deadline,
        mode: int = 0o644,
        progress: Progress | None = None,
    ) -> None:
        """Nothing, once the target is whole; see :class:`mobile.transports.base.Transport`."""
        what = f"{self.name}: writing {target!r}"
        deadline.check(what)
        with files.opened(source) as (stream, size_bytes):
            path = device_path(target)
            script = ["sh", "-c", scripts.PUT, "sh", temporary_beside(path), path, str(size_bytes), f"{mode:o}"]
            output = Output(self.name, None, _WORDS_BYTES)
            blocks = files.blocks(stream, size_bytes, what, deadline, progress)
            done = self._exchange(script, _ENGLISH, output, deadline, what, blocks)
        if not done.ok:
            raise refusal(self.name, target, done)

    def get(self, source: str, target: BinaryIO, *, deadline: Deadline, progress: Progress | None = None) -> int:
        """The number of bytes written to ``target``; see :class:`mobile.transports.base.Transport`."""
        what = f"{self.name}: reading {source!r}"
        sink = _SizedSink(target, progress)
        output = Output(self.name, sink.take, _WORDS_BYTES)
        script = ["sh", "-c", scripts.GET, "sh", device_path(source)]
        done = self._exchange(script, _ENGLISH, output, deadline, what, iter(()))
        if not done.ok:
            raise refusal(self.name, source, done)
        return sink.done_bytes

    def start(self, argv: Sequence[str], *, log: str, deadline: Deadline, env: Mapping[str, str] | None = None) -> int:
        """The process id, which is also its group's. RemoteFileError when there is no such program, or no log."""
        argv = check_command(argv, env)
        done = self._script(scripts.START, [device_path(log), *argv], deadline, env=env)
        if not done.ok:
            raise refusal(self.name, log if done.exit_code not in (126, 127) else argv[0], done)
        if not done.stdout.strip().isdigit():
            raise TransportError(f"{self.name}: the device's shell named no process: {done.stdout[:80]!r}")
        return int(done.stdout)

    def _script(
        self, script: str, arguments: Sequence[str], deadline: Deadline, *, env: Mapping[str, str] | None = None
    ) -> Completed:
        """How one of our own scripts ended."""
        output = Output(self.name, None, _WORDS_BYTES)
        argv = ["sh", "-c", script, "sh", *arguments]
        return self._exchange(argv, _ENGLISH if env is None else env, output, deadline, self.name, iter(()))

    def _exchange(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        output: Output,
        deadline: Deadline,
        what: str,
        blocks: Iterator[bytes],
    ) -> Completed:
        if self._closed:
            raise TransportError(f"{self.name}: this transport is closed")
        deadline.check(what)
        opening = secrets.token_hex(8)
        with self._open_session(argv, env, opening, deadline) as session:
            exchange = Exchange(session, output, opening, self.name)
            try:
                exchange.feed(blocks, deadline, what)
                return exchange.finish(deadline, what, self._kill)
            except LinkBroken:
                raise
            except BaseException:
                with contextlib.suppress(TransportError):
                    exchange.end(self._kill, self._kill_grace_s)
                raise

    def _kill(self, pid: int, signal: str) -> bool:
        deadline = Deadline(_KILL_S)
        argv = ["sh", "-c", scripts.KILL, "sh", str(pid), signal]
        opening = secrets.token_hex(8)
        with (
            contextlib.suppress(TransportError),
            self._open_session(argv, {}, opening, deadline, urgent=True) as session,
        ):
            exchange = Exchange(session, Output(self.name, None, _WORDS_BYTES), opening, self.name)
            exchange.feed(iter(()), deadline, self.name)
            while not exchange.over() and not deadline.expired():
                exchange.turn(deadline.remaining_s())
            return exchange.over()
        return False


class _SizedSink:
    """Takes what scripts.GET answers: a line with the size, then the bytes."""

    def __init__(self, target: BinaryIO, progress: Progress | None) -> None:
        self.done_bytes = 0
        self._target = target
        self._progress = progress
        self._header: bytes | None = b""
        self._size_bytes = 0

    def take(self, data: bytes) -> None:
        """Nothing, once the bytes are written."""
        if self._header is not None:
            self._header += data
            line, found, data = self._header.partition(b"\n")
            if not found:
                return
            self._size_bytes = int(line) if line.strip().isdigit() else 0  # only progress needs it
            self._header = None
        self._target.write(data)
        self.done_bytes += len(data)
        if self._progress is not None:
            self._progress(self.done_bytes, max(self.done_bytes, self._size_bytes))


def device_path(path: str) -> str:
    """The path, such that no program takes it for an option. UsageError for an empty one or a NUL.

    >>> device_path("-rf")
    './-rf'
    """
    if not path or "\0" in path:
        raise UsageError(f"{path!r} is not a path")
    return f"./{path}" if path.startswith("-") else path


def temporary_beside(path: str) -> str:
    """A new hidden name in the folder of the path, short whatever the path's own name is."""
    return f"{path.rpartition('/')[0] or ('' if path.startswith('/') else '.')}/.edgewise-put-{secrets.token_hex(8)}"


def _pieces(data: Input) -> Iterator[bytes]:
    if not isinstance(data, bytes):
        yield from data
        return
    view = memoryview(data)
    for start in range(0, len(view), files.BLOCK_BYTES):
        yield bytes(view[start : start + files.BLOCK_BYTES])
