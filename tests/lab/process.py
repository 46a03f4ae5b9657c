"""Running programs and waiting for things, always with an end in sight."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path


class LabError(RuntimeError):
    """The lab could not do what was asked; the message names the thing and the reason."""


def run(
    argv: Sequence[str | Path],
    *,
    timeout_s: float = 30.0,
    check: bool = True,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """The finished program with its output as text. Past `timeout_s` it ends with everything it started.

    Raises LabError when it could not be started or ran too long and, with `check`, when its status is not 0.
    """
    words = [str(word) for word in argv]
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
    except OSError as error:
        raise LabError(f"{words[0]}: cannot be started: {error.strerror}") from error
    with process:
        try:
            out, err = process.communicate(stdin, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            end_group(process)
            raise LabError(f"{' '.join(words)}: not done after {timeout_s:g} s") from None
        except BaseException:
            end_group(process)
            raise
    if check and process.returncode != 0:
        raise LabError(f"{' '.join(words)}: exit {process.returncode}: {err.strip()[-800:]}")
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def end_group(process: subprocess.Popen[str]) -> None:
    """Nothing; the process and what shares its session group are killed and the process is reaped."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=10)


def wait_until(condition: Callable[[], bool], timeout_s: float, failure: str | Callable[[], str]) -> None:
    """Nothing, once `condition()` is true. Raises LabError with `failure` when it is not in `timeout_s`."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise LabError(failure if isinstance(failure, str) else failure())
        time.sleep(0.02)


def is_alive(pid: int, start_ticks: int) -> bool:
    """True while the process that had this pid and start time still runs."""
    return start_ticks_of(pid) == start_ticks


def start_ticks_of(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None for a process that is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def ancestors() -> set[int]:
    """The pids of this process and of every process above it."""
    found, pid = set(), os.getpid()
    while pid > 1 and pid not in found:
        found.add(pid)
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
    return found
