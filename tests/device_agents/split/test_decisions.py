"""The table, what traffic tells, the breaker, and the decisions that are made of them."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agents.split.breaker import Breaker
from device_agents.split.decide import Decider, Policy, PolicyError
from device_agents.split.estimate import Exchange, Factor, LinkEstimate, Smoothed
from device_agents.split.table import Conditions, Level, Placement, PowerProfile, Table, TableError

LOCAL = Placement("p0", "device", 0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
HALF = Placement("p1", "split", 0.05, 0.02, 0.001, 0.001, 4e5, 1e4, 0.001, switch_s=0.01)
REMOTE = Placement("p2", "server", 0.0, 0.04, 0.0, 0.0, 2e6, 1e4, 0.001, switch_s=0.01)
POWER = PowerProfile(5.0, 2.0, 0.3, 0.1, 0.1, 0.1)


def crossing(one: Placement, other: Placement) -> float:
    """Seconds per uplink bit at which both are as fast (20 ms of round trip, downlink as the uplink)."""

    def parts(placement: Placement) -> tuple[float, float]:
        at = [placement.latency_s(Conditions(1 / x, 1e30, 0.02)) for x in (1e-9, 2e-9)]
        return 2 * at[0] - at[1], (at[1] - at[0]) / 1e-9

    (a, b), (c, d) = parts(one), parts(other)
    return (c - a) / (b - d)


def table(power: PowerProfile | None = POWER) -> Table:
    bounds = (1e-10, crossing(REMOTE, HALF), crossing(HALF, LOCAL), 1e-3)
    level = Level(1.0, bounds, ("p2", "p1", "p0"))
    slow = Level(16.0, (1e-10, 1e-3), ("p0",))
    return Table([LOCAL, HALF, REMOTE], [slow, level], power)


def at(mbps: float, **more: Any) -> Conditions:
    return Conditions(mbps * 1e6, 1e30, 0.02, **more)


def test_the_look_up_is_the_fastest_at_every_bandwidth() -> None:
    made = table()
    for mbps in np.geomspace(0.1, 1000, 60):
        best = min((LOCAL, HALF, REMOTE), key=lambda placement: placement.latency_s(at(float(mbps))))
        assert made.choose(mbps * 1e6) is best
    assert made.choose(1e9, slow_down=3.9).id == "p2"
    assert made.choose(1e9, slow_down=4.1).id == "p0"  # nearer to 16 by ratio
    assert Table.from_json(json.loads(json.dumps(made.to_json()))).to_json() == made.to_json()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 2}, "not a placement table"),
        ({"placements": []}, "there must be one"),
        ({"placements": [LOCAL._asdict(), LOCAL._asdict()]}, "an id of its own"),
        ({"placements": [{**LOCAL._asdict(), "label": "cloud"}]}, "label is 'cloud'"),
        ({"placements": [{**LOCAL._asdict(), "device_s": -1}]}, "device_s is -1"),
        ({"placements": [{**LOCAL._asdict(), "up_bits": "a"}]}, "up_bits is 'a'"),
        ({"levels": []}, "levels: there must be one"),
        ({"levels": [{"slow_down": 1, "bounds": [0, 1], "placements": ["p9"]}]}, "'p9' does not exist"),
        ({"levels": [{"slow_down": 1, "bounds": [1, 0], "placements": ["p0"]}]}, "bounds must rise"),
        ({"levels": [{"slow_down": 1, "bounds": [0], "placements": ["p0"]}]}, "one bound more"),
        ({"levels": [{"slow_down": 0, "bounds": [0, 1], "placements": ["p0"]}]}, "slow_down must be above 0"),
        ({"levels": "x"}, "levels: a list"),
        ({"power": {"watts": 1.0}}, "wrong type"),
    ],
)
def test_a_damaged_table_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(TableError, match=words):
        Table.from_json({**table().to_json(), **change})


def test_energy_is_computing_waiting_and_the_radio() -> None:
    now = at(10)
    waiting = 0.02 + 0.001 + 0.001 + 0.02 + 0.04
    want = 0.051 * 5 + waiting * 2 + 0.04 * 0.1 + 4e5 * 0.3e-6 + 1e4 * 0.1e-6
    assert HALF.energy_j(now, POWER) == pytest.approx(want)
    assert LOCAL.energy_j(now, POWER) == pytest.approx(1.0)
    assert REMOTE.energy_j(at(10, server_up=False), POWER) == math.inf


def test_a_steady_link_is_found_from_requests_alone() -> None:
    rng = np.random.default_rng(0)
    for rate, rtt in ((2e6, 0.03), (5e7, 0.01), (1e6, 0.1)):
        link = LinkEstimate(1e7, 1e7, 0.02)
        for turn in range(200):
            bits = float(rng.uniform(1e5, 5e6)) if turn % 4 else 2e3
            service = float(rng.uniform(0.001, 0.05))
            total = service + rtt + bits / rate + 1e3 / rate
            link.take(Exchange(bits, 1e3, total * float(rng.uniform(1, 1.02)), service))
        assert link.uplink_bps == pytest.approx(rate, rel=0.15)
        assert link.rtt_s == pytest.approx(rtt, rel=0.4)


def test_a_fall_of_ten_times_is_seen_within_a_few_requests_and_a_lost_one_tells_too() -> None:
    link = LinkEstimate(1e7, 1e7, 0.02)
    for _ in range(4):
        link.take(Exchange(1e6, 1e3, 0.02 + 1.0, 0.0))
    assert link.uplink_bps < 1.3e6
    link.lost(1e6, 10.02)
    assert link.uplink_bps == pytest.approx(1e5, rel=0.01)
    for nonsense in (Exchange(0.0, 0.0, 0.0, 5.0), Exchange(1e9, 1e9, 1e-9, 1.0), Exchange(1.0, 1.0, 1e9, 0.0)):
        link.take(nonsense)
        assert 0 < link.uplink_bps < math.inf
        assert 0 < link.rtt_s < math.inf


def test_a_factor_follows_what_is_measured() -> None:
    factor = Factor()
    for _ in range(40):
        factor.take(0.3, 0.1)
    assert factor.value == pytest.approx(3.0, rel=0.01)
    factor.take(0.0, 1.0)
    factor.take(1.0, 0.0)
    assert factor.value == pytest.approx(3.0, rel=0.01)
    first = Factor()
    first.take(0.3, 0.1)
    assert first.value == pytest.approx(3.0)  # nothing was known before
    first.take(0.1, 0.1)
    assert first.value == pytest.approx(3.0**0.5)
    smoothed = Smoothed()
    assert smoothed.value is None
    smoothed.take(50.0)
    assert smoothed.value == 50.0


def test_a_breaker_opens_tries_once_and_waits_longer_each_time() -> None:
    breaker = Breaker(failures=2, pause_s=1.0, most_s=3.0)
    breaker.failed(0.0)
    assert breaker.allows(0.0)
    breaker.failed(0.0)
    assert [breaker.allows(t) for t in (0.5, 1.0, 1.1)] == [False, True, False]  # one may try
    breaker.failed(1.2)
    assert [breaker.allows(t) for t in (3.1, 3.2)] == [False, True]
    breaker.failed(3.2)
    assert not breaker.allows(6.1)
    assert breaker.allows(6.2)
    breaker.succeeded()
    assert breaker.state(6.2) == "closed"
    breaker.failed(6.3)
    assert breaker.allows(6.3)


def test_the_latency_policy_switches_when_it_pays_often_enough() -> None:
    decider = Decider(Policy(switch_gain=0.1, switch_count=3), table())
    assert decider.choose(at(300)).placement is REMOTE
    chosen = [decider.choose(at(1.2)).placement for _ in range(4)]
    assert [placement.id for placement in chosen if placement] == ["p2", "p2", "p0", "p0"]
    assert decider.choose(at(300)).placement is LOCAL  # once is not often
    assert decider.choose(at(1.2)).placement is LOCAL
    assert decider.choose(at(300)).placement is LOCAL  # and the count began anew


def test_a_gain_below_the_threshold_is_not_worth_a_switch() -> None:
    decider = Decider(Policy(switch_gain=0.3, switch_count=1), table())
    decider.choose(at(300))
    x = crossing(REMOTE, HALF)
    decision = decider.choose(at(1e-6 / x * 0.95))
    assert decision.placement is REMOTE
    assert "not better by 30%" in decision.why


def test_a_hot_device_moves_work_to_the_server() -> None:
    decider = Decider(Policy(switch_count=1), table())
    assert decider.choose(at(1.5)).placement is LOCAL
    assert decider.choose(at(1.5, device_scale=4.0)).placement is HALF or REMOTE


def test_without_the_server_everything_is_local_or_refused() -> None:
    down = at(300, server_up=False)
    for policy in ("latency", "energy", "deadline", "weighted"):
        decider = Decider(Policy(policy, deadline_s=0.1, energy_weight=0.5), table())
        decision = decider.choose(down)
        assert decision.placement is LOCAL
        assert decision.predicted_s == pytest.approx(0.2)
    decision = Decider(Policy("fixed", placement="p2", fallback="refuse"), table()).choose(down)
    assert (decision.placement, decision.why) == (None, "the server is not there")
    fixed = Decider(Policy("fixed", placement="p2"), table())
    assert [fixed.choose(now).placement for now in (at(1), down, at(1))] == [REMOTE, LOCAL, REMOTE]


def test_a_deadline_takes_the_least_energy_that_keeps_it_else_the_fastest() -> None:
    decider = Decider(Policy("deadline", deadline_s=0.15), table())
    kept = [p for p in (LOCAL, HALF, REMOTE) if p.latency_s(at(20)) <= 0.15]
    assert decider.choose(at(20)).placement is min(kept, key=lambda p: p.energy_j(at(20), POWER))
    strict = Decider(Policy("deadline", deadline_s=0.001), table())
    assert strict.choose(at(20)).placement is min((LOCAL, HALF, REMOTE), key=lambda p: p.latency_s(at(20)))


def test_a_tour_takes_its_placements_in_turn_there_and_back_and_nothing_else() -> None:
    decider = Decider(Policy.from_json({"policy": "tour", "tour": ["p2", "p0", "p1"]}), table())
    seen = [decider.choose(at(1.0)).placement for _ in range(7)]
    assert [row.id for row in seen if row is not None] == ["p2", "p0", "p1", "p1", "p0", "p2", "p2"]


def test_rules_go_before_the_policy_and_what_is_not_known_holds_none() -> None:
    policy = Policy.from_json(
        {
            "policy": "latency",
            "when": [
                {"if": {"temperature_c": {"above": 80}}, "use": "p2"},
                {"if": {"battery": {"below": 0.2}, "charging": False}, "use": "energy"},
                {"if": {"uplink_mbps": {"above": 1, "below": 3}}, "use": "local"},
            ],
        }
    )
    assert Policy.from_json(policy.to_json()) == policy
    assert Decider(policy, table()).choose(at(2)).placement is LOCAL
    hot = Decider(policy, table()).choose(at(2, temperature_c=85.0))
    assert (hot.placement, hot.why) == (REMOTE, "rule 1")
    low = Decider(policy, table()).choose(at(50, battery=0.1, charging=False))
    assert low.placement is min((LOCAL, HALF, REMOTE), key=lambda p: p.energy_j(at(50), POWER))
    assert Decider(policy, table()).choose(at(50, battery=0.1)).why == "latency"


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "a policy is an object"),
        ({"policy": "magic"}, "policy is 'magic'"),
        ({"colour": 1}, "colour: no such field"),
        ({"policy": "deadline"}, "deadline_s is missing"),
        ({"switch_gain": 1.5}, "switch_gain is 1.5"),
        ({"switch_count": 0}, "switch_count is 0"),
        ({"deadline_s": float("nan")}, "deadline_s is nan"),
        ({"fallback": "cry"}, "fallback is 'cry'"),
        ({"when": 3}, "when: a list"),
        ({"when": [{"if": {}}]}, "a rule is"),
        ({"when": [{"if": {"moon": "full"}, "use": "local"}]}, "moon: 'full' is no condition"),
        ({"when": [{"if": {"battery": {"under": 1}}, "use": "local"}]}, "battery: .* is no condition"),
        ({"when": [{"if": {"battery": {"below": "x"}}, "use": "local"}]}, "battery: 'x' is no number"),
    ],
)
def test_a_policy_that_cannot_be_followed_is_refused(document: Any, words: str) -> None:
    with pytest.raises(PolicyError, match=words):
        Policy.from_json(document)


@pytest.mark.parametrize("document", [{"policy": "tour"}, {"policy": "fixed", "tour": ["p0"]}, {"tour": "p0"}])
def test_a_tour_needs_its_placements_and_no_other_policy_has_them(document: Any) -> None:
    with pytest.raises(PolicyError, match=r"^tour: "):
        Policy.from_json(document)


def test_a_placement_that_is_not_in_the_package_is_refused() -> None:
    with pytest.raises(PolicyError, match="placement 'p9' is not in the package"):
        Decider(Policy("fixed", placement="p9"), table())


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.builds(
            Conditions,
            st.floats(1e2, 1e11),
            st.floats(1e2, 1e11),
            st.floats(0, 5),
            st.floats(0.02, 1000),
            st.floats(0.02, 100),
            st.booleans(),
        ),
        max_size=12,
    ),
    st.sampled_from(["latency", "energy", "deadline", "weighted", "fixed"]),
)
def test_every_frame_has_a_placement_whatever_the_conditions(frames: list[Conditions], policy: str) -> None:
    decider = Decider(Policy(policy, placement="p1", deadline_s=0.1), table())
    for now in frames:
        decision = decider.choose(now)
        assert decision.placement is not None
        assert now.server_up or decision.placement is LOCAL
        assert decision.predicted_s == decision.placement.latency_s(now) < math.inf
