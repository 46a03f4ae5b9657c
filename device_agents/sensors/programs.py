"""Programs that tell a board's values: found where the board keeps them, run within a limit, their output bounded."""

import contextlib
import os
import signal
import subprocess
import threading
from typing import IO, List, NamedTuple, Optional, Sequence

from device_agents.sensors.files import SensorError, notice, reason_of, under

# Where boards keep their programs; a login shell's PATH is not there for an agent that was started without one.
FOLDERS = (
    "/usr/local/bin",
    "/usr/bin",
    "/bin",
    "/usr/local/sbin",
    "/usr/sbin",
    "/sbin",
    "/system/bin",
    "/vendor/bin",
    "/opt/vc/bin",
)
LIMIT_BYTES = 256 * 1024
LIMIT_S = 5.0


class Output(NamedTuple):
    """What a program printed on its standard output, and the CPU seconds it took."""

    text: str
    cpu_s: float


class Ended(NamedTuple):
    """How a program ended: exit code (negative: the signal), what it printed, CPU seconds, whether it was too slow."""

    code: int
    stdout: bytes
    stderr: bytes
    cpu_s: float
    late: bool


def find_program(root: str, name: str) -> Optional[str]:
    """The path of a program of the board below ``root``; None when it has none that may be run."""
    notice("looked-for", name)
    folders = FOLDERS if root != "/" else tuple(os.environ.get("PATH", "").split(os.pathsep)) + FOLDERS
    for folder in folders:
        path = os.path.join(under(root, folder), name) if folder else ""
        if path and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def run_program(argv: Sequence[str], limit_s: float = LIMIT_S, limit_bytes: int = LIMIT_BYTES) -> Output:
    """What the program printed. SensorError with the reason: not started, too slow, too much, or an exit code."""
    notice("program", *argv)
    name, ended = os.path.basename(argv[0]), call_program(argv, limit_s, limit_bytes)
    if ended.late:
        raise SensorError("{} did not answer within {:g} s".format(name, limit_s))
    if len(ended.stdout) > limit_bytes:
        raise SensorError("{} printed more than {} bytes".format(name, limit_bytes))
    if ended.code != 0:
        raise SensorError(_complaint(name, ended.code, ended.stderr or ended.stdout))
    return Output(ended.stdout.decode("utf-8", "replace"), ended.cpu_s)


def call_program(
    argv: Sequence[str],
    limit_s: float = LIMIT_S,
    limit_bytes: int = LIMIT_BYTES,
    pass_fds: Sequence[int] = (),
) -> Ended:
    """How the program ended, whatever it said; it is killed when it is too slow or prints more than ``limit_bytes``.

    ``pass_fds``: descriptors that it holds while it runs. SensorError with the reason when it cannot be started.
    """
    try:
        child = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(os.environ, LC_ALL="C"),
            pass_fds=tuple(pass_fds),
            start_new_session=True,  # what it starts itself may hold its output open: the limit ends all of them
        )
    except OSError as error:
        raise SensorError("{}: {}".format(os.path.basename(argv[0]), reason_of(error))) from error
    late: List[bool] = []

    def stop() -> None:
        late.append(True)
        _kill(child)

    timer = threading.Timer(limit_s, stop)
    timer.daemon = True
    timer.start()
    try:
        return _collect(child, limit_s, limit_bytes, late)
    finally:
        timer.cancel()
        timer.join()  # it must not kill a process that has our child's number later


def _collect(child: "subprocess.Popen[bytes]", limit_s: float, limit_bytes: int, late: List[bool]) -> Ended:
    assert child.stdout is not None and child.stderr is not None  # both are pipes
    errors: List[bytes] = []
    stderr = child.stderr
    reader = threading.Thread(target=lambda: errors.append(_up_to(stderr, 4096)), daemon=True)
    reader.start()
    try:
        data = _up_to(child.stdout, limit_bytes + 1)
        if len(data) > limit_bytes:
            _kill(child)
    finally:
        child.stdout.close()
        reader.join(limit_s)
        cpu_s = _wait(child)
        stderr.close()
    return Ended(child.returncode, data, b"".join(errors), cpu_s, bool(late))


def _kill(child: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(OSError):
        os.killpg(child.pid, signal.SIGKILL)


def _up_to(file: IO[bytes], limit_bytes: int) -> bytes:
    parts: List[bytes] = []
    left = limit_bytes
    while left > 0:
        part = os.read(file.fileno(), min(left, 65_536))
        if not part:
            break
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _wait(child: "subprocess.Popen[bytes]") -> float:
    """The child's CPU seconds, once it has ended."""
    try:
        _, status, usage = os.wait4(child.pid, 0)
    except ChildProcessError:  # somebody else has waited for it
        child.wait()
        return 0.0
    child.returncode = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    return usage.ru_utime + usage.ru_stime


def _complaint(name: str, code: int, words: bytes) -> str:
    lines = words.decode("utf-8", "replace").strip().splitlines()
    said = "".join(char for char in lines[0] if char.isprintable())[:120] if lines else ""
    return "{} ended with {}{}".format(name, code, ": " + said if said else "")
