"""The worker's memory, from Linux's /proc. Bytes; None where /proc does not say."""

from typing import Optional

STATUS = "/proc/self/status"
CLEAR_REFS = "/proc/self/clear_refs"
KIB = 1024  # proc(5): VmRSS and VmHWM are given in kB, which are units of 1024 bytes


def rss_bytes(status: str = STATUS) -> Optional[int]:
    """Resident set size now (VmRSS)."""
    return _field(status, "VmRSS:")


def peak_rss_bytes(status: str = STATUS) -> Optional[int]:
    """The largest resident set size since the process began, or since ``reset_peak`` (VmHWM)."""
    return _field(status, "VmHWM:")


def reset_peak(clear_refs: str = CLEAR_REFS) -> bool:
    """True once VmHWM starts again from the present RSS; False where the kernel does not let us (before Linux 4.0)."""
    try:
        with open(clear_refs, "w", encoding="ascii") as file:
            file.write("5")  # proc(5): "reset the peak resident set size"
    except OSError:
        return False
    return True


def _field(status: str, name: str) -> Optional[int]:
    try:
        with open(status, encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith(name):
                    return int(line.split()[1]) * KIB
    except (OSError, ValueError, IndexError):
        return None
    return None
