"""The simulation: small cases by hand, the same seed the same run, and nothing is known before it was seen."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agents.split.decide import Decision, Policy
from device_agents.split.table import Conditions, Level, Placement, PowerProfile, Table
from offload.simulate.hindsight import hindsight
from offload.simulate.run import Run, Stream, simulate
from offload.simulate.summary import figures, quantile
from offload.simulate.synthetic import KINDS, world
from offload.simulate.trace import Steps, from_rates
from offload.simulate.world import NEVER_S, World, ask, outcome

LOCAL = Placement("p0", "device", 0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
HALF = Placement("p1", "split", 0.05, 0.02, 0.002, 0.001, 4e5, 1e4, 0.001, switch_s=0.01)
REMOTE = Placement("p2", "server", 0.0, 0.04, 0.0, 0.0, 2e6, 1e4, 0.001, switch_s=0.01)
POWER = PowerProfile(5.0, 2.0, 0.3, 0.1, 0.1, 0.2)
LEVELS = [Level(1.0, (1e-10, 1e-7, 3e-7, 1e-3), ("p2", "p1", "p0"))]
TABLE = Table([LOCAL, HALF, REMOTE], LEVELS, POWER)
FLAT = World(from_rates([0, 1000], [1e7]), from_rates([0, 1000], [1e6]), Steps((0.02,)))
BELIEVED = (1e7, 1e6, 0.02)


def test_a_request_is_upload_half_a_round_trip_work_download_and_the_other_half() -> None:
    answer = ask(FLAT, 3.0, 4e5, 1e4, 0.02)
    assert answer.at_s == pytest.approx(3.0 + 0.04 + 0.01 + 0.02 + 0.01 + 0.01)
    assert (answer.service_s, answer.kind) == (0.02, "ok")
    slow = replace(FLAT, slow_down=Steps((1.0, 3.0), (0.0, 3.04)))
    assert ask(slow, 3.0, 4e5, 1e4, 0.02).at_s == pytest.approx(3.13)


@pytest.mark.parametrize(
    ("server", "at_s", "kind"),
    [
        (Steps(("refused",)), 3.02, "refused"),
        (Steps(("up", "refused"), (0.0, 3.03)), 3.04, "refused"),  # it dies while it is being sent to
        (Steps(("up", "hung", "up"), (0.0, 3.03, 3.04)), math.inf, "never"),
        (Steps(("up", "refused"), (0.0, 3.08)), 3.09, "ok"),  # it dies after its answer
    ],
)
def test_a_server_that_dies_is_noticed_as_a_client_would(server: Steps[str], at_s: float, kind: str) -> None:
    answer = ask(replace(FLAT, server=server), 3.0, 4e5, 1e4, 0.02)
    assert answer.kind == kind
    assert answer.at_s == pytest.approx(at_s)


def test_one_frame_in_each_placement_by_hand() -> None:
    half = 0.052 + 0.04 + 0.02 + 0.022 + 0.01
    assert outcome(FLAT, TABLE, LOCAL, 1.0, 9.0).latency_s == pytest.approx(0.2)
    assert outcome(FLAT, TABLE, HALF, 1.0, 9.0).latency_s == pytest.approx(half)
    assert outcome(FLAT, TABLE, REMOTE, 1.0, 9.0).latency_s == pytest.approx(0.2 + 0.02 + 0.041 + 0.01)
    hot = replace(FLAT, device_scale=Steps((1.0, 2.0), (0.0, 1.0)))
    assert outcome(hot, TABLE, HALF, 1.0, 9.0).latency_s == pytest.approx(half + 0.052)
    found = outcome(FLAT, TABLE, HALF, 1.0, 9.0)
    joules = 0.052 * 5 + (half - 0.052) * 2 + 0.04 * 0.1 + 4e5 * 0.3e-6 + 0.01 * 0.2 + 1e4 * 0.1e-6
    assert found.energy_j == pytest.approx(joules)
    now = Conditions(1e7, 1e6, 0.02)
    for row in (LOCAL, HALF, REMOTE):
        assert outcome(FLAT, TABLE, row, 1.0, 9.0).latency_s == pytest.approx(row.latency_s(now))
        assert outcome(FLAT, TABLE, row, 1.0, 9.0).energy_j == pytest.approx(row.energy_j(now, POWER))


def test_a_late_frame_is_finished_here_or_refused() -> None:
    dead = replace(FLAT, up=from_rates([0, 1.06, 1000], [1e7, 0]))
    late = outcome(dead, TABLE, HALF, 1.0, 0.1)
    assert (late.latency_s, late.fallback, late.refused) == (pytest.approx(0.1 + 0.15), "late", False)
    assert late.up_bits == pytest.approx(0.008 * 1e7)
    refused = outcome(dead, TABLE, HALF, 1.0, 0.1, rescue=False)
    assert (refused.latency_s, refused.refused) == (pytest.approx(0.1), True)
    busy = outcome(FLAT, TABLE, HALF, 1.0, 0.1, free_s=1.2)
    assert (busy.answer, busy.fallback, busy.up_bits) == (None, "late", 0.0)
    assert outcome(dead, TABLE, HALF, 1.0, 1e9).latency_s == pytest.approx(NEVER_S + 0.15)


def test_an_answer_that_comes_while_the_device_does_the_rest_is_taken() -> None:
    wanted_s = 0.052 + 0.04 + 0.02 + 0.022 + 0.01
    found = outcome(FLAT, TABLE, HALF, 1.0, 0.1)
    assert (found.latency_s, found.fallback) == (pytest.approx(wanted_s), None)
    patient = outcome(FLAT, TABLE, HALF, 1.0, 9.0)
    assert found.energy_j is not None
    assert patient.energy_j is not None
    # Meanwhile the device computed in vain, at its busy power in place of the idle one.
    assert found.energy_j - patient.energy_j == pytest.approx((wanted_s - 0.1) * (POWER.busy_w - POWER.idle_w))
    refused = outcome(FLAT, TABLE, HALF, 1.0, 0.1, rescue=False)
    assert (refused.latency_s, refused.refused) == (pytest.approx(0.1), True)


def test_what_a_probe_after_a_frame_has_told_is_known_to_the_next_one() -> None:
    """One frame a second, and a link that is bad for two of them."""
    rates = [(0.0, 1e7), (10.5, 2e5), (12.5, 1e7), (1000.0, 0.0)]
    up = from_rates([at for at, _ in rates], [rate for _, rate in rates[:-1]])
    run = simulate(TABLE, Policy(), replace(FLAT, up=up), Stream(30.0, 1.0, 0.4, BELIEVED))
    at_home = [round(f.begin_s) for f in run.frames if f.decision.placement is LOCAL]
    assert at_home == [12, 13]


def test_a_steady_link_costs_nothing_against_the_clairvoyant() -> None:
    run = simulate(TABLE, Policy(), FLAT, Stream(20.0, 0.5, 0.4, BELIEVED))
    seen = hindsight(TABLE, FLAT, run, 0.4)
    told = figures(run, seen, 0.4)
    assert {frame.decision.placement.id for frame in run.frames if frame.decision.placement} == {"p1"}
    assert told["regret"] == pytest.approx(0.0, abs=1e-9)
    assert told["best_fixed"] == "p1"
    assert set(seen.best) == {"p1"}
    assert (told["frames"], told["skipped"], told["deadline_misses"], told["switches_per_min"]) == (40, 0, 0, 0.0)
    assert told["up_bits"] == pytest.approx(40 * 4e5)
    assert told["simulated"] is True


def test_frames_are_back_to_back_or_at_multiples_of_the_period() -> None:
    policy = Policy("fixed", placement="p0")
    back = simulate(TABLE, policy, FLAT, Stream(1.0))
    assert [frame.begin_s for frame in back.frames] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])
    often = simulate(TABLE, policy, FLAT, Stream(1.0, 0.15))
    assert [frame.begin_s for frame in often.frames] == pytest.approx([0.0, 0.3, 0.6, 0.9])
    assert [frame.skipped for frame in often.frames] == [1, 1, 1, 1]


def test_a_switch_costs_what_the_table_says() -> None:
    class Turns:
        def __init__(self) -> None:
            self.left = [LOCAL, REMOTE, REMOTE, HALF]

        def choose(self, now: Conditions) -> Decision:
            row = self.left.pop(0)
            return Decision(row, "its turn", row.latency_s(now))

    run = simulate(TABLE, Policy(), FLAT, Stream(4.0, 1.0, None, BELIEVED), Turns)
    assert [frame.switched for frame in run.frames] == [False, True, False, True]
    assert run.frames[1].outcome.latency_s - run.frames[2].outcome.latency_s == pytest.approx(0.01)


def test_a_dead_server_is_left_alone_and_found_again() -> None:
    dying = replace(FLAT, server=Steps(("up", "refused", "up"), (0.0, 10.0, 20.0)))
    run = simulate(TABLE, Policy(), dying, Stream(40.0, 0.5, 0.4, BELIEVED))
    assert not any(frame.outcome.refused for frame in run.frames)
    during = [frame for frame in run.frames if 12.0 <= frame.begin_s < 20.0]
    assert all(frame.outcome.answer is None for frame in during)
    after = [frame for frame in run.frames if frame.begin_s >= 26.0]
    assert all(frame.decision.placement is HALF for frame in after)
    assert all(frame.outcome.latency_s <= 0.4 + 0.2 for frame in run.frames)


def test_a_slow_server_is_told_from_a_slow_link_and_tried_again() -> None:
    loaded = replace(FLAT, slow_down=Steps((1.0, 30.0, 1.0), (0.0, 10.0, 40.0)))
    run = simulate(TABLE, Policy(), loaded, Stream(90.0, 0.25, 0.25, BELIEVED))
    during = [frame for frame in run.frames if 14.0 <= frame.begin_s < 40.0]
    assert sum(frame.decision.placement is LOCAL for frame in during) >= 0.9 * len(during)
    after = [frame for frame in run.frames if frame.begin_s >= 80.0]
    assert all(frame.decision.placement is HALF for frame in after)


def test_without_a_server_for_ever_a_policy_that_refuses_says_so() -> None:
    gone = replace(FLAT, server=Steps(("hung",)))
    run = simulate(TABLE, Policy(fallback="refuse"), gone, Stream(10.0, 0.5, 0.3, (1e8, 1e8, 0.001)))
    told = figures(run, hindsight(TABLE, gone, run, 0.3, rescue=False), 0.3)
    assert told["refused"] + told["placements"].get("p0", 0) >= len(run.frames)
    assert told["refused"] > 0


def decisions(run: Run, before_s: float) -> list[Any]:
    return [(frame.begin_s, frame.decision, frame.conditions) for frame in run.frames if frame.begin_s <= before_s]


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.integers(0, 50), st.floats(3.0, 25.0), st.sampled_from([None, 0.25]))
def test_what_comes_later_never_changes_what_was_decided_before(
    kind: str, seed: int, cut_s: float, period_s: float | None
) -> None:
    one, other = world(kind, seed, 30.0), world("markov", seed + 1, 30.0, 2e7)
    at = next(index for index, t in enumerate(one.up.times_s) if t > cut_s)
    cut_s = one.up.times_s[at - 1]

    def joined(first: Any, second: Any) -> Any:
        more = [bits - second.bits[at - 1] + first.bits[at - 1] for bits in second.bits[at:]]
        return replace(first, bits=(*first.bits[:at], *more))

    def steps(first: Steps[float], second: Steps[float]) -> Steps[float]:
        return Steps((*first.values[: at - 1], *(2 * v for v in second.values[at - 1 :])), first.times_s)

    changed = World(
        joined(one.up, other.up),
        joined(one.down, other.down),
        steps(one.rtt_s, other.rtt_s),
        steps(one.slow_down, other.slow_down),
        Steps(("up", "refused"), (0.0, cut_s)),
        steps(one.device_scale, other.device_scale),
    )
    stream = Stream(30.0, period_s, 0.25, BELIEVED)
    first, second = (simulate(TABLE, Policy(), there, stream) for there in (one, changed))
    assert decisions(first, cut_s) == decisions(second, cut_s)


def test_the_same_seed_gives_the_same_run_and_figures() -> None:
    def told() -> str:
        there = world("lte", 7, 30.0)
        run = simulate(TABLE, Policy(), there, Stream(30.0, 0.25, 0.25, BELIEVED))
        return json.dumps(figures(run, hindsight(TABLE, there, run, 0.25), 0.25), sort_keys=True)

    assert told() == told()


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.integers(0, 200), st.sampled_from([0.25, 1.0, None]))
def test_no_policy_and_no_fixed_placement_is_below_the_clairvoyant(
    kind: str, seed: int, deadline_s: float | None
) -> None:
    there = world(kind, seed, 20.0)
    run = simulate(TABLE, Policy(), there, Stream(20.0, 0.25, deadline_s, BELIEVED))
    seen = hindsight(TABLE, there, run, deadline_s)
    for at, frame in enumerate(run.frames):
        assert frame.outcome.latency_s >= seen.best_s[at] - 1e-12
        assert all(values[at] >= seen.best_s[at] - 1e-12 for values in seen.fixed_s.values())


def test_quantiles_are_values_that_occurred() -> None:
    assert [quantile([3.0, 1.0, 2.0, 4.0], share) for share in (0.25, 0.5, 0.99)] == [1.0, 2.0, 4.0]
