"""The charts of a run's latencies: how they are distributed, each percentile with its bound, and how they hold out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from mobile.reports.html.theme import Chart, axis, heading, layout, line, numbers
from mobile.reports.html.timeline import scale_of
from mobile.results.early_stopping import CONFIDENCE
from mobile.results.scenario import SHARES

if TYPE_CHECKING:
    from mobile.reports.decimate import Floats

HEIGHT_PX = 300
MOST_BARS, FEWEST_BARS = 80, 10
SHOWN_SHARE = 0.995  # of the inferences are in the histogram at least: a long tail would press the rest together
CURVE_POINTS = 400
MEDIAN = 0.5

Parts = Sequence[Mapping[str, Any]]


def percentile_name(share: float) -> str:
    """The name of a percentile.

    >>> percentile_name(0.5), percentile_name(0.999)
    ('p50', 'p99.9')
    """
    return f"p{100 * share:.10g}"


def histogram(values_s: Floats) -> tuple[Chart, int]:
    """(the chart, how many of the slowest lie outside of it)."""
    import numpy as np

    unit, factor = scale_of(float(np.median(values_s)))
    values = values_s * factor
    limit = float(np.percentile(values, 100 * SHOWN_SHARE, method="higher"))
    shown = values[values <= limit]
    counts, borders = np.histogram(shown, bins=_bars(shown))
    text = [f"{low:.4g} to {high:.4g} {unit}" for low, high in pairwise(borders)]
    data = [
        {
            "type": "bar", "x": numbers((borders[:-1] + borders[1:]) / 2), "y": numbers(counts.astype(float)),
            "width": float(borders[1] - borders[0]), "text": text, "textposition": "none",
            "marker": {"color": "latency", "line": {"color": "paper", "width": 0.5}},
            "hovertemplate": "%{text}: %{y:,}<extra></extra>", "name": "how many",
        }
    ]  # fmt: skip
    made = layout(
        HEIGHT_PX, xaxis=axis(f"latency, {unit}"), yaxis=axis(None, rangemode="tozero"), bargap=0,
        annotations=[heading("how many", 0, 1)],
    )  # fmt: skip
    return {"data": data, "layout": made}, len(values) - len(shown)


def _bars(values: Floats) -> int:
    """How many bars: D. Freedman and P. Diaconis, Z. Wahrscheinlichkeitstheorie 57 (1981), within limits."""
    import numpy as np

    low, high = np.percentile(values, (25, 75))
    width = 2 * float(high - low) / len(values) ** (1 / 3)
    span = float(values.max() - values.min())
    if width <= 0 or span <= 0:
        return FEWEST_BARS
    return int(max(FEWEST_BARS, min(MOST_BARS, math.ceil(span / width))))


def curve(values_s: Floats, median_s: float, told: Mapping[str, Mapping[str, Any]]) -> Chart:
    """Latency by percentile, the tail stretched: each further nine takes the same room. ``told``: the figures' ones."""
    import numpy as np

    unit, factor = scale_of(median_s)
    ordered = np.sort(values_s) * factor
    least = 1 / len(ordered)
    slower = np.unique(np.round(np.geomspace(1, len(ordered), CURVE_POINTS)).astype(int))[::-1]
    above, shape = slower / len(ordered), ordered[len(ordered) - slower]
    marked = {MEDIAN: median_s} | {SHARES[name]: one["value_s"] for name, one in told.items()}
    bounds = {SHARES[name]: one["bound_s"] for name, one in told.items() if one["bound_s"] is not None}
    drawn = {share: value for share, value in marked.items() if 1 - share >= least * (1 - 1e-9)}
    data = [
        _trace(above, shape, "measured", line=line("latency"), hovertemplate=f"%{{y:.4g}} {unit}<extra></extra>"),
        _points(drawn, factor, "percentile", "circle", unit),
        _points(bounds, factor, f"upper bound ({100 * CONFIDENCE:g} %)", "triangle-up-open", unit),
    ]
    ticks = [0.0, *(share for share in (0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999) if 1 - share >= least)]
    across = axis(
        "percentile", type="log", tickmode="array", tickvals=[1 - share for share in ticks],
        ticktext=[f"{100 * share:.10g}" for share in ticks], autorange="reversed",
    )  # fmt: skip
    made = layout(
        HEIGHT_PX, xaxis=across, yaxis=axis(None), showlegend=True, annotations=[heading(f"latency, {unit}", 0, 1)]
    )
    return {"data": data, "layout": made}


def _trace(x: Floats, y: Floats, name: str, **more: Any) -> dict[str, Any]:
    return {"type": "scatter", "mode": "lines", "x": numbers(x), "y": numbers(y), "name": name, **more}


def _points(values_s: Mapping[float, float], factor: float, name: str, symbol: str, unit: str) -> dict[str, Any]:
    import numpy as np

    marker = {"symbol": symbol, "size": 10, "color": "ink", "line": {"width": 2, "color": "ink"}}
    return _trace(
        np.asarray([1 - share for share in values_s]), np.asarray(list(values_s.values()), dtype=float) * factor, name,
        mode="markers", marker=marker, text=[percentile_name(share) for share in values_s],
        hovertemplate=f"%{{text}}: %{{y:.4g}} {unit}<extra>{name}</extra>",
    )  # fmt: skip


def course_of_parts(parts: Parts) -> Chart:
    """The run in equal parts: each one's rate as a share of the best, its median latency and energy to the first's."""
    import numpy as np

    middles = np.asarray([part["t_s"] for part in parts], dtype=float)
    best = max(part["per_s"] for part in parts)
    columns = (
        ("inferences per second, % of the best", "per_s", best, "latency", "circle"),
        ("median latency, % of the first", "p50_s", _first(parts, "p50_s"), "temperature", "square-open"),
        ("energy of an inference, % of the first", "per_inference_j", _first(parts, "per_inference_j"), "power",
         "triangle-up-open"),
    )  # fmt: skip
    data = []
    for number, (name, key, whole, colour, symbol) in enumerate(columns):
        if not whole:
            continue
        values = np.asarray([np.nan if part[key] is None else 100 * part[key] / whole for part in parts], dtype=float)
        data.append(
            _trace(middles, values, name, mode="lines+markers", line=line(colour, number, 2),
                   marker={"symbol": symbol, "size": 8, "color": colour},
                   hovertemplate="%{x:.4g} s: %{y:.4g} %<extra>" + name.partition(",")[0] + "</extra>")
        )  # fmt: skip
    made = layout(
        HEIGHT_PX, xaxis=axis("seconds since the first measured inference"), yaxis=axis(None, rangemode="tozero"),
        showlegend=True, annotations=[heading("per cent", 0, 1)],
    )  # fmt: skip
    return {"data": data, "layout": made}


def _first(parts: Parts, key: str) -> float | None:
    return next((float(part[key]) for part in parts if part[key]), None)
