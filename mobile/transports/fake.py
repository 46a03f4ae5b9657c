"""A device that does not exist, for tests of programs that use edgewise.

Commands are answered by a function you give; files lie in a folder; faults are injected at will::

    from mobile import FakeTransport
    from mobile.deadline import Deadline
    from mobile.transports.fake import answers

    with FakeTransport(answers({("uname", "-m"): b"aarch64\\n"})) as board:
        assert board.run(["uname", "-m"], deadline=Deadline(5)).stdout == b"aarch64\\n"
        board.put(b"model", "/opt/model.onnx", deadline=Deadline(5))
        board.faults.cut_after_bytes = 100      # the link breaks after so many more bytes

``FakeTransport(run_locally)`` runs commands on this machine, among them the real agent: what edgewise does to a board
can then be tested whole, with the faults of a board.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mobile.deadline import Deadline
from mobile.errors import DeviceUnreachable, TransportError
from mobile.transports import files
from mobile.transports.base import DEFAULT_OUTPUT_LIMIT_BYTES, BytesSink, Completed, Input, Progress
from mobile.transports.command import NOT_FOUND, Output, check_command
from mobile.transports.local import LocalTransport


@dataclass(frozen=True)
class FakeCommand:
    """One command as the handler sees it. ``env`` holds what was asked for, ``emit`` streams a piece of stdout."""

    argv: tuple[str, ...]
    stdin: bytes
    env: Mapping[str, str]
    deadline: Deadline
    emit: BytesSink
    home: str  # the fake device's home folder, a real folder of this machine
    log: str | None = None  # set for a command started detached: its outputs are written there


Handler = Callable[[FakeCommand], Completed]


@dataclass
class Faults:
    """What is wrong with the fake device; may be changed between and during calls."""

    refuse: bool = False  # nothing answers: DeviceUnreachable
    latency_s: float = 0.0  # before each call is answered
    cut_after_bytes: int | None = None  # the link breaks when so many more bytes have crossed, either way


def answers(replies: Mapping[tuple[str, ...], bytes | Completed]) -> Handler:
    """A handler that knows these commands, each answered by its stdout or by a Completed; all others are not found."""

    def handler(command: FakeCommand) -> Completed:
        reply = replies.get(command.argv)
        if reply is None:
            return Completed(NOT_FOUND, b"", f"{command.argv[0]}: not found\n".encode("utf-8", "surrogateescape"))
        return Completed(0, reply, b"") if isinstance(reply, bytes) else reply

    return handler


def run_locally(command: FakeCommand) -> Completed:
    """A handler that runs the command on this machine, with the fake device's folder as its home."""
    local = LocalTransport("fake")
    env = {"HOME": command.home, **command.env}
    if command.log is not None:
        pid = local.start(command.argv, log=command.log, deadline=command.deadline, env=env)
        return Completed(0, str(pid).encode(), b"")
    return local.run(command.argv, deadline=command.deadline, stdin=command.stdin, env=env, on_stdout=command.emit)


def _unheard(data: bytes) -> None:
    """Takes what a command writes after the link broke."""


class FakeTransport:
    """A fake device; every call is kept in ``calls``.

    ``root`` holds its files: the device path /opt/x is ROOT/opt/x, and a path that begins with ROOT is itself, so that
    commands run locally find the files too. Without ``root`` a temporary folder is made, and removed by ``close``.
    """

    def __init__(
        self,
        handler: Handler | None = None,
        *,
        name: str = "fake",
        provenance: str = "emulated",
        root: Path | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.name = name
        self.provenance = provenance
        self.faults = faults or Faults()
        self.calls: list[tuple[str, ...]] = []
        self._handler = handler or answers({})
        self._temporary = None if root else tempfile.TemporaryDirectory(prefix="edgewise-fake-")
        self.root = root or Path(self._temporary.name if self._temporary else "")
        self._pids = itertools.count(1000)
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> FakeTransport:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def path(self, device_path: str) -> Path:
        """Where a file of the fake device lies on this machine."""
        return Path(self._host_path(device_path))

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
        """How the handler says the command ended; see :class:`mobile.transports.base.Transport`."""
        self._call(deadline, *check_command(argv, env))
        output = Output(self.name, on_stdout, output_limit_bytes)

        def emit(data: bytes) -> None:
            self._cross(len(data))
            output.stdout(data)

        data, broken = self._take(stdin)
        heard = emit if broken is None else _unheard
        reply = self._handler(FakeCommand(tuple(argv), data, dict(env or {}), deadline, heard, str(self.root)))
        if broken is not None:
            raise broken
        if reply.stdout:
            emit(reply.stdout)
        self._cross(len(reply.stderr))
        output.stderr(reply.stderr)
        return output.completed(reply.exit_code, reply.signal)

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
        self._call(deadline, "put", target)
        sent_bytes = 0

        def cross(done_bytes: int, size_bytes: int) -> None:
            nonlocal sent_bytes
            self._cross(done_bytes - sent_bytes)
            sent_bytes = done_bytes
            if progress is not None:
                progress(done_bytes, size_bytes)

        what = f"{self.name}: writing {target!r}"
        files.write_whole(source, self._host_path(target), what=what, mode=mode, deadline=deadline, progress=cross)

    def get(self, source: str, target: BinaryIO, *, deadline: Deadline, progress: Progress | None = None) -> int:
        """The number of bytes written to ``target``; see :class:`mobile.transports.base.Transport`."""
        self._call(deadline, "get", source)
        sent_bytes = 0

        def cross(done_bytes: int, size_bytes: int) -> None:
            nonlocal sent_bytes
            self._cross(done_bytes - sent_bytes)
            sent_bytes = done_bytes
            if progress is not None:
                progress(done_bytes, size_bytes)

        what = f"{self.name}: reading {source!r}"
        return files.read_into(self._host_path(source), target, what=what, deadline=deadline, progress=cross)

    def start(self, argv: Sequence[str], *, log: str, deadline: Deadline, env: Mapping[str, str] | None = None) -> int:
        """The process id that the handler's stdout names, or one made up."""
        self._call(deadline, "start", *check_command(argv, env))
        log = self._host_path(log)
        written: list[bytes] = []
        command = FakeCommand(tuple(argv), b"", dict(env or {}), deadline, written.append, str(self.root), log)
        reply = self._handler(command)
        if reply.stdout.isdigit() and not written:
            return int(reply.stdout)
        files.write_whole(
            b"".join([*written, reply.stdout, reply.stderr]),
            log,
            what=log,
            mode=0o644,
            deadline=deadline,
            progress=None,
        )
        return next(self._pids)

    def close(self) -> None:
        """Nothing, once later calls are refused and the temporary folder, if it has one, is removed."""
        self._closed = True
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                self._temporary.cleanup()

    def _host_path(self, device_path: str) -> str:
        root = str(self.root)
        if device_path == root or device_path.startswith(root + os.sep):
            return device_path
        return root + os.sep + device_path.lstrip("/")

    def _call(self, deadline: Deadline, *call: str) -> None:
        if self._closed:
            raise TransportError(f"{self.name}: this transport is closed")
        self.calls.append(call)
        if self.faults.latency_s:
            time.sleep(min(self.faults.latency_s, deadline.remaining_s()))
        deadline.check(f"{self.name}: {call[0]}")
        self._check_link()

    def _check_link(self) -> None:
        if self.faults.refuse:
            raise DeviceUnreachable(f"{self.name}: nothing answers (an injected fault)")
        if self.faults.cut_after_bytes is not None and self.faults.cut_after_bytes < 0:
            raise DeviceUnreachable(f"{self.name}: the link is cut (an injected fault)")

    def _take(self, stdin: Input) -> tuple[bytes, TransportError | None]:
        """What of the input reaches the command. One that comes in pieces may be cut between them."""
        if isinstance(stdin, bytes):
            self._cross(len(stdin))
            return stdin, None
        arrived = bytearray()
        for piece in stdin:
            try:
                self._cross(len(piece))
            except TransportError as error:
                return bytes(arrived), error
            arrived += piece
        return bytes(arrived), None

    def _cross(self, size_bytes: int) -> None:
        with self._lock:
            if self.faults.cut_after_bytes is not None:
                self.faults.cut_after_bytes -= size_bytes
                if self.faults.cut_after_bytes < 0:
                    raise TransportError(f"{self.name}: the link broke (an injected fault)")
