"""The measuring loop: a phase of invocations, timed one by one, flushed as blocks of columns.

What lies between the two clock readings of an invocation is the call of ``runner.invoke`` and nothing else (see slow.py
for a slow-down that was asked for). Everything the harness does (keeping the numbers, choosing the next input,
flushing) happens between invocations, and the decision to go on uses the clock reading that ended the invocation.
CLOCK_MONOTONIC throughout, so that sensor samples line up.
"""

import time
from array import array
from itertools import repeat
from typing import Callable, Dict, List, NamedTuple, Optional

from device_agents.answers import Answers
from device_agents.failures import AgentFailure
from device_agents.inputs import Feed
from device_agents.records import Record, event, invocations
from device_agents.runners.base import Runner
from device_agents.slow import slowed

BLOCK = 65_536  # invocations in a block at most
FLUSH_NS = 1_000_000_000
NS = 1_000_000_000
LONGEST_S = 1e9  # thirty years: a longer one would not fit the clock

Emit = Callable[[Record], None]


class StopFlag:
    """Asked to stop: set from a signal handler, seen by the loop at the end of the invocation in hand.

    ``limit`` holds the clock reading at which the inner loop pauses; a stop sets it to 0, so that the inner loop needs
    no second condition.
    """

    def __init__(self) -> None:
        self.requested = False
        self.limit = [0]

    def request(self) -> None:
        """Nothing; the loop ends after the invocation in hand."""
        self.requested = True
        self.limit[0] = 0

    def arm(self, limit_ns: int) -> None:
        """Nothing; the inner loop pauses at ``limit_ns``, or at once when a stop was asked for meanwhile."""
        self.limit[0] = limit_ns
        if self.requested:
            self.limit[0] = 0


class PhaseResult(NamedTuple):
    """How a phase ended. ``reason``: "minimums", "max-duration" or "stopped"; of an evaluation also "all-items"."""

    invocations: int
    duration_s: float
    reason: str


class Loop:
    """Runs phases of one runner on one feed."""

    def __init__(
        self, runner: Runner, feed: Feed, emit: Emit, stop: StopFlag, slow_down: Optional[float] = None
    ) -> None:
        self._runner = runner
        self._invoke = runner.invoke if slow_down is None else slowed(runner, slow_down)
        self._feed = feed
        self._emit = emit
        self._stop = stop
        self._next_batch = 1 % feed.batches  # batch 0 is prepared by the first invocation
        self._starts = array("q")
        self._durations = array("q")
        self._due = array("q")  # of a scenario: when each was due
        self._stages = {name: array("q") for name in runner.stages}
        self._notes: Dict[str, List[Optional[float]]] = {name: [] for name in runner.notes}

    def first(self) -> float:
        """The seconds of the first invocation, which is a phase of its own: it pays for what later ones find done."""
        self._runner.prepare(self._feed.batch(0))
        self._full_burst(1, cycling=self._feed.batches > 1)
        first_ns = self._durations[-1]
        self._flush("first")
        return first_ns / NS

    def phase(self, name: str, min_count: int, min_duration_s: float, max_duration_s: float) -> PhaseResult:
        """Invokes until ``min_count`` AND ``min_duration_s`` are reached, or ``max_duration_s``, or a stop."""
        begin = end = time.monotonic_ns()
        if min_count <= 0 and min_duration_s <= 0.0:
            return PhaseResult(0, 0.0, "minimums")
        soft_end = begin + int(min(min_duration_s, LONGEST_S) * NS)
        hard_end = begin + int(min(max_duration_s, LONGEST_S) * NS)
        flush_at = begin + FLUSH_NS
        count = 0
        while True:
            room = BLOCK - len(self._starts)
            if count < min_count:
                self._stop.arm(min(flush_at, hard_end))
                room = min(room, min_count - count)
            else:
                self._stop.arm(min(flush_at, hard_end, soft_end))
            before = len(self._starts)
            end = self._burst(room)
            count += len(self._starts) - before
            reason = self._reason(count >= min_count and end >= soft_end, end >= hard_end)
            if reason or end >= flush_at or len(self._starts) >= BLOCK:
                self._flush(name)
                flush_at = end + FLUSH_NS
            if reason:
                return PhaseResult(count, (end - begin) / NS, reason)

    def _reason(self, satisfied: bool, too_long: bool) -> Optional[str]:
        if satisfied:
            return "minimums"
        if too_long:
            return "max-duration"
        return "stopped" if self._stop.requested else None

    def _burst(self, room: int) -> int:
        if self._runner.stages or self._feed.batches > 1:
            return self._full_burst(room, cycling=self._feed.batches > 1)
        return _plain_burst(self._invoke, room, self._stop.limit, self._starts, self._durations)

    def _full_burst(self, room: int, cycling: bool) -> int:
        """As _plain_burst, keeping the stages' times and, when ``cycling``, putting the next batch in place."""
        runner, feed, limit, clock = self._runner, self._feed, self._stop.limit, time.monotonic_ns
        invoke, stages, notes = self._invoke, list(self._stages.items()), list(self._notes.items())
        end = 0
        for _ in repeat(None, room):
            start = clock()
            invoke()
            end = clock()
            self._starts.append(start)
            self._durations.append(end - start)
            for name, column in stages:
                column.append(runner.last_stages[name])
            for name, told in notes:
                told.append(runner.last_notes[name])
            if cycling:
                runner.prepare(feed.batch(self._next_batch))
                self._next_batch = (self._next_batch + 1) % feed.batches
            if end >= limit[0]:
                break
        return end

    def _flush(self, phase: str) -> None:
        stages = {name: list(column) for name, column in self._stages.items()}
        notes = {name: list(column) for name, column in self._notes.items()}
        self._emit(invocations(phase, self._starts, self._durations, stages, notes, self._due))
        self._forget()

    def _forget(self) -> None:
        del self._starts[:]
        del self._durations[:]
        del self._due[:]
        for column in self._stages.values():
            del column[:]
        for told in self._notes.values():
            del told[:]

    def evaluate(self, answers: Optional[Answers] = None) -> PhaseResult:
        """Every item of the feed once, in batches of one size; ``answers`` takes what comes of each (None: classes).

        The last batch is filled up with items from the beginning, whose answers are dropped: every invocation has the
        same shape, and a model with a fixed batch needs no other handling. Ends early only when a stop is asked for.
        """
        feed, answers = self._feed, answers or Answers(self._runner, self._feed, self._emit)
        begin, count = time.monotonic_ns(), 0
        end, flush_at = begin, begin + FLUSH_NS
        for number in range(feed.batches):
            ended = self._answered(number, answers)
            if ended is not None:
                end, count = ended, count + 1
                if count == 1:
                    first_ns = self._durations[-1]
                    self._flush("first")
                    self._emit(event("first-done", first_s=first_ns / NS))
            last = number == feed.batches - 1 or self._stop.requested
            if last or end >= flush_at or len(self._starts) >= BLOCK:
                if self._starts:
                    self._flush("measure")
                answers.flush()
                flush_at = end + FLUSH_NS
            if last and number < feed.batches - 1:
                return PhaseResult(count, (end - begin) / NS, "stopped")
        answers.conclude()
        return PhaseResult(count, (end - begin) / NS, "all-items")

    def _answered(self, number: int, answers: Answers) -> Optional[int]:
        """The clock at the end of a batch's invocation, once its answers are taken; None when it was refused."""
        try:
            self._runner.prepare(self._feed.batch(number))
            end = self._full_burst(1, cycling=False)
        except AgentFailure as error:
            answers.refuse(number, error)
            return None
        answers.take(number)
        return end


def _plain_burst(
    invoke: Callable[[], None], room: int, limit: List[int], starts: "array[int]", durations: "array[int]"
) -> int:
    """The clock at the end of the last invocation: at most ``room`` of them, at least one, until ``limit[0]``.

    The loop that decides what the harness adds to a measurement: only local names, two clock readings, two appends.
    """
    clock = time.monotonic_ns
    keep_start, keep_duration = starts.append, durations.append
    end = 0
    for _ in repeat(None, room):
        start = clock()
        invoke()
        end = clock()
        keep_start(start)
        keep_duration(end - start)
        if end >= limit[0]:
            break
    return end
