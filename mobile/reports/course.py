"""The course of a run on one time axis: what was measured when, and the moments that matter.

Times are seconds on the device's clock, from the first measured inference on. An external meter's readings are on its
host's clock; they are placed by the moment at which the host heard that measuring began, and said to be.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from mobile.results.clocks import main_clock
from mobile.results.integrate import NoEnergyError, unwrapped
from mobile.results.metered import meter_run
from mobile.results.run import Run
from mobile.results.stats import NS_PER_S, as_numpy
from mobile.results.totals import Total, totals
from mobile.results.window import Series, measured_window, present, series

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MOST_LINES = 6  # of a panel: as many as there are dashes
LEAST_RATE_S = 0.2  # a counter's rise is a power over at least so long: its own steps are not the load's
QUANTITIES = {"temperature": "°C", "clock": "GHz", "power": "W"}


class Line(NamedTuple):
    """Readings of one sensor, or of several that always agree (``name`` says so). ``about``: its scope, or a note."""

    name: str
    about: str
    t_s: Floats
    values: Floats


class Panel(NamedTuple):
    """The lines of one quantity in ``unit``; ``left_out``: the sensors that are not drawn."""

    name: str
    unit: str
    lines: tuple[Line, ...]
    left_out: tuple[str, ...] = ()


class Course(NamedTuple):
    """``phases``: (start, duration) in s of the inferences of each phase. ``origin_ns``: where the axis has its 0."""

    origin_ns: int
    phases: dict[str, tuple[Floats, Floats]]
    panels: tuple[Panel, ...]


def course(run: Run) -> Course:
    """What a run's time charts show."""
    origin_ns = origin(run)
    phases = {
        name: ((as_numpy(one.start_ns) - origin_ns) / NS_PER_S, as_numpy(one.duration_ns) / NS_PER_S)
        for name, one in run.phases.items()
        if len(one)
    }
    panels = (_temperatures(run, origin_ns), _clocks(run, origin_ns), _powers(run, origin_ns))
    return Course(origin_ns, phases, tuple(panel for panel in panels if panel.lines))


def origin(run: Run) -> int:
    """The device's time of the start of the first measured inference, else of the first thing that is known, in ns."""
    window = measured_window(run)
    if window is not None:
        return window.start_ns
    known = [event["t_ns"] for event in run.events if isinstance(event.get("t_ns"), int) and event["t_ns"] > 0]
    known += run.samples.t_ns[:1]
    return min(known, default=0)


def _temperatures(run: Run, origin_ns: int) -> Panel:
    """The hottest ones."""
    lines = _merged(_line(run, sensor, origin_ns) for sensor in present(run, "temperature"))
    lines.sort(key=lambda line: -float(line.values.max()))
    return _panel("temperature", lines)


def _clocks(run: Run, origin_ns: int) -> Panel:
    """The clock that reports show first, then the fastest ones."""
    lines = _merged(_line(run, sensor, origin_ns, 1e-9) for sensor in present(run, "frequency"))
    medians = {line.name: _median(line) for line in lines}
    first = main_clock(medians)
    lines.sort(key=lambda line: (line.name != first, -medians[line.name]))
    return _panel("clock", lines)


def _powers(run: Run, origin_ns: int) -> Panel:
    """The wholes that the device or a meter shows, each with its scope; where there is none, its parts."""
    sensors = [sensor for quantity in ("energy", "power") for sensor in present(run, quantity)]
    lines = [_total(run, total, origin_ns) for total in totals(sensors)]
    lines = [*_meter(run, origin_ns), *lines]
    if not any(line is not None for line in lines):
        lines = [_line(run, sensor, origin_ns) for sensor in present(run, "power")]
    return _panel("power", _merged(lines))


def _panel(name: str, lines: list[Line]) -> Panel:
    left_out = tuple(line.name for line in lines[MOST_LINES:])
    return Panel(name, QUANTITIES[name], tuple(lines[:MOST_LINES]), left_out)


def _median(line: Line) -> float:
    import numpy as np

    return float(np.median(line.values))


def _line(run: Run, sensor: Mapping[str, Any], origin_ns: int, scale: float = 1.0) -> Line | None:
    name = str(sensor["name"])
    return _of(name, str(sensor.get("scope") or ""), series(run, name), origin_ns, scale)


def _of(name: str, about: str, found: Series, origin_ns: int, scale: float = 1.0) -> Line | None:
    """The line of a series in the order of time; None without values."""
    import numpy as np

    times = (np.asarray(found.t_ns, dtype=np.int64) - origin_ns) / NS_PER_S
    values = np.asarray(found.values, dtype=np.float64) * scale
    known = np.isfinite(values)
    order = np.argsort(times[known], kind="stable")
    times, values = times[known][order], values[known][order]
    return Line(name, about, times, values) if len(values) else None


def _merged(lines: Iterable[Line | None]) -> list[Line]:
    """The lines, those with the same readings throughout as one: the cores of a cluster share a clock."""
    found: dict[bytes, list[Line]] = {}
    for line in lines:
        if line is not None:
            found.setdefault(line.t_s.tobytes() + line.values.tobytes(), []).append(line)
    return [
        alike[0]._replace(name=f"{alike[0].name} and {len(alike) - 1} alike") if len(alike) > 1 else alike[0]
        for alike in found.values()
    ]


def _total(run: Run, total: Total, origin_ns: int) -> Line | None:
    """The power of a whole: as it was read, or as its counters rise. None for one that cannot be drawn."""
    import numpy as np

    names = [str(sensor["name"]) for sensor in total.sensors]
    parts = [_ordered(series(run, name)) for name in names]
    if not all(len(part.t_ns) > 1 for part in parts):
        return None
    if total.rule.quantity == "energy":
        wraps = [sensor.get("wraps_at") or None for sensor in total.sensors]
        try:
            parts = [unwrapped(part, wraps_at, name) for part, wraps_at, name in zip(parts, wraps, names, strict=True)]
        except NoEnergyError:
            return None
    times = parts[0].t_ns
    whole = np.sum([np.interp(times, part.t_ns, part.values) for part in parts], axis=0) * total.rule.consumption
    found = Series(list(times), whole.tolist())
    if total.rule.quantity == "energy":
        found = rates(found)
    return _of(total.label, total.scope, found, origin_ns)


def _ordered(found: Series) -> Series:
    """The finite readings in the order of time, one for each moment."""
    known = {t: value for t, value in zip(*found, strict=True) if math.isfinite(value)}
    times = sorted(known)
    return Series(times, [known[t] for t in times])


def rates(counter: Series, least_s: float = LEAST_RATE_S) -> Series:
    """The power by a counter of joules: its rise over pieces of at least ``least_s``, at the middle of each."""
    t_ns: list[int] = []
    values: list[float] = []
    start, first = counter.t_ns[0], counter.values[0]
    for t, value in zip(*counter, strict=True):
        length_s = (t - start) / NS_PER_S
        if length_s >= least_s:
            t_ns.append((start + t) // 2)
            values.append((value - first) / length_s)
            start, first = t, value
    return Series(t_ns, values)


def _meter(run: Run, origin_ns: int) -> list[Line | None]:
    view, _ = meter_run(run)
    heard = {event.get("name"): event.get("t_ns") for event in (run.events if view is not None else [])}
    began = heard.get("warmup-done")
    if view is None or run.meter is None or not isinstance(began, int):
        return []
    shift_ns = run.meter.marks["warmup-done"] - began
    sensors = [sensor for sensor in view.sensors if sensor["quantity"] == "power"] or view.sensors
    found = []
    for sensor in sensors:
        read = _ordered(series(view, str(sensor["name"])))
        if sensor["quantity"] == "energy":
            read = rates(read)
        about = f"{sensor.get('scope') or 'external meter'}; placed by when the host heard that measuring began"
        found.append(_of(str(sensor["name"]), about, read, origin_ns + shift_ns))
    return found
