"""The placements worth telling about: the best, what else there is, and what would have to change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from offload.plan.costs import Costs, Link, Power, Price, latency_problem, price
from offload.plan.envelope import Envelope
from offload.plan.problem import Line, Problem, line_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEVICE_ONLY, SERVER_ONLY, SPLIT = "device", "server", "split"
EQUAL = 1e-9


@dataclass(frozen=True)
class Candidate:
    """One placement with its price on one link. ``label``: "device", "server" or "split"."""

    label: str
    line: Line
    price: Price


@dataclass(frozen=True)
class Change:
    """Another placement wins from ``at`` on: of "uplink_bps", "slow_down" or "device_scale", rising or falling."""

    quantity: str
    at: float
    rising: bool
    winner: str


def label_of(line: Line) -> str:
    """In one word where a placement runs."""
    if not line.sides.any():
        return DEVICE_ONLY
    return SERVER_ONLY if line.sides.all() else SPLIT


def ends(problem: Problem, x: float) -> list[Line]:
    """All on the device and all on the server, as far as the pins allow: always among the candidates."""
    import numpy as np

    found = []
    for there, forbidden in ((False, problem.on_server), (True, problem.on_device)):
        if not forbidden:
            line = line_of(problem, np.full(problem.pieces, there), x)
            found += [line] if line is not None else []
    return found


def best_cut(problem: Problem, x: float) -> Line | None:
    """The best of the placements that change sides once and for good; None where the pins allow none.

    It is what a split would cost where none is best, so that it can be measured beside those that are.
    """
    import numpy as np

    order = np.arange(problem.pieces)
    first = max((index + 1 for index in problem.on_device), default=1)
    last = min(problem.on_server, default=problem.pieces - 1)
    found = [line_of(problem, order >= cut, x) for cut in range(max(first, 1), min(last, problem.pieces - 1) + 1)]
    return min((line for line in found if line is not None), key=lambda line: line.at(x), default=None)


def candidates(
    costs: Costs, lines: Iterable[Line], link: Link, power: Power | None = None, slow_down: float = 1.0
) -> list[Candidate]:
    """Each placement once, with the codecs that are fastest on this link, the fastest first.

    All on the device and all on the server are added where the pins allow them.
    """
    problem = latency_problem(costs, link, slow_down)
    x = 1.0 / link.uplink_bps
    found: dict[bytes, Candidate] = {}
    for line in (*lines, *ends(problem, x)):
        key = line.sides.tobytes()
        here = line_of(problem, line.sides, x) if key not in found else None
        if here is not None:
            found[key] = Candidate(label_of(here), here, price(costs, here, link, power, slow_down))
    return sorted(found.values(), key=lambda candidate: candidate.price.latency_s)


def pareto(found: Sequence[Candidate]) -> list[Candidate]:
    """Those that no other beats at once in latency, bits sent and energy (without a power profile: device time)."""

    def figures(candidate: Candidate) -> tuple[float, float, float]:
        own = candidate.price
        energy = own.energy_j if own.energy_j is not None else own.device_s
        return own.latency_s, energy, own.up_bits + own.down_bits

    def beaten(mine: tuple[float, ...], theirs: tuple[float, ...]) -> bool:
        return theirs != mine and all(their <= my * (1 + EQUAL) for my, their in zip(mine, theirs, strict=True))

    told = [figures(candidate) for candidate in found]
    return [c for c, mine in zip(found, told, strict=True) if not any(beaten(mine, theirs) for theirs in told)]


def bandwidth_changes(found: Envelope, uplink_bps: float) -> list[Change]:
    """The nearest bandwidths below and above this one from which on another placement is best (at most one each)."""
    x = 1.0 / uplink_bps
    changes = []
    for bound, (faster, slower) in zip(found.bounds[1:], pairwise(found.lines), strict=False):
        if not same_sides(faster, slower):
            changes.append((bound, slower, faster))
    below = [(bound, slower) for bound, slower, _ in changes if bound > x]
    above = [(bound, faster) for bound, _, faster in changes if bound <= x]
    told = []
    if below:
        bound, line = min(below, key=lambda change: change[0])
        told.append(Change("uplink_bps", 1.0 / bound, False, label_of(line)))
    if above:
        bound, line = max(above, key=lambda change: change[0])
        told.append(Change("uplink_bps", 1.0 / bound, True, label_of(line)))
    return told


def scale_changes(costs: Costs, found: Sequence[Candidate], link: Link) -> list[Change]:
    """From which slow-down of the server on, and from which of the device on, another candidate is faster.

    Latency is linear in both factors, so the crossing with each other candidate is exact; of all the nearest is told.
    """
    if len(found) < 2:
        return []
    best, told = found[0], []
    for quantity in ("slow_down", "device_scale"):
        crossings = []
        for other in found[1:]:
            at = _crossing(_over(costs, best.line, link, quantity), _over(costs, other.line, link, quantity))
            if at is not None:
                crossings.append((at, other))
        if crossings:
            at, other = min(crossings, key=lambda crossing: crossing[0])
            told.append(Change(quantity, at, True, other.label))
    return told


def _over(costs: Costs, line: Line, link: Link, quantity: str) -> tuple[float, float]:
    """(latency at factor 0, its slope) of a placement over one of the two factors, codecs as they are."""
    one = price(costs, line, link, None, **{quantity: 1.0}).latency_s
    two = price(costs, line, link, None, **{quantity: 2.0}).latency_s
    return 2 * one - two, two - one


def _crossing(mine: tuple[float, float], theirs: tuple[float, float]) -> float | None:
    """The factor above 1 at which the other becomes as fast; None when it never does."""
    if theirs[1] >= mine[1]:
        return None
    at = (theirs[0] - mine[0]) / (mine[1] - theirs[1])
    return at if at > 1 else None


def same_sides(one: Line, other: Line) -> bool:
    """Whether two lines are one placement (perhaps with other codecs)."""
    sides: NDArray[np.bool_] = one.sides
    return bool((sides == other.sides).all())
