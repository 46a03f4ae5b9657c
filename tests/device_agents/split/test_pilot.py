"""What a client knows and decides: patience, probes, whose fault a late answer was, and what is forgotten."""

from __future__ import annotations

import pytest

from device_agents.split.breaker import Breaker
from device_agents.split.decide import Decider, Decision, Policy, patience_s
from device_agents.split.estimate import Exchange, Factor, LinkEstimate
from device_agents.split.pilot import NO_DEADLINE_S, PROBE_FIRST_S, PROBE_MOST_S, Pilot
from device_agents.split.table import Conditions, Level, Placement, Table

LOCAL = Placement("p0", "device", 0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
HALF = Placement("p1", "split", 0.05, 0.02, 0.0, 0.0, 4e5, 0.0, 0.001)
TABLE = Table([LOCAL, HALF], [Level(1.0, (1e-10, 3e-7, 1e-3), ("p1", "p0"))])
LINK = (1e7, 1e7, 0.02)


def pilot(policy: Policy | None = None, deadline_s: float | None = None, table: Table = TABLE) -> Pilot:
    return Pilot(policy or Policy(), table, LinkEstimate(*LINK), deadline_s)


def decided(made: Pilot, now_s: float) -> Decision:
    return made.decide(now_s, made.conditions(now_s, {}))


def quick(bits: float = 4e5, service_s: float = 0.021) -> Exchange:
    return Exchange(bits, 0.0, 0.02 + bits / 1e7 + service_s, service_s)


def test_a_frame_waits_so_long_that_the_rest_still_ends_by_the_deadline() -> None:
    assert patience_s(0.4, 0.15) == pytest.approx(0.248)
    assert patience_s(0.4, 0.15, predicted_s=0.2) == pytest.approx(0.298)  # one and a half times what was predicted
    assert patience_s(0.4, 0.15, predicted_s=9.0) == pytest.approx(0.398)  # but not beyond the deadline
    assert patience_s(0.4, 0.0) == pytest.approx(0.398)
    hedged = pilot()
    decision = decided(hedged, 0.0)
    assert decision.placement is HALF
    assert hedged.patience_s(decision) == pytest.approx((decision.predicted_s or 0) + 0.15)
    assert pilot(Policy("fixed", placement="p1")).patience_s(decision) == NO_DEADLINE_S
    assert pilot(Policy(fallback="refuse")).patience_s(decision) == NO_DEADLINE_S
    assert pilot(deadline_s=0.4).patience_s(decision) == pytest.approx(0.248)


def test_a_placement_that_would_be_late_is_not_chosen_by_itself() -> None:
    now = Conditions(3e6, 3e6, 0.02)
    assert Decider(Policy(), TABLE).choose(now).placement is LOCAL
    slow = Conditions(4e6, 4e6, 0.02)
    assert Decider(Policy(), TABLE).choose(slow).placement is HALF
    assert Decider(Policy(), TABLE, deadline_s=0.19).choose(slow).placement is LOCAL
    alone = Table([HALF], [Level(1.0, (1e-10, 1e-3), ("p1",))])
    assert Decider(Policy(), alone, deadline_s=0.19).choose(slow).placement is HALF


def test_many_placements_are_looked_up_beside_the_device_alone() -> None:
    rows = [LOCAL, *(HALF._replace(id=f"p{i}", up_bits=4e5 + i) for i in range(1, 100))]
    table = Table(rows, [Level(1.0, (1e-10, 1e-3), ("p1",))])
    assert Decider(Policy(), table).choose(Conditions(1e7, 1e7, 0.02)).placement is rows[1]
    assert Decider(Policy(), table).choose(Conditions(1e7, 1e7, 0.5)).placement is LOCAL


def test_the_link_is_asked_only_while_frames_stay_here_and_ever_more_seldom() -> None:
    made = pilot()
    made.answered(HALF, quick(), 0.0)
    assert not made.probe_due(Decision(HALF, "", 0.1), 99.0)
    here, now_s, pauses = Decision(LOCAL, "", 0.2), 0.0, []
    for _ in range(12):
        before = now_s
        while not made.probe_due(here, now_s):
            now_s += 0.01
        made.probing(now_s)
        pauses.append(round(now_s - before, 1))
    assert pauses[0] == pytest.approx(PROBE_FIRST_S, abs=0.02)
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(PROBE_MOST_S, abs=0.02)
    assert made.probe_bytes == (256, 16384)


def test_a_tour_is_not_disturbed_by_probes() -> None:
    made = pilot(Policy("tour", tour=("p0", "p1")))
    assert not any(made.probe_due(decided(made, now_s), now_s) for now_s in (0.0, 1.0, 2.0, 60.0, 120.0))


def test_a_probe_is_no_larger_than_what_a_frame_sends() -> None:
    small = Table([LOCAL, HALF._replace(up_bits=8e4)], [Level(1.0, (1e-10, 1e-3), ("p1",))])
    assert pilot(table=small).probe_bytes == (256, 10_000)


def test_two_late_answers_over_a_link_that_is_quick_are_the_servers_fault_and_are_forgotten_in_time() -> None:
    made = pilot(deadline_s=0.4)
    for turn in range(2):
        now_s = float(turn)
        made.failed(HALF, 0.25, now_s, late=True)
        assert decided(made, now_s + 0.1).placement is LOCAL  # the link is blamed
        for bits in made.probe_bytes:
            made.probed(Exchange(8.0 * bits, 0.0, 0.02 + 8.0 * bits / 1e7, 0.0), now_s + 0.5)
    assert made.slow_down.value > 5
    assert decided(made, 1.6).placement is LOCAL
    assert decided(made, 60.0).placement is HALF


def test_a_late_answer_on_a_link_that_is_gone_is_not_the_servers_fault() -> None:
    made = pilot(deadline_s=0.4)
    for turn in range(3):
        made.failed(HALF, 0.25, float(turn), late=True)
        made.probe_failed(2048.0, 2.0, turn + 0.5, late=True)
    for bits in made.probe_bytes:
        made.probed(Exchange(8.0 * bits, 0.0, 0.02 + 8.0 * bits / 1e7, 0.0), 9.0)
    assert made.slow_down.value == 1.0


def test_a_server_that_cannot_be_probed_is_tried_again_all_the_same() -> None:
    made = pilot(deadline_s=0.4)
    made.failed(HALF, 0.25, 0.0, late=True)
    assert decided(made, 0.1).placement is LOCAL
    for _ in range(20):
        made.not_probed()
    assert decided(made, 9.0).placement is HALF


def test_after_a_probe_one_failure_is_enough_to_leave_the_server_alone_for_longer() -> None:
    breaker = Breaker(failures=2, pause_s=1.0, most_s=8.0)
    breaker.reached()
    breaker.failed(0.0)
    breaker.failed(0.0)
    assert breaker.state(0.5) == "open"
    breaker.reached()
    assert breaker.state(0.5) == "closed"
    breaker.failed(0.6)
    assert breaker.state(2.5) == "open"
    assert breaker.state(2.7) == "half-open"
    breaker.succeeded()
    breaker.failed(3.0)
    assert breaker.state(3.0) == "closed"


def test_a_factor_is_at_least_what_is_known_and_fades_to_one() -> None:
    factor = Factor()
    factor.at_least(4.0)
    factor.at_least(2.0)
    assert factor.value == 4.0
    assert [factor.faded(share) for share in (1.0, 0.5, 0.0)] == [4.0, 2.0, 1.0]


def test_hoping_makes_the_link_faster_and_keeps_it_possible() -> None:
    link = LinkEstimate(*LINK)
    link.hope(2.0)
    assert link.uplink_bps == pytest.approx(2e7)
    for _ in range(100):
        link.hope(1e3)
    assert link.uplink_bps <= 1e12
