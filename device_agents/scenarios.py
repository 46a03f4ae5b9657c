"""Scenarios: when the next query is due, and the waiting for it.

The scenarios and their terms are those of MLPerf's LoadGen (mlcommons/inference, loadgen; MLCommons inference rules):
single-stream (the next query when the one before is done), multi-stream (the same with N samples a query), server
(queries come at random, by a Poisson process of a stated rate, whether the device is ready or not), offline (samples
back to back). Beside them: rate (a sensor that has a frame every period) and sustained (back to back, for long).

Schedules are made here, on the device, of a seed: ``random.Random(seed).expovariate(qps)`` gives the gaps.
"""

import random
import time
from typing import Any, Callable, Dict, NamedTuple, Optional

from device_agents.failures import AgentFailure

NAMES = ("single-stream", "multi-stream", "server", "offline", "rate", "sustained")
OPEN = ("server", "rate")  # queries come by a schedule of their own
LATE = ("newest", "queue")
NS = 1_000_000_000
SPIN_NS = 200_000  # the last part of a wait keeps the processor busy: a sleep ends too late by tens of microseconds
SLICE_NS = 50_000_000  # a stop is heard after so long
LEAST_HZ, MOST_HZ = 1e-3, 1e6
MOST_SAMPLES = 4096  # of a query
FIELDS = ("name", "seed", "qps", "rate_hz", "late", "samples_per_query", "latency_bound_s")


class Scenario(NamedTuple):
    """How queries come. ``latency_bound_s``: what a query may take (server), or a frame (rate; None: its period)."""

    name: str
    seed: int = 0
    qps: Optional[float] = None  # server: queries a second, on average
    rate_hz: Optional[float] = None  # rate: frames a second
    late: str = "newest"  # rate: a device that is late takes the newest frame and drops the others, or takes all
    samples_per_query: int = 1  # multi-stream
    latency_bound_s: Optional[float] = None

    @classmethod
    def of(cls, document: Dict[str, Any], batch: int) -> Optional["Scenario"]:
        """The scenario of a spec's field; None for an empty one. AgentFailure "bad-spec" when it is wrong."""
        if not document:
            return None
        unknown = sorted(set(document) - set(FIELDS))
        if unknown:
            raise _bad("scenario.{} is not known, expected {}".format(unknown[0], ", ".join(FIELDS)))
        if document.get("name") not in NAMES:
            raise _bad("scenario.name is {!r}, expected one of {}".format(document.get("name"), ", ".join(NAMES)))
        scenario = cls(**document)
        scenario._check(batch)
        return scenario

    def _check(self, batch: int) -> None:
        _number("seed", self.seed, 0, 2.0**63, whole=True)
        _number("samples_per_query", self.samples_per_query, 1, MOST_SAMPLES, whole=True)
        if self.late not in LATE:
            raise _bad("scenario.late is {!r}, expected one of {}".format(self.late, ", ".join(LATE)))
        if self.latency_bound_s is not None:
            _number("latency_bound_s", self.latency_bound_s, 1e-9, 1e6)
        if self.name == "server":
            _number("qps", self.qps, LEAST_HZ, MOST_HZ)
            _number("latency_bound_s", self.latency_bound_s, 1e-9, 1e6)
        if self.name == "rate":
            _number("rate_hz", self.rate_hz, LEAST_HZ, MOST_HZ)
        if self.name == "multi-stream" and self.samples_per_query % batch:
            words = "scenario.samples_per_query is {}, expected a multiple of the batch, {}"
            raise _bad(words.format(self.samples_per_query, batch))

    def invocations_per_query(self, batch: int) -> int:
        """How often the model runs for one query."""
        return self.samples_per_query // batch if self.name == "multi-stream" else 1

    def arrivals(self) -> "Arrivals":
        """When queries come, of a scenario with a schedule of its own."""
        if self.name == "server":
            assert self.qps is not None  # of() has looked
            return Poisson(self.qps, self.seed)
        assert self.rate_hz is not None
        return Frames(self.rate_hz, newest=self.late == "newest")


class Arrivals:
    """When queries come, in ns after the schedule's begin."""

    def next(self, now_ns: int) -> int:
        """The arrival of the query to be taken next by a device that is free at ``now_ns``."""
        raise NotImplementedError


class Poisson(Arrivals):
    """Queries at random, ``qps`` a second on average; all of them are taken, in their order."""

    def __init__(self, qps: float, seed: int) -> None:
        self._gap_s = random.Random(seed).expovariate  # noqa: S311 - a schedule, no secret
        self._qps = qps
        self._at_s = 0.0

    def next(self, now_ns: int) -> int:
        """As Arrivals has it."""
        self._at_s += self._gap_s(self._qps)
        return int(self._at_s * NS)


class Frames(Arrivals):
    """A frame every period, the first at once."""

    def __init__(self, rate_hz: float, newest: bool) -> None:
        self._rate_hz = rate_hz
        self._newest = newest
        self._number = 0

    def next(self, now_ns: int) -> int:
        """As Arrivals has it; with ``newest`` the last frame that is there by now, else the one after the last."""
        if self._newest:
            there = int(now_ns * self._rate_hz / NS)
            if self._at(there) > now_ns:
                there -= 1
            self._number = max(self._number, there)
        at_ns = self._at(self._number)
        self._number += 1
        return at_ns

    def _at(self, number: int) -> int:
        return round(number * NS / self._rate_hz)


class Waiter:
    """Waits for a moment: asleep, then busy for the last SPIN_NS. ``spun_ns``: how long it was busy in all."""

    def __init__(self, stopped: Callable[[], bool]) -> None:
        self._stopped = stopped
        self.spun_ns = 0
        self.slept_ns = 0

    def until(self, due_ns: int, idle: Callable[[int, int], None]) -> None:
        """Nothing, at ``due_ns`` or when a stop is asked for; ``idle(now_ns, left_ns)`` is called before each sleep."""
        clock = time.monotonic_ns
        asleep_until = due_ns - SPIN_NS
        now = clock()
        while now < asleep_until and not self._stopped():
            idle(now, asleep_until - now)
            began = clock()
            if began < asleep_until:
                time.sleep(min(asleep_until - began, SLICE_NS) / NS)
            now = clock()
            self.slept_ns += now - began
        if now < due_ns and not self._stopped():
            self.spun_ns += due_ns - now
            while clock() < due_ns:
                pass


def _number(name: str, value: Any, least: float, most: float, whole: bool = False) -> None:
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
        what = "a whole number" if whole else "a number"
        raise _bad("scenario.{} is {!r}, expected {} from {:g} to {:g}".format(name, value, what, least, most))


def _bad(words: str) -> AgentFailure:
    return AgentFailure("bad-spec", words)
