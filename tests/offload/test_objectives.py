"""Energy, weighted sums and throughput within limits, against every placement with every choice of codecs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from offload.plan.costs import Costs, Price, latency_problem, price
from offload.plan.objectives import Aim, aimed, stages
from offload.plan.problem import Line, ProblemError
from tests.offload.test_costs_and_frontier import LINK, POWER, every_choice, random_costs


def everything(costs: Costs) -> list[tuple[Line, Price]]:
    return [(line, price(costs, line, LINK, POWER)) for line in every_choice(latency_problem(costs, LINK))]


VALUES: dict[str, Callable[[Price], float]] = {
    "latency": lambda found: found.latency_s,
    "energy": lambda found: found.energy_j or 0.0,
    "weighted": lambda found: 2.0 * found.latency_s + 0.5 * (found.energy_j or 0.0),
}


@pytest.mark.parametrize("objective", VALUES)
def test_without_a_limit_it_is_the_optimum(objective: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(15):
        costs = random_costs(rng, 4)
        best = aimed(costs, LINK, POWER, Aim(objective, 2.0, 0.5))
        assert best is not None
        assert best.is_optimal
        assert best.value == pytest.approx(min(VALUES[objective](found) for _, found in everything(costs)))


@pytest.mark.parametrize("objective", VALUES)
def test_limits_are_kept_and_nothing_is_below_the_bound(objective: str) -> None:
    rng, close, count = np.random.default_rng(2), 0, 0
    for _ in range(25):
        costs = random_costs(rng, 4)
        known = everything(costs)
        latencies = sorted(found.latency_s for _, found in known)
        aim = Aim(objective, 2.0, 0.5, latencies[len(latencies) // 4], 320, 320)
        within = [VALUES[objective](found) for _, found in known if aim.keeps(found)]
        best = aimed(costs, LINK, POWER, aim)
        if best is None:
            continue
        count += 1
        assert aim.keeps(best.price)
        assert best.bound <= min(within) * (1 + 1e-6) <= best.value * (1 + 2e-6)
        close += best.value <= min(within) * 1.1
    assert count >= 10
    assert close >= count * 0.8


def test_what_no_placement_can_keep_gives_none() -> None:
    costs = random_costs(np.random.default_rng(3), 4)
    assert aimed(costs, LINK, POWER, Aim(deadline_s=1e-9)) is None
    assert aimed(costs, LINK, POWER, Aim(device_memory_bytes=99, server_memory_bytes=99)) is None


def test_a_pipelines_bottleneck_is_within_its_bound() -> None:
    rng, close = np.random.default_rng(4), 0
    for _ in range(15):
        costs = random_costs(rng, 4)
        best = aimed(costs, LINK, None, Aim("throughput"))
        assert best is not None

        def busy(line: Line, costs: Costs = costs) -> float:
            told = []
            for stage in stages(costs, LINK):
                total = float(stage.device[~line.sides].sum() + stage.server[line.sides].sum())
                for crossing in line.crossings:
                    tensor = stage.tensors[crossing.tensor]
                    way = (tensor.up if crossing.up else tensor.down)[crossing.way]
                    rate = stage.down_s_per_bit if not crossing.up else 1.0 / LINK.uplink_bps
                    total += way.fixed + way.bits * rate
                told.append(total)
            return max(told)

        want = min(busy(line) for line, _ in everything(costs))
        assert best.value == pytest.approx(busy(best.line))
        assert best.bound <= want * (1 + 1e-9) <= best.value * (1 + 1e-6)
        close += best.value <= want * 1.1
    assert close >= 12


def test_an_energy_that_nobody_knows_and_a_memory_without_sizes_are_refused() -> None:
    costs = random_costs(np.random.default_rng(5), 4)
    with pytest.raises(ProblemError, match="power is not known"):
        aimed(costs, LINK, None, Aim("energy"))
    with pytest.raises(ProblemError, match="weights is not known"):
        aimed(replace(costs, weight_bytes=()), LINK, None, Aim(device_memory_bytes=1))
