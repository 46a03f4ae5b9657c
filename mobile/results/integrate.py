"""The one integrator: a series and a window in, joules out, with what must be known to say how uncertain they are.

Pure functions. Cumulative counters by difference, wraps undone, a reset refused; power by the trapezoid rule over the
sampler's own timestamps; both interpolated at the window's ends. Every later feature that speaks of joules uses these.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from itertools import pairwise
from statistics import fmean, median
from typing import NamedTuple

from mobile.results.window import Series, Window

NS_PER_S = 1e9
GAP_FACTOR = 2.5  # an interval this much longer than the usual one is a gap: a tick was missed, or the sensor was away
RESET_FACTOR = 20.0  # a wrap that means this much more power than was seen anywhere else was a reset to 0
REPEATS = 1.5  # readings per new value from which on the source is slower than its sampler
ENDS = 3  # readings whose mean is the power at an end of the window
MIN_RUNS = 5  # so many changes of a value are needed to tell how often its source has a new one


class NoEnergyError(ValueError):
    """There is no energy figure; the message is the reason. ``needed_s``: how long to measure instead, where known."""

    def __init__(self, reason: str, needed_s: float | None = None) -> None:
        super().__init__(reason)
        self.needed_s = needed_s


class Edge(NamedTuple):
    """One end of the window, between a reading inside of it and one outside: what was spent there is interpolated.

    ``inside_s`` and ``outside_s`` are the two parts of that interval; ``swing_w`` is the range of the power around it.
    """

    inside_s: float
    outside_s: float
    swing_w: float


class Integral(NamedTuple):
    """Energy between the first and last moment of the window that the readings cover.

    ``readings`` lie inside the window. ``update_s``: how often the value was new, at best. ``spread_j2``: the sum of
    (P[i+1] - P[i])^2 / 2 times the squared interval, of power (see uncertainty.py). ``changes``: how often the value
    changed. ``low_w`` and ``high_w``: the range of the power, ``first_w`` and ``last_w``: at its ends. ``gap_s``: the
    lengths of the gaps. ``bound_j`` bounds the error of sampling alone, if power went one way between two readings.
    """

    energy_j: float
    covered_s: float
    readings: int
    update_s: float
    largest_gap_s: float
    gaps_s: list[float]
    edges: tuple[Edge, Edge]
    spread_j2: float
    changes: int
    low_w: float
    high_w: float
    first_w: float
    last_w: float
    std_w: float
    bound_j: float


def around(found: Series, window: Window, margin_ns: int) -> Series:
    """The readings inside the window and up to two on each side of it, no further away than ``margin_ns``.

    What comes twice or out of order is left out.
    """
    first, last = bisect_left(found.t_ns, window.start_ns), bisect_right(found.t_ns, window.end_ns)
    low = max(bisect_left(found.t_ns, window.start_ns - margin_ns), first - 2)
    high = min(bisect_right(found.t_ns, window.end_ns + margin_ns), last + 2)
    t_ns: list[int] = []
    values: list[float] = []
    for t, value in zip(found.t_ns[low:high], found.values[low:high], strict=True):
        if not t_ns or t > t_ns[-1]:
            t_ns.append(t)
            values.append(value)
    return Series(t_ns, values)


def trapezoid(found: Series, window: Window, update_s: float) -> Integral:
    """The integral of a power (W) over the window, by straight lines between readings."""
    start_ns, end_ns = _covered(found, window)
    inside = _inside(found, start_ns, end_ns)
    points = [(start_ns, value_at(found, start_ns)), *inside, (end_ns, value_at(found, end_ns))]
    energy_j = bound_j = 0.0
    for (left_t, left), (right_t, right) in pairwise(points):
        step_s = (right_t - left_t) / NS_PER_S
        energy_j += (left + right) / 2 * step_s
        bound_j += abs(right - left) / 2 * step_s
    usual_s = usual_interval_s(found)
    powers = [value for _, value in inside] or [value for _, value in points]
    spread_j2, gaps_s, changes = 0.0, [], 0
    for (left_t, left), (right_t, right) in pairwise(inside):
        step_s = (right_t - left_t) / NS_PER_S
        changes += left != right
        if step_s > GAP_FACTOR * usual_s:
            gaps_s.append(step_s)
        else:
            spread_j2 += (right - left) ** 2 / 2 * max(step_s, update_s) ** 2
    return Integral(
        energy_j, (end_ns - start_ns) / NS_PER_S, len(inside), update_s, _largest_s(inside), gaps_s,
        (_power_edge(found, start_ns, end=False), _power_edge(found, end_ns, end=True)),
        spread_j2, changes, min(powers), max(powers), fmean(powers[:ENDS]), fmean(powers[-ENDS:]),
        scatter(powers), bound_j,
    )  # fmt: skip


def difference(found: Series, window: Window, update_s: float, step_j: float) -> Integral:
    """The rise of a cumulative energy (J, already unwrapped) over the window; ``step_j`` is the counter's step."""
    start_ns, end_ns = _covered(found, window)
    inside = _inside(found, start_ns, end_ns)
    used = [(start_ns, value_at(found, start_ns)), *inside, (end_ns, value_at(found, end_ns))]
    rates = [
        (right - left) * NS_PER_S / (right_t - left_t)
        for (left_t, left), (right_t, right) in pairwise(zip(*found, strict=True))
    ]
    usual_s = usual_interval_s(found)
    lengths = [(right_t - left_t) / NS_PER_S for (left_t, _), (right_t, _) in pairwise(inside)]
    start_j, end_j = used[0][1], used[-1][1]
    bound_j = _step_across(found, start_ns) + _step_across(found, end_ns) + step_j
    return Integral(
        end_j - start_j, (end_ns - start_ns) / NS_PER_S, len(inside), update_s, max(lengths, default=0.0),
        [length for length in lengths if length > GAP_FACTOR * usual_s],
        (_counter_edge(found, rates, start_ns, end=False), _counter_edge(found, rates, end_ns, end=True)),
        0.0, sum(left != right for (_, left), (_, right) in pairwise(used)),
        min(rates), max(rates), fmean(rates[:ENDS]), fmean(rates[-ENDS:]), scatter(rates), bound_j,
    )  # fmt: skip


def together(parts: list[Integral]) -> Integral:
    """The sum of counters that were read over one window: the packages of one machine.

    Their loads rise and fall together, so swings and spreads add plainly.
    """
    if len(parts) == 1:
        return parts[0]
    covered_s = min(part.covered_s for part in parts)
    edges = [
        Edge(sides[0].inside_s, sides[0].outside_s, sum(side.swing_w for side in sides))
        for sides in zip(*(part.edges for part in parts), strict=True)
    ]
    return Integral(
        sum(part.energy_j / part.covered_s for part in parts) * covered_s, covered_s,
        min(part.readings for part in parts),
        max(part.update_s for part in parts), max(part.largest_gap_s for part in parts),
        max((part.gaps_s for part in parts), key=sum), (edges[0], edges[1]), sum(part.spread_j2 for part in parts),
        min(part.changes for part in parts), sum(part.low_w for part in parts), sum(part.high_w for part in parts),
        sum(part.first_w for part in parts), sum(part.last_w for part in parts),
        sum(part.std_w for part in parts), sum(part.bound_j for part in parts),
    )  # fmt: skip


def unwrapped(found: Series, wraps_at: float | None, name: str) -> Series:
    """The counter without the jumps back to 0 at ``wraps_at``.

    NoEnergyError when it went back for another reason, or could have wrapped unseen between two readings.
    """
    rises = []  # (J, s) of each interval
    for (left_t, left), (right_t, right) in pairwise(zip(*found, strict=True)):
        rises.append((right - left, (right_t - left_t) / NS_PER_S))
    highest_w = max((rise / step_s for rise, step_s in rises if rise >= 0), default=0.0)
    total, values = found.values[0], found.values[:1]
    for rise, step_s in rises:
        if rise < 0:
            if not wraps_at:
                raise NoEnergyError(f"{name} went back, and it is not known where it wraps")
            rise += wraps_at
            if rise < 0 or (highest_w > 0 and rise / step_s > RESET_FACTOR * highest_w):
                raise NoEnergyError(f"{name} was set back to 0 while it was read: this was no wrap")
        if wraps_at and highest_w * step_s >= wraps_at:
            raise NoEnergyError(
                f"{name} was not read for {step_s:.3g} s, in which it may have wrapped unseen (at {wraps_at:.6g} J)"
            )
        total += rise
        values.append(total)
    return Series(found.t_ns, values)


def charge_energy(charge: Series, voltage: Series, consumption: float) -> Series:
    """The energy that has flowed since the first reading: each step of charge times the voltage then (J)."""
    energy_j = 0.0
    values = [0.0]
    for (left_t, left), (right_t, right) in pairwise(zip(*charge, strict=True)):
        volts = (value_at(voltage, left_t) + value_at(voltage, right_t)) / 2
        energy_j += consumption * (right - left) * volts
        values.append(energy_j)
    return Series(charge.t_ns, values)


def moved(found: Series) -> list[float]:
    """The sizes of all changes from one reading to the next."""
    return [abs(right - left) for left, right in pairwise(found.values) if left != right]


def added(series: list[Series]) -> Series:
    """The sum of several sensors at the moments at which all of them have a value."""
    if len(series) == 1:
        return series[0]
    by_time = [dict(zip(*found, strict=True)) for found in series]
    common = [t for t in series[0].t_ns if all(t in values for values in by_time)]
    return Series(common, [sum(values[t] for values in by_time) for t in common])


def update_period_s(found: Series, step: float) -> float | None:
    """How often the source has a new value, from runs of equal readings; None where that cannot be told.

    A source that is slower than its sampler gives each value several times, and no value only once. Changes of about
    one ``step`` say nothing: a steady value between two steps repeats as well.
    """
    starts = [0] + [i for i in range(1, len(found.values)) if found.values[i] != found.values[i - 1]]
    if len(starts) < MIN_RUNS + 2:
        return None
    jumps = [abs(found.values[i] - found.values[i - 1]) for i in starts[1:]]
    distinct = len(set(found.values))
    if median(jumps) <= 1.5 * step or (step <= 0 and distinct <= len(starts) / 2):
        return None
    runs = sorted((found.t_ns[right] - found.t_ns[left]) / NS_PER_S for left, right in pairwise(starts[1:]))
    shortest = runs[len(runs) // 10]
    return shortest if shortest > REPEATS * usual_interval_s(found) else None


def counter_update_s(found: Series, step: float) -> float | None:
    """How long a counter's value may be old: None where it is new at each reading.

    It is the shortest time between two changes. Where these are of one ``step`` it is that which is waited for, and an
    update adds no more than how much these times differ.
    """
    starts = [0] + [i for i in range(1, len(found.values)) if found.values[i] != found.values[i - 1]]
    if len(starts) < 2 or len(starts) > len(found.values) / REPEATS:
        return None
    runs = sorted((found.t_ns[right] - found.t_ns[left]) / NS_PER_S for left, right in pairwise(starts[1:]))
    if not runs:
        return (found.t_ns[-1] - found.t_ns[0]) / NS_PER_S
    usual_s, shortest_s = usual_interval_s(found), runs[len(runs) // 10]
    if median(moved(found)) > 1.5 * step:
        return shortest_s
    return max(usual_s, min(shortest_s, runs[-1] - runs[0] + usual_s))


def blur(values: list[float], step: float) -> float:
    """What is left of a quantisation step in the mean of the readings.

    All of it where they scatter by less than half of a step: then each is off by the same. Else it averages out (B.
    Widrow and I. Kollar, Quantization Noise, 2008, ch. 5: the errors are independent from half of a step on).
    """
    if len(values) < 2 or scatter(values) < step / 2:
        return step
    return step / math.sqrt(len(values))


def scatter(values: list[float]) -> float:
    """The standard deviation of the values themselves; 0 for one."""
    mean = fmean(values)
    return math.sqrt(fmean([(value - mean) * (value - mean) for value in values]))


def usual_interval_s(found: Series) -> float:
    """The median time between two readings; 0 for fewer than two."""
    steps = [right - left for left, right in pairwise(found.t_ns)]
    return median(steps) / NS_PER_S if steps else 0.0


def value_at(found: Series, t_ns: int) -> float:
    """The value at a time between two readings, on the straight line; outside of them that of the nearest."""
    right = bisect_left(found.t_ns, t_ns)
    if right == len(found.t_ns):
        return found.values[-1]
    if found.t_ns[right] == t_ns or right == 0:
        return found.values[right]
    share = (t_ns - found.t_ns[right - 1]) / (found.t_ns[right] - found.t_ns[right - 1])
    return found.values[right - 1] + (found.values[right] - found.values[right - 1]) * share


def _covered(found: Series, window: Window) -> tuple[int, int]:
    return max(window.start_ns, found.t_ns[0]), min(window.end_ns, found.t_ns[-1])


def _inside(found: Series, start_ns: int, end_ns: int) -> list[tuple[int, float]]:
    low, high = bisect_left(found.t_ns, start_ns), bisect_right(found.t_ns, end_ns)
    return list(zip(found.t_ns[low:high], found.values[low:high], strict=True))


def _largest_s(points: list[tuple[int, float]]) -> float:
    return max((right - left for (left, _), (right, _) in pairwise(points)), default=0) / NS_PER_S


def _interval(found: Series, t_ns: int) -> int | None:
    """The index of the reading before a time that lies between two readings; None when it is a reading's own."""
    right = bisect_left(found.t_ns, t_ns)
    if right in (0, len(found.t_ns)) or found.t_ns[right] == t_ns:
        return None
    return right - 1


def _power_edge(found: Series, t_ns: int, end: bool) -> Edge:
    left = _interval(found, t_ns)
    if left is None:
        return Edge(0.0, 0.0, _swing(found.values, bisect_left(found.t_ns, t_ns)))
    return Edge(*_parts_s(found, left, t_ns, end), abs(found.values[left + 1] - found.values[left]))


def _counter_edge(found: Series, rates: list[float], t_ns: int, end: bool) -> Edge:
    left = _interval(found, t_ns)
    if left is None:
        return Edge(0.0, 0.0, 0.0)
    return Edge(*_parts_s(found, left, t_ns, end), _swing(rates, left))


def _parts_s(found: Series, left: int, t_ns: int, end: bool) -> tuple[float, float]:
    before, after = (t_ns - found.t_ns[left]) / NS_PER_S, (found.t_ns[left + 1] - t_ns) / NS_PER_S
    return (before, after) if end else (after, before)


def _swing(values: list[float], middle: int) -> float:
    near = values[max(0, middle - 1) : middle + 2]
    return max(near) - min(near) if near else 0.0


def _step_across(found: Series, t_ns: int) -> float:
    left = _interval(found, t_ns)
    return 0.0 if left is None else abs(found.values[left + 1] - found.values[left])
