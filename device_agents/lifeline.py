"""Nobody is left behind: a process that ends when the one that started it ends, without a thread that would disturb."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent_pid: int) -> bool:
    """True once the kernel kills this process (SIGKILL) when its parent is gone; False where the system cannot do that.

    The signal is sent when the *thread* that started this process ends: start children from one that outlives them.
    Where it is False, a worker notices at its next block of records, whose pipe then has no reader.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0) != 0:
            return False
    except (OSError, AttributeError):  # a libc that is not where ctypes looks, or has no prctl
        return False
    if os.getppid() != parent_pid:  # it was gone before the kernel was asked
        os.kill(os.getpid(), signal.SIGKILL)
    return True
