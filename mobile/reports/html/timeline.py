"""The chart of a run over time: latency, temperature, clock, power and what showed throttling, on one time axis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from mobile.reports.course import Course, Panel
from mobile.reports.decimate import band, extremes
from mobile.reports.html.theme import BOTTOM_PX, NAME_LENGTH, TOP_PX, Chart, axis, heading, label, layout, line, numbers
from mobile.reports.marks import Spell

if TYPE_CHECKING:
    from mobile.reports.decimate import Floats

PANEL_PX, LATENCY_PX, ROW_PX, GAP_PX = 110, 170, 36, 40
BINS = 1000
FEWEST_BINS = 200
SCALES = ((1.0, "s", 1.0), (1e-3, "ms", 1e3), (1e-6, "µs", 1e6), (0.0, "ns", 1e9))
PHASE_SYMBOLS = {"first": "x-thin-open", "warmup": "circle-open", "measure": "circle"}
PHASE_NAMES = {"first": "first inference", "warmup": "warm-up", "measure": "measured"}
MOST_SHADES = 100


class Row(NamedTuple):
    """A panel of the chart: its heading, height, the traces in it, and what its axis is like.

    ``titles``: texts at the left edge, by their place on the axis.
    """

    heading: str
    height_px: int
    traces: list[dict[str, Any]]
    axis: dict[str, Any]
    titles: Mapping[float, str] = {}


class Timeline(NamedTuple):
    """The chart, and in words how the drawing was thinned out (empty where every sample is drawn)."""

    chart: Chart
    thinned: list[str]


def scale_of(seconds: float) -> tuple[str, float]:
    """(unit, factor) in which a time is a number of a few digits.

    >>> scale_of(0.012)
    ('ms', 1000.0)
    """
    return next((unit, factor) for least, unit, factor in SCALES if seconds >= least)


def bins_for(runs: int) -> int:
    """How many bins each run's drawing may have, so that a report of many stays small."""
    return max(FEWEST_BINS, BINS // max(1, runs // 4))


def timeline(found: Course, spells: list[Spell], phase_ends: dict[str, float], bins: int = BINS) -> Timeline:
    """The chart of a run's course."""
    thinned: list[str] = []
    rows = [_latency(found, bins, thinned)] if found.phases else []
    rows += [_panel(panel, bins, thinned) for panel in found.panels]
    if spells:
        rows.append(_spells(spells))
    return Timeline(_stacked(rows, spells, phase_ends, _span(found, spells)), thinned)


def _span(found: Course, spells: list[Spell]) -> list[float]:
    """The first and the last moment that is drawn, with a little room."""
    ends = [float(edge) for start, duration in found.phases.values() for edge in (start[0], start[-1] + duration[-1])]
    ends += [float(edge) for panel in found.panels for one in panel.lines for edge in (one.t_s[0], one.t_s[-1])]
    ends += [edge for spell in spells for edge in (spell.start_s, spell.end_s)]
    low, high = min(ends), max(ends)
    room = 0.02 * (high - low) or 0.5
    return [low - room, high + room]


def _latency(found: Course, bins: int, thinned: list[str]) -> Row:
    import numpy as np

    measured = found.phases.get("measure") or next(iter(found.phases.values()))
    unit, factor = scale_of(float(np.median(measured[1])))
    traces: list[dict[str, Any]] = []
    for name in ("first", "warmup", "measure"):
        if name in found.phases:
            traces += _phase(name, *found.phases[name], (unit, factor), bins, thinned)
    return Row(f"<b>Latency</b>, {unit}", LATENCY_PX, traces, {"rangemode": "tozero"})


def _phase(
    name: str, start_s: Floats, duration_s: Floats, scale: tuple[str, float], bins: int, thinned: list[str]
) -> list[dict[str, Any]]:
    """The inferences of a phase: each a point, or where there are too many, the range and the median of each bin."""
    unit, factor = scale
    values = duration_s * factor
    said = PHASE_NAMES.get(name, label(name))
    if len(values) <= 2 * bins:
        marker = {"symbol": PHASE_SYMBOLS.get(name, "circle"), "size": 5 if name != "first" else 8, "color": "latency"}
        hover = f"%{{x:.4g}} s: %{{y:.4g}} {unit}<extra>{said}</extra>"
        return [_trace(start_s, values, said, mode="markers", marker=marker, hovertemplate=hover)]
    drawn = band(start_s, values, bins)
    thinned.append(
        f"latency ({said}): {len(values):,} inferences, drawn as the lowest, the median and the highest of each"
        f" {drawn.bin_s:.3g} s"
    )
    edge = line("latency", width=0.6)
    text = [f"{int(count):,} inferences" for count in drawn.counts]
    hover = f"%{{x:.4g}} s: %{{y:.4g}} {unit}, %{{text}}<extra>%{{fullData.name}}</extra>"
    return [
        _trace(drawn.x, drawn.low, f"lowest, {said}", line=edge, text=text, hovertemplate=hover),
        _trace(drawn.x, drawn.high, f"highest, {said}", line=edge, text=text, hovertemplate=hover,
               fill="tonexty", fillcolor="band"),
        _trace(drawn.x, drawn.middle, f"median, {said}", line=line("latency", width=1.8), text=text,
               hovertemplate=hover),
    ]  # fmt: skip


def _panel(panel: Panel, bins: int, thinned: list[str]) -> Row:
    traces = []
    for number, one in enumerate(panel.lines):
        drawn = extremes(one.t_s, one.values, bins)
        if drawn.bin_s is not None:
            thinned.append(
                f"{one.name}: {drawn.samples:,} readings, drawn through the lowest and the highest of each"
                f" {drawn.bin_s:.3g} s"
            )
        name = label(one.name, NAME_LENGTH)
        hover = f"%{{x:.4g}} s: %{{y:.4g}} {panel.unit}<extra>{name}</extra>"
        mode = "lines" if drawn.samples > 1 else "markers"
        style = line(panel.name, number)
        traces.append(
            _trace(drawn.x, drawn.y, name, mode=mode, line=style, hovertemplate=hover, showlegend=True,
                   marker={"color": panel.name, "size": 6})
        )  # fmt: skip
    return Row(f"<b>{panel.name.capitalize()}</b>, {panel.unit}", PANEL_PX, traces, {"nticks": 5})


def _spells(spells: list[Spell]) -> Row:
    """A row for each sensor or event that showed something: a bar over its time, a mark where it began."""
    import numpy as np

    names = list(dict.fromkeys(spell.name for spell in spells))
    traces, titles = [], {}
    for number, name in enumerate(names):
        own = [spell for spell in spells if spell.name == name]
        place = float(len(names) - 1 - number)
        bars = np.asarray([[spell.start_s, spell.end_s, np.nan] for spell in own]).reshape(-1)
        starts = np.asarray([spell.start_s for spell in own])
        symbol = "triangle-down" if own[0].kind == "throttle" else "diamond-open"
        words = [label(f"{spell.name}: {spell.words}") for spell in own]
        marker = {"symbol": symbol, "size": 11, "color": "mark", "line": {"color": "ink", "width": 1}}
        hover = "%{x:.4g} s: %{text}<extra></extra>"
        for x, more in (
            (bars, {"mode": "lines", "line": line("mark", width=5), "hoverinfo": "skip"}),
            (starts, {"mode": "markers", "text": words, "marker": marker, "hovertemplate": hover}),
        ):
            traces.append(_trace(x, np.full(len(x), place), label(name), **more))
        titles[place + 0.28] = label(name, NAME_LENGTH)
    about = {"visible": False, "range": [-0.4, len(names) - 0.1], "fixedrange": True}
    return Row("<b>Throttling and events</b>", ROW_PX * len(names), traces, about, titles)


def _trace(x: Floats, y: Floats, name: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "lines", "x": numbers(x), "y": numbers(y), "name": name, "showlegend": False, **more,
    }  # fmt: skip


def _stacked(rows: list[Row], spells: list[Spell], phase_ends: dict[str, float], span: list[float]) -> Chart:
    """The rows under each other, on one time axis."""
    inner_px = sum(row.height_px for row in rows) + GAP_PX * max(0, len(rows) - 1)
    made = layout(inner_px + TOP_PX + BOTTOM_PX, showlegend=True, annotations=[], shapes=_shapes(spells, phase_ends))
    data: list[dict[str, Any]] = []
    top_px = 0
    for number, row in enumerate(rows, start=1):
        name = "y" if number == 1 else f"y{number}"
        top, bottom = (1 - edge_px / inner_px for edge_px in (top_px, top_px + row.height_px))
        made[name.replace("y", "yaxis")] = axis(domain=[max(0.0, bottom), top], anchor="x", **row.axis)
        made["annotations"].append(heading(row.heading, 0, top))
        made["annotations"] += [heading(text, 0, place, yref=name) for place, text in row.titles.items()]
        data += [{**trace, "xaxis": "x", "yaxis": name} for trace in row.traces]
        top_px += row.height_px + GAP_PX
    lowest = "y" if len(rows) <= 1 else f"y{len(rows)}"
    made["xaxis"] = axis("seconds since the first measured inference", anchor=lowest, zeroline=True, range=span)
    return {"data": data, "layout": made}


def _shapes(spells: list[Spell], phase_ends: dict[str, float]) -> list[dict[str, Any]]:
    """Shades over all panels while throttling showed; thin lines where measuring began and ended."""
    across = {"xref": "x", "yref": "paper", "y0": 0, "y1": 1, "layer": "below"}
    shades = [
        {**across, "type": "rect", "x0": start_s, "x1": end_s, "fillcolor": "shade",
         "line": {"color": "shade", "width": 1, "dash": "dot"}}
        for start_s, end_s in _together(spells)[:MOST_SHADES]
    ]  # fmt: skip
    ends = [
        {**across, "type": "line", "x0": at_s, "x1": at_s, "line": {"color": "faint", "width": 1, "dash": "dash"}}
        for name, at_s in phase_ends.items()
        if name in ("warmup-done", "measured")
    ]
    return shades + ends


def _together(spells: list[Spell]) -> list[tuple[float, float]]:
    """The stretches in which any sensor showed throttling, in the order of time."""
    found: list[tuple[float, float]] = []
    for start_s, end_s in sorted((spell.start_s, spell.end_s) for spell in spells if spell.kind == "throttle"):
        if found and start_s <= found[-1][1]:
            found[-1] = (found[-1][0], max(end_s, found[-1][1]))
        else:
            found.append((start_s, end_s))
    return found
