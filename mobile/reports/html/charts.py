"""The charts of a page, collected while it is written: each has its place in it, and a table beside it."""

from __future__ import annotations

from typing import Any

from mobile.reports.html.elements import Element, el
from mobile.reports.html.theme import PALETTES, Chart


class Charts:
    """What the page's script draws; a chart's number is its place in ``document``."""

    def __init__(self) -> None:
        self._charts: list[Chart] = []

    def add(self, chart: Chart, caption: str, *, zoom: bool = False) -> Element:
        """The chart's place in the page. ``zoom``: with buttons and keys that move along its x axis."""
        name = f"chart-{len(self._charts)}"
        self._charts.append(chart)
        height_px = f"min-height:{chart['layout']['height']}px"
        place = el(
            "div",
            id=name,
            class_="chart",
            style=height_px,
            role="group" if zoom else "img",
            tabindex="0" if zoom else None,
            aria_label=f"Chart: {caption}. The table after it has its figures.",
            data_zoom="yes" if zoom else None,
        )
        return el("figure", place, _buttons(name) if zoom else None, el("figcaption", caption))

    def document(self) -> dict[str, Any]:
        """What the script reads."""
        return {"charts": self._charts, "palettes": PALETTES}


def _buttons(name: str) -> Element:
    """Buttons for the same as the keys do."""
    known = (
        ("in", "+", "Zoom in"), ("out", "−", "Zoom out"), ("earlier", "←", "Earlier"), ("later", "→", "Later"),
        ("all", "All", "Show all"),
    )  # fmt: skip
    buttons = [
        el("button", sign, type="button", data_do=does, aria_label=words, title=words, aria_controls=name)
        for does, sign, words in known
    ]
    return el("div", buttons, class_="buttons", data_for=name)
