"""What a plan is to make small or large, within which limits: latency, energy, a weighted sum of both, throughput.

Latency, energy and their weighted sum are minimum cuts, so without limits the placement is the optimum. A limit
(deadline, memory at either end) and throughput are none: placements are collected from the weightings of aim and limit
(offload/plan/frontier.py) and from all cuts of the chain of pieces; what is given is the best of those that keeps every
limit, with a bound below which nothing can lie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from offload.plan.candidates import ends
from offload.plan.costs import CodedAs, Costs, Link, Power, Price, energy_problem, latency_problem, price
from offload.plan.frontier import Best, least_within, smallest_bottleneck
from offload.plan.mincut import CutSolver
from offload.plan.problem import Line, Problem, ProblemError, Tensor, Way, line_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LATENCY, ENERGY, WEIGHTED, THROUGHPUT = "latency", "energy", "weighted", "throughput"
OBJECTIVES = (LATENCY, ENERGY, WEIGHTED, THROUGHPUT)
CHAIN = 400  # of the chain's cuts so many are tried at most, evenly spread


@dataclass(frozen=True)
class Aim:
    """``latency_weight`` per second and ``energy_weight`` per joule are of "weighted". Limits: seconds of one frame,
    and bytes of weights at each end; None: there is none.
    """

    objective: str = LATENCY
    latency_weight: float = 1.0
    energy_weight: float = 1.0
    deadline_s: float | None = None
    device_memory_bytes: int | None = None
    server_memory_bytes: int | None = None

    @property
    def unit(self) -> str:
        """Of the value: "s", "J", "" for a weighted sum; of throughput the seconds between two frames."""
        return {ENERGY: "J", WEIGHTED: ""}.get(self.objective, "s")

    @property
    def is_plain(self) -> bool:
        """Whether it is the latency without any limit."""
        return self == Aim(latency_weight=self.latency_weight, energy_weight=self.energy_weight)

    def keeps(self, found: Price) -> bool:
        """Whether a placement keeps every limit."""
        limits = (
            (found.latency_s, self.deadline_s),
            (found.device_weight_bytes, self.device_memory_bytes),
            (found.server_weight_bytes, self.server_memory_bytes),
        )
        return all(limit is None or value <= limit * (1 + 1e-9) for value, limit in limits)


@dataclass(frozen=True)
class Aimed:
    """The best placement that was found for an aim; nothing that keeps the limits has a value below ``bound``.

    ``line``: its sides and crossings; its figures are those of the problem that found it.
    """

    aim: Aim
    line: Line
    price: Price
    value: float
    bound: float

    @property
    def is_optimal(self) -> bool:
        """Whether the bound proves it, to within a millionth."""
        return self.value <= self.bound * (1 + 1e-6) + 1e-12


def aimed(costs: Costs, link: Link, power: Power | None, aim: Aim, *, bidirectional: bool = False) -> Aimed | None:
    """The best placement for an aim on one link; None when none that was found keeps the limits.

    ProblemError when the energy is asked for and the power is not known.
    """
    value = _valued(costs, link, power, aim)
    pool, bound = _pool(costs, link, power, aim, bidirectional)
    best: Aimed | None = None
    for line in pool:
        found = price(costs, line, link, power)
        if aim.keeps(found) and (best is None or value(line, found) < best.value):
            best = Aimed(aim, line, found, value(line, found), 0.0)
    if best is None:
        return None
    return replace(best, bound=min(bound, best.value))


def _valued(costs: Costs, link: Link, power: Power | None, aim: Aim) -> Callable[[Line, Price], float]:
    def value(line: Line, found: Price) -> float:
        if aim.objective == LATENCY:
            return found.latency_s
        if aim.objective == THROUGHPUT:
            return max(_busy_s(costs, line, link))
        assert found.energy_j is not None  # _problem has refused an unknown power
        if aim.objective == ENERGY:
            return found.energy_j
        return aim.latency_weight * found.latency_s + aim.energy_weight * found.energy_j

    return value


def _pool(costs: Costs, link: Link, power: Power | None, aim: Aim, bidirectional: bool) -> tuple[list[Line], float]:
    """Placements to choose from, and the bound on what any of them can reach."""
    x, latency = 1.0 / link.uplink_bps, latency_problem(costs, link)
    pool = [*ends(latency, x), *_chain(latency, x)]
    if aim.objective == THROUGHPUT:
        found = smallest_bottleneck(stages(costs, link), x, bidirectional=bidirectional)
        main, bound = latency, found.bound
        pool.append(found.line)
    else:
        main = _problem(costs, link, power, aim)
        best = CutSolver(main, bidirectional=bidirectional).best(x)
        bound = best.at(x)
        pool.append(best)
    for limited, limit in _limits(costs, link, aim):
        within: Best | None = least_within(main, limited, limit, x, bidirectional=bidirectional)
        if within is None:
            return [], bound
        pool.append(within.line)
        if aim.objective != THROUGHPUT:
            bound = max(bound, within.bound)
    return pool, bound


def _problem(costs: Costs, link: Link, power: Power | None, aim: Aim) -> Problem:
    """The aim as a problem of minimum cut."""
    if aim.objective == LATENCY:
        return latency_problem(costs, link)
    if power is None:
        raise ProblemError("the device's power is not known, so its energy is not")
    if aim.objective == ENERGY:
        return energy_problem(costs, link, power)
    # A weighted sum of seconds and joules is energy at other watts: each is weight_s + weight_j * watts.
    seconds, joules = aim.latency_weight, aim.energy_weight
    return energy_problem(
        costs,
        link,
        Power(
            seconds + joules * power.busy_w,
            seconds + joules * power.idle_w,
            joules * power.send_alpha_w_per_mbps,
            joules * power.send_beta_w,
            joules * power.receive_alpha_w_per_mbps,
            joules * power.receive_beta_w,
        ),
    )


def _limits(costs: Costs, link: Link, aim: Aim) -> Iterator[tuple[Problem, float]]:
    if aim.deadline_s is not None:
        yield latency_problem(costs, link), aim.deadline_s
    for there, limit in ((False, aim.device_memory_bytes), (True, aim.server_memory_bytes)):
        if limit is not None:
            yield _weights(costs, there), float(limit)


def _weights(costs: Costs, there: bool) -> Problem:
    """The problem whose cost is the bytes of weights on one side."""
    import numpy as np

    if not costs.weight_bytes:
        raise ProblemError("the size of the pieces' weights is not known, so memory cannot be limited")
    weights, nothing = np.array(costs.weight_bytes, dtype=float), np.zeros(len(costs.pieces))
    return _of(costs, nothing if there else weights, weights if there else nothing, lambda *_: (0.0, 0.0))


def stages(costs: Costs, link: Link) -> list[Problem]:
    """Device, network and server as problems of their own: what each does for one frame, coding included.

    Round trips and waiting are left out, since in a pipeline other frames are under way meanwhile.
    """
    import numpy as np

    nothing = np.zeros(len(costs.pieces))
    device, server = np.array(costs.device_s, dtype=float), np.array(costs.server_s, dtype=float)
    return [
        _of(costs, device, nothing, lambda encode_s, decode_s, up, bits: (encode_s if up else decode_s, 0.0)),
        _of(costs, nothing, nothing, lambda encode_s, decode_s, up, bits: (0.0, bits), 1.0 / link.downlink_bps),
        _of(costs, nothing, server, lambda encode_s, decode_s, up, bits: (decode_s if up else encode_s, 0.0)),
    ]


def _of(
    costs: Costs,
    device: NDArray[np.float64],
    server: NDArray[np.float64],
    way: Callable[[float, float, bool, float], tuple[float, float]],
    down_s_per_bit: float = 0.0,
) -> Problem:
    """A problem on this model; ``way``: (fixed, bits) of a codec from its encode_s, decode_s, whether up, and bits."""

    def ways(coded: tuple[CodedAs, ...], up: bool) -> tuple[Way, ...]:
        return tuple(Way(c.codec, *way(c.encode_s, c.decode_s, up, c.bits)) for c in coded)

    tensors = tuple(
        Tensor(v.name, v.producer, v.consumers, ways(v.up, True), ways(v.down, False), v.needed_on_device)
        for v in costs.values
    )
    return Problem(
        device, server, tensors, costs.on_device, costs.on_server, down_s_per_bit=down_s_per_bit, names=costs.pieces
    )  # fmt: skip


def _busy_s(costs: Costs, line: Line, link: Link) -> tuple[float, float, float]:
    """Seconds that device, network and server are busy with one frame."""
    device_s = sum(s for s, there in zip(costs.device_s, line.sides, strict=True) if not there)
    server_s = sum(s for s, there in zip(costs.server_s, line.sides, strict=True) if there)
    network_s = 0.0
    for crossing in line.crossings:
        value = costs.values[crossing.tensor]
        way = (value.up if crossing.up else value.down)[crossing.way]
        device_s += way.encode_s if crossing.up else way.decode_s
        server_s += way.decode_s if crossing.up else way.encode_s
        network_s += way.bits / (link.uplink_bps if crossing.up else link.downlink_bps)
    return device_s, network_s, server_s


def _chain(problem: Problem, x: float) -> Iterator[Line]:
    """The placements that change sides once along the order of the pieces."""
    import numpy as np

    order = np.arange(problem.pieces)
    first = max((index + 1 for index in problem.on_device), default=0)
    last = min(problem.on_server, default=problem.pieces)
    step = max((last - first) // CHAIN, 1)
    for cut in range(first, last + 1, step):
        line = line_of(problem, order >= cut, x)
        if line is not None:
            yield line
