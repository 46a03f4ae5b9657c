"""The measuring loop of a scenario: queries by a schedule, or of several samples each.

The moment at which each query was due is kept beside its start: a device that is late cannot hide it (its latency is
counted from there). What lies between the two clock readings of an invocation is the call of the runner alone, as in
loop.py; waiting for the next query lies outside, and blocks are handed on while there is time to wait.
"""

import time
from typing import Any, Callable, Dict, Optional, Tuple

from device_agents import loop
from device_agents.loop import LONGEST_S, NS, Loop, PhaseResult
from device_agents.scenarios import OPEN, Scenario, Waiter

LEAD_NS = 1_000_000  # from the decision to begin to the schedule's begin
ROOM_NS = 20_000_000  # a block is handed on in a wait that is longer than this
OVERDUE = 3  # times FLUSH_NS: then it is handed on in any case
MOST_UNSERVED = 1_000_000  # counted no further


class Limits:
    """When a phase is over: ``min_count`` queries AND ``min_duration_s``, or ``max_duration_s``; ns of the clock."""

    def __init__(self, begin_ns: int, min_count: int, min_duration_s: float, max_duration_s: float) -> None:
        self.begin_ns = begin_ns
        self.min_count = min_count
        self.soft_end = begin_ns + int(min(min_duration_s, LONGEST_S) * NS)
        self.hard_end = begin_ns + int(min(max_duration_s, LONGEST_S) * NS)

    def over_before(self, due_ns: int, now_ns: int, count: int) -> Optional[str]:
        """Why the query that is due at ``due_ns`` is not taken any more; None when it is."""
        if count >= self.min_count and due_ns >= self.soft_end:
            return "minimums"
        return "max-duration" if max(due_ns, now_ns) >= self.hard_end else None


class ScenarioLoop(Loop):
    """Measures one scenario on a runner and a feed."""

    _flush_at = 0

    def scenario(
        self, scenario: Scenario, batch: int, min_count: int, min_duration_s: float, max_duration_s: float
    ) -> Tuple[PhaseResult, Dict[str, Any]]:
        """How it ended, and what belongs to the event: queries, unserved, spin_s, slept_s.

        ``min_count`` is of queries. "minimums": every query that was due before ``min_duration_s`` was answered, and
        ``min_count`` at least. ``unserved``: those that had come and were not answered when ``max_duration_s`` or a
        stop ended it.
        """
        if scenario.name in OPEN:
            return self._open(scenario, min_count, min_duration_s, max_duration_s)
        each = scenario.invocations_per_query(batch)
        if scenario.name == "multi-stream":
            result = self._in_queries(each, min_count, min_duration_s, max_duration_s)
        else:
            result = self.phase("measure", min_count, min_duration_s, max_duration_s)
        return result, {"queries": result.invocations // each, "unserved": 0, "spin_s": 0.0, "slept_s": 0.0}

    def _open(
        self, scenario: Scenario, min_count: int, min_duration_s: float, max_duration_s: float
    ) -> Tuple[PhaseResult, Dict[str, Any]]:
        arrivals, waiter = scenario.arrivals(), Waiter(lambda: self._stop.requested)
        limits = Limits(time.monotonic_ns() + LEAD_NS, min_count, min_duration_s, max_duration_s)
        begin = end = limits.begin_ns
        self._flush_at = begin + loop.FLUSH_NS
        count, reason = 0, None
        while True:
            due = begin + arrivals.next(end - begin)
            reason = limits.over_before(due, end, count)
            if reason is None:
                waiter.until(due, self._flush_while_idle)
                reason = "stopped" if self._stop.requested else None
            if reason is not None:
                break
            end = self._burst(1)
            self._due.append(due)
            count += 1
            self._flush_overdue(end)
        self._hand_on(end)
        unserved, gone = 0, max(end, time.monotonic_ns())
        while reason != "minimums" and due <= gone and unserved < MOST_UNSERVED:
            unserved += 1
            due = begin + arrivals.next(due - begin)
        told = {"unserved": unserved, "spin_s": waiter.spun_ns / NS, "slept_s": waiter.slept_ns / NS}
        return PhaseResult(count, max(0, end - begin) / NS, reason), {"queries": count, **told}

    def _in_queries(self, each: int, min_count: int, min_duration_s: float, max_duration_s: float) -> PhaseResult:
        """Queries of ``each`` invocations, one behind the other."""
        limits = Limits(time.monotonic_ns(), min_count, min_duration_s, max_duration_s)
        self._flush_at = limits.begin_ns + loop.FLUSH_NS
        count, end = 0, limits.begin_ns
        while True:
            due = time.monotonic_ns()
            for _ in range(each):
                end = self._burst(1)
                self._due.append(due)
                count += 1
                self._flush_overdue(end)
                if self._stop.requested:
                    break
            reason = self._reason(count >= each * min_count and end >= limits.soft_end, end >= limits.hard_end)
            if reason or end >= self._flush_at:
                self._hand_on(end)
            if reason:
                return PhaseResult(count, (end - limits.begin_ns) / NS, reason)

    def _flush_while_idle(self, now_ns: int, left_ns: int) -> None:
        if now_ns >= self._flush_at and left_ns > ROOM_NS:
            self._hand_on(now_ns)

    def _flush_overdue(self, now_ns: int) -> None:
        if len(self._starts) >= loop.BLOCK or now_ns >= self._flush_at + (OVERDUE - 1) * loop.FLUSH_NS:
            self._hand_on(now_ns)

    def _hand_on(self, now_ns: int) -> None:
        """Nothing, once the block is handed on, an empty one too: whoever listens hears that we are there."""
        self._flush("measure")
        self._flush_at = now_ns + loop.FLUSH_NS

    def linger(self, enough: Callable[[], bool], longest_s: float) -> PhaseResult:
        """How long inferences went on that are not recorded, until ``enough``, for ``longest_s`` at most, or a stop."""
        begin = end = time.monotonic_ns()
        self._flush_at = begin + loop.FLUSH_NS
        count = 0
        limits = Limits(begin, 0, 0.0, longest_s)
        while not enough() and not self._stop.requested and end < limits.hard_end:
            end = self._burst(1)
            count += 1
            self._forget()
            if end >= self._flush_at:
                self._flush("warmup")  # an empty block: whoever listens hears that we are there
                self._flush_at = end + loop.FLUSH_NS
        return PhaseResult(count, (end - begin) / NS, self._reason(enough(), end >= limits.hard_end) or "stopped")
