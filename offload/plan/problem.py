"""A placement problem: pieces of a model with a cost on each side, and tensors with a cost for each way of crossing.

Costs are in one unit, that of the objective: seconds for latency, joules for energy, or a weighted sum of both. What
depends on the link is linear in ``x = 1 / uplink bandwidth``: cost(x) = fixed + per_bit * bits * x.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Sides = NDArray[np.bool_]  # True: the piece runs on the server

DEVICE = -1  # the producer of a model's inputs: they are made on the device


class ProblemError(ValueError):
    """The problem contradicts itself; the message names the piece or tensor."""


@dataclass(frozen=True)
class Way:
    """One way in which a tensor crosses the link: its codec, what coding and decoding cost, and the bits sent.

    ``fixed`` is in the objective's unit; ``bits`` is what goes over the link, framing included.
    """

    codec: str
    fixed: float
    bits: float


@dataclass(frozen=True)
class Tensor:
    """A value between pieces. ``producer``: a piece's index, or DEVICE for an input of the model.

    ``needed_on_device``: it is an output that the device must have. ``up`` and ``down``: the ways in which it may
    cross, of which the cheapest is taken; without any it must not cross.
    """

    name: str
    producer: int
    consumers: tuple[int, ...]
    up: tuple[Way, ...] = ()
    down: tuple[Way, ...] = ()
    needed_on_device: bool = False


@dataclass(frozen=True)
class Problem:
    """Pieces in topological order with their cost on each side, and the tensors between them.

    ``device`` and ``server``: cost of each piece. ``on_device`` and ``on_server``: pieces pinned there.
    ``up_per_bit``: what a bit on the uplink costs for each second that it takes (1 for latency, watts for energy).
    ``down_ratio``: seconds of a downlink bit per second of an uplink bit, when the downlink follows the uplink;
    ``down_s_per_bit``: its own time per bit where it does not (then ``down_ratio`` is 0).
    ``request``: the cost of using the server at all, in each request (round trip, framing).
    """

    device: Floats
    server: Floats
    tensors: tuple[Tensor, ...]
    on_device: frozenset[int] = frozenset()
    on_server: frozenset[int] = frozenset()
    up_per_bit: float = 1.0
    down_per_bit: float = 1.0
    down_ratio: float = 0.0
    down_s_per_bit: float = 0.0
    request: float = 0.0
    names: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        check(self)

    @property
    def pieces(self) -> int:
        """How many pieces there are."""
        return len(self.device)


@dataclass(frozen=True)
class Crossing:
    """A tensor that crosses: its index, whether up or down, and which of its ways is taken."""

    tensor: int
    up: bool
    way: int


@dataclass(frozen=True)
class Line:
    """The cost of one placement with one choice of ways, over x = 1 / uplink bandwidth: ``fixed + slope * x``."""

    fixed: float
    slope: float
    sides: Sides = field(compare=False, repr=False)
    crossings: tuple[Crossing, ...] = field(compare=False, default=())

    def at(self, x: float) -> float:
        """The cost at x seconds per uplink bit."""
        return self.fixed + self.slope * x if self.slope else self.fixed


def check(problem: Problem) -> None:
    """Nothing. ProblemError when lengths, indices or costs make no sense."""
    import numpy as np

    count = len(problem.device)
    for name, costs in (("device", problem.device), ("server", problem.server)):
        if costs.shape != (count,) or not bool(np.all(np.isfinite(costs)) and np.all(costs >= 0)):
            raise ProblemError(f"{name}: {count} finite costs of at least 0 are wanted, one for each piece")
    both = problem.on_device & problem.on_server
    if both:
        raise ProblemError(f"piece {min(both)} is pinned to both sides")
    for index in problem.on_device | problem.on_server:
        if not 0 <= index < count:
            raise ProblemError(f"piece {index} is pinned, but there are {count}")
    for tensor in problem.tensors:
        _check_tensor(tensor, count)


def _check_tensor(tensor: Tensor, count: int) -> None:
    if not DEVICE <= tensor.producer < count:
        raise ProblemError(f"tensor {tensor.name}: its producer {tensor.producer} does not exist")
    for consumer in tensor.consumers:
        # The order of pieces is the proof that there is no cycle.
        if not tensor.producer < consumer < count:
            raise ProblemError(f"tensor {tensor.name}: its consumer {consumer} does not come after its producer")
    for way in (*tensor.up, *tensor.down):
        if not (way.fixed >= 0 and way.bits >= 0):
            raise ProblemError(f"tensor {tensor.name}: codec {way.codec} has a negative cost")


def line_of(problem: Problem, sides: Sides, x: float) -> Line | None:
    """The cost of a placement as a line over x, each crossing tensor taking the way that is cheapest at ``x``.

    None when a tensor would have to cross that has no way. The cost of a request is part of it as soon as a piece
    runs on the server.
    """
    fixed = float(problem.device[~sides].sum() + problem.server[sides].sum())
    slope = 0.0
    crossings = []
    if sides.any():
        fixed += problem.request
    for index, tensor in enumerate(problem.tensors):
        for up in _directions(tensor, sides):
            ways = tensor.up if up else tensor.down
            if not ways:
                return None
            costs = [way_line(problem, way, up) for way in ways]
            best = min(range(len(ways)), key=lambda i: costs[i][0] + costs[i][1] * x)
            fixed, slope = fixed + costs[best][0], slope + costs[best][1]
            crossings.append(Crossing(index, up, best))
    return Line(fixed, slope, sides.copy(), tuple(crossings))


def _directions(tensor: Tensor, sides: Sides) -> list[bool]:
    """The ways it goes: [True] up, [False] down, [] when everybody who needs it is where it is made."""
    made_on_server = tensor.producer != DEVICE and bool(sides[tensor.producer])
    if made_on_server:
        wanted = tensor.needed_on_device or any(not sides[consumer] for consumer in tensor.consumers)
        return [False] if wanted else []
    return [True] if any(sides[consumer] for consumer in tensor.consumers) else []


def way_line(problem: Problem, way: Way, up: bool) -> tuple[float, float]:
    """(fixed, slope over x) of a tensor's crossing in this way."""
    if up:
        return way.fixed, problem.up_per_bit * way.bits
    return (
        way.fixed + problem.down_per_bit * way.bits * problem.down_s_per_bit,
        problem.down_per_bit * way.bits * problem.down_ratio,
    )


def all_on_device(problem: Problem) -> Line | None:
    """The placement with everything on the device; None when a piece is pinned to the server."""
    import numpy as np

    if problem.on_server:
        return None
    return line_of(problem, np.zeros(problem.pieces, dtype=bool), 0.0)


def is_monotone(problem: Problem, sides: Sides) -> bool:
    """True when nothing that is made on the server is consumed by a piece on the device."""
    return not any(
        tensor.producer != DEVICE
        and sides[tensor.producer]
        and any(not sides[consumer] for consumer in tensor.consumers)
        for tensor in problem.tensors
    )


def describe(problem: Problem, line: Line) -> dict[str, Any]:
    """{server: [piece...], up: [{tensor, codec, bits}], down: [...], fixed, slope}: a placement in words."""

    def told(crossing: Crossing) -> dict[str, Any]:
        tensor = problem.tensors[crossing.tensor]
        way = (tensor.up if crossing.up else tensor.down)[crossing.way]
        return {"tensor": tensor.name, "codec": way.codec, "bits": way.bits}

    names: Sequence[str] = problem.names or [str(index) for index in range(problem.pieces)]
    return {
        "server": [names[index] for index in range(problem.pieces) if line.sides[index]],
        "up": [told(crossing) for crossing in line.crossings if crossing.up],
        "down": [told(crossing) for crossing in line.crossings if not crossing.up],
        "fixed": line.fixed,
        "slope": line.slope,
    }
