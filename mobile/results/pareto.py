"""The Pareto front of variants: those that no other one beats in everything."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

# What is compared: the axis by its key, and whether less of it is better.
AXES: dict[str, bool] = {"latency_s": True, "energy_j": True, "size_bytes": True, "quality": False}


class Point(NamedTuple):
    """A variant: its name, and its values by axis in SI; None where there is none. ``quality`` is never mixed: all
    points of one front have the same metric on the same items.
    """

    name: str
    values: Mapping[str, float | None]


class Front(NamedTuple):
    """``axes``: those that every point has, in the order of AXES; nothing else was looked at. ``missing``: for each
    other axis that some point has, the names of those that lack it. ``on[i]``: point i is on the front.
    ``beaten_by[i]``: the name of a point that is no worse in every axis and better in one; None on the front.
    """

    axes: tuple[str, ...]
    missing: dict[str, tuple[str, ...]]
    on: tuple[bool, ...]
    beaten_by: tuple[str | None, ...]


def front(points: Sequence[Point], less_is_better: Mapping[str, bool] = AXES) -> Front:
    """Which points are on the front, by the axes that all of them have. Equal points are on it together.

    A value that is not finite counts as missing. Without a common axis no point is on the front.

    >>> fast, small = Point("a", {"latency_s": 1.0, "size_bytes": 2}), Point("b", {"latency_s": 2.0, "size_bytes": 1})
    >>> front([fast, small, Point("c", {"latency_s": 2.0, "size_bytes": 2})]).beaten_by
    (None, None, 'a')
    """
    lacking = {axis: tuple(point.name for point in points if not _there(point, axis)) for axis in less_is_better}
    axes = tuple(axis for axis, names in lacking.items() if points and not names)
    missing = {axis: names for axis, names in lacking.items() if names and len(names) < len(points)}
    costs = [_costs(point, axes, less_is_better) for point in points]
    beaten = tuple(_beaten_by(place, costs, points) for place in range(len(points))) if axes else (None,) * len(points)
    return Front(axes, missing, tuple(bool(axes) and name is None for name in beaten), beaten)


def _there(point: Point, axis: str) -> bool:
    value = point.values.get(axis)
    return value is not None and math.isfinite(value)


def _costs(point: Point, axes: Sequence[str], less_is_better: Mapping[str, bool]) -> tuple[float, ...]:
    """The point's values as costs, less being better in each."""
    values = [(point.values[axis], less_is_better[axis]) for axis in axes]
    return tuple(float(value) if less else -float(value) for value, less in values if value is not None)


def _beaten_by(place: int, costs: Sequence[tuple[float, ...]], points: Sequence[Point]) -> str | None:
    own = costs[place]
    for other, point in zip(costs, points, strict=True):
        if other != own and all(theirs <= mine for theirs, mine in zip(other, own, strict=True)):
            return point.name
    return None
