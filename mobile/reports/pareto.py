"""Variants against each other in latency, energy, size and quality at once: which ones no other beats in everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from mobile.reports import units
from mobile.reports.table import Table
from mobile.results.pareto import AXES, Front, Point, front

Row = Mapping[str, Any]

_WORDS = {"latency_s": "latency (p50)", "energy_j": "energy of an item", "size_bytes": "size", "quality": "quality"}
# What makes two runs of one variant: where each stands in the figures, and how a name says it.
_PARTS = (
    ("device", ("device",), "{}"),
    ("threads", ("spec", "threads"), "threads {}"),
    ("provider", ("environment", "provider"), "{}"),
    ("batch", ("spec", "batch"), "batch {}"),
    ("power_mode", ("environment", "power_mode"), "mode {}"),
)


@dataclass(frozen=True)
class Variants:
    """The points of a front, each the median of its runs; ``runs[i]`` are the ids of point i.

    ``less_is_better`` of each axis; ``notes`` say which axis was left out and why.
    """

    points: tuple[Point, ...]
    runs: tuple[tuple[str, ...], ...]
    less_is_better: dict[str, bool]
    metric: str | None
    share: bool
    notes: tuple[str, ...]

    @property
    def front(self) -> Front:
        """Which of them are on the front."""
        return front(self.points, self.less_is_better)


def variants_of(rows: Sequence[Row]) -> Variants:
    """The variants of runs (their figures): one model on one device with one setting is one point.

    Energies of different scopes or sensors, and qualities by different metrics or of different items, are not compared:
    the axis is then left out, and a note says so. Latency and energy are those of one item: of an inference over its
    batch.
    """
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(_identity(row), []).append(row)
    notes: list[str] = []
    left_out = _incomparable(rows, notes)
    told: Row = next((row["quality"] for row in rows if row.get("quality")), {})
    less = {axis: AXES[axis] for axis in AXES if axis not in left_out}
    if "quality" in less:
        less["quality"] = told.get("larger_is_better") is False
    points = tuple(
        Point(name, {axis: _median(axis, group) for axis in less})
        for name, group in zip(_names(list(groups)), groups.values(), strict=True)
    )
    runs = tuple(tuple(str(row["id"]) for row in group) for group in groups.values())
    return Variants(points, runs, less, told.get("metric"), bool(told.get("share")), tuple(notes))


def pareto_table(found: Variants) -> Table:
    """The variants, those on the front marked with a star; the last column names one that beats the others."""
    standing = found.front
    headers = ["front", "variant", "runs", *(_header(axis, found) for axis in found.less_is_better), "beaten by"]
    rows = [
        [
            "*" if on else "",
            point.name,
            str(len(runs)),
            *(_cell(axis, point.values[axis], found) for axis in found.less_is_better),
            beaten or "",
        ]
        for point, runs, on, beaten in zip(found.points, found.runs, standing.on, standing.beaten_by, strict=True)
    ]
    notes = [f"the front is by {', '.join(_WORDS[axis] for axis in standing.axes) or 'nothing: no axis is common'}"]
    notes += [
        f"not by {_WORDS[axis]}: {', '.join(names)} {'has' if len(names) == 1 else 'have'} none"
        for axis, names in standing.missing.items()
    ]
    notes += [*found.notes, "by the medians as they are: whether a difference is real, `edgewise compare` tells"]
    numeric = [False, False, True, *(True for _ in found.less_is_better), False]
    return Table(headers, rows, numeric, notes)


def pareto_json(found: Variants) -> dict[str, Any]:
    """The same as JSON: {"axes", "points": [{name, runs, values, on_front, beaten_by}], "missing", "notes"}."""
    standing = found.front
    return {
        "axes": {axis: "less" if less else "more" for axis, less in found.less_is_better.items()},
        "by": list(standing.axes),
        "metric": found.metric,
        "points": [
            {"name": point.name, "runs": list(runs), "values": dict(point.values), "on_front": on, "beaten_by": beaten}
            for point, runs, on, beaten in zip(found.points, found.runs, standing.on, standing.beaten_by, strict=True)
        ],
        "missing": {axis: list(names) for axis, names in standing.missing.items()},
        "notes": list(found.notes),
    }


def _identity(row: Row) -> tuple[str, ...]:
    model = row.get("model") or {}
    return (f"{model.get('name')}", f"{str(model.get('sha256'))[:8]}", *(str(_at(row, path)) for _, path, _ in _PARTS))


def _at(row: Row, path: Sequence[str]) -> Any:
    found: Any = row
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found.get("name") if isinstance(found, Mapping) else found


def _names(identities: Sequence[tuple[str, ...]]) -> list[str]:
    """The model's name and whatever differs between the variants."""
    names = []
    for identity in identities:
        words = [identity[0]]
        if len({other[1] for other in identities if other[0] == identity[0]}) > 1:
            words.append(identity[1])
        for place, (_, _, form) in enumerate(_PARTS, start=2):
            if len({other[place] for other in identities}) > 1:
                words.append(form.format("default" if identity[place] == "None" else identity[place]))
        names.append(", ".join(words))
    return names


def _incomparable(rows: Sequence[Row], notes: list[str]) -> set[str]:
    """The axes whose values mean different things in different runs; ``notes`` gets a line for each."""
    left_out = set()
    scopes = {(one.get("scope"), one.get("sensor")) for one in (row.get("energy") for row in rows) if one}
    if len(scopes) > 1:
        left_out.add("energy_j")
        notes.append(f"energy is left out: it is of {len(scopes)} scopes or sensors, which are not compared")
    asked = [one for one in (row.get("quality") for row in rows) if one]
    for words, kinds in (
        ("metrics", {one.get("metric") for one in asked}),
        ("evaluation sets", {(one.get("set") or {}).get("sha256") for one in asked}),
    ):
        if len(kinds) > 1:
            left_out.add("quality")
            notes.append(f"quality is left out: it is by {len(kinds)} {words}, which are not compared")
    return left_out


def _median(axis: str, group: Sequence[Row]) -> float | None:
    values = [value for value in (_value(axis, row) for row in group) if value is not None]
    return float(median(values)) if values else None


def _value(axis: str, row: Row) -> float | None:
    batch = int(_at(row, ("spec", "batch")) or 1)
    if axis == "size_bytes":
        return (row.get("model") or {}).get("size_bytes")
    if axis == "quality":
        return (row.get("quality") or {}).get("value")
    path = ("latency_s", "p50") if axis == "latency_s" else ("energy", "per_inference_j")
    value = _at(row, path)
    return None if value is None else float(value) / batch


def _header(axis: str, found: Variants) -> str:
    return found.metric or "quality" if axis == "quality" else _WORDS[axis]


def _cell(axis: str, value: float | None, found: Variants) -> str:
    forms = {"latency_s": units.pretty_seconds, "energy_j": units.pretty_joules, "size_bytes": units.pretty_bytes}
    if axis == "quality":
        return units.pretty_share(value) if found.share else units.pretty_number(value)
    return forms[axis](value)
