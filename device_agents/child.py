"""The worker process as the supervisor holds it: its pipes, its process group, and how it ended."""

import os
import signal
import subprocess
import sys
import time
from typing import Dict, List, Optional, Sequence, Tuple

from device_agents.records import MAX_LINE_BYTES
from device_agents.spec import AgentSpec
from device_agents.stream import write_whole

READ_BYTES = 256 * 1024
SPEC_WRITE_S = 30.0  # a worker that does not read its spec for this long hangs


def worker_command() -> List[str]:
    """The command line of the worker; ``Child`` adds the descriptor of the records and the supervisor's process id."""
    return [sys.executable, "-m", "device_agents", "worker"]


def code_path() -> str:
    """Where device_agents is imported from: the zip, or the folder that holds it."""
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def worker_environment(spec: AgentSpec, scratch: Optional[str] = None) -> Dict[str, str]:
    """The worker's environment: ours, then the spec's, then what edgewise fixes.

    ORT_DISABLE_TELEMETRY=1 always: no measurement of edgewise reports to anybody (onnxruntime 1.32 reads it when it is
    imported). PYTHONPATH leads with the agent and the folders that edgewise pushed; PYTHONSAFEPATH (Python 3.11) keeps
    the working folder out, so that a file named numpy.py there is never imported. TMPDIR is the run's scratch folder.
    """
    environment = dict(os.environ)
    environment.update(spec.env)
    inherited = environment.get("PYTHONPATH")
    path = [code_path(), *spec.python_path, *([inherited] if inherited else [])]
    environment.update(
        {
            "PYTHONPATH": os.pathsep.join(path),
            "PYTHONSAFEPATH": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "ORT_DISABLE_TELEMETRY": "1",
        }
    )
    if scratch is not None:
        environment["TMPDIR"] = scratch
    return environment


class Child:
    """A started worker. ``records_fd`` and ``stderr_fd`` are to be read; ``close`` leaves nothing behind."""

    def __init__(self, argv: Sequence[str], environment: Dict[str, str]) -> None:
        self.records_fd, records_write = os.pipe()
        self.stderr_fd, stderr_write = os.pipe()
        self._reaped: Optional[int] = None
        command = [*argv, "--records-fd", str(records_write), "--parent", str(os.getpid())]
        try:
            # A session of its own: Ctrl-C at the host's terminal reaches the supervisor alone, and one killpg reaches
            # whatever the worker started.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=stderr_write,
                stderr=stderr_write,
                env=environment,
                pass_fds=(records_write,),
                start_new_session=True,
            )
        except BaseException:
            os.close(self.records_fd)
            os.close(self.stderr_fd)
            raise
        finally:
            os.close(records_write)
            os.close(stderr_write)
        self.pid = self._process.pid

    def send_spec(self, line: bytes) -> None:
        """Nothing, once the spec is in the worker's standard input. A worker that is already gone is noticed later."""
        assert self._process.stdin is not None  # PIPE was asked for
        try:
            write_whole(self._process.stdin.fileno(), line, lambda blocked_s: blocked_s > SPEC_WRITE_S)
        except OSError:
            return
        finally:
            self._process.stdin.close()

    def terminate(self) -> None:
        """Nothing; the worker is asked to end after the invocation in hand."""
        self._signal_group(signal.SIGTERM, only_worker=True)

    def wait(self, seconds: float) -> Optional[int]:
        """The worker's return code (negative: the signal that ended it), None when it still runs after ``seconds``."""
        end = time.monotonic() + seconds
        while not self._has_ended():
            if time.monotonic() >= end:
                return None
            time.sleep(0.005)
        return self._reap()

    def close(self) -> int:
        """The worker's return code, once its whole process group is killed and the pipes are closed."""
        code = self._reap()
        os.close(self.records_fd)
        os.close(self.stderr_fd)
        return code

    def _has_ended(self) -> bool:
        if self._reaped is not None or not hasattr(os, "waitid"):
            return self._reaped is not None or self._process.poll() is not None
        # WNOWAIT leaves the zombie, so that its number cannot pass to another group before ours is killed.
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _reap(self) -> int:
        if self._reaped is None:
            self._signal_group(signal.SIGKILL)
            self._reaped = self._process.wait()
        return self._reaped

    def _signal_group(self, number: int, only_worker: bool = False) -> None:
        try:
            if only_worker:
                os.kill(self.pid, number)
            else:
                os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):  # already gone; macOS says EPERM for a group of zombies
            return


class LineReader:
    """Whole lines of a descriptor that is read as it becomes ready."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""

    def read(self) -> Tuple[List[bytes], bool]:
        """The lines that are whole now, and True at the end of the stream (an unfinished line is then dropped).

        ValueError when one line grows over MAX_LINE_BYTES.
        """
        data = os.read(self._descriptor, READ_BYTES)
        lines = (self._rest + data).split(b"\n") if b"\n" in data else [self._rest + data]
        self._rest = lines.pop()
        if len(self._rest) > MAX_LINE_BYTES:
            raise ValueError("a record longer than {} bytes".format(MAX_LINE_BYTES))
        return lines, not data
