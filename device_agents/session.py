"""One worker from its first record to its last: reading, relaying, and noticing when nothing more will come."""

import os
import select
import time
from typing import Callable, List, Optional, Tuple

from device_agents.child import Child, LineReader
from device_agents.failures import AgentFailure
from device_agents.records import SchemaError, decode, event
from device_agents.stream import Stream
from device_agents.watch import Watch

STOP_GRACE_S = 2.0  # for the invocation in hand, after a stop
GUARD_GRACE_S = 0.5  # the same when the chip is too hot to wait for it
EXIT_GRACE_S = 5.0  # for the runtime's own end, after the worker's last record
LONGEST_WAIT_S = 3600.0  # select refuses to wait for thousands of years
STDERR_TAIL_BYTES = 4096
STDERR_FORWARD_BYTES = 1024 * 1024


class Session:
    """Reads one worker until its pipe ends, it hangs, it writes nonsense, or a stop has run its course."""

    def __init__(
        self,
        child: Child,
        stream: Stream,
        watch: Watch,
        wake_fd: int,
        stop_reasons: List[str],
        tripped: Callable[[], bool],
    ) -> None:
        self._child = child
        self._tripped = tripped  # True when a guard stops the run, not a person
        self._stream = stream
        self._watch = watch
        self._wake_fd = wake_fd
        self._stop_reasons = stop_reasons
        self._lines = LineReader(child.records_fd)
        self._errors = _StderrTail(child.stderr_fd)
        self._heard = time.monotonic()
        self._told = False  # the worker was asked to stop
        self._give_up_at: Optional[float] = None

    def run(self) -> Tuple[Optional[AgentFailure], str]:
        """What went wrong as seen from here (None: ask the exit status), and the end of what the worker printed."""
        problem, going_on = None, True
        while going_on and problem is None:
            readable = self._wait()
            if self._wake_fd in readable:
                os.read(self._wake_fd, 4096)
            if self._errors.descriptor in readable:
                self._errors.pump()
            if self._child.records_fd in readable:
                going_on, problem = self._read()
            else:
                problem = self._check_silence()
            problem = problem or check_stream(self._stream, self._stop_reasons)
            going_on = going_on and not self._stop_has_run_its_course()
        self._errors.drain()
        return problem, self._errors.text()

    def _wait(self) -> List[int]:
        watched = [self._child.records_fd, self._wake_fd] + ([self._errors.descriptor] if self._errors.open else [])
        now = time.monotonic()
        end = self._heard + self._watch.silence_limit_s()
        if self._give_up_at is not None:
            end = min(end, self._give_up_at)
        return select.select(watched, [], [], min(max(0.0, end - now) + 0.01, LONGEST_WAIT_S))[0]

    def _read(self) -> Tuple[bool, Optional[AgentFailure]]:
        try:
            lines, ended = self._lines.read()
            for line in lines:
                self._relay(line)
        except (SchemaError, ValueError, KeyError, TypeError) as error:
            return False, AgentFailure("internal", "the worker wrote something that is no record: {}".format(error))
        self._heard = time.monotonic()  # after relaying: a host that reads slowly is not a worker that hangs
        return not ended, None

    def _relay(self, line: bytes) -> None:
        record = decode(line)
        if not self._watch.take(record):
            return
        if record["type"] == "failure" and self._stop_reasons:
            return  # a runner that was stopped in mid-work may complain: that is not a failure
        self._stream.write_line(line + b"\n")
        if self._watch.ended_itself:
            self._give_up_at = time.monotonic() + EXIT_GRACE_S

    def _check_silence(self) -> Optional[AgentFailure]:
        silent_s = time.monotonic() - self._heard
        if silent_s < self._watch.silence_limit_s() or self._stop_reasons:
            return None
        return AgentFailure(
            "hung", "the worker did nothing for {:.1f} s in phase {!r}".format(silent_s, self._watch.phase)
        )

    def _stop_has_run_its_course(self) -> bool:
        now = time.monotonic()
        if self._stop_reasons and not self._told:
            self._told = True
            self._stream.emit(event("stopping", reason=self._stop_reasons[0]))
            self._child.terminate()
            self._give_up_at = now + (GUARD_GRACE_S if self._tripped() else STOP_GRACE_S)
        return self._give_up_at is not None and (now >= self._give_up_at or len(self._stop_reasons) > 1)


def check_stream(stream: Stream, stop_reasons: List[str]) -> Optional[AgentFailure]:
    """What is wrong with the stream, None when it is fine; a host that reads no more is a reason to stop."""
    if stream.file_error is not None:
        return AgentFailure(
            "no-space", "the run folder's stream cannot be written: {}".format(stream.file_error.strerror)
        )
    if stream.broken and not stream.has_file and not stop_reasons:
        stop_reasons.append("the host no longer reads the stream")
    return None


class _StderrTail:
    """Hands on what the worker prints, as far as our standard error takes it; keeps its end for the message."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.open = True
        self._tail = b""
        self._forwarded = 0

    def pump(self) -> None:
        """Nothing; what is there now is read. Never blocks: a host that reads no stderr must not hold up a run."""
        data = os.read(self.descriptor, 65_536)
        if not data:
            self.open = False
            return
        self._tail = (self._tail + data)[-STDERR_TAIL_BYTES:]
        for start in range(0, len(data), 4096):
            chunk = data[start : start + 4096]
            self._forwarded += len(chunk)
            try:
                if self._forwarded <= STDERR_FORWARD_BYTES and select.select([], [2], [], 0.0)[1]:
                    os.write(2, chunk)
            except (OSError, ValueError):  # no standard error to write to
                self._forwarded = STDERR_FORWARD_BYTES + 1

    def drain(self) -> None:
        """Nothing; what a worker that has ended left in the pipe is read."""
        while self.open and select.select([self.descriptor], [], [], 0.0)[0]:
            self.pump()

    def text(self) -> str:
        """The last few kilobytes that the worker printed."""
        return self._tail.decode("utf-8", "replace")
