"""A program that prints lines for as long as it is wanted: started once, read as they come, and never left over.

It ends with whoever started it: through ``close``, or through the kernel when this process, or the thread that started
it, is gone (lifeline.py). The kernel is asked from a small Python that becomes the program: a thread of a process with
several may not run code of its own between fork and exec.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from typing import List, Sequence

from device_agents.child import code_path
from device_agents.sensors.files import SensorError, notice, reason_of

MAX_PENDING_BYTES = 64 * 1024  # a program that prints no end of line for so long prints no lines
READ_BYTES = 16 * 1024

_BECOME = """
import os, sys
sys.path.insert(0, sys.argv[1])
from device_agents.lifeline import die_with_parent
die_with_parent(int(sys.argv[2]))
try:
    os.execv(sys.argv[3], sys.argv[3:])
except OSError as error:
    sys.exit("cannot be started: {}".format(error.strerror))
"""


class LineProgram:
    """One running program. ``cpu_s`` is the CPU time that it took, known once it is closed."""

    def __init__(self, argv: Sequence[str]) -> None:
        notice("line-program", *argv)
        self.name = os.path.basename(argv[0])
        self.cpu_s = 0.0
        self._rest = b""
        command = [sys.executable, "-I", "-S", "-c", _BECOME, code_path(), str(os.getpid()), *argv]
        try:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,  # what it complains of is the reason
                env=dict(os.environ, LC_ALL="C"),
                start_new_session=True,
            )
        except OSError as error:
            raise SensorError("{}: {}".format(self.name, reason_of(error))) from error
        assert self._child.stdout is not None  # a pipe
        self._descriptor = self._child.stdout.fileno()
        os.set_blocking(self._descriptor, False)

    def lines(self, wait_s: float) -> List[str]:
        """The lines that are whole now; waits for the first one. SensorError when none comes, or the program ended."""
        deadline = time.monotonic() + wait_s
        found: List[str] = []
        while not found:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([self._descriptor], [], [], left_s)[0]:
                raise SensorError("{} printed nothing for {:g} s".format(self.name, wait_s))
            found = self._read()
        return found

    def _read(self) -> List[str]:
        parts, ended = [self._rest], False
        while sum(map(len, parts)) <= MAX_PENDING_BYTES:
            try:
                data = os.read(self._descriptor, READ_BYTES)
            except BlockingIOError:
                break
            ended = not data
            if ended:
                break
            parts.append(data)
        *whole, self._rest = b"".join(parts).split(b"\n")
        if len(self._rest) > MAX_PENDING_BYTES:
            self._rest = b""
        if not whole and ended:
            said = "".join(char for char in self._rest.decode("utf-8", "replace") if char.isprintable())[:120]
            raise SensorError("{} has ended{}".format(self.name, ": " + said if said.strip() else ""))
        return [line.decode("utf-8", "replace") for line in whole]

    def close(self) -> None:
        """Nothing; the program and what it started are gone, and ``cpu_s`` is known. A second call does nothing."""
        if self._child.returncode is not None:
            return
        with contextlib.suppress(OSError):
            os.killpg(self._child.pid, signal.SIGKILL)
        if self._child.stdout is not None:
            self._child.stdout.close()
        try:
            _, _, usage = os.wait4(self._child.pid, 0)
        except ChildProcessError:  # somebody else has waited for it
            return
        self._child.returncode = -signal.SIGKILL
        self.cpu_s = usage.ru_utime + usage.ru_stime
