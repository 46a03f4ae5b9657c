"""Prices in every unit, and two aims at once, against every placement with every choice of codecs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from offload.plan.costs import (
    CodedAs,
    Costs,
    Link,
    Power,
    Price,
    ValueCosts,
    check,
    energy_problem,
    latency_problem,
    price,
)
from offload.plan.frontier import least_within, smallest_bottleneck
from offload.plan.mincut import CutSolver
from offload.plan.problem import DEVICE, Crossing, Line, Problem, ProblemError, Tensor, Way, is_monotone, line_of
from tests.offload.random_problems import every_placement

LINK = Link(uplink_bps=8e6, downlink_bps=40e6, rtt_s=0.02)
POWER = Power(4.0, 1.5, 0.28, 0.13, 0.14, 0.13, source="made up")


def random_costs(rng: np.random.Generator, pieces: int) -> Costs:
    """A chain with skips, every value in two codecs each way."""
    values = []
    for producer in range(DEVICE, pieces):
        later = [c for c in range(producer + 1, pieces) if c == producer + 1 or rng.random() < 0.3]
        size = float(rng.gamma(1.0, 4e5))
        raw, coded = CodedAs("raw", 0.0, 0.0, size), CodedAs("q8", 2e-3, 1e-3, size / 5)
        values.append(ValueCosts(f"v{producer}", producer, tuple(later), (raw, coded), (raw,), not later))
    device = tuple(float(x) for x in rng.gamma(1.0, 0.02, pieces))
    server = tuple(float(x) for x in rng.gamma(1.0, 0.004, pieces))
    return Costs(tuple(f"n{i}" for i in range(pieces)), device, server, tuple(values), tuple(range(100, 100 + pieces)))


def every_choice(problem: Problem) -> Iterator[Line]:
    """Every monotone placement with every choice of ways."""
    for sides in every_placement(problem):
        line = line_of(problem, sides, 1e-7) if is_monotone(problem, sides) else None
        if line is None:
            continue
        ways = [
            range(len(problem.tensors[c.tensor].up if c.up else problem.tensors[c.tensor].down)) for c in line.crossings
        ]
        for chosen in itertools.product(*ways):
            crossings = tuple(Crossing(c.tensor, c.up, way) for c, way in zip(line.crossings, chosen, strict=True))
            yield Line(0.0, 0.0, sides, crossings)


@pytest.mark.parametrize(("slow_down", "device_scale"), [(1.0, 1.0), (3.0, 1.4)])
def test_a_placements_price_is_what_the_problem_says_in_both_units(slow_down: float, device_scale: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        costs = random_costs(rng, 5)
        seconds = latency_problem(costs, LINK, slow_down, device_scale)
        joules = energy_problem(costs, LINK, POWER, slow_down, device_scale)
        x = 1 / LINK.uplink_bps
        for problem in (seconds, joules):
            line = CutSolver(problem).best(x)
            found = price(costs, line, LINK, POWER, slow_down, device_scale)
            assert (found.latency_s if problem is seconds else found.energy_j) == pytest.approx(line.at(x))


def test_a_price_says_where_the_time_goes() -> None:
    values = (
        ValueCosts("in", DEVICE, (0,), (CodedAs("raw", 0.0, 0.0, 8e6),)),
        ValueCosts("mid", 0, (1,), (CodedAs("q8", 0.001, 0.002, 8e5),)),
        ValueCosts("out", 1, (), (), (CodedAs("raw", 0.0, 0.0, 4e5),), needed_on_device=True),
    )
    costs = Costs(("a", "b"), (0.05, 0.5), (0.01, 0.03), values, (1000, 2000), request_s=0.004)
    check(costs)
    line = CutSolver(latency_problem(costs, LINK)).best(1 / LINK.uplink_bps)
    assert list(line.sides) == [False, True]
    found = price(costs, line, LINK)
    assert found == Price(
        latency_s=pytest.approx(0.05 + 0.03 + 0.003 + 0.024 + 0.1 + 0.01),
        device_s=0.05, server_s=0.03, codec_s=pytest.approx(0.003), network_s=pytest.approx(0.134),
        up_bits=8e5, down_bits=4e5, device_weight_bytes=1000, server_weight_bytes=2000, energy_j=None,
    )  # fmt: skip


def test_the_radios_energy_has_a_part_that_does_not_depend_on_the_bandwidth() -> None:
    """P = alpha * throughput + beta: a bit costs alpha once, and beta for as long as it takes."""
    value = ValueCosts("in", DEVICE, (0,), (CodedAs("raw", 0.0, 0.0, 1e6),))
    costs = Costs(("a",), (9.0,), (0.0,), (value,))
    power = Power(1.0, 0.0, send_alpha_w_per_mbps=0.3, send_beta_w=0.2)
    for rate in (1e6, 1e7):
        link = Link(rate, rate, 0.0)
        line = CutSolver(energy_problem(costs, link, power)).best(1 / rate)
        assert line.sides.all()
        assert price(costs, line, link, power).energy_j == pytest.approx(0.3 + 0.2 * 1e6 / rate)


def test_the_least_energy_within_a_deadline_is_bounded_and_kept() -> None:
    rng, proven, x = np.random.default_rng(4), 0, 1 / LINK.uplink_bps
    for _ in range(25):
        costs = random_costs(rng, 4)
        joules, seconds = energy_problem(costs, LINK, POWER), latency_problem(costs, LINK)
        prices = [price(costs, line, LINK, POWER) for line in every_choice(seconds)]
        latencies = sorted(found.latency_s for found in prices)
        for limit in (latencies[0] * 1.0001, latencies[len(latencies) // 3]):
            best = least_within(joules, seconds, limit, x)
            assert best is not None
            want = min(found.energy_j for found in prices if found.latency_s <= limit and found.energy_j is not None)
            assert best.aims[1] <= limit * (1 + 1e-9)
            assert best.bound <= want * (1 + 1e-6)
            assert best.value >= want * (1 - 1e-6)
            if best.is_optimal:
                assert best.value == pytest.approx(want)
                proven += 1
        assert least_within(joules, seconds, latencies[0] * 0.999, x) is None
    assert proven > 10


def test_a_pipelines_bottleneck_is_bounded() -> None:
    rng, close, x = np.random.default_rng(8), 0, 1 / LINK.uplink_bps
    for _ in range(25):
        costs = random_costs(rng, 4)
        whole = latency_problem(costs, LINK)
        stages = pipeline_stages(costs, LINK)
        want = min(
            max(found.device_s, found.server_s, found.up_bits * x + found.down_bits / LINK.downlink_bps)
            for found in (price(costs, line, LINK) for line in every_choice(whole))
        )
        best = smallest_bottleneck(stages, x)
        assert best.value == pytest.approx(max(best.aims))
        assert best.bound <= want * (1 + 1e-9) <= best.value * (1 + 1e-6)
        close += best.value <= want * 1.05
    assert close >= 20


def pipeline_stages(costs: Costs, link: Link) -> list[Problem]:
    """Device, network and server as problems of their own, coding left out."""
    nothing = np.zeros(len(costs.pieces))

    def tensors(priced: bool) -> tuple[Tensor, ...]:
        def ways(codecs: tuple[CodedAs, ...]) -> tuple[Way, ...]:
            return tuple(Way(coded.codec, 0.0, coded.bits if priced else 0.0) for coded in codecs)

        return tuple(
            Tensor(v.name, v.producer, v.consumers, ways(v.up), ways(v.down), v.needed_on_device) for v in costs.values
        )

    return [
        Problem(np.array(costs.device_s), nothing, tensors(False)),
        Problem(nothing, nothing, tensors(True), down_s_per_bit=1 / link.downlink_bps),
        Problem(nothing, np.array(costs.server_s), tensors(False)),
    ]


def test_aims_about_different_graphs_are_refused() -> None:
    one, other = (latency_problem(random_costs(np.random.default_rng(seed), 4), LINK) for seed in (1, 2))
    with pytest.raises(ProblemError, match="not about one graph"):
        least_within(one, other, 1.0, 1.0)


@pytest.mark.parametrize("rates", [(0.0, 1.0, 0.1), (1.0, -1.0, 0.1), (1.0, 1.0, -0.1), (float("nan"), 1.0, 0.1)])
def test_an_impossible_link_is_refused(rates: tuple[float, float, float]) -> None:
    with pytest.raises(ProblemError, match="no link has"):
        Link(*rates)
