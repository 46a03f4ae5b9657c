"""How many cores of a board are at work: by a written profile, by a tree of processes, or by a control group."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")


class Profile:
    """A written load: ``steps`` of (from this second on, so many cores), from the start, again after ``period_s``."""

    def __init__(self, steps: Sequence[tuple[float, float]], period_s: float | None = None) -> None:
        self._steps = sorted(steps)
        self._period_ns = None if period_s is None else round(period_s * 1e9)
        self._start_ns = time.monotonic_ns()

    def busy(self, t_ns: int) -> float:
        """Cores at work at a time."""
        passed_ns = t_ns - self._start_ns
        if self._period_ns:
            passed_ns %= self._period_ns
        value = 0.0
        for since_s, cores in self._steps:
            if since_s * 1e9 <= passed_ns:
                value = cores
        return value


class _Measured:
    """The rate at which CPU seconds are used, looked at every LOOK_S."""

    LOOK_S = 0.05

    def __init__(self) -> None:
        self._seen_ns = 0
        self._used_s = 0.0
        self._busy = 0.0

    def used_s(self) -> float:
        """CPU seconds used up to now."""
        raise NotImplementedError

    def busy(self, t_ns: int) -> float:
        """Cores at work over the last look."""
        passed_s = (t_ns - self._seen_ns) * 1e-9
        if passed_s >= self.LOOK_S:
            used_s = self.used_s()
            if self._seen_ns:
                self._busy = max(0.0, used_s - self._used_s) / passed_s
            self._seen_ns, self._used_s = t_ns, used_s
        return self._busy


class Group(_Measured):
    """The CPU time of a control group (version 1: cpuacct.usage, ns; version 2: cpu.stat, usage_usec)."""

    def __init__(self, folders: Sequence[Path]) -> None:
        super().__init__()
        self._folders = folders

    def used_s(self) -> float:
        """CPU seconds used up to now."""
        for folder in self._folders:
            try:
                if (folder / "cpuacct.usage").exists():
                    return int((folder / "cpuacct.usage").read_text()) * 1e-9
                for line in (folder / "cpu.stat").read_text().splitlines():
                    key, _, value = line.partition(" ")
                    if key == "usage_usec":
                        return int(value) * 1e-6
            except (OSError, ValueError):
                continue
        return self._used_s


class Processes(_Measured):
    """The CPU time of a process and all below it, those that have ended included (/proc/PID/stat, proc(5))."""

    def __init__(self, pid: int | None = None) -> None:
        super().__init__()
        self.pid = pid

    def used_s(self) -> float:
        """CPU seconds used up to now; a process that ends between two looks was added to its parent by the kernel."""
        if self.pid is None:
            return self._used_s
        return sum(_cpu_s(pid) for pid in _below(self.pid)) or self._used_s


def _below(pid: int) -> Iterator[int]:
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        yield one
        try:
            for task in os.listdir(f"/proc/{one}/task"):
                waiting += [int(word) for word in Path(f"/proc/{one}/task/{task}/children").read_text().split()]
        except OSError:
            continue


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(field) for field in fields[11:15]) * _TICK_S  # utime, stime, cutime, cstime
