"""The charts of several variants: the forest plot of a comparison, and the Pareto front."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from mobile.compare.answer import Answer
from mobile.reports import units
from mobile.reports.html.theme import Chart, axis, heading, label, layout, numbers
from mobile.reports.html.timeline import scale_of
from mobile.reports.pareto import Variants

ROW_PX = 52
FRONT_PX = 320
# Shape and place say the same as the words: better points down, worse up.
SYMBOLS = {
    "faster": "triangle-down", "less": "triangle-down", "slower": "triangle-up", "more": "triangle-up",
    "equivalent": "square", "undecided": "circle-open",
}  # fmt: skip
PAIRS = (("latency_s", "quality"), ("latency_s", "energy_j"), ("latency_s", "size_bytes"), ("size_bytes", "quality"))
MOST_CHARTS = 3
NAMED_POINTS = 15


class Axis(NamedTuple):
    """What stands at an axis of the front, how a value is written, and the factor to the drawing's unit."""

    title: str
    write: Callable[[float | None], str]
    factor: float


def forest(found: Answer) -> Chart:
    """Each variant's ratio to the first with its interval, and the margin within which nothing matters."""
    shown = [one for one in found.comparisons if one.value is not None]
    data, names = [], []
    for number, one in enumerate(shown):
        place, value = float(len(shown) - number), float(one.value or 1.0)
        ends = None if one.low is None or one.high is None else (one.low, one.high)
        data.append(_ratio(place, value, ends, one.verdict, one.b))
        names.append(heading(f"{label(one.b, 60)}: <b>{one.verdict}</b>", 0, place, yref="y", yshift=10))
    margin = found.terms.margin
    across = {"xref": "x", "yref": "paper", "y0": 0, "y1": 1, "layer": "below"}
    low, high = 1 / (1 + margin), 1 + margin
    shapes = [
        {**across, "type": "rect", "x0": low, "x1": high, "fillcolor": "margin", "line": {"width": 0}},
        {**across, "type": "line", "x0": 1, "x1": 1, "line": {"color": "ink", "width": 1.5, "dash": "dash"}},
    ]
    made = layout(
        ROW_PX * len(shown) + 90, shapes=shapes, annotations=names,
        xaxis=axis(f"ratio of {label(found.terms.metric.title)} to the first"),
        yaxis=axis(None, range=[0.6, len(shown) + 0.8], visible=False, fixedrange=True),
    )  # fmt: skip
    made["margin"] = {**made["margin"], "l": 16, "t": 10}
    return {"data": data, "layout": made}


def _ratio(place: float, value: float, ends: tuple[float, float] | None, verdict: str, name: str) -> dict[str, Any]:
    import numpy as np

    words = f"{value:.3f}" + ("" if ends is None else f" ({ends[0]:.3f} to {ends[1]:.3f})")
    low, high = ends or (value, value)
    return {
        "type": "scatter", "mode": "markers", "name": verdict,
        "x": numbers(np.asarray([value])), "y": numbers(np.asarray([place])),
        "error_x": {
            "type": "data", "symmetric": False, "array": [high - value], "arrayminus": [value - low], "color": "ink",
            "thickness": 2, "width": 7,
        },
        "marker": {
            "symbol": SYMBOLS.get(verdict, "circle-open"), "size": 13, "color": "latency",
            "line": {"color": "latency", "width": 2},
        },
        "text": [f"{label(name)}: {words}, {verdict}"], "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip


def fronts(found: Variants) -> list[Chart]:
    """The front by each pair of what all variants have."""
    known = found.front.axes
    pairs = [pair for pair in PAIRS if all(name in known for name in pair)]
    return [_front(found, *pair) for pair in pairs[:MOST_CHARTS]]


def _axis(found: Variants, name: str) -> Axis:
    """How an axis of the front is drawn."""
    if name == "latency_s":
        values = sorted(float(point.values[name] or 0) for point in found.points)
        unit, factor = scale_of(values[len(values) // 2])
        return Axis(f"latency (p50), {unit}", units.pretty_seconds, factor)
    if name == "energy_j":
        return Axis("energy of an item, mJ", units.pretty_joules, 1e3)
    if name == "size_bytes":
        largest = max(float(point.values[name] or 0) for point in found.points)
        unit, factor = ("MiB", 2.0**-20) if largest >= 2.0**20 else ("KiB", 2.0**-10)
        return Axis(f"size of the file, {unit}", units.pretty_bytes, factor)
    better = "less" if found.less_is_better.get(name) else "more"
    write = units.pretty_share if found.share else units.pretty_number
    return Axis(f"{label(found.metric or name)} ({better} is better)", write, 1.0)


def _front(found: Variants, across: str, up: str) -> Chart:
    import numpy as np

    axes = {name: _axis(found, name) for name in (across, up)}
    columns = {
        name: [float(point.values[name] or 0) * axes[name].factor for point in found.points] for name in (across, up)
    }
    data = []
    for on in (True, False):
        places = [place for place, is_on in enumerate(found.front.on) if is_on is on]
        x, y = (np.asarray([columns[name][place] for place in places]) for name in (across, up))
        marker = {"symbol": "diamond" if on else "circle-open", "size": 13 if on else 11, "color": "latency",
                  "line": {"color": "latency", "width": 2}}  # fmt: skip
        data.append(
            {
                "type": "scatter", "mode": "markers", "x": numbers(x), "y": numbers(y),
                "text": [_words(found, place, axes) for place in places],
                "name": "on the front" if on else "beaten", "marker": marker,
                "hovertemplate": "%{text}<extra></extra>",
            }
        )  # fmt: skip
    names = [] if len(found.points) > NAMED_POINTS else list(zip(columns[across], columns[up], strict=True))
    numbered = [
        {"text": str(number), "x": x, "y": y, "showarrow": False, "xshift": 14, "yshift": 10,
         "font": {"size": 12, "color": "ink"}}
        for number, (x, y) in enumerate(names, start=1)
    ]  # fmt: skip
    made = layout(
        FRONT_PX, xaxis=axis(axes[across].title, rangemode="tozero"),
        yaxis=axis(None, rangemode="normal" if up == "quality" else "tozero"), showlegend=True,
        annotations=[heading(axes[up].title, 0, 1), *numbered],
    )  # fmt: skip
    return {"data": data, "layout": made}


def _words(found: Variants, place: int, axes: dict[str, Axis]) -> str:
    point = found.points[place]
    return f"{label(point.name)}: " + ", ".join(one.write(point.values[name]) for name, one in axes.items())
