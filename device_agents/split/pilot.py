"""What a client knows of link, server and device, and the decisions it makes of that: the same object live and in
simulation, so that what is tried there is what runs here.

It has no clock and no thread of its own: every method is told the time of now, in seconds of a clock that only goes
forward.
"""

import math
from typing import Any, Dict, List, Optional, Tuple

from device_agents.split.breaker import CLOSED, Breaker
from device_agents.split.decide import CHANCE, LOCAL, TOUR, Decider, Decision, Policy, patience_s, rest_s
from device_agents.split.estimate import Exchange, Factor, LinkEstimate, Smoothed
from device_agents.split.guard import Guard, longest_s
from device_agents.split.table import DEVICE, Conditions, Placement, Table

NO_DEADLINE_S = 60.0  # nothing waits for ever
LEAST_PROBE_BYTES, MOST_PROBE_BYTES = 256, 16384
PROBE_LIMIT_S = 2.0
PROBE_FIRST_S, PROBE_GROWTH, PROBE_MOST_S = 0.5, 1.25, 2.0  # without traffic the link is asked after so long
# A slow server or a hot device that is not used any more is not measured any more: what was believed of it is forgotten
# with this time constant (or over so many frames, whichever is longer), so that it is tried again; each time it was in
# vain makes it twice as long.
FADE_FIRST_S, FADE_FRAMES, FADE_MOST = 5.0, 20, 8.0
STRIKES = 2
HOPE = 1.25  # by so much for each probe
LEAST_MEASURED_S = 1e-3  # a shorter part of the device tells nothing about its heat


class Pilot:
    """Knowledge and decisions of one client. ``chooser``: a Decider, or anything with its ``choose``.

    ``link``: what is believed of the link before the first request; ``deadline_s``: of each frame.
    """

    def __init__(
        self,
        policy: Policy,
        table: Table,
        link: Optional[LinkEstimate] = None,
        deadline_s: Optional[float] = None,
        breaker: Optional[Breaker] = None,
        chooser: Optional[Any] = None,
    ) -> None:
        self.link = link or LinkEstimate(2e7, 2e7, 0.02)
        self.slow_down, self.device_scale = Factor(0.5), Factor()
        self.breaker = breaker or Breaker()
        self._guard = Guard(table, longest_s(table, deadline_s))
        self.chooser = chooser or Decider(policy, table, deadline_s, self._guard)
        self._ended: List[Tuple[Placement, float]] = []
        self._policy, self._table, self._deadline_s = policy, table, deadline_s
        needed = [row.up_bits / 8 for row in table.placements.values() if row.label != DEVICE]
        # One of few bytes, which tells of the round trip, and one as large as what a frame sends at least.
        largest = int(min(max(min(needed, default=0.0), 2.0 * LEAST_PROBE_BYTES), MOST_PROBE_BYTES))
        self.probe_bytes = (LEAST_PROBE_BYTES, largest)
        self._heard_s = -math.inf
        self._pause_s = PROBE_FIRST_S
        self._served_s, self._computed_s, self._fades = 0.0, 0.0, 1.0
        self._begun_s: Optional[float] = None
        self._interval = Smoothed()
        self._late: Optional[Tuple[Placement, float]] = None
        self._strikes = 0

    @property
    def rescues(self) -> bool:
        """Whether the device does the rest of a frame that had no answer."""
        return self._policy.fallback == LOCAL and self._table.local is not None

    def conditions(self, now_s: float, sensed: Dict[str, Any]) -> Conditions:
        """What is known now. ``sensed``: temperature_c, battery, charging as far as the device has them.

        A server that failed counts as gone until a probe found it again: no frame is risked for that.
        """
        return Conditions(
            self.link.uplink_bps,
            self.link.downlink_bps,
            self.link.rtt_s,
            self.slow_down.faded(self._kept(now_s - self._served_s, self._fades)),
            self.device_scale.faded(self._kept(now_s - self._computed_s, FADE_MOST)),
            self.breaker.state(now_s) == CLOSED,
            sensed.get("temperature_c"),
            sensed.get("battery"),
            sensed.get("charging"),
        )

    def decide(self, now_s: float, conditions: Conditions) -> Decision:
        """The placement for a frame that begins now, under what ``conditions`` gave."""
        if self._begun_s is not None:
            self._interval.take(now_s - self._begun_s)
        self._begun_s = now_s
        # What a server was found to be counts here, not the hope that it has become better since.
        found = conditions._replace(slow_down=self.slow_down.value, server_up=True)
        for row, latency_s in self._ended:
            self._guard.take(row, latency_s, found)
        self._ended = []
        decision: Decision = self.chooser.choose(conditions)
        return decision

    def patience_s(self, decision: Decision) -> float:
        """How long after its begin a frame may wait for the server, see decide.patience_s.

        Without a deadline a policy that may do the rest here waits as long again as that would take: then whatever
        happens it loses no more (the rule of Karlin et al., Competitive snoopy caching, Algorithmica 3, 1988).
        """
        row, predicted_s = decision.placement, decision.predicted_s or 0.0
        if row is None:
            return 0.0
        here_s = self.rest_s(row)
        if self._deadline_s is not None:
            return patience_s(self._deadline_s, here_s, predicted_s)
        if not self.rescues or self._policy.policy in ("fixed", TOUR):
            return NO_DEADLINE_S
        return min(max(predicted_s + here_s, CHANCE * predicted_s), NO_DEADLINE_S)

    def ended(self, row: Placement, latency_s: float) -> None:
        """Nothing; a frame in this placement had its result so long after its begin, from wherever that came."""
        self._ended.append((row, latency_s))

    def rest_s(self, row: Placement) -> float:
        """The device's seconds for what a placement has on the server; 0 where the device does not do the rest."""
        return rest_s(self._table, row, self.device_scale.value) if self.rescues else 0.0

    def computed(self, measured_s: float, predicted_s: float, now_s: float) -> None:
        """Nothing; what the table has as ``predicted_s`` of the device took so long."""
        if predicted_s >= LEAST_MEASURED_S:
            self.device_scale.take(measured_s, predicted_s)
            self._computed_s = now_s

    def answered(self, row: Placement, exchange: Exchange, now_s: float) -> None:
        """Nothing; the server answered a frame's request in time."""
        self.breaker.succeeded()
        self._heard_s, self._pause_s, self._late, self._strikes = now_s, PROBE_FIRST_S, None, 0
        self.link.take(exchange)
        work_s = _work_s(row)
        if work_s > 0 and exchange.service_s > 0:
            self._measured(now_s)
            self.slow_down.take(exchange.service_s, work_s)
            if self.slow_down.value < 1.5:
                self._fades = 1.0

    def failed(self, row: Placement, waited_s: float, now_s: float, late: bool) -> None:
        """Nothing; a frame's request had no answer ``waited_s`` after its first bit went. ``late``: it may still have
        been under way; else the server is known not to be there.

        A late answer is taken to be the link's fault, unless the probe that follows finds the link quick, STRIKES times
        in a row.
        """
        self.breaker.failed(now_s)
        self._heard_s = now_s
        if late:
            self.link.lost(row.up_bits, waited_s)
            self._late = (row, waited_s)

    def probe_due(self, decision: Decision, now_s: float) -> bool:
        """Whether to ask the link beside the frames, with ``probe_bytes`` one after the other: while frames stay here
        nothing else would tell that it is better, or that the server is back. Probes become rarer while that lasts.
        A tour asks for nothing: the next frame's request would wait behind the probe, and that is what is measured.
        """
        if self._policy.policy == TOUR:
            return False
        at_home = decision.placement is None or decision.placement.label == DEVICE
        if self._late is None and not (at_home and now_s - self._heard_s >= self._pause_s):
            return False
        return self.breaker.allows(now_s)

    def probing(self, now_s: float) -> None:
        """Nothing; a probe is sent now."""
        self._heard_s = now_s
        self._pause_s = min(self._pause_s * PROBE_GROWTH, PROBE_MOST_S)

    def probed(self, exchange: Exchange, now_s: float) -> None:
        """Nothing; one request of a probe was answered."""
        self.breaker.reached()
        self.link.take(exchange)
        if self._late is None or exchange.up_bits <= 8.0 * LEAST_PROBE_BYTES:
            return
        row, waited_s = self._late
        self._late = None
        self._strikes += 1
        served_s = waited_s - self.link.rtt_s - row.up_bits / self.link.uplink_bps
        if self._strikes >= STRIKES and served_s > _work_s(row) * self.slow_down.value > 0:
            self._measured(now_s)
            self.slow_down.at_least(served_s / _work_s(row))
            self._fades = min(self._fades * 2, FADE_MOST)

    def not_probed(self) -> None:
        """Nothing; the server is there but has no way to ask the link: it is believed to become better until a frame
        tries it.
        """
        self.breaker.reached()
        self.link.hope(HOPE)

    def probe_failed(self, up_bits: float, waited_s: float, now_s: float, late: bool) -> None:
        """Nothing; it was not. ``late``: there was no answer; else the server is known not to be there."""
        self.breaker.failed(now_s)
        self._late, self._strikes = None, 0
        if late:
            self.link.lost(up_bits, waited_s)

    def _measured(self, now_s: float) -> None:
        """The server was measured: what had faded of the belief since then is gone for good."""
        self.slow_down.value = self.slow_down.faded(self._kept(now_s - self._served_s, self._fades))
        self._served_s = now_s

    def _kept(self, idle_s: float, times: float) -> float:
        """The share of a belief that is left when it was not measured for so long."""
        constant_s = times * max(FADE_FIRST_S, FADE_FRAMES * (self._interval.value or 0.0))
        return math.exp(-max(idle_s, 0.0) / constant_s)


def _work_s(row: Placement) -> float:
    """The unloaded server's seconds for a placement."""
    return row.server_s + row.server_codec_s + row.request_s
