"""One measurement at a time on a device, whichever host asks: a lock with an owner and an age.

The kernel's lock on the file decides (it is gone with its process, also after a crash or a power cut); the file's text
says whose it is. Where the file system knows no such locks, the text and the process it names decide.
"""

import contextlib
import errno
import fcntl
import json
import os
import signal
import time
from typing import Any, Dict, Optional

from device_agents.failures import AgentFailure
from device_agents.processes import Identity, age_s, is_alive, moment

FILE = "lock"
MAX_TEXT_BYTES = 65_536
TERM_S = 10.0  # for the supervisor that holds it to end its run, when the lock is broken
KILL_S = 2.0
POLL_S = 0.05
GLANCE_S = 0.2
SILENT_S = 10.0  # a holder that has not beaten for this long is worth a word in the refusal
TAKEN = (errno.EWOULDBLOCK, errno.EACCES)

Held = Dict[str, Any]


class DeviceLock:
    """The lock in one folder. ``acquire``, then ``beat`` now and then, then ``release``."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, FILE)
        self._fd: Optional[int] = None

    def acquire(self, process: Identity, owner: Dict[str, Any], run: str, break_it: bool = False) -> None:
        """Nothing, once we, ``process``, hold it. AgentFailure "busy" that names owner and age when somebody else does.

        With ``break_it`` the holder's run is ended first (it keeps what it has measured).
        """
        fd = self._take_within(GLANCE_S)  # one that only looks at the lock holds it for a moment too
        if fd is None and break_it:
            self._end_holder()
            fd = self._take_within(KILL_S)
            if fd is None:  # a process of somebody else's: its lock stays with the file that has no name any more
                os.unlink(self._path)
                fd = self._take()
        if fd is None:
            raise AgentFailure("busy", refusal(self.holder()))
        self._fd = fd
        self._write({"process": process, "owner": owner, "run": run, "since": moment()})

    def now_at(self, run: str) -> None:
        """Nothing; the text names the run that is being measured now."""
        held = self.holder()
        if held is not None:
            self._write({**held, "run": run})

    def beat(self) -> None:
        """Nothing; the file's time says that the holder is not stuck."""
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.utime(self._fd)

    def release(self) -> None:
        """Nothing; the lock is free."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            with contextlib.suppress(OSError):
                os.ftruncate(fd, 0)
            os.close(fd)

    def holder(self) -> Optional[Held]:
        """What the file says: process, owner, run, since; silent_s is the time since its last beat. None: nothing."""
        try:
            with open(self._path, "rb") as file:
                held = json.loads(file.read(MAX_TEXT_BYTES).decode("utf-8"))
                silent_s = time.time() - os.fstat(file.fileno()).st_mtime
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(held, dict):
            return None
        return {**held, "age_s": age_s(held.get("since")), "silent_s": max(0.0, silent_s)}

    def held(self) -> Optional[Held]:
        """The holder while there is one, without taking the lock; else None."""
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in TAKEN:
                return self.holder() or {}
        finally:
            os.close(fd)
        holder = self.holder()
        return holder if holder is not None and is_alive(holder.get("process")) else None

    def _take(self) -> Optional[int]:
        """The locked file; None while another process has it. AgentFailure when there can be none."""
        while True:
            fd = self._open()
            try:
                taken = self._lock(fd)
                current = _same_file(fd, self._path)
            except BaseException:
                os.close(fd)
                raise
            if taken and current:
                return fd
            os.close(fd)
            if not taken:
                return None

    def _open(self) -> int:
        try:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            code = "no-space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "bad-spec"
            raise AgentFailure(code, "cannot open {}: {}".format(self._path, error.strerror)) from error

    def _lock(self, fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in TAKEN:
                return False
            holder = self.holder()  # no such locks on this file system
            return holder is None or not is_alive(holder.get("process"))
        return True

    def _take_within(self, seconds: float) -> Optional[int]:
        end = time.monotonic() + seconds
        while True:
            fd = self._take()
            if fd is not None or time.monotonic() >= end:
                return fd
            time.sleep(POLL_S)

    def _end_holder(self) -> None:
        holder = self.holder() or {}
        process = holder.get("process")
        for number, seconds in ((signal.SIGTERM, TERM_S), (signal.SIGKILL, KILL_S)):
            if process is None or not is_alive(process):
                return
            _signal(process["pid"], number)
            end = time.monotonic() + seconds
            while is_alive(process) and time.monotonic() < end:
                time.sleep(POLL_S)

    def _write(self, held: Held) -> None:
        assert self._fd is not None  # acquire() came first
        data = json.dumps(held).encode("ascii")
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, data, 0)
        except OSError as error:
            self.release()
            code = "no-space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "bad-spec"
            raise AgentFailure(code, "cannot write {}: {}".format(self._path, error.strerror)) from error


def refusal(held: Optional[Held]) -> str:
    """One line: what is going on, whose it is, and for how long.

    >>> refusal({"owner": {"user": "ann", "host": "desk", "pid": 7, "purpose": "bench"}, "run": "r1", "age_s": 125.0})
    'the device is busy: bench, run r1 of ann@desk (process 7), for 2 min'
    """
    held = held or {}
    owner = held.get("owner") or {}
    text = "the device is busy: {}, run {} of {}@{} (process {}), for {}".format(
        owner.get("purpose") or "a run",
        held.get("run") or "unknown",
        owner.get("user") or "unknown",
        owner.get("host") or "unknown",
        owner.get("pid") or "unknown",
        duration(held.get("age_s")),
    )
    silent_s = held.get("silent_s") or 0.0
    return text + (", silent for {}".format(duration(silent_s)) if silent_s >= SILENT_S else "")


def duration(seconds: Optional[float]) -> str:
    """A time for people: the two shortest words that say it.

    >>> duration(7200.0)
    '2 h'
    """
    if seconds is None:
        return "an unknown time"
    for limit, unit_s, unit in ((120.0, 1.0, "s"), (7200.0, 60.0, "min"), (172_800.0, 3600.0, "h")):
        if seconds < limit:
            return "{:.0f} {}".format(seconds / unit_s, unit)
    return "{:.0f} days".format(seconds / 86_400.0)


def _same_file(fd: int, path: str) -> bool:
    """False when the name has passed to another file since it was opened (a broken lock)."""
    try:
        there = os.stat(path)
    except OSError:
        return False
    ours = os.fstat(fd)
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)  # one that was suspended hears nothing else
    except OSError:
        return
