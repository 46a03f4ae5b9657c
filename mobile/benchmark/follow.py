"""A run's stream, read whole over however many connections it takes.

The run goes on in its folder on the device whatever the link does; we read on from where we were.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from device_agents import records
from device_agents.records import SchemaError, decode
from mobile.benchmark.agent import KNOWN_EXIT_CODES, NOT_FOUND, DeviceAgent
from mobile.benchmark.lines import LineReader
from mobile.deadline import Deadline
from mobile.errors import (
    AgentError,
    AuthenticationFailed,
    DeadlineExceeded,
    LinkLost,
    RemoteFileError,
    RunFailure,
    TransportError,
)

if TYPE_CHECKING:
    from mobile.transports.base import Completed

RECONNECT_S = 60.0
# One reading ends after this long and is asked for again, so that a host that vanished without a word (its cable was
# pulled) does not count as a reader for ever.
FOLLOW_S = 300.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 3.0
ATTEMPT_S = 30.0  # beside FOLLOW_S, for connecting and for starting an interpreter on a slow board

T = TypeVar("T")
OnRecord = Callable[[dict[str, Any]], None]


class Interrupted(KeyboardInterrupt):
    """Somebody else in this program asked us to stop; transports treat it as Ctrl-C."""


class Patience:
    """Waits for a link that has broken, for ``reconnect_s`` seconds from the first trouble on."""

    def __init__(self, reconnect_s: float, stopping: threading.Event | None) -> None:
        self.reconnect_s = reconnect_s
        self._stopping = stopping or threading.Event()
        self._lost: Deadline | None = None
        self._pause_s = FIRST_PAUSE_S

    @property
    def strained(self) -> bool:
        """True while the link is in trouble."""
        return self._lost is not None

    def check(self) -> None:
        """Nothing, or Interrupted."""
        if self._stopping.is_set():
            raise Interrupted

    def relax(self) -> None:
        """Nothing; the link works."""
        self._lost, self._pause_s = None, FIRST_PAUSE_S

    def wait(self) -> bool:
        """True after a pause, to try again; False when the time is over."""
        self._lost = self._lost or Deadline(self.reconnect_s)
        if self._lost.expired():
            return False
        self._stopping.wait(min(self._pause_s, self._lost.remaining_s()))
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
        self.check()
        return True

    def insist(self, act: Callable[[], T], deadline: Deadline) -> T:
        """What ``act`` gives, tried again while the link is broken; its own error when it does not come back."""
        while True:
            try:
                result = act()
            except TransportError as error:
                if _lasting(error, deadline) or not self.wait():
                    raise
            else:
                self.relax()
                return result


class _Damaged(AgentError):
    """A line of the stream is no record."""


class Follower:
    """Starts one run, or finds it started, and reads it to its end."""

    def __init__(
        self,
        agent: DeviceAgent,
        run_id: str,
        on_record: OnRecord,
        *,
        reconnect_s: float = RECONNECT_S,
        stopping: threading.Event | None = None,
    ) -> None:
        self._agent = agent
        self._run_id = run_id
        self._on_record = on_record
        self._patience = Patience(reconnect_s, stopping)
        self._offset = 0

    def follow(self, deadline: Deadline, order: dict[str, Any] | None = None) -> int:
        """How the stream ended: STREAM_WHOLE, STREAM_CRASHED, NOT_STARTED (it says why) or NO_SUCH_RUN.

        With ``order`` the run is started first. LinkLost when the link was away for longer than ``reconnect_s``.
        """
        starting = order is not None
        while True:
            self._patience.check()
            reader = LineReader(self._on_line)
            try:
                completed = self._read(reader, deadline, order if starting else None)
            except _Damaged as error:
                return self._end_of_damaged(error)
            except TransportError as error:
                if _lasting(error, deadline):
                    raise
                self._account(reader)
                self._wait_for_the_link(error)
                starting = False  # perhaps it was: asking for the stream tells
                continue
            self._account(reader)
            code = self._code(completed)
            if code is None:
                self._wait_for_the_link(self._agent.not_started(completed))
                starting = False
            elif code == records.NO_SUCH_RUN and order is not None and not starting and self._offset == 0:
                starting = True  # the link broke before the device had heard of it
            elif code != records.STREAM_GOES_ON:
                return code
            else:
                self._patience.relax()
                starting = False

    def start(self, order: dict[str, Any], deadline: Deadline) -> None:
        """Nothing, once the device has begun, and goes on without us. RunFailure when it refuses."""
        refusals: list[dict[str, Any]] = []
        while True:
            self._patience.check()
            reader = LineReader(lambda line: refusals.append(decode(line)))
            stdin = json.dumps(order, allow_nan=False).encode("utf-8")
            try:
                if self._patience.strained and self._agent.ask("runs", self._run_id).get("runs"):
                    return  # the link broke after the device had heard of it
                limit = deadline.sooner(ATTEMPT_S + ATTEMPT_S)
                completed = self._agent.call("start", deadline=limit, stdin=stdin, on_stdout=reader.feed)
            except TransportError as error:
                if _lasting(error, deadline):
                    raise
                self._wait_for_the_link(error)
                continue
            for record in refusals:
                if record["type"] == "failure":
                    raise RunFailure(record["code"], record["message"], record["hint"])
            if completed.exit_code != 0:
                raise self._agent.not_started(completed)
            return

    def _read(self, reader: LineReader, deadline: Deadline, order: dict[str, Any] | None) -> Completed:
        follow_s = min(FOLLOW_S, deadline.remaining_s())
        limit = deadline.sooner(follow_s + ATTEMPT_S)
        if order is not None:
            stdin = json.dumps(order, allow_nan=False).encode("utf-8")
            return self._agent.call(
                "start", "--follow", f"{follow_s:.0f}", deadline=limit, stdin=stdin, on_stdout=reader.feed
            )
        arguments = ["--from", str(self._offset), "--follow", f"{follow_s:.0f}", self._run_id]
        return self._agent.call("tail", *arguments, deadline=limit, on_stdout=reader.feed)

    def _code(self, completed: Completed) -> int | None:
        """The agent's word on the stream; None when whoever read it for us was ended before it had one."""
        if completed.exit_code == NOT_FOUND or completed.exit_code == NOT_FOUND - 1:
            raise self._agent.not_started(completed)
        if completed.exit_code == 1 or completed.exit_code not in KNOWN_EXIT_CODES:
            return None
        return completed.exit_code

    def _on_line(self, line: bytes) -> None:
        self._patience.check()
        try:
            record = decode(line)
        except SchemaError as error:
            raise _Damaged(f"{self._agent.device.name}: {error}") from error
        self._on_record(record)

    def _end_of_damaged(self, error: _Damaged) -> int:
        """STREAM_CRASHED when the device lost its power under the run: what lies before the damage stands."""
        runs = self._agent.ask("runs", self._run_id).get("runs")
        if runs and runs[0].get("state") == "crashed":
            return records.STREAM_CRASHED
        raise error

    def _account(self, reader: LineReader) -> None:
        self._offset += reader.whole_bytes
        if reader.whole_bytes:
            self._patience.relax()

    def _wait_for_the_link(self, error: TransportError | AgentError) -> None:
        """Nothing, after a pause; LinkLost when the time for reconnecting is over."""
        if not self._patience.wait():
            raise LinkLost(
                f"{error.message}; not back within {self._patience.reconnect_s:g} s, the run is still on the device",
                hint=f"`edgewise attach {self._run_id}` collects it",
            ) from error


def _lasting(error: TransportError, deadline: Deadline) -> bool:
    """True when another attempt would end the same. A deadline that is not ours was that of one attempt only."""
    if isinstance(error, DeadlineExceeded):
        return deadline.expired()
    return isinstance(error, (AuthenticationFailed, RemoteFileError, LinkLost))
