"""The decision for each frame: which placement, and why. The same object live, in simulation and in replay.

A compiled policy is JSON (see from_json): a base policy, rules that go before it, hysteresis and a fallback.
"""

import math
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from device_agents.split.guard import Guard
from device_agents.split.table import DEVICE, Conditions, Placement, Table

POLICIES = ("fixed", "latency", "energy", "deadline", "weighted")
TOUR = "tour"  # for measuring alone: no policy file has it
FALLBACKS = ("local", "refuse")
LOCAL = "local"
CHANCE = 1.5
SPARE_S = 0.002  # for waking up and putting the answer together
TRIED = 32  # so many placements are tried one by one for a decision
QUANTITIES = ("uplink_mbps", "rtt_ms", "slow_down", "device_scale", "temperature_c", "battery")


class PolicyError(ValueError):
    """The policy is not one that can be followed; the message names the field, its value and what was expected."""


class Decision(NamedTuple):
    """``placement`` is None when the request is refused. ``predicted_s`` is its latency by the table, None for that."""

    placement: Optional[Placement]
    why: str
    predicted_s: Optional[float]


class Rule(NamedTuple):
    """Where all ``conditions`` hold, ``use`` is taken: a placement's id, "local", or a base policy."""

    conditions: Dict[str, Any]
    use: str


class Policy(NamedTuple):
    """What was asked for. ``switch_gain`` and ``switch_count``: a switch needs this share gained, so often in a row;
    ``switch_horizon``: the frames over which the cost of a switch is spread. ``tour``: the placements that the policy
    "tour" takes in turn (see ``at_turn``), so that all are measured under the same conditions.
    """

    policy: str = "latency"
    placement: Optional[str] = None
    deadline_s: Optional[float] = None
    latency_weight: float = 1.0
    energy_weight: float = 0.0
    fallback: str = "local"
    switch_gain: float = 0.05
    switch_count: int = 1
    switch_horizon: int = 50
    when: Tuple[Rule, ...] = ()
    tour: Tuple[str, ...] = ()

    @classmethod
    def from_json(cls, document: Any) -> "Policy":
        """The policy of a JSON object. PolicyError names the field."""
        if not isinstance(document, dict):
            raise PolicyError("a policy is an object, not {!r}".format(document))
        unknown = sorted(set(document) - set(cls._fields) - {"schema"})
        if unknown:
            raise PolicyError("{}: no such field".format(unknown[0]))
        fields = {key: value for key, value in document.items() if key != "schema"}
        rules = fields.get("when") or []
        if not isinstance(rules, (list, tuple)):
            raise PolicyError("when: a list of rules was expected")
        fields["when"] = tuple(_rule(rule) for rule in rules)
        stops = fields.get("tour") or []
        if not isinstance(stops, (list, tuple)) or not all(isinstance(stop, str) for stop in stops):
            raise PolicyError("tour: a list of placements was expected")
        fields["tour"] = tuple(stops)
        made = cls(**fields)
        _check(made)
        return made

    def to_json(self) -> Dict[str, Any]:
        """The policy as JSON."""
        rules = [{"if": dict(rule.conditions), "use": rule.use} for rule in self.when]
        return dict(self._asdict(), schema=1, when=rules, tour=list(self.tour))


def at_turn(tour: Sequence[str], frame: int) -> str:
    """The placement that a tour has at a frame (from 0): forwards, then backwards (ABBA), so that what drifts hits all
    alike.

    >>> [at_turn("ab", frame) for frame in range(5)]
    ['a', 'b', 'b', 'a', 'a']
    """
    lap, at = divmod(frame, len(tour))
    return tour[at] if lap % 2 == 0 else tour[-1 - at]


def rest_s(table: Table, row: Placement, device_scale: float) -> float:
    """The device's seconds for what a placement has on the server."""
    return 0.0 if table.local is None else max(table.local.device_s - row.device_s, 0.0) * device_scale


def patience_s(deadline_s: float, rest_here_s: float, predicted_s: float = 0.0) -> float:
    """How long after its begin a frame may wait for the server, in seconds.

    So that the rest of it, which takes ``rest_here_s`` on the device (0: nobody does it), still ends by the deadline;
    yet no less than CHANCE times what was predicted. Where the answer is not even predicted to be there so soon, the
    deadline is at stake either way: then as long again as the rest would take, as without a deadline (see
    Pilot.patience_s). Never beyond the deadline: so the end is by the deadline, or by it and the time of the rest.
    """
    least_s = CHANCE * predicted_s
    if deadline_s - rest_here_s < predicted_s:
        least_s = max(least_s, predicted_s + rest_here_s)
    return min(max(deadline_s - rest_here_s, least_s), deadline_s) - SPARE_S


class Decider:
    """Follows one policy over one table. ``choose`` is called for each frame, in order. ``deadline_s``: of each frame;
    a placement whose answer would come too late for it is not chosen by itself. ``guard``: where it finds that adapting
    loses, the placement that it names is kept, as far as it can be waited for.
    """

    def __init__(
        self, policy: Policy, table: Table, deadline_s: Optional[float] = None, guard: Optional[Guard] = None
    ) -> None:
        self._policy = policy
        self._table = table
        self._deadline_s = deadline_s
        self._guard = guard
        self._current: Optional[Placement] = None
        self._better: Optional[str] = None
        self._times = 0
        self._frame = -1
        for name in [policy.placement, *policy.tour] + [rule.use for rule in policy.when]:
            if name not in (None, LOCAL, *POLICIES) and name not in table.placements:
                raise PolicyError("placement {!r} is not in the package".format(name))

    def choose(self, now: Conditions) -> Decision:
        """The placement for the next frame under these conditions."""
        policy = self._policy
        if policy.policy == TOUR:
            self._frame += 1
            return self._take(self._table.placements[at_turn(policy.tour, self._frame)], now, TOUR)
        use, forced = self._rule_for(now)
        wanted = self._wanted(use, now)
        if wanted is None or wanted.latency_s(now) == math.inf:
            return self._fall_back(now, "the server is not there" if not now.server_up else "nothing fits")
        if forced is not None or policy.policy == "fixed":
            return self._take(wanted, now, forced or "fixed")
        kept = self._guard.better() if self._guard is not None and use == "latency" else None
        if kept is not None and self._in_time(kept, now):
            return self._take(kept, now, "latency: fixed is better")
        current = self._current
        if current is None or not self._in_time(current, now):
            return self._take(wanted, now, use)
        if current.id == wanted.id:
            self._better, self._times = None, 0
            return self._take(current, now, use)
        return self._switch(current, wanted, now, use)

    def _rule_for(self, now: Conditions) -> Tuple[str, Optional[str]]:
        for number, rule in enumerate(self._policy.when, 1):
            if all(_holds(name, bound, now) for name, bound in rule.conditions.items()):
                return rule.use, "rule {}".format(number) if rule.use not in POLICIES else None
        return self._policy.policy, None

    def _wanted(self, use: str, now: Conditions) -> Optional[Placement]:
        table, policy = self._table, self._policy
        if use == "fixed":
            use = policy.placement or LOCAL
        if use == LOCAL:
            return table.local
        if use in table.placements:
            return table.placements[use]
        if use == "latency":
            return self._fastest(now)
        return min(self._usable(now), key=lambda placement: self._cost(use, placement, now), default=None)

    def _fastest(self, now: Conditions) -> Optional[Placement]:
        """By trying all while they are few: this is right for every round trip, downlink and heat. Else by look-up,
        which is for those that the table was made for, beside the device alone, whose time no link changes.
        """
        if len(self._table.placements) <= TRIED:
            tried = list(self._table.placements.values())
        else:
            looked_up = self._table.choose(now.uplink_bps, now.slow_down)
            tried = [row for row in (looked_up, self._table.local) if row is not None]
        best, best_s = None, math.inf
        for row in tried:
            latency_s = row.latency_s(now)
            if latency_s < best_s and self._kept(row, latency_s):
                best, best_s = row, latency_s
        return best

    def _usable(self, now: Conditions) -> List[Placement]:
        return [placement for placement in self._table.placements.values() if self._in_time(placement, now)]

    def _in_time(self, placement: Placement, now: Conditions) -> bool:
        """Whether it can be waited for. The device alone always can."""
        return self._kept(placement, placement.latency_s(now))

    def _kept(self, placement: Placement, latency_s: float) -> bool:
        if placement.label == DEVICE or self._deadline_s is None or self._table.local is None:
            return latency_s < math.inf  # without the device alone there is nothing better than to try
        return latency_s <= self._deadline_s - SPARE_S

    def _cost(self, use: str, placement: Placement, now: Conditions) -> Tuple[float, float]:
        latency_s, power = placement.latency_s(now), self._table.power
        energy = placement.energy_j(now, power) if power is not None else latency_s
        if use == "energy":
            return energy, latency_s
        if use == "deadline":
            # Within the deadline the least energy (or, without a power profile, the least sent); else the fastest.
            late_s = max(latency_s - (self._policy.deadline_s or math.inf), 0.0)
            return late_s, energy if power is not None else placement.up_bits + placement.down_bits
        return self._policy.latency_weight * latency_s + self._policy.energy_weight * energy, latency_s

    def _switch(self, current: Placement, wanted: Placement, now: Conditions, use: str) -> Decision:
        """The wanted placement once it has been better by enough, often enough; until then the current one."""
        policy = self._policy
        aim = use if use in POLICIES else policy.policy
        before, after = self._aim(aim, current, now), self._aim(aim, wanted, now)
        cost_s = wanted.switch_s / max(policy.switch_horizon, 1) if aim == "latency" else 0.0
        if after + cost_s >= before * (1 - policy.switch_gain):
            self._better, self._times = None, 0
            return self._take(current, now, "{}: {} is not better by {:.0%}".format(use, wanted.id, policy.switch_gain))
        self._times = self._times + 1 if self._better == wanted.id else 1
        self._better = wanted.id
        if self._times < policy.switch_count:
            return self._take(current, now, "{}: {} looks better".format(use, wanted.id))
        return self._take(wanted, now, use)

    def _aim(self, aim: str, placement: Placement, now: Conditions) -> float:
        if aim == "latency":
            return placement.latency_s(now)
        first, second = self._cost(aim, placement, now)
        return first if first > 0 else second

    def _fall_back(self, now: Conditions, why: str) -> Decision:
        local = self._table.local
        if self._policy.fallback == LOCAL and local is not None:
            return self._take(local, now, why)
        self._current = None
        return Decision(None, why, None)

    def _take(self, placement: Placement, now: Conditions, why: str) -> Decision:
        if self._current is None or placement.id != self._current.id:
            self._current, self._better, self._times = placement, None, 0
        return Decision(placement, why, placement.latency_s(now))


def _rule(document: Any) -> Rule:
    if not isinstance(document, dict) or set(document) != {"if", "use"} or not isinstance(document["if"], dict):
        raise PolicyError("when: a rule is {{if: {{...}}, use: ...}}, not {!r}".format(document))
    for name, bound in document["if"].items():
        _check_condition(name, bound)
    return Rule(dict(document["if"]), str(document["use"]))


def _check_condition(name: str, bound: Any) -> None:
    if name in ("charging",) and isinstance(bound, bool):
        return
    if name == "server" and bound in ("up", "down"):
        return
    if name in QUANTITIES and isinstance(bound, dict) and bound and set(bound) <= {"above", "below"}:
        for edge in bound.values():
            if isinstance(edge, bool) or not isinstance(edge, (int, float)) or not math.isfinite(edge):
                raise PolicyError("when: {}: {!r} is no number".format(name, edge))
        return
    raise PolicyError("when: {}: {!r} is no condition (above, below; charging: true; server: down)".format(name, bound))


def _holds(name: str, bound: Any, now: Conditions) -> bool:
    """Whether a condition holds; what is not known holds no condition."""
    if name == "charging":
        return now.charging is bound
    if name == "server":
        return now.server_up is (bound == "up")
    values = {"uplink_mbps": now.uplink_bps / 1e6, "rtt_ms": now.rtt_s * 1e3}
    value: Optional[float] = values[name] if name in values else getattr(now, name)
    if value is None:
        return False
    return bool(bound.get("above", -math.inf) < value < bound.get("below", math.inf))


def _check(policy: Policy) -> None:
    if policy.policy not in (*POLICIES, TOUR):
        raise PolicyError("policy is {!r}, expected one of {}".format(policy.policy, ", ".join(POLICIES)))
    if policy.fallback not in FALLBACKS:
        raise PolicyError("fallback is {!r}, expected one of {}".format(policy.fallback, ", ".join(FALLBACKS)))
    if (policy.policy == TOUR) != bool(policy.tour):
        raise PolicyError("tour: the policy tour takes a list of placements, and no other does")
    if policy.policy == "deadline" and policy.deadline_s is None:
        raise PolicyError("deadline_s is missing: policy deadline needs it")
    numbers = (
        ("deadline_s", policy.deadline_s, 1e-6),
        ("latency_weight", policy.latency_weight, 0.0),
        ("energy_weight", policy.energy_weight, 0.0),
        ("switch_gain", policy.switch_gain, 0.0),
        ("switch_count", policy.switch_count, 1),
        ("switch_horizon", policy.switch_horizon, 1),
    )
    for name, value, least in numbers:
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= least):
            raise PolicyError("{} is {!r}, expected a number of at least {:g}".format(name, value, least))
    if policy.switch_gain >= 1:
        raise PolicyError("switch_gain is {!r}, expected a share below 1".format(policy.switch_gain))
