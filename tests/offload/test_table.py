"""The table that a device looks up gives what planning anew would give."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from device_agents.split.table import Conditions, Table
from offload.plan.costs import CodedAs, Costs, Link, Power, ValueCosts, latency_problem, price
from offload.plan.mincut import CutSolver
from offload.plan.problem import DEVICE, line_of
from offload.plan.table import LEVELS, compile_table

LINK = Link(uplink_bps=8e6, downlink_bps=40e6, rtt_s=0.02)
POWER = Power(4.0, 1.5, 0.28, 0.13, 0.14, 0.13, source="made up")
RANGE = (1e5, 1e9)


def random_costs(rng: np.random.Generator, pieces: int = 12) -> Costs:
    """A chain with skips whose values shrink, three codecs up and one down."""
    values = []
    for producer in range(DEVICE, pieces):
        later = [c for c in range(producer + 1, pieces) if c == producer + 1 or rng.random() < 0.2]
        size = float(rng.gamma(2.0, 4e5)) * 0.7 ** (producer + 1)
        up = (
            CodedAs("raw", 0.0, 0.0, size),
            CodedAs("q8", size * 2e-9, size * 1e-9, size / 4),
            CodedAs("q4", size * 9e-9, size * 4e-9, size / 20),
        )
        values.append(ValueCosts(f"v{producer}", producer, tuple(later), up, up[:1], not later))
    device = tuple(float(x) for x in rng.gamma(1.0, 0.02, pieces))
    server = tuple(float(x) for x in rng.gamma(1.0, 0.002, pieces))
    return Costs(tuple(f"n{i}" for i in range(pieces)), device, server, tuple(values), request_s=0.002)


def conditions(mbps: float, slow_down: float = 1.0, rtt_s: float = LINK.rtt_s, device_scale: float = 1.0) -> Conditions:
    return Conditions(mbps * 1e6, LINK.downlink_bps, rtt_s, slow_down, device_scale)


@pytest.mark.parametrize("seed", range(8))
def test_the_look_up_is_the_optimum_at_every_bandwidth_and_level(seed: int) -> None:
    costs = random_costs(np.random.default_rng(seed))
    document, _ = compile_table(costs, LINK, LEVELS, RANGE)
    table = Table.from_json(json.loads(json.dumps(document)))
    for level in LEVELS:
        solver = CutSolver(latency_problem(costs, LINK, level))
        for bps in np.geomspace(*RANGE, 40):
            found = table.choose(float(bps), level).latency_s(conditions(float(bps) / 1e6, level))
            assert found == pytest.approx(solver.best(1.0 / float(bps)).at(1.0 / float(bps)), rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("rtt_s", "device_scale"), [(0.0, 1.0), (0.3, 1.0), (0.0, 2.0), (0.005, 2.0)])
def test_the_best_placement_at_another_round_trip_or_on_a_hot_device_is_in_the_table(
    seed: int, rtt_s: float, device_scale: float
) -> None:
    costs = random_costs(np.random.default_rng(seed))
    table = Table.from_json(compile_table(costs, LINK, (1.0, 4.0), RANGE)[0])
    for level in (1.0, 4.0):
        solver = CutSolver(latency_problem(costs, replace(LINK, rtt_s=rtt_s), level, device_scale))
        for bps in np.geomspace(*RANGE, 25):
            now = conditions(float(bps) / 1e6, level, rtt_s, device_scale)
            best = min(placement.latency_s(now) for placement in table.placements.values())
            assert best == pytest.approx(solver.best(1.0 / float(bps)).at(1.0 / float(bps)), rel=1e-9)


def test_the_ends_are_first_and_last_and_no_placement_is_there_twice() -> None:
    costs = random_costs(np.random.default_rng(1))
    document, lines = compile_table(costs, LINK, (1.0, 1.0, 8.0), RANGE, switch_s=0.01)
    labels = [row["label"] for row in document["placements"]]
    assert labels[0] == "device"
    assert labels[-1] == "server"
    assert list(lines) == [row["id"] for row in document["placements"]] == [f"p{i}" for i in range(len(labels))]
    kinds = {(line.sides.tobytes(), line.crossings) for line in lines.values()}
    assert len(kinds) == len(lines) > 3
    assert [level["slow_down"] for level in document["levels"]] == [1.0, 8.0]
    assert {row["switch_s"] for row in document["placements"]} == {0.01}


def test_a_row_is_priced_as_the_plan_prices_its_line_in_seconds_and_joules() -> None:
    costs = random_costs(np.random.default_rng(2))
    document, lines = compile_table(costs, LINK, (1.0,), RANGE, POWER)
    table = Table.from_json(document)
    assert table.power is not None
    for name, line in lines.items():
        found = price(costs, line, LINK, POWER, 3.0, 1.4)
        now = conditions(LINK.uplink_bps / 1e6, 3.0, LINK.rtt_s, 1.4)
        assert table.placements[name].latency_s(now) == pytest.approx(found.latency_s)
        assert table.placements[name].energy_j(now, table.power) == pytest.approx(found.energy_j)
    there = line_of(latency_problem(costs, LINK), lines["p0"].sides, 1e-7)
    assert there is not None
    assert there.slope == 0.0


def test_an_end_that_the_pins_forbid_is_left_out() -> None:
    costs = replace(random_costs(np.random.default_rng(3)), on_device=frozenset({0}))
    document, _ = compile_table(costs, LINK, (1.0,), RANGE)
    assert document["placements"][0]["label"] == "device"
    assert document["placements"][-1]["label"] == "split"


@pytest.mark.parametrize("levels", [(), (1.0, 0.0), (-1.0,)])
def test_levels_that_are_none_are_refused(levels: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="levels of slow-down"):
        compile_table(random_costs(np.random.default_rng(0)), LINK, levels, RANGE)
