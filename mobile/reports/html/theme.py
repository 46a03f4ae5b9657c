"""Colours and the common layout of the charts.

The hues are those of M. Okabe and K. Ito, "Color Universal Design" (2008), told apart with every kind of colour
blindness; darker on light ground and lighter on dark, so that lines keep a contrast of 3 to 1 (WCAG 2.1, 1.4.11).
Nothing is told by colour alone: panels have headings, lines dashes, points shapes. A chart names a colour by what it
is for; the page puts in the one of the reader's scheme.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PALETTES: dict[str, dict[str, str]] = {
    "light": {
        "ink": "#1b1f24", "faint": "#57606a", "grid": "#d5dbe1", "paper": "#ffffff", "latency": "#0072b2",
        "band": "rgba(0,114,178,0.25)", "temperature": "#c24e00", "clock": "#007a58", "power": "#9c4a7f",
        "mark": "#1b1f24", "shade": "rgba(213,94,0,0.20)", "margin": "rgba(87,96,106,0.16)",
    },
    "dark": {
        "ink": "#e8edf2", "faint": "#a4afba", "grid": "#39424c", "paper": "#14181d", "latency": "#56b4e9",
        "band": "rgba(86,180,233,0.28)", "temperature": "#e69f00", "clock": "#2fc49a", "power": "#e6a3ca",
        "mark": "#f0e442", "shade": "rgba(230,159,0,0.28)", "margin": "rgba(164,175,186,0.20)",
    },
}  # fmt: skip
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
SIDE_PX, TOP_PX, BOTTOM_PX = 54, 28, 44
NAME_LENGTH = 44  # a longer name is cut in a drawing; tables have it whole

Chart = dict[str, Any]


def label(text: object, most: int = 200) -> str:
    """A text from the store for a drawing, whose library takes some tags for markup; cut to ``most`` characters.

    >>> label("<b>x</b>")
    '&lt;b&gt;x&lt;/b&gt;'
    """
    plain = " ".join(str(text).split())
    return html.escape(plain if len(plain) <= most else plain[: most - 1] + "…", quote=False)


def numbers(values: NDArray[np.float64]) -> dict[str, str]:
    """An array as the library reads it: the bytes of its doubles in base 64."""
    import base64

    import numpy as np

    data = np.ascontiguousarray(values, dtype="<f8").tobytes()
    return {"dtype": "f8", "bdata": base64.b64encode(data).decode("ascii")}


def axis(title: str | None = None, **more: Any) -> dict[str, Any]:
    """An axis with the page's colours."""
    return {
        "color": "ink", "gridcolor": "grid", "linecolor": "faint", "zerolinecolor": "grid", "ticks": "outside",
        "tickcolor": "faint",
        "title": {"text": title, "standoff": 6, "font": {"size": 12}} if title else None, **more,
    }  # fmt: skip


def layout(height_px: int, **more: Any) -> dict[str, Any]:
    """What all charts share. ``uirevision`` keeps what the reader has zoomed to when scheme or width change."""
    return {
        "height": height_px,
        "margin": {"l": SIDE_PX, "r": 12, "t": TOP_PX, "b": BOTTOM_PX},
        "paper_bgcolor": "paper", "plot_bgcolor": "paper",
        "font": {"family": FONT, "size": 12, "color": "ink"},
        "hoverlabel": {"bgcolor": "paper", "bordercolor": "faint", "font": {"color": "ink", "size": 12}},
        "legend": {
            "orientation": "h", "x": 0, "xanchor": "left", "y": 0, "yanchor": "top", "font": {"size": 11},
            "traceorder": "normal",
        },
        "showlegend": False, "dragmode": False, "uirevision": "kept", "hovermode": "closest",
        **more,
    }  # fmt: skip


def line(colour: str, number: int = 0, width: float = 1.6) -> dict[str, Any]:
    """A line in a colour; the dash tells lines of one colour apart."""
    return {"color": colour, "dash": DASHES[number % len(DASHES)], "width": width}


def heading(text: str, x: float, y: str | float, **more: Any) -> dict[str, Any]:
    """A heading over a panel, from its left edge."""
    return {
        "text": text, "xref": "paper", "yref": "paper", "x": x, "y": y, "xanchor": "left", "yanchor": "bottom",
        "showarrow": False, "font": {"size": 12, "color": "ink"}, "align": "left", "bgcolor": "paper", **more,
    }  # fmt: skip
