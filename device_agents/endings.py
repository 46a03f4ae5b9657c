"""What it means that a worker ended without saying so: from an exit status to a failure with code and hint."""

import os
import signal
from typing import List, Optional

from device_agents.failures import AgentFailure

CRASH_SIGNALS = {"SIGSEGV", "SIGABRT", "SIGILL", "SIGBUS", "SIGFPE", "SIGTRAP", "SIGSYS"}
# What C++ and Python print when an allocation fails; the abort or exit that follows is then about memory.
MEMORY_WORDS = ("bad_alloc", "MemoryError", "out of memory", "Out of memory", "Cannot allocate memory")


def oom_kills(root: str = "/") -> Optional[int]:
    """How many processes the kernel has killed for memory so far: the machine's and our control group's counts.

    Only the growth between two calls means anything. None where the kernel counts nothing (before Linux 4.13).
    """
    counts = [_counter(os.path.join(root, "proc/vmstat"), "oom_kill")]
    for path in _cgroup_files(root):
        counts.append(_counter(path, "oom_kill"))
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def explain(
    code: int, doing: str, stderr_tail: str, oom_before: Optional[int], oom_after: Optional[int]
) -> AgentFailure:
    """The failure of a worker that ended with ``code`` (negative: a signal) in phase ``doing``, without a word."""
    last_line = _last_line(stderr_tail)
    said = "; it last said: {}".format(last_line) if last_line else ""
    if code >= 0:
        return _explain_exit(code, doing, stderr_tail, said)
    name = _signal_name(-code)
    message = "the worker was ended by {} in phase {!r}{}".format(name, doing, said)
    if name in CRASH_SIGNALS:
        about_memory = any(word in stderr_tail for word in MEMORY_WORDS)
        return AgentFailure("out-of-memory" if about_memory else "crashed", message)
    if name == "SIGKILL" and oom_before is not None and oom_after is not None and oom_after > oom_before:
        return AgentFailure("out-of-memory", message + "; the kernel counts a kill for memory at that time")
    return AgentFailure("killed", message)


def _explain_exit(code: int, doing: str, stderr_tail: str, said: str) -> AgentFailure:
    message = "the worker exited with code {} in phase {!r}, before it was done{}".format(code, doing, said)
    if any(word in stderr_tail for word in MEMORY_WORDS):
        return AgentFailure("out-of-memory", message)
    if "Traceback (most recent call last)" in stderr_tail:
        return AgentFailure("internal", message)
    return AgentFailure("crashed", message)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "signal {}".format(number)


def _cgroup_files(root: str) -> List[str]:
    """memory.events of our control group (version 2) or memory.oom_control (version 1), where they exist."""
    try:
        with open(os.path.join(root, "proc/self/cgroup"), encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            found.append(os.path.join(root, "sys/fs/cgroup", path.lstrip("/"), "memory.events"))
        elif "memory" in controllers.split(","):
            found.append(os.path.join(root, "sys/fs/cgroup/memory", path.lstrip("/"), "memory.oom_control"))
    return found


def _counter(path: str, name: str) -> Optional[int]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                words = line.split()
                if len(words) == 2 and words[0] == name:
                    return int(words[1])
    except (OSError, ValueError):
        return None
    return None
