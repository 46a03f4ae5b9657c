"""The throttle probe: the same small piece of work before and after a run tells a slower clock where no sensor does.

It is integer arithmetic of the interpreter: one thread, no memory traffic, nothing a runtime could share. Several
repeats, of which the fastest counts: what comes in between only makes one slower.
"""

import contextlib
import os
import time
from typing import Any, Dict, Iterator, List, Optional, Sequence

REPEATS = 6
TARGET_NS = 8_000_000  # one repeat; all of them and the search for their size stay below 0.1 s
FIRST_LOOPS = 1 << 12
MOST_LOOPS = 1 << 24
WORK = "lcg32 x {}"
SIGNS = ("count", "flag", "level")


class Probe:
    """The probe of one run: every call does the same amount of work, which the first call finds."""

    def __init__(self, cpus: Optional[Sequence[int]] = None) -> None:
        self._cpus = cpus
        self._loops = 0

    def measure(self, when: str) -> Dict[str, Any]:
        """The detail of an event "probe"; see events.py."""
        duration_ns: List[int] = []
        cpu_ns: List[int] = []
        with _on_cpus(self._cpus):
            loops = self._loops = self._loops or _size()
            for _ in range(REPEATS):
                wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
                work(loops)
                duration_ns.append(time.perf_counter_ns() - wall)
                cpu_ns.append(time.thread_time_ns() - cpu)
        work_name = WORK.format(loops)
        return {"when": when, "duration_ns": duration_ns, "cpu_ns": cpu_ns, "work": work_name, "loops": loops}


def wanted(asked: Optional[bool], descriptors: Sequence[Dict[str, Any]]) -> bool:
    """What was asked for; else True where the device shows neither throttle counters or flags nor clock caps."""
    if asked is not None:
        return asked
    return not any(
        about["state"] == "present" and (about["quantity"] in SIGNS or about["name"].startswith(("cap.", "throttle.")))
        for about in descriptors
    )


def work(loops: int) -> int:
    """The state of a linear congruential generator (Numerical Recipes' constants) after so many steps."""
    state = 1
    for _ in range(loops):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
    return state


def _size() -> int:
    """How many steps take about TARGET_NS here, a power of two. The search also wakes the clock up."""
    loops = FIRST_LOOPS
    while loops < MOST_LOOPS:
        begin = time.thread_time_ns()  # not the wall clock: somebody else's turn in between is no work of ours
        work(loops)
        if time.thread_time_ns() - begin >= TARGET_NS // 2:
            break
        loops *= 2
    return loops


@contextlib.contextmanager
def _on_cpus(cpus: Optional[Sequence[int]]) -> Iterator[None]:
    """This thread runs on the worker's CPUs inside; where that cannot be, wherever it is put."""
    if not cpus or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    with contextlib.suppress(OSError, ValueError, OverflowError):  # the worker says what is wrong with them
        os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, before)
