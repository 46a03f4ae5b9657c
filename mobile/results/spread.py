"""How much the energy of an inference differs from one part of a run to the next: a part of its uncertainty.

The energy of a window is what flowed in it, however unevenly. The energy of *an inference* is to hold for other
inferences of that model, too, and of that the run has only seen some. The window is cut into equal parts; the scatter
of their joules per inference, less what the readings of so short a part scatter by themselves, is divided by the root
of their number (batch means, as in M. Alexopoulos and A. Seila, Handbook of Simulation, 1998, ch. 7). Parts this long
are nearly independent; a drift through the run shows as scatter, as it should. Few parts know their scatter badly: JCGM
101:2008, 6.4.9.4. What differs from launch to launch no single run shows: `edgewise compare` has it from several.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, variance
from typing import NamedTuple

from mobile.results.integrate import NoEnergyError
from mobile.results.measured import FEW_UPDATES, Measured, readings_of
from mobile.results.run import Run
from mobile.results.totals import Total
from mobile.results.window import Window

MOST, FEWEST = 10, 5  # parts of a window
READINGS = 5  # in each of them


class Spread(NamedTuple):
    """The parts of a window: ``per_inference_j`` of each; ``u_j``: the standard uncertainty by their scatter."""

    part_s: float
    per_inference_j: tuple[float, ...]
    u_j: float


def spread(run: Run, total: Total, whole: Measured, inferences: int, idle_w: float | None) -> Spread | None:
    """The spread of the joules per inference; None where the window is too short to be cut into FEWEST parts."""
    parts = min(MOST, whole.integral.readings // READINGS)
    if parts < FEWEST or inferences < parts:
        return None
    window = whole.window
    edges = [window.start_ns + (window.end_ns - window.start_ns) * place // parts for place in range(parts + 1)]
    counts = _counts(run, edges, inferences)
    found, own = [], []
    for (start_ns, end_ns), count in zip(pairwise(edges), counts, strict=True):
        try:
            part = readings_of(run, total, Window(start_ns, end_ns), idle_w, FEW_UPDATES)
        except NoEnergyError:
            return None
        if count <= 0:
            return None
        found.append(part.total_j / count)
        own.append(math.hypot(*(one.u_j for one in part.parts if one.kind != "systematic")) / count)
    between = max(0.0, variance(found) - fmean(u * u for u in own))
    few = math.sqrt((parts - 1) / (parts - 3))
    return Spread(whole.window.duration_s / parts, tuple(found), few * math.sqrt(between / parts))


def _counts(run: Run, edges: Sequence[int], inferences: int) -> list[float]:
    """How many inferences, and parts of one, fell between two edges; evenly where their times are not known."""
    measured = run.phase("measure")
    starts = measured.start_ns
    if len(starts) < 2:
        return [inferences / (len(edges) - 1)] * (len(edges) - 1)
    end_ns = starts[-1] + measured.duration_ns[-1]

    def before(t_ns: int) -> float:
        place = bisect_right(starts, t_ns) - 1
        if place < 0:
            return 0.0
        following = starts[place + 1] if place + 1 < len(starts) else end_ns
        length = following - starts[place]
        return place + (min(1.0, (t_ns - starts[place]) / length) if length > 0 else 1.0)

    return [before(right) - before(left) for left, right in pairwise(edges)]
