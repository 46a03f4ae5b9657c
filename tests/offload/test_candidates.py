"""What else there is, and what would have to change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from offload.plan.candidates import bandwidth_changes, candidates, pareto, scale_changes
from offload.plan.costs import Costs, Link, latency_problem, price
from offload.plan.envelope import envelope
from tests.offload.test_costs_and_frontier import LINK, POWER, random_costs


def test_both_ends_are_always_among_the_candidates_and_the_fastest_is_first() -> None:
    rng = np.random.default_rng(1)
    for _ in range(10):
        costs = random_costs(rng, 6)
        found = candidates(costs, envelope(latency_problem(costs, LINK), 1e5, 1e9).lines, LINK, POWER)
        assert {"device", "server"} <= {candidate.label for candidate in found}
        latencies = [candidate.price.latency_s for candidate in found]
        assert latencies == sorted(latencies)
        best = envelope(latency_problem(costs, LINK), 1e5, 1e9).at(1 / LINK.uplink_bps)
        assert latencies[0] == pytest.approx(best.at(1 / LINK.uplink_bps))


def test_a_pinned_end_is_left_out() -> None:
    costs = replace(random_costs(np.random.default_rng(2), 4), on_device=frozenset({0}))
    found = candidates(costs, (), LINK)
    assert [candidate.label for candidate in found] == ["device"]


def test_the_pareto_list_has_what_no_other_beats() -> None:
    costs = random_costs(np.random.default_rng(3), 6)
    found = candidates(costs, envelope(latency_problem(costs, LINK), 1e4, 1e9).lines, LINK, POWER)
    kept = pareto(found)
    assert kept
    assert kept[0] is found[0]
    for candidate in found:
        mine = candidate.price
        beaten = any(
            (o.price.latency_s, o.price.energy_j, o.price.up_bits + o.price.down_bits)
            != (mine.latency_s, mine.energy_j, mine.up_bits + mine.down_bits)
            and o.price.latency_s <= mine.latency_s
            and (o.price.energy_j or 0) <= (mine.energy_j or 0)
            and o.price.up_bits + o.price.down_bits <= mine.up_bits + mine.down_bits
            for o in found
        )
        assert (candidate in kept) != beaten


def test_at_the_bandwidth_that_is_told_another_placement_is_as_fast() -> None:
    rng, told = np.random.default_rng(5), 0
    for _ in range(20):
        costs = random_costs(rng, 6)
        found = envelope(latency_problem(costs, LINK), 1e4, 1e10)
        for change in bandwidth_changes(found, LINK.uplink_bps):
            before = found.at((1 - 1e-6 if change.rising else 1 + 1e-6) ** -1 / change.at)
            after = found.at((1 + 1e-6 if change.rising else 1 - 1e-6) ** -1 / change.at)
            assert before.at(1 / change.at) == pytest.approx(after.at(1 / change.at), rel=1e-5)
            assert not (before.sides == after.sides).all()
            assert (change.at > LINK.uplink_bps) == change.rising
            told += 1
    assert told > 10


def test_at_the_slow_down_that_is_told_another_placement_is_as_fast() -> None:
    rng, told = np.random.default_rng(6), 0
    for _ in range(20):
        costs: Costs = random_costs(rng, 6)
        link = Link(1e8, 1e8, 0.002)
        found = candidates(costs, envelope(latency_problem(costs, link), 1e5, 1e9).lines, link)
        for change in scale_changes(costs, found, link):
            factor = {change.quantity: change.at}
            best = price(costs, found[0].line, link, None, **factor).latency_s
            others = [price(costs, other.line, link, None, **factor).latency_s for other in found[1:]]
            assert min(others) == pytest.approx(best)
            told += 1
    assert told > 10
