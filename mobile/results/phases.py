"""Where in the inferences the readings of a sensor fell: readings in step with the inferences see only a part of each.

A loop of inferences makes the power periodic. Readings spread evenly over the cycle, as chance spreads them, give its
mean; readings that always fall at the same place of it do not, and nothing in their values shows it. The invocations'
own times do.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from mobile.results.window import Window


class Phases(NamedTuple):
    """``cycle_s``: mean time from one start to the next. ``busy_share``: of the window, inside inferences.

    ``readings`` were compared, ``busy_readings`` of them fell inside inferences. ``unevenness`` is Kuiper's statistic
    of their places in the cycle (0..1: 0 even, 1 all at one place), ``unseen`` the largest part of the cycle in which
    none fell; of both the part that is more than chance does.
    """

    cycle_s: float
    busy_share: float
    readings: int
    busy_readings: int
    unevenness: float
    unseen: float


def phases(t_ns: Sequence[int], window: Window, start_ns: Sequence[int], duration_ns: Sequence[int]) -> Phases | None:
    """The places of the readings at ``t_ns`` in the cycles from ``start_ns`` on; None for fewer than two of either.

    Kuiper's statistic V of n random places has the mean sqrt(pi / 2 n) (N. H. Kuiper, Proc. K. Ned. Akad. Wet. A 63,
    1960). It bounds the error of a mean over them: |error| <= V times half of the total variation of the power over a
    cycle (Koksma's inequality on the circle; Kuipers and Niederreiter, Uniform Distribution of Sequences, 1974,
    ch. 2.5), which for one rise and one fall is its range. The largest gap between n random places is about ln(n) / n,
    and rarely twice that.
    """
    if len(start_ns) < 2:
        return None
    ends = [*start_ns[1:], window.end_ns]
    places, busy = [], 0
    for t in t_ns:
        if not start_ns[0] <= t < window.end_ns:
            continue
        cycle = bisect_right(start_ns, t) - 1
        into, length = t - start_ns[cycle], ends[cycle] - start_ns[cycle]
        places.append(min(into / length, 1.0) if length > 0 else 0.0)
        busy += into < duration_ns[cycle]
    if len(places) < 2:
        return None
    count = len(places)
    places.sort()
    above = max((i + 1) / count - place for i, place in enumerate(places))
    below = max(place - i / count for i, place in enumerate(places))
    gaps = [right - left for left, right in pairwise(places)]
    largest_gap = max(*gaps, 1.0 - places[-1] + places[0])
    return Phases(
        (window.end_ns - start_ns[0]) / len(start_ns) / 1e9,
        min(1.0, sum(duration_ns) / (window.end_ns - window.start_ns)),
        count,
        busy,
        max(0.0, above + below - math.sqrt(math.pi / 2 / count)),
        max(0.0, largest_gap - 2 * math.log(count) / count),
    )
