"""How uncertain a figure in joules is: named parts, each with its reason, combined as the GUM does.

Sources: JCGM 100:2008 (GUM), 4.3.7 (a bound, as of a data sheet: half-width / sqrt(3)), 5.1.2 and 5.2.2 (combination:
squares for what is independent, plain sum for what goes the same way), 6.2 (expanded uncertainty, k = 2, about 95 %);
JCGM 101:2008, 6.4.9.4 (few readings: the spread of their mean is larger by sqrt((n - 1) / (n - 3))).

Each part is a standard uncertainty in J, and of one of three kinds. "end": it does not grow with the window (a
counter's step). "random": it grows with the square root (independent readings). "systematic": it grows with the window
(the sensor's own offset and gain); measuring longer does not help against it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from mobile.results.integrate import Edge, Integral
from mobile.results.phases import Phases

COVERAGE_FACTOR = 2.0
MAX_SHARE = 0.05  # at k = 2: what the sensor's steps, updates and scatter leave open of a figure, or there is none
MAX_OPEN_SHARE = 0.20  # the same with what a load that varies faster than it is read adds
NEEDED_MARGIN = 1.2  # the needed time follows from few readings, which know it roughly
MAX_DELAY = 1.5  # updates: a reading is up to one old, and the mean of the one before
LOAD = ("sampling", "gaps")  # parts that come of a varying load and not of the sensor alone
MAX_NUMBER = 1e12  # above what any descriptor says
_RECTANGLE = math.sqrt(3.0)  # half-width of a rectangular distribution over its standard deviation


class Part(NamedTuple):
    """``u_j``: standard uncertainty in J; ``kind``: "end", "random" or "systematic".

    ``worst_j``: what it may be in another window, where chance places the readings otherwise.
    """

    name: str
    kind: str
    u_j: float
    worst_j: float = 0.0


class Traits(NamedTuple):
    """What is known of a total before it is read: SI, per reading.

    ``period_s``: how often its slowest sensor has a new value. ``step``: the steps of all its sensors. ``offset``: at
    most, all sensors together. ``gain``: at most, a share. ``noise``: standard deviation of one reading. ``sensors``:
    how many are added. ``unknown``: the sensors whose accuracy nobody states.
    """

    period_s: float
    step: float
    offset: float
    gain: float
    noise: float
    sensors: int
    unknown: list[str]


def traits(sensors: Iterable[Mapping[str, Any]]) -> Traits:
    """The traits of sensors that are added, of their descriptors.

    Steps and noise are independent and add as squares. Offsets add plainly: the channels of a monitor share one
    converter, so theirs may go the same way (GUM 5.2.2). The gain of the worst holds for all.
    """
    given = list(sensors)
    told = [sensor.get("accuracy") for sensor in given]
    accuracies: list[Mapping[str, Any]] = [accuracy if isinstance(accuracy, Mapping) else {} for accuracy in told]
    return Traits(
        max((number(sensor.get("period_s")) for sensor in given), default=0.0),
        math.hypot(*(number(sensor.get("resolution")) for sensor in given)),
        sum(number(accuracy.get("offset")) for accuracy in accuracies),
        max((number(accuracy.get("gain")) for accuracy in accuracies), default=0.0),
        math.hypot(*(number(accuracy.get("noise")) for accuracy in accuracies)),
        len(given),
        [str(sensor.get("name")) for sensor, known in zip(given, accuracies, strict=True) if not _stated(known)],
    )


def of_power(
    integral: Integral, window_s: float, about: Traits, places: Phases | None, idle_w: float | None
) -> list[Part]:
    """The parts of an integral of power readings. ``idle_w``: below that the power is not expected to fall.

    ``about.step``: what is left of the step in the mean (integrate.blur). A reading that is late by t moves the window
    by t, which changes the integral by t times the difference of the power at its ends.
    """
    interval_s = max(integral.covered_s / max(1, integral.readings), integral.update_s)
    count = integral.covered_s / interval_s
    seen_j = math.sqrt(integral.spread_j2) * _few(count)
    noise_j = about.noise * math.sqrt(count) * interval_s
    range_w = integral.high_w - integral.low_w
    gaps_j = integral.std_w * math.hypot(*integral.gaps_s, window_s - integral.covered_s)
    edges_j = [edge.swing_w * edge.inside_s / 2 / _RECTANGLE for edge in integral.edges]
    delay_j = MAX_DELAY * integral.update_s * abs(integral.last_w - integral.first_w) / _RECTANGLE
    skew_j = about.period_s * range_w / _RECTANGLE if about.sensors > 1 else 0.0
    return _some(
        Part("sampling", "random", math.sqrt(max(0.0, seen_j**2 - noise_j**2))),
        Part("noise", "random", noise_j),
        Part("gaps", "random", gaps_j),
        Part("edges", "end", math.hypot(*edges_j)),
        Part("delay of the source", "end", delay_j),
        Part("skew between rails", "end", skew_j),
        Part("in step with the inferences", "systematic", _aliasing(integral, window_s, places, idle_w)),
        Part("resolution", "systematic", about.step * window_s / math.sqrt(12)),
        Part("offset", "systematic", about.offset * window_s / _RECTANGLE),
        Part("gain", "systematic", about.gain * abs(integral.energy_j) / _RECTANGLE),
    )


def of_counter(
    integral: Integral, window_s: float, about: Traits, cycle_s: float | None, idle_w: float | None
) -> list[Part]:
    """The parts of a counter's difference. ``about.step``: the counter's step in J.

    A step or an update lies anywhere between two readings, at both ends: a triangle of that half-width, step / sqrt(6).
    """
    mean_w = abs(integral.energy_j) / integral.covered_s if integral.covered_s > 0 else 0.0
    swing_w = 2 * max(0.0, mean_w - (idle_w or 0.0))  # as far as a cycle that idles half of its time goes
    edges_j = [_counter_edge(edge, swing_w, cycle_s) / _RECTANGLE for edge in integral.edges]
    middle = [_middle(edge, integral.largest_gap_s) for edge in integral.edges]
    worst_j = [_counter_edge(edge, swing_w, cycle_s) / _RECTANGLE for edge in middle]
    uncovered_s = window_s - integral.covered_s
    return _some(
        Part("resolution", "end", about.step / math.sqrt(6)),
        Part("update of the source", "end", mean_w * integral.update_s / math.sqrt(6)),
        Part("edges", "end", math.hypot(*edges_j), math.hypot(*worst_j)),
        Part("gaps", "end", max(integral.std_w, swing_w / 2) * uncovered_s),
        Part("gain", "systematic", about.gain * abs(integral.energy_j) / _RECTANGLE),
    )


def combined_j(parts: Iterable[Part]) -> float:
    """The expanded uncertainty of independent parts, k = 2: about 95 % of figures lie within it of the truth."""
    return COVERAGE_FACTOR * math.hypot(*(part.u_j for part in parts))


def open_shares(parts: Iterable[Part], total_j: float) -> tuple[float, float]:
    """Shares of the figure, at k = 2, that a longer window would reduce: (the sensor's own, with the load's)."""
    found = [part for part in parts if part.kind != "systematic"]
    own = [part for part in found if part.name not in LOAD]
    return combined_j(own) / total_j, combined_j(found) / total_j


def needed_s(parts: Iterable[Part], energy_j: float, window_s: float, share: float = MAX_SHARE) -> float | None:
    """How long a window must be for its reducible parts to be ``share`` of the energy at most; None without energy.

    Solves (share P T)^2 = k^2 (e^2 + r^2 T / T0) for T, of the end parts e and the random parts r seen in T0. Readings
    that leave much open may have shown too much power: P is taken one standard uncertainty lower.
    """
    if energy_j <= 0 or window_s <= 0:
        return None
    found = [part for part in parts if part.kind != "systematic"]
    end2 = sum(max(part.u_j, part.worst_j) ** 2 for part in found if part.kind == "end")
    random2 = sum(part.u_j**2 for part in found if part.kind == "random")
    likely_j = max(energy_j / 3, energy_j - math.hypot(*(part.u_j for part in found)))
    allowed_w = share * likely_j / window_s / COVERAGE_FACTOR
    half = random2 / window_s / (2 * allowed_w**2)
    return NEEDED_MARGIN * (half + math.sqrt(half**2 + end2 / allowed_w**2))


def _aliasing(integral: Integral, window_s: float, places: Phases | None, idle_w: float | None) -> float:
    if places is None or places.cycle_s < 2 * integral.update_s:
        return 0.0  # then a value's own moment within the cycle is not known, nor the same each time
    mean_w = integral.energy_j / integral.covered_s
    hidden_w = max(0.0, mean_w - (idle_w or 0.0))
    bound_w = (integral.high_w - integral.low_w) * places.unevenness + hidden_w * places.unseen
    return bound_w * window_s / _RECTANGLE


def _counter_edge(edge: Edge, swing_w: float, cycle_s: float | None) -> float:
    length_s = edge.inside_s + edge.outside_s
    if length_s <= 0:
        return 0.0
    split_s = edge.inside_s * edge.outside_s / length_s
    within_s = split_s if cycle_s is None else min(split_s, cycle_s / 4)
    return edge.swing_w * split_s + swing_w * within_s


def _middle(edge: Edge, interval_s: float) -> Edge:
    """The edge as it is at its worst: in the middle between two readings."""
    length_s = max(edge.inside_s + edge.outside_s, interval_s)
    return Edge(length_s / 2, length_s / 2, edge.swing_w)


def _few(count: float) -> float:
    """What few readings add: differences of n readings know their spread as well as 2 n / 3 independent ones."""
    free = max(2 * count / 3, 4.0)
    return math.sqrt((free - 1) / (free - 3))


def _some(*parts: Part) -> list[Part]:
    return [part for part in parts if part.u_j > 0]


def _stated(accuracy: Mapping[str, Any]) -> bool:
    return any(accuracy.get(key) is not None for key in ("offset", "gain"))


def number(value: Any) -> float:
    """A value of a descriptor that must be a number above 0 of some device; 0.0 for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < MAX_NUMBER:
        return 0.0
    return float(value)
