"""All optimal placements over the whole range of uplink bandwidth, so that planning anew is a look-up.

The cost of one placement with one choice of codecs is linear in x = 1 / bandwidth, so the cost of the best one is the
lower envelope of lines: concave and piecewise linear. It is found by the method of Eisner and Severance (Mathematical
techniques for efficient record segmentation in large shared databases, JACM 23(4), 1976): take the best lines at both
ends of an interval; where they cross, ask for the best line again; none better there proves the two sufficient.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from offload.plan.mincut import CutSolver
from offload.plan.problem import Line, Problem

# Two placements whose costs differ by less than this share are one: the maximum flow works on whole numbers.
_EQUAL = 1e-9
MAX_PIECES = 10_000  # of the envelope; each costs a maximum flow


class EnvelopeError(RuntimeError):
    """The envelope has more pieces than can be kept."""


@dataclass(frozen=True)
class Envelope:
    """``lines[i]`` is the best from ``bounds[i]`` to ``bounds[i + 1]`` seconds per uplink bit.

    ``bounds`` has one more entry than ``lines`` and rises; slopes fall: the slower the link, the less crosses it.
    ``solved``: how many maximum flows it took.
    """

    bounds: tuple[float, ...]
    lines: tuple[Line, ...]
    solved: int

    def at(self, x: float) -> Line:
        """The best placement at x; outside of the range that of its nearer end."""
        return self.lines[min(max(bisect_right(self.bounds, x) - 1, 0), len(self.lines) - 1)]


def envelope(problem: Problem, slowest_bps: float, fastest_bps: float, *, bidirectional: bool = False) -> Envelope:
    """The best placements from ``slowest_bps`` to ``fastest_bps`` (bits per second, uplink)."""
    if not 0 < slowest_bps <= fastest_bps:
        raise ValueError(f"bandwidths from {slowest_bps} to {fastest_bps}: they must be above 0 and in order")
    solver = CutSolver(problem, bidirectional=bidirectional)
    return lower_envelope(solver.best, 1.0 / fastest_bps, 1.0 / slowest_bps)


def lower_envelope(best: Callable[[float], Line], low: float, high: float) -> Envelope:
    """The envelope of whatever lines ``best`` gives, each the lowest at the x that it is asked for."""
    asked: dict[float, Line] = {}

    def ask(x: float) -> Line:
        if x not in asked:
            if len(asked) > MAX_PIECES:
                raise EnvelopeError(f"more than {MAX_PIECES} placements are optimal somewhere between the bandwidths")
            asked[x] = best(x)
        return asked[x]

    found: list[Line] = [ask(low)]
    # Intervals still to be looked at, the leftmost last; explicit, because there may be thousands.
    left = [(low, high, ask(low), ask(high))]
    while left:
        start, end, first, last = left.pop()
        cross = _crossing(first, last, start, end)
        if cross is None:
            found.append(last)
            continue
        between = ask(cross)
        if between.at(cross) >= first.at(cross) * (1 - _EQUAL) - 1e-300:
            found.append(last)
            continue
        left.append((cross, end, between, last))
        left.append((start, cross, first, between))
    lines = _lowest(found, low, high)
    bounds = [low, *(_meet(a, b) for a, b in pairwise(lines)), high]
    return Envelope(tuple(bounds), tuple(lines), len(asked))


def _crossing(first: Line, last: Line, start: float, end: float) -> float | None:
    """Where the two lines meet strictly inside the interval; None where they do not."""
    if first.slope <= last.slope:
        return None
    cross = _meet(first, last)
    return cross if start < cross < end else None


def _meet(first: Line, last: Line) -> float:
    return (last.fixed - first.fixed) / (first.slope - last.slope)


def _lowest(found: Sequence[Line], low: float, high: float) -> list[Line]:
    """The lines that are lowest somewhere in the range, from the steepest to the flattest."""
    kept: list[Line] = []
    for line in sorted(found, key=lambda line: (-line.slope, line.fixed)):
        if kept and kept[-1].slope == line.slope:
            continue
        while kept and _hidden(kept, line, low):
            kept.pop()
        kept.append(line)
    while len(kept) > 1 and _meet(kept[-2], kept[-1]) >= high:
        kept.pop()
    return kept


def _hidden(kept: list[Line], line: Line, low: float) -> bool:
    """Whether the last of ``kept`` is nowhere below both its predecessor and ``line`` (from ``low`` on)."""
    until = _meet(kept[-1], line)
    since = _meet(kept[-2], kept[-1]) if len(kept) > 1 else low
    return until <= since
