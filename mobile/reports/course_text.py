"""The course of a run as a few lines of text: a small chart for a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from mobile.reports.course import Course, Line, course
from mobile.reports.marks import Spell, spells
from mobile.reports.units import pretty_degrees, pretty_hertz, pretty_seconds, pretty_watts
from mobile.results.run import Run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BLOCKS, ASCII_BLOCKS = "▁▂▃▄▅▆▇█", "_.:-=+*#"
MARK, ASCII_MARK = "▲", "!"
LEAST_SPAN = 0.02  # of the highest value: a smaller change is drawn as none
NAME_WIDTH = 16
LEAST_WIDTH, MOST_WIDTH = 20, 60


class Row(NamedTuple):
    """A row: its name, a value for each column (NaN: none), how one is written, and what stands behind the row."""

    name: str
    values: Floats
    write: Callable[[float | None], str]
    about: str = ""


def course_lines(run: Run, width: int, ascii_only: bool = False) -> list[str]:
    """Lines of at most ``width`` characters where that is at least 80; [] for a run without single inferences.

    A column is a stretch of time; each row has its own scale, whose ends stand behind it.
    """
    found = course(run)
    if "measure" not in found.phases:
        return []
    start_s, duration_s = found.phases["measure"]
    span = (float(start_s[0]), float(start_s[-1] + duration_s[-1]))
    columns = max(LEAST_WIDTH, min(MOST_WIDTH, width - NAME_WIDTH - 44))
    blocks = ASCII_BLOCKS if ascii_only else BLOCKS
    lines = [
        f"{name:<{NAME_WIDTH}}{_drawn(values, blocks)}  {write(_low(values))} to {write(_high(values))}{about}"[:width]
        for name, values, write, about in _rows(found, span, columns)
    ]
    marked = _marked(spells(run, found.origin_ns), span, columns, ASCII_MARK if ascii_only else MARK)
    if marked.strip():
        lines.append(f"{'throttling':<{NAME_WIDTH}}{marked}".rstrip())
    edge = pretty_seconds(span[1] - span[0])
    return [*lines, f"{'':<{NAME_WIDTH}}{'0 s':<{max(0, columns - len(edge))}}{edge}"]


def _rows(found: Course, span: tuple[float, float], columns: int) -> Iterator[Row]:
    import numpy as np

    start_s, duration_s = found.phases["measure"]
    yield Row("median latency", _binned(start_s, duration_s, span, columns, np.median), pretty_seconds)
    yield Row("highest latency", _binned(start_s, duration_s, span, columns, np.max), pretty_seconds)
    for panel in found.panels:
        one: Line = panel.lines[0]
        write = {"temperature": pretty_degrees, "clock": _gigahertz, "power": pretty_watts}[panel.name]
        values = _binned(one.t_s, one.values, span, columns, np.mean)
        if np.isfinite(values).any():
            told = one.about if panel.name == "power" and one.about else one.name
            yield Row(panel.name, values, write, f", {told}")


def _gigahertz(value: float | None) -> str:
    return pretty_hertz(None if value is None else value * 1e9)


def _binned(
    t_s: Floats, values: Floats, span: tuple[float, float], columns: int, figure: Callable[[Floats], Any]
) -> Floats:
    """A figure of the values in each column; NaN where it has none."""
    import numpy as np

    places = np.floor((t_s - span[0]) / max(span[1] - span[0], 1e-9) * columns).astype(int)
    places[t_s == span[1]] = columns - 1
    return np.asarray(
        [figure(values[places == place]) if (places == place).any() else np.nan for place in range(columns)]
    )


def _low(values: Floats) -> float:
    import numpy as np

    return float(np.nanmin(values))


def _high(values: Floats) -> float:
    import numpy as np

    return float(np.nanmax(values))


def _drawn(values: Floats, blocks: str) -> str:
    """A character for each value, by its place between the lowest and the highest; a space for a missing one."""
    low, high = _low(values), _high(values)
    if high - low < LEAST_SPAN * abs(high):
        return "".join(blocks[len(blocks) // 2 - 1] if math.isfinite(value) else " " for value in values)
    scale = (len(blocks) - 1) / (high - low)
    return "".join(blocks[round((value - low) * scale)] if math.isfinite(value) else " " for value in values)


def _marked(seen: list[Spell], span: tuple[float, float], columns: int, mark: str) -> str:
    """A mark in each column in which throttling showed."""
    length_s = max(span[1] - span[0], 1e-9) / columns
    edges = [(span[0] + length_s * place, span[0] + length_s * (place + 1)) for place in range(columns)]
    shown = [spell for spell in seen if spell.kind == "throttle"]
    return "".join(
        mark if any(spell.start_s < end and spell.end_s >= start for spell in shown) else " " for start, end in edges
    )
