"""What else happened on the device between two moments: memory that ran short, clocks that were set, a sleep.

From proc(5) and clock_gettime(2). Swapping is counted in pages of the whole machine (/proc/vmstat, pswpin and pswpout).
Stalls for memory are the kernel's own account (/proc/pressure/memory, "some" total, microseconds; Linux 4.20). A wall
clock that was set shows as a change of CLOCK_REALTIME against CLOCK_MONOTONIC: slewing by NTP moves both alike. A
device that was asleep shows as a change of CLOCK_BOOTTIME against CLOCK_MONOTONIC, which stands still meanwhile.
"""

import os
import time
from typing import Any, Dict, NamedTuple, Optional

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
MOST_BYTES = 65_536


class Look(NamedTuple):
    """One moment; None for what this system does not show. Times in seconds, counts since boot."""

    at_s: float
    swapped_pages: Optional[int]
    stalled_s: Optional[float]
    major_faults: Optional[int]  # of this process: pages that had to come from the disk
    wall_s: float  # CLOCK_REALTIME less CLOCK_MONOTONIC
    asleep_s: Optional[float]  # CLOCK_BOOTTIME less CLOCK_MONOTONIC


def look(root: str = "/") -> Look:
    """The state as of now."""
    wall_s = _offset_s(getattr(time, "CLOCK_REALTIME", None))
    return Look(
        time.monotonic(),
        swapped_pages(_text(root, "proc/vmstat")),
        stalled_s(_text(root, "proc/pressure/memory")),
        _major_faults(),
        0.0 if wall_s is None else wall_s,
        _offset_s(getattr(time, "CLOCK_BOOTTIME", None)),
    )


def between(before: Look, after: Look) -> Dict[str, Any]:
    """swapped_bytes, stalled_s, major_faults, clock_step_s, asleep_s, over_s (the time between); null: not shown."""
    pages = _rise(before.swapped_pages, after.swapped_pages)
    return {
        "swapped_bytes": None if pages is None else int(pages) * PAGE_BYTES,
        "stalled_s": _rise(before.stalled_s, after.stalled_s),
        "major_faults": _rise(before.major_faults, after.major_faults),
        "clock_step_s": after.wall_s - before.wall_s,
        "asleep_s": _rise(before.asleep_s, after.asleep_s),
        "over_s": after.at_s - before.at_s,
    }


def swapped_pages(text: str) -> Optional[int]:
    """Pages swapped in and out since boot, of /proc/vmstat; None where it does not say.

    >>> swapped_pages("pswpin 3\\npswpout 4\\n")
    7
    """
    lines = [line.split() for line in text.splitlines() if line.startswith(("pswpin", "pswpout"))]
    found = [words[1] for words in lines if len(words) == 2 and words[0] in ("pswpin", "pswpout")]
    if len(found) != 2 or not all(_is_count(word) for word in found):
        return None
    return sum(map(int, found))


def stalled_s(text: str) -> Optional[float]:
    """Seconds in which some task waited for memory, of /proc/pressure/memory; None where it does not say.

    >>> stalled_s("some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\\nfull avg10=0.00 total=7")
    1.5
    """
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["some"] and words[-1].startswith("total=") and _is_count(words[-1][6:]):
            return int(words[-1][6:]) / 1e6
    return None


def _rise(before: Any, after: Any) -> Any:
    return None if before is None or after is None else max(0, after - before)


def _is_count(word: str) -> bool:
    return word.isdigit() and word.isascii() and len(word) <= 20


def _offset_s(clock: Optional[int]) -> Optional[float]:
    """A clock less CLOCK_MONOTONIC; the closest of three readings, so that a pause between two is no step."""
    if clock is None or not hasattr(time, "clock_gettime_ns"):
        return None
    best, offset = 1 << 62, 0
    for _ in range(3):
        before = time.monotonic_ns()
        there = time.clock_gettime_ns(clock)
        after = time.monotonic_ns()
        if after - before < best:
            best, offset = after - before, there - (before + after) // 2
    return offset / 1e9


def _major_faults() -> Optional[int]:
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt


def _text(root: str, path: str) -> str:
    try:
        with open(os.path.join(root, path), "rb") as file:
            return file.read(MOST_BYTES).decode("ascii", "replace")
    except OSError:
        return ""
