"""A marker load: busy bursts in a fixed pattern before and after a run, to find the run in a meter's trace.

A meter that another computer reads has a clock of its own. The bursts show in its readings, and the host finds them
there by correlation (mobile/results/align.py). The patterns are maximum-length sequences of 31 bits (S. Golomb, Shift
Register Sequences, 1967): shifted against itself, such a pattern agrees with itself nowhere else. The one after the run
is the one before it backwards, so that neither is taken for the other.

All cores are busy in a burst, each by a process of its own, since threads of one would wait for each other.
"""

import os
import subprocess
import sys
import time
from typing import Any, Callable, Dict, List, Optional

BEFORE, AFTER = "before", "after"
LEAD_S = 1.0  # for the processes to start
REST_S = 1.0  # after the bursts, before anything is measured
END_S = 1.0  # for the processes to end by themselves
_TAPS = (5, 3)  # x^5 + x^3 + 1 is primitive

_BUSY = """
import sys, time
start_s, chip_s, bits = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
time.sleep(max(0.0, start_s - time.monotonic()))
for place, bit in enumerate(bits):
    end_s = start_s + (place + 1) * chip_s
    if bit == "1":
        while time.monotonic() < end_s:
            pass
    else:
        time.sleep(max(0.0, end_s - time.monotonic()))
"""


def pattern(when: str) -> str:
    """The 31 bits of the marker before or after a run, "1" for busy."""
    register, bits = [1, 1, 1, 1, 1], []
    for _ in range(31):
        bits.append(str(register[-1]))
        fed = register[_TAPS[0] - 1] ^ register[_TAPS[1] - 1]
        register = [fed, *register[:-1]]
    return "".join(bits if when == BEFORE else reversed(bits))


def duration_s(chip_s: float) -> float:
    """How long one marker takes, with the time around it."""
    return LEAD_S + 31 * chip_s + REST_S


def play(when: str, chip_s: float, cpus: Optional[List[int]], pause: Callable[[float], bool]) -> Dict[str, Any]:
    """What was played: when, start_ns (this device's monotonic clock), chip_s, bits, processes; {} when it was stopped.

    ``pause`` waits, and is False when the run is to stop: nothing of the load is left then.
    """
    bits, start_s = pattern(when), time.monotonic() + LEAD_S
    argv = [sys.executable, "-S", "-c", _BUSY, repr(start_s), repr(chip_s), bits]
    children: List["subprocess.Popen[bytes]"] = []
    try:
        for _ in range(_cores(cpus)):
            children.append(
                subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )
        whole = pause(start_s + 31 * chip_s - time.monotonic())
        ended = [_ended(child) for child in children] if whole else [False]
        if not all(ended) or not pause(REST_S):
            return {}
        return {
            "when": when,
            "start_ns": int(start_s * 1e9),
            "chip_s": chip_s,
            "bits": bits,
            "processes": len(children),
        }
    except OSError:  # no process may be started: then there is no marker, and the host says so
        return {}
    finally:
        for child in children:
            child.kill()
            child.wait()


def _ended(child: "subprocess.Popen[bytes]") -> bool:
    """True for a process that came to its end by itself."""
    try:
        return child.wait(END_S) == 0
    except subprocess.TimeoutExpired:
        return False


def _cores(cpus: Optional[List[int]]) -> int:
    if cpus:
        return len(cpus)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
