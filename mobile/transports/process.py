"""One child process of this machine with every wait bounded: never a hang, a zombie, or a process left behind."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import selectors
import signal
import subprocess
from collections.abc import Mapping, Sequence

from mobile.deadline import Deadline
from mobile.errors import TransportError
from mobile.transports.base import Completed, Input
from mobile.transports.command import LINGER_S, NOT_EXECUTABLE, NOT_FOUND, Output

_BLOCK_BYTES = 65536  # the capacity of a pipe on Linux
_TICK_S = 0.1  # how often the end of the process is looked for where the system cannot signal it
_REAP_S = 5.0
_OUR_FAULT = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}  # not the program's: no process could be made

_log = logging.getLogger(__name__)


def run_child(
    argv: Sequence[str],
    *,
    device: str,
    env: Mapping[str, str] | None,
    stdin: Input,
    output: Output,
    deadline: Deadline,
    grace_s: float,
) -> Completed:
    """How the command ended. It runs in a session of its own, so that it can be ended with its children.

    On any exception (deadline, ``output``, interrupt) its group gets SIGTERM, ``grace_s`` seconds in which its output
    is still handed over, then SIGKILL. Children that hold the outputs LINGER_S after it has ended are ended too.
    """
    try:
        child = spawn(argv, device=device, env=env, stdin=bool(stdin))
    except ProgramError as error:
        output.stderr(f"{error}\n".encode("utf-8", "surrogateescape"))
        return output.completed(error.exit_code)
    try:
        with _Pump(child, stdin, output) as pump:
            try:
                _pump_until_ended(pump, f"{device}: {argv[0]}", deadline)
            except BaseException:
                _end_group(pump, grace_s)
                raise
            if pump.outputs_open:
                _end_group(pump, 0.0)
            code = child.wait(_REAP_S)
    finally:
        if child.poll() is None:  # interrupted outside of the steps above
            _signal_group(child, signal.SIGKILL)
            child.wait(_REAP_S)
    return output.completed(code) if code >= 0 else output.completed(None, -code)


class ProgramError(Exception):
    """The program cannot be started; ``exit_code`` is what a shell would give."""

    def __init__(self, program: str, error: OSError) -> None:
        super().__init__(f"{program}: {error.strerror}")
        self.exit_code = NOT_FOUND if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENAMETOOLONG) else NOT_EXECUTABLE


def spawn(
    argv: Sequence[str], *, device: str, env: Mapping[str, str] | None, stdin: bool = False, log_fd: int | None = None
) -> subprocess.Popen[bytes]:
    """The process, in a session of its own, its outputs to pipes or to ``log_fd``. ProgramError if it cannot start."""
    sink = subprocess.PIPE if log_fd is None else log_fd
    try:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    except OSError as error:
        if error.errno in _OUR_FAULT:
            raise TransportError(f"{device}: cannot start a process: {error.strerror}") from error
        raise ProgramError(argv[0], error) from error


def _pump_until_ended(pump: _Pump, what: str, deadline: Deadline) -> None:
    while not pump.exited and (pump.outputs_open or not pump.poll_exit()):
        deadline.check(what)
        pump.turn(deadline.remaining_s())
    linger = deadline.sooner(LINGER_S)
    while pump.outputs_open and not linger.expired():
        pump.turn(linger.remaining_s())


def _end_group(pump: _Pump, grace_s: float) -> None:
    try:
        _signal_group(pump.child, signal.SIGTERM)
        grace = Deadline(grace_s)
        while (pump.outputs_open or not pump.poll_exit()) and not grace.expired():
            pump.turn(grace.remaining_s())
    finally:
        _signal_group(pump.child, signal.SIGKILL)
        try:
            pump.child.wait(_REAP_S)
        except subprocess.TimeoutExpired:
            _log.warning("process %d does not end after SIGKILL", pump.child.pid)


def _signal_group(child: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies only
        os.killpg(child.pid, number)


class _Pump:
    """Moves the bytes of one child between its pipes and us, one bounded step at a time."""

    def __init__(self, child: subprocess.Popen[bytes], stdin: Input, output: Output) -> None:
        self.child = child
        self.exited = False
        self._output = output
        self._stdin = memoryview(b"")
        self._pieces = iter((stdin,) if isinstance(stdin, bytes) else stdin)
        self._selector = selectors.DefaultSelector()
        self._pid_fd = _pid_fd(child.pid)
        for stream in (child.stdout, child.stderr):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ)
        if child.stdin is not None:
            os.set_blocking(child.stdin.fileno(), False)
            self._selector.register(child.stdin, selectors.EVENT_WRITE)
        if self._pid_fd is not None:
            self._selector.register(self._pid_fd, selectors.EVENT_READ)

    def __enter__(self) -> _Pump:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for stream in (self.child.stdin, self.child.stdout, self.child.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        if self._pid_fd is not None:
            os.close(self._pid_fd)

    @property
    def outputs_open(self) -> bool:
        """True until both outputs have been read to their end."""
        return any(stream is not None and not stream.closed for stream in (self.child.stdout, self.child.stderr))

    def poll_exit(self) -> bool:
        """True once the process has ended."""
        self.exited = self.exited or self.child.poll() is not None
        return self.exited

    def turn(self, timeout_s: float) -> None:
        """Nothing, after something has moved or ``timeout_s`` has passed."""
        if self._pid_fd is None and not self.exited:
            timeout_s = min(timeout_s, _TICK_S)
        ready = self._selector.select(None if timeout_s == float("inf") else timeout_s)
        for key, _ in ready:
            if key.fileobj is self.child.stdin:
                self._write()
            elif key.fileobj == self._pid_fd:
                self._selector.unregister(key.fileobj)
                self.exited = True
            else:
                self._read(key.fileobj)
        if not ready:
            self.poll_exit()

    def _write(self) -> None:
        stream = self.child.stdin
        assert stream is not None
        while not self._stdin:
            piece = next(self._pieces, None)
            if piece is None:
                self._close(stream)
                return
            self._stdin = memoryview(piece)
        try:
            self._stdin = self._stdin[os.write(stream.fileno(), self._stdin[:_BLOCK_BYTES]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # the command does not want the rest, as `head` does
            self._close(stream)

    def _read(self, stream: object) -> None:
        source = self.child.stdout if stream is self.child.stdout else self.child.stderr
        assert source is not None
        try:
            data = os.read(source.fileno(), _BLOCK_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._close(source)
        elif source is self.child.stdout:
            self._output.stdout(data)
        else:
            self._output.stderr(data)

    def _close(self, stream: object) -> None:
        self._selector.unregister(stream)  # type: ignore[arg-type]
        stream.close()  # type: ignore[attr-defined]


def _pid_fd(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None where the system has none (macOS, old kernels)."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
