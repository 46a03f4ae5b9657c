"""The conditions of one run, step by step: what the supervisor calls before the worker, after it, and at the end."""

import os
import time
from typing import Any, Callable, Dict, List, Optional, Sequence

from device_agents.conditions import events, intruders, marker, probe
from device_agents.conditions.gate import Pause, pass_gate
from device_agents.conditions.guard import Guard
from device_agents.conditions.idle import idle_s
from device_agents.conditions.journal import Journal, own_journal, recover_with
from device_agents.conditions.pins import Holding
from device_agents.conditions.settings import changes, settings
from device_agents.conditions.temperatures import Reading, Temperatures
from device_agents.failures import AgentFailure
from device_agents.processes import identity
from device_agents.records import Record, event
from device_agents.sampler import Readings
from device_agents.sensors import Descriptor, Sensor
from device_agents.spec import AgentSpec

REFUSAL_LOOK_S = 0.5  # how long it looks for intruders at least, when they are to refuse the run


class Series:
    """What the runs of one order hand on: the temperature at which the first of them started."""

    def __init__(self) -> None:
        self.first: Optional[Reading] = None


class Conditions:
    """``hold`` -> ``begin`` -> ``prepare`` -> (worker) -> ``conclude``; ``release`` in any case.

    ``emit`` writes a record; ``pause`` waits and is False when the run is to stop; ``stop`` stops it.
    """

    def __init__(
        self,
        spec: AgentSpec,
        emit: Callable[[Record], None],
        journal: Optional[str] = None,
        series: Optional[Series] = None,
    ) -> None:
        self._spec = spec
        self._terms = spec.terms
        self._emit = emit
        self._journal = journal or own_journal()
        self._series = series or Series()
        self._early: Optional[List[Record]] = []  # until the stream has its hello
        self._holding: Optional[Holding] = None
        self._temperatures: Optional[Temperatures] = None
        self._guard: Optional[Guard] = None
        self._probe: Optional[probe.Probe] = None
        self._idle_s = 0.0
        self._account: Optional[intruders.Account] = None
        self._settings: Dict[str, str] = {}
        self._pause: Optional[Pause] = None
        # Before there are threads (see identity); nothing is forked for a run that holds nothing.
        self._process = identity() if self._terms.pins.wanted else None

    def hold(self) -> None:
        """Nothing, once what an earlier run left is put back, and what this one holds is set. AgentFailure if not."""
        recover_with(lambda detail: self._tell(events.RESTORED, **detail), self._journal)
        if self._process is not None:
            journal = Journal(self._journal)
            self._holding = Holding(self._terms.pins, self._spec.root, journal, self._process, self._tell)
            self._holding.hold()

    def begin(self, sensors: Sequence[Sensor], descriptors: Sequence[Descriptor]) -> Optional[Readings]:
        """What wants the sampler's readings, None when nothing does. The stream has its hello now."""
        early, self._early = self._early, None
        for record in early or []:
            self._emit(record)
        terms, spec = self._terms, self._spec
        if probe.wanted(terms.probe, descriptors):
            self._probe = probe.Probe(spec.cpus)
        self._idle_s = idle_s(spec, descriptors)
        self._settings = settings(spec.root)
        self._account = intruders.account(spec.root) if terms.intruders != "ignore" else None
        if terms.cool_below_c is None and not terms.cool_back and terms.max_temperature_c is None:
            return None
        self._temperatures = Temperatures(sensors, spec.sample_period_s)
        return self._temperatures.take

    def prepare(self, pause: Pause, stop: Callable[[str], None]) -> None:
        """Nothing, once the worker may start, or the run is to stop. AgentFailure when it must not start."""
        self._pause = pause
        self._mark(marker.BEFORE)
        started = self._pass_gate(pause)
        if self._series.first is None:
            self._series.first = started
        if self._probe is not None:
            self._tell(events.PROBE, **self._probe.measure("before"))
        if self._idle_s > 0.0 and not self._idle(pause):
            return
        self._look_for_intruders(pause)
        if self._terms.max_temperature_c is not None:
            self._start_guard(pause, stop)

    @property
    def problem(self) -> Optional[AgentFailure]:
        """Why the guard stopped the run, None when it did not."""
        return None if self._guard is None else self._guard.problem

    def conclude(self) -> None:
        """Nothing, once it is told what the conditions were; the worker has ended."""
        if self._guard is not None:
            self._guard.end()
        if self._probe is not None:
            self._tell(events.PROBE, **self._probe.measure("after"))
        if self._account is not None:
            now = intruders.account(self._spec.root)
            found = intruders.compare(self._account, now, os.getpid(), self._spec.root)
            self._tell(events.INTRUDERS, when="during", **found)
        for what, before, after in changes(self._settings, settings(self._spec.root)):
            self._tell(events.CHANGED, what=what, before=before, after=after)
        self._mark(marker.AFTER)

    def release(self) -> None:
        """Nothing, once nothing is held any more."""
        if self._guard is not None:
            self._guard.end()
        if self._holding is not None:
            self._holding.release()

    def _mark(self, when: str) -> None:
        """Plays the marker, where one was asked for. What it takes of the cores is no intruder's."""
        chip_s = self._terms.marker_s
        if chip_s is None or self._pause is None:
            return
        played = marker.play(when, chip_s, self._spec.cpus, self._pause)
        if played:
            self._tell(events.MARKER, **played)
        if when == marker.BEFORE and self._account is not None:
            self._account = intruders.account(self._spec.root)

    def _tell(self, name: str, **detail: Any) -> None:
        record = event(name, **detail)
        if self._early is not None:
            self._early.append(record)
        else:
            self._emit(record)

    def _pass_gate(self, pause: Pause) -> Optional[Reading]:
        terms, first = self._terms, self._series.first
        if terms.cool_back and terms.cool_back_to is None and first is not None:
            back = {"sensor": first.sensor, "temperature_c": first.temperature_c}
            terms = terms._replace(cool_back_to=back)
        if self._temperatures is None:
            return None
        return pass_gate(terms, self._temperatures, self._tell, pause)

    def _idle(self, pause: Pause) -> bool:
        self._tell(events.IDLE_STARTED, planned_s=self._idle_s)
        begin_s = time.monotonic()
        going_on = pause(self._idle_s)
        self._tell(events.IDLE_DONE, duration_s=time.monotonic() - begin_s)
        return going_on

    def _look_for_intruders(self, pause: Pause) -> None:
        before, refuse = self._account, self._terms.intruders == "refuse"
        if before is None:
            return
        missing_s = before.at_s + REFUSAL_LOOK_S - time.monotonic()
        if refuse and missing_s > 0.0 and not pause(missing_s):
            return
        now = self._account = intruders.account(self._spec.root)
        found = intruders.compare(before, now, os.getpid(), self._spec.root)
        self._tell(events.INTRUDERS, when="before", **found)
        if refuse and found["over"]:
            raise AgentFailure("intruder", intruders.describe(found))
        if refuse and found["share"] is None:
            raise AgentFailure("intruder", "it cannot be told what else goes on: {}".format(found["why"]))

    def _start_guard(self, pause: Pause, stop: Callable[[str], None]) -> None:
        limit_c, temperatures = self._terms.max_temperature_c, self._temperatures
        assert limit_c is not None and temperatures is not None  # begin() made them
        end_s = time.monotonic() + temperatures.patience_s
        while temperatures.hottest() is None:
            if time.monotonic() >= end_s:
                raise AgentFailure("no-temperature", "the guard cannot see the temperature: " + temperatures.why_none())
            if not pause(0.1):
                return
        self._guard = Guard(limit_c, temperatures, self._tell, stop)
        self._guard.start()
