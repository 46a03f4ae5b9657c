"""This machine as a device: the same three verbs, through the same protocol as any board."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from mobile.deadline import Deadline
from mobile.errors import RemoteFileError, TransportError
from mobile.transports import files
from mobile.transports.base import DEFAULT_OUTPUT_LIMIT_BYTES, BytesSink, Completed, Input, Progress
from mobile.transports.command import Output, check_command
from mobile.transports.process import ProgramError, run_child, spawn

KILL_GRACE_S = 2.0  # between SIGTERM and SIGKILL: time for the agent to finish its stream


class LocalTransport:
    """This machine. Commands run in the current folder, with the current environment and what is added to it."""

    def __init__(self, name: str = "local", *, provenance: str = "real", kill_grace_s: float = KILL_GRACE_S) -> None:
        self.name = name
        self.provenance = provenance
        self._kill_grace_s = kill_grace_s
        self._closed = False

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
        self._check_open()
        argv = check_command(argv, env)
        deadline.check(f"{self.name}: {argv[0]}")
        return run_child(
            argv,
            device=self.name,
            env=env,
            stdin=stdin,
            output=Output(self.name, on_stdout, output_limit_bytes),
            deadline=deadline,
            grace_s=self._kill_grace_s,
        )

    def put(
        self,
        source: Path | bytes,
        target: str,
        *,
        deadline: Deadline,
        mode: int = 0o644,
        progress: Progress | None = None,
    ) -> None:
        """Nothing, once the target is whole and on the disk; see :class:`mobile.transports.base.Transport`."""
        self._check_open()
        what = f"{self.name}: writing {target!r}"
        files.write_whole(source, target, what=what, mode=mode, deadline=deadline, progress=progress)

    def get(self, source: str, target: BinaryIO, *, deadline: Deadline, progress: Progress | None = None) -> int:
        """The number of bytes written to ``target``; see :class:`mobile.transports.base.Transport`."""
        self._check_open()
        what = f"{self.name}: reading {source!r}"
        return files.read_into(source, target, what=what, deadline=deadline, progress=progress)

    def start(self, argv: Sequence[str], *, log: str, deadline: Deadline, env: Mapping[str, str] | None = None) -> int:
        """The process id, which is also that of its session and group. RemoteFileError when it cannot be started."""
        self._check_open()
        argv = check_command(argv, env)
        deadline.check(f"{self.name}: {argv[0]}")
        log_fd = _open_log(log)
        try:
            child = spawn(argv, device=self.name, env=env, log_fd=log_fd)
        except ProgramError as error:
            raise RemoteFileError(f"{self.name}: {error}", argv[0]) from error
        finally:
            os.close(log_fd)
        # Reaps it if it ends before us; a daemon, as it is not waited for when we end first.
        threading.Thread(target=child.wait, name=f"reap-{child.pid}", daemon=True).start()
        return child.pid

    def close(self) -> None:
        """Nothing. Later calls are refused; what was started detached goes on."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise TransportError(f"{self.name}: this transport is closed")


def _open_log(log: str) -> int:
    try:
        os.makedirs(os.path.dirname(log) or ".", exist_ok=True)  # noqa: PTH103, PTH120
        return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise RemoteFileError(f"{log!r}: {error.strerror}", log) from error
