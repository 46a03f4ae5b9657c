"""A stream of frames through the client's own decisions in a simulated world.

The decisions are those of device_agents.split.pilot, which also runs live. It learns of the world what a client does:
how long its own requests took, and that there was no answer. Requests and probes share one connection. A frame begins
at the next multiple of the period at which the client is free; frames that were due before are skipped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from device_agents.split.breaker import Breaker
from device_agents.split.decide import Decision, Policy
from device_agents.split.estimate import Exchange, LinkEstimate
from device_agents.split.pilot import PROBE_LIMIT_S, Pilot
from device_agents.split.table import Conditions, Placement, Table
from offload.policy.chooser import Chooser
from offload.simulate.world import Outcome, World, ask, outcome

MAX_FRAMES = 1_000_000


@dataclass(frozen=True)
class Stream:
    """``period_s``: a frame is due so often; None: the next begins when one has ended. ``deadline_s``: as the client's.

    ``believed``: uplink and downlink in bit/s and the round trip in s that the client starts with.
    """

    duration_s: float
    period_s: float | None = None
    deadline_s: float | None = None
    believed: tuple[float, float, float] = (2e7, 2e7, 0.02)


@dataclass(frozen=True)
class Frame:
    """One frame: when it began, what was decided on what belief, what became of it. ``switched``: from another
    placement, whose cost is in the latency. ``skipped``: frames that were due while it ran.
    """

    begin_s: float
    decision: Decision
    conditions: Conditions
    outcome: Outcome
    switched: bool
    skipped: int = 0


@dataclass(frozen=True)
class Run:
    """All frames of one simulation, and the probes beside them."""

    frames: tuple[Frame, ...]
    probes: int
    probe_bits: float


def simulate(
    table: Table, policy: Policy, world: World, stream: Stream, chooser: Callable[[], Chooser] | None = None
) -> Run:
    """The run of a policy. ``chooser`` makes what decides in place of the policy's own Decider."""
    return _Simulation(table, policy, world, stream, chooser).run()


class _Heard(NamedTuple):
    """The end of one request of a probe: "ok", "refused" or "never"."""

    over_s: float
    begin_s: float
    bits: float
    kind: str


class _Simulation:
    def __init__(
        self, table: Table, policy: Policy, world: World, stream: Stream, chooser: Callable[[], Chooser] | None
    ) -> None:
        self._table, self._world, self._stream = table, world, stream
        made = None if chooser is None else chooser()
        self._pilot = Pilot(policy, table, LinkEstimate(*stream.believed), stream.deadline_s, Breaker(), made)
        self._heard: list[_Heard] = []  # of probes under way, the first to end first
        self._free_s = 0.0  # from then on the connection is
        self._probes, self._probe_bits = 0, 0.0
        self._before: Placement | None = None

    def run(self) -> Run:
        """See simulate."""
        stream, frames, now_s = self._stream, list[Frame](), 0.0
        while now_s < stream.duration_s and len(frames) < MAX_FRAMES:
            frame = self._frame(now_s)
            end_s = now_s + max(frame.outcome.latency_s, 1e-6)
            next_s = end_s
            self._keep_in_touch(frame.decision, end_s)
            if stream.period_s is not None:
                turns = max(math.ceil((end_s - now_s) / stream.period_s - 1e-9), 1)
                next_s = now_s + turns * stream.period_s
                frame = replace(frame, skipped=turns - 1)
            frames.append(frame)
            now_s = next_s
        return Run(tuple(frames), self._probes, self._probe_bits)

    def _frame(self, now_s: float) -> Frame:
        pilot = self._pilot
        self._hear(now_s)
        conditions = pilot.conditions(now_s, self._world.sensed(now_s))
        decision = pilot.decide(now_s, conditions)
        row = decision.placement
        if row is None:
            nothing = Outcome(0.0, 0.0, now_s, now_s, None, "unreachable", True, 0.0, 0.0)
            return Frame(now_s, decision, conditions, nothing, False)
        found = outcome(
            self._world,
            self._table,
            row,
            now_s,
            pilot.patience_s(decision),
            rescue=pilot.rescues,
            free_s=self._free_s,
        )
        self._learn(row, found, now_s)
        switched = self._before is not None and self._before.id != row.id
        self._before = row
        if switched:
            found = replace(found, latency_s=found.latency_s + row.switch_s)
        if not found.refused:
            pilot.ended(row, found.latency_s)
        return Frame(now_s, decision, conditions, found, switched)

    def _learn(self, row: Placement, found: Outcome, begin_s: float) -> None:
        """What the client saw of a frame, when it saw it."""
        pilot, answer = self._pilot, found.answer
        pilot.computed(found.head_s, row.device_s + row.device_codec_s, found.head_s + begin_s)
        if answer is None:
            return
        self._free_s = found.known_s
        self._hear(found.known_s)
        waited_s = found.known_s - found.sent_s
        if found.fallback is None:
            exchange = Exchange(row.up_bits, row.down_bits, waited_s, answer.service_s)
            pilot.answered(row, exchange, found.known_s)
        else:
            pilot.failed(row, waited_s, found.known_s, late=found.fallback == "late")

    def _keep_in_touch(self, decision: Decision, now_s: float) -> None:
        """Nothing; a probe is sent when a frame has ended, so that the next one knows what it told."""
        self._hear(now_s)
        if self._free_s <= now_s and self._pilot.probe_due(decision, now_s):
            self._send_probe(now_s)

    def _send_probe(self, now_s: float) -> None:
        """The requests of a probe one after the other, until one has no answer."""
        self._probes += 1
        self._pilot.probing(now_s)
        begin_s, until_s = now_s, now_s + PROBE_LIMIT_S
        for size in self._pilot.probe_bytes:
            bits = 8.0 * size
            answer = ask(self._world, begin_s, bits, 0.0, 0.0)
            over_s = min(answer.at_s, until_s)
            self._heard.append(_Heard(over_s, begin_s, bits, answer.kind if answer.at_s <= until_s else "never"))
            self._probe_bits += min(bits, self._world.up.carried(over_s) - self._world.up.carried(begin_s))
            self._free_s = begin_s = over_s
            if self._heard[-1].kind != "ok":
                break

    def _hear(self, now_s: float) -> None:
        """What probes have told by now."""
        pilot = self._pilot
        while self._heard and self._heard[0].over_s <= now_s:
            heard = self._heard.pop(0)
            waited_s = heard.over_s - heard.begin_s
            if heard.kind == "ok":
                pilot.probed(Exchange(heard.bits, 0.0, waited_s, 0.0), heard.over_s)
            else:
                pilot.probe_failed(heard.bits, waited_s, heard.over_s, late=heard.kind == "never")
