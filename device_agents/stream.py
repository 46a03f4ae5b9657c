"""The stream to the host: the original descriptor 1, kept apart from everything that prints.

Native libraries print on descriptor 1 whenever they like, so it is moved away before any of them is loaded, and
descriptor 1 becomes another name of descriptor 2.
"""

import contextlib
import errno
import os
import select
import threading
import time
from typing import Callable, Optional

from device_agents.failures import AgentFailure
from device_agents.records import Record, encode

# A pipe that polls as writable takes this much without blocking (POSIX PIPE_BUF on Linux), so that a host which stopped
# reading cannot hold the supervisor in a write that no signal ends.
CHUNK_BYTES = 4096
POLL_S = 0.5
STUCK_AFTER_STOP_S = 5.0  # a host that reads nothing for this long after a stop is taken as gone
STUCK_WITH_FILE_S = 30.0  # the same for a run that keeps its stream in a file: it goes on without the host


def take_stdout() -> Optional[int]:
    """A descriptor of the original standard output, None when it was closed; descriptor 1 becomes descriptor 2."""
    stream_fd = None
    with contextlib.suppress(OSError):
        stream_fd = os.dup(1)  # not inheritable: children cannot write into the stream
    try:
        os.dup2(2, 1)
    except OSError:  # closed as well: the numbers 1 and 2 must not become those of files that are opened later
        for standard in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), standard)
    return stream_fd


def write_whole(stream_fd: int, data: bytes, give_up: Callable[[float], bool]) -> None:
    """Nothing, once all of ``data`` is written. ``give_up(blocked_s)`` is asked while the other end reads nothing.

    BrokenPipeError when the other end is gone or was given up.
    """
    view = memoryview(data)
    blocked_since = time.monotonic()
    while view:
        writable = select.select([], [stream_fd], [], POLL_S)[1]
        if writable:
            view = view[os.write(stream_fd, view[:CHUNK_BYTES]) :]
            blocked_since = time.monotonic()
        elif give_up(time.monotonic() - blocked_since):
            raise BrokenPipeError(errno.EPIPE, "the reader of the stream takes nothing")


class Stream:
    """Writes records, one line each, from any thread; also into a file when the run has a folder.

    ``broken`` is True once the host no longer reads. ``file_error`` holds the error of the run folder's file, if any.
    Neither raises in the thread that emits (it may be the sampler's): ``on_trouble`` is called, the supervisor decides.
    """

    def __init__(self, stream_fd: Optional[int], path: Optional[str] = None) -> None:
        self.broken = stream_fd is None
        self.file_error: Optional[OSError] = None
        self.stopping = False
        self.on_trouble: Callable[[], None] = lambda: None
        self._fd = stream_fd
        self._file_fd = None if path is None else _create(path)
        self._lock = threading.Lock()

    @property
    def kept(self) -> bool:
        """True while at least one place takes the records."""
        return self._file_fd is not None or not self.broken

    @property
    def has_file(self) -> bool:
        """True while the stream is kept in a run folder."""
        return self._file_fd is not None

    def emit(self, record: Record) -> None:
        """Nothing, once the record is written to every place that still takes records."""
        self.write_line(encode(record))

    def write_line(self, line: bytes) -> None:
        """Nothing, once this encoded record (newline included) is written."""
        with self._lock:
            self._write_file(line)
            self._write_host(line)

    def close(self) -> None:
        """Nothing, once the run folder's file is on the disk. The original standard output stays open."""
        with self._lock:
            if self._file_fd is not None:
                try:
                    os.fsync(self._file_fd)
                except OSError as error:
                    self.file_error = error
                os.close(self._file_fd)
                self._file_fd = None

    def _write_host(self, line: bytes) -> None:
        if self.broken or self._fd is None:
            return
        try:
            write_whole(self._fd, line, self._give_up)
        except OSError:  # the host is gone, whatever the error is called on this system
            self.broken = True
            self.on_trouble()

    def _give_up(self, blocked_s: float) -> bool:
        if self.stopping and blocked_s >= STUCK_AFTER_STOP_S:
            return True
        return self.has_file and blocked_s >= STUCK_WITH_FILE_S

    def _write_file(self, line: bytes) -> None:
        if self._file_fd is None:
            return
        before = os.lseek(self._file_fd, 0, os.SEEK_END)
        try:
            view = memoryview(line)
            while view:
                view = view[os.write(self._file_fd, view) :]
        except OSError as error:  # the disk is full: what is there stays a file of whole lines
            self.file_error = error
            os.ftruncate(self._file_fd, before)
            os.close(self._file_fd)
            self._file_fd = None
            self.on_trouble()


def _create(path: str) -> int:
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        # O_EXCL: two runs in one folder would mix their records.
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except OSError as error:
        code = "no-space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "bad-spec"
        raise AgentFailure(code, "run_dir: cannot create {}: {}".format(path, error.strerror)) from error
