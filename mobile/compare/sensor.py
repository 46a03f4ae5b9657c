"""What the power sensor itself may do to a ratio of joules, and what of it cancels.

Runs are compared by one sensor, of one scope and method (conditions.py refuses others). Then:

- its **gain** multiplies both sides alike and cancels;
- its **offset** adds the same watts to both, which cancels only where both take the same power: the ratio moves by
  offset * (1 / P_a - 1 / P_b) of itself. Joules above idle have no offset in them;
- its **step** rounds each level its own way, and readings **in step with the inferences** hide what they hide for each
  loop: neither cancels.

More runs help against none of these, so they are not in the spread between runs: they widen the interval, and a verdict
that they could overturn is none. With other sensors on the two sides (--allow energy_sensor) nothing cancels.
Combined as in JCGM 100:2008 (GUM) 5.1.2; what both sides share is taken as fully correlated (5.2.2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from mobile.compare.metrics import ENERGY

if TYPE_CHECKING:
    from mobile.compare.units import Group
    from mobile.compare.verdict import Comparison, Terms

COVERAGE_FACTOR = 2.0  # as of energies: about 95 %
ABOVE_IDLE = "above-idle"
OFFSET, GAIN = "offset", "gain"
OWN = ("resolution", "in step with the inferences")
TELLING = 0.001  # of the ratio: less is not spoken of


class Doubt(NamedTuple):
    """Relative standard uncertainties of a group's figure by their part, and the sensors that it is from."""

    sensors: frozenset[str]
    offset: float
    gain: float
    own: float


def doubt_of(group: Group, what: str) -> Doubt | None:
    """The doubt of a group, the median of its runs; None where a run has no energy with parts."""
    shares: list[tuple[float, float, float]] = []
    sensors = set()
    for unit in group.units:
        energy = unit.row.get("energy")
        if not isinstance(energy, Mapping) or not isinstance(energy.get("uncertainty_parts"), Mapping):
            return None
        figure_j = energy.get("above_idle_j") if what == ABOVE_IDLE else energy.get("total_j")
        if not isinstance(figure_j, (int, float)) or figure_j <= 0:
            return None
        parts = energy["uncertainty_parts"]
        sensors.add(str(energy.get("sensor")))
        offset = 0.0 if what == ABOVE_IDLE else _part(parts, OFFSET) / figure_j
        gain = _part(parts, GAIN) / float(energy.get("total_j") or figure_j)
        shares.append((offset, gain, math.hypot(*(_part(parts, name) for name in OWN)) / figure_j))
    if not shares:
        return None
    offset, gain, own = (median(column) for column in zip(*shares, strict=True))
    return Doubt(frozenset(sensors), offset, gain, own)


def shift(a: Doubt, b: Doubt) -> float:
    """The standard uncertainty of the logarithm of the ratio that the sensor alone makes."""
    if a.sensors == b.sensors and len(a.sensors) == 1:
        return math.hypot(a.offset - b.offset, a.own, b.own)
    return math.hypot(a.offset, b.offset, a.gain, b.gain, a.own, b.own)


def with_sensor(found: Comparison, a: Group, b: Group, terms: Terms) -> Comparison:
    """The comparison of joules with the sensor's part in its interval; undecided where that could overturn the verdict.

    Any other comparison as it is.
    """
    from mobile.compare.verdict import EQUIVALENT, UNDECIDED

    if terms.metric.name not in ENERGY or found.value is None:
        return found
    doubts = doubt_of(a, terms.metric.name), doubt_of(b, terms.metric.name)
    if doubts[0] is None or doubts[1] is None:
        return found
    half = COVERAGE_FACTOR * shift(doubts[0], doubts[1])
    if half < TELLING:
        return replace(found, sensor=half)
    low, high = _wider(found.value, found.low, -half), _wider(found.value, found.high, half)
    margin = math.log1p(terms.margin)
    away = abs(math.log(found.value))
    crossed = _holds_one(low, high) and not _holds_one(found.low, found.high)
    overturned = (found.verdict == EQUIVALENT and not _inside(low, high, margin)) or (
        found.verdict not in (EQUIVALENT, UNDECIDED) and (away <= half or crossed)
    )
    notes = (
        *found.notes,
        f"the sensor alone may move the ratio by {math.expm1(half):.1%}, which more runs do not lessen",
    )
    if not overturned:
        return replace(found, low=low, high=high, sensor=half, notes=notes)
    why = f"the runs say {found.verdict!r}, and the sensor cannot: it needs a difference above its own share"
    return replace(found, low=low, high=high, sensor=half, verdict=UNDECIDED, further=None, notes=(*notes, why))


def _part(parts: Mapping[str, Any], name: str) -> float:
    value = parts.get(name)
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else 0.0


def _wider(value: float, edge: float | None, half: float) -> float | None:
    """The end of the interval, moved out: two independent parts add as squares."""
    if edge is None:
        return None
    return value * math.exp(math.copysign(math.hypot(math.log(edge / value), half), half))


def _inside(low: float | None, high: float | None, margin: float) -> bool:
    return low is not None and high is not None and -margin < math.log(low) and math.log(high) < margin


def _holds_one(low: float | None, high: float | None) -> bool:
    return low is not None and high is not None and low <= 1.0 <= high
