"""Which process is meant: a number that outlives its owner is no name, number with start time and boot is."""

import os
import time
from typing import Any, Dict, Optional, Tuple

Identity = Dict[str, Any]


def identity() -> Identity:
    """{pid, start_ticks, boot_id} of this process; null where the system does not tell. Call it before any thread.

    A child looks for us: an emulator of another processor (qemu) answers a process about itself out of its own head.
    """
    number = os.getpid()
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            found = _stat(number)
            os.write(write_end, b"" if found is None else b"%d" % found[1])
        finally:
            os._exit(0)
    os.close(write_end)
    with open(read_end, "rb") as pipe:
        ticks = pipe.read(32)
    os.waitpid(child, 0)
    return {"pid": number, "start_ticks": int(ticks) if ticks else None, "boot_id": boot_id()}


def is_alive(who: Any) -> bool:
    """True while that very process runs: the number may have been given away since, or the device restarted."""
    pid = who.get("pid") if isinstance(who, dict) else None
    if isinstance(pid, bool) or not isinstance(pid, int) or pid <= 0:
        return False
    now, then = boot_id(), who.get("boot_id")
    if now is not None and then is not None and now != then:
        return False
    found = _stat(pid)
    if found is None:
        return _answers(pid)
    state, start_ticks = found
    return state not in ("Z", "X", "x") and who.get("start_ticks") in (None, start_ticks)


def same_boot(who: Any) -> Optional[bool]:
    """False when the device has restarted since; None when that is not known."""
    now, then = boot_id(), who.get("boot_id") if isinstance(who, dict) else None
    return None if now is None or then is None else now == then


def boot_id() -> Optional[str]:
    """The kernel's name for this boot; None where there is none, or it may not be read."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii", errors="replace") as file:
            return file.read().strip() or None
    except OSError:
        return None


def boot_time_s() -> Optional[float]:
    """Seconds since the start of the device, sleep included; None where the system does not tell."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    try:
        return None if clock is None else time.clock_gettime(clock)
    except OSError:
        return None


def moment() -> Dict[str, Any]:
    """Now, by each clock that `age_s` can use."""
    return {"wall_s": time.time(), "boot_s": boot_time_s(), "boot_id": boot_id()}


def age_s(then: Any) -> Optional[float]:
    """Seconds since a ``moment``. By the clock that no NTP moves where the boot is the same, else by the wall clock.

    None when neither can say: boards without a battery start in 1970, and a moment may seem to lie ahead.
    """
    if not isinstance(then, dict):
        return None
    now = moment()
    if then.get("boot_id") is not None and then.get("boot_id") == now["boot_id"]:
        pair = (now["boot_s"], then.get("boot_s"))
    else:
        pair = (now["wall_s"], then.get("wall_s"))
    if not isinstance(pair[0], (int, float)) or not isinstance(pair[1], (int, float)):
        return None
    seconds = float(pair[0] - pair[1])
    return seconds if seconds >= 0.0 else None


def _stat(pid: int) -> Optional[Tuple[str, int]]:
    """State letter and start time in clock ticks after boot (proc(5), fields 3 and 22)."""
    try:
        with open("/proc/{}/stat".format(pid), "rb") as file:
            words = file.read().rpartition(b")")[2].split()
        return words[0].decode("ascii"), int(words[19])
    except (OSError, ValueError, IndexError):
        return None


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True
