"""The verbs about runs that outlive a connection: ``runs``, ``tail``, ``stop``, ``remove``."""

import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import sys
import time
from typing import Any, Dict, Iterator, List, Optional

from device_agents import records
from device_agents.conditions.journal import Journal, journal_of
from device_agents.failures import AgentFailure
from device_agents.folder import PROCESS, READER, STREAM, RunFolder, list_runs
from device_agents.lock import DeviceLock
from device_agents.stream import write_whole

READ_BYTES = 256 * 1024
POLL_S = 0.2
STOP_TICK_S = 0.05
KILL_WAIT_S = 2.0
ENDED = ("finished", "crashed")


def listing(runs: str, only: Optional[List[str]] = None) -> Dict[str, Any]:
    """{schema, runs: [as RunFolder.describe, oldest first], lock: holder or null, journal, restored} of a device.

    ``journal``: settings that a run has changed and that are not put back yet ({what, was, now, held, age_s}); what a
    run that is gone has left is put back first. ``restored``: what was put back so, newest last ({what, to, ok, why,
    age_s}).
    """
    journal = Journal(journal_of(runs))
    journal.recover()
    found = [folder for folder in list_runs(runs) if not only or folder.id in only]
    described = [folder.describe() for folder in sorted(found, key=RunFolder.began_s)]
    return {"schema": records.SCHEMA, "runs": described, "lock": DeviceLock(runs).held(), **journal.describe()}


def tail(folder: RunFolder, offset: int, follow_s: float, out_fd: int, max_bytes: Optional[int] = None) -> int:
    """The exit code that says how far the stream goes, once what there is from ``offset`` on is written to ``out_fd``.

    Waits for more for up to ``follow_s`` seconds. Ends with BrokenPipeError when nobody reads, or takes nothing, by
    then: no reader that is gone keeps this process.
    """
    if not folder.exists():
        return records.NO_SUCH_RUN
    end = time.monotonic() + follow_s
    left = sys.maxsize if max_bytes is None else max_bytes
    with _reading(folder):
        while True:
            state = folder.state()  # before the file is read: what was written before the end is then read too
            sent = _send(folder, offset, left, out_fd, end)
            offset, left = offset + sent, left - sent
            if left <= 0:
                return records.STREAM_GOES_ON
            if state in ENDED:
                return _over(folder, state)
            if not sent:
                if time.monotonic() >= end:
                    return records.STREAM_GOES_ON
                _rest(out_fd, min(POLL_S, max(0.0, end - time.monotonic())))


def stop(folder: RunFolder, wait_s: float) -> bool:
    """True once the run has ended (or never began), False when it still goes on after ``wait_s`` seconds.

    What was measured stays. A supervisor that does not answer within the time is killed.
    """
    if not folder.exists():
        return True
    ask_to_stop(folder)
    end = time.monotonic() + wait_s
    while folder.state() not in ENDED:
        if time.monotonic() >= end:
            return _kill(folder)
        time.sleep(STOP_TICK_S)
    return True


def ask_to_stop(folder: RunFolder) -> None:
    """Nothing; the run, if there is one and it goes on or waits, ends soon."""
    if folder.exists() and folder.state() not in ENDED:
        folder.ask_to_stop()
        _wake(folder)


def remove(folder: RunFolder) -> None:
    """Nothing; there is no such run. AgentFailure when it still goes on, or its files cannot be removed."""
    if folder.exists() and folder.state() not in ENDED:
        raise AgentFailure("busy", "run {} is still going on".format(folder.id), "Stop it first.")
    try:
        folder.remove()
    except OSError as error:
        raise AgentFailure("internal", "cannot remove {}: {}".format(folder.path, error.strerror)) from error


def write_json(fd: int, document: Dict[str, Any]) -> None:
    """Nothing, once the document is written as one line."""
    write_whole(fd, json.dumps(document, allow_nan=False).encode("ascii") + b"\n", lambda blocked_s: blocked_s > 60.0)


def _over(folder: RunFolder, state: str) -> int:
    if not folder.exists():
        return records.NO_SUCH_RUN  # removed while it was read
    return records.STREAM_WHOLE if state == "finished" else records.STREAM_CRASHED


def _send(folder: RunFolder, offset: int, limit: int, out_fd: int, end: float) -> int:
    """How many bytes were there and are written now."""
    sent = 0
    try:
        fd = os.open(folder.file(STREAM), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # queued: it has not begun
        return 0
    try:
        while sent < limit:
            data = os.pread(fd, min(READ_BYTES, limit - sent), offset + sent)
            if not data:
                break
            write_whole(out_fd, data, lambda blocked_s: time.monotonic() > end)
            sent += len(data)
    finally:
        os.close(fd)
    return sent


def _rest(out_fd: int, seconds: float) -> None:
    """Nothing, after the time; BrokenPipeError at once when the reader is gone."""
    poll = select.poll()
    poll.register(out_fd, 0)  # errors and hang-ups are always reported
    if poll.poll(seconds * 1000.0):
        raise BrokenPipeError(errno.EPIPE, "nobody reads the stream any more")


@contextlib.contextmanager
def _reading(folder: RunFolder) -> Iterator[None]:
    """Holds the shared lock by which the supervisor sees that somebody reads."""
    try:
        fd = os.open(folder.file(READER), os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # a read-only disk, or a folder that is being removed
        yield
        return
    try:
        with contextlib.suppress(OSError):  # no such locks here: then no supervisor misses one either
            _lock_shared(fd)
        yield
    finally:
        os.close(fd)


def _lock_shared(fd: int) -> None:
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:  # the supervisor is looking at this very moment
            time.sleep(0.01)


def _wake(folder: RunFolder) -> None:
    """Nothing; the supervisor looks for the wish to stop."""
    _signal(folder, signal.SIGUSR1)
    _signal(folder, signal.SIGCONT)


def _kill(folder: RunFolder) -> bool:
    if folder.state() == "running":
        _signal(folder, signal.SIGKILL)
        end = time.monotonic() + KILL_WAIT_S
        while folder.alive() and time.monotonic() < end:
            time.sleep(STOP_TICK_S)
    return folder.state() in ENDED


def _signal(folder: RunFolder, number: int) -> None:
    if folder.alive():
        with contextlib.suppress(OSError):
            os.kill(folder.read(PROCESS)["process"]["pid"], number)
