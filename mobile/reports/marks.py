"""The moments of a run: what its sensors showed of throttling and when, and what the agent told.

Where a sign is drawn is shown here; whether a run throttled is decided by results/throttle.py alone, from the signs
from the warm-up on.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mobile.results.run import Run
from mobile.results.stats import NS_PER_S
from mobile.results.throttle import CAP_TOLERANCE
from mobile.results.window import Series, present, series

MOST_SPELLS = 200  # of one sensor: a drawing with more shows nothing
PHASES = ("loaded", "first-done", "warmup-done", "measured")
TOLD = {
    "throttled": "the agent reported throttling", "guard": "the thermal guard stopped the run",
    "gate-refused": "it did not get as cool as asked for", "changed": "a setting changed",
    "stopping": "the run was stopped", "intruders": "other processes were busy",
}  # fmt: skip


class Spell(NamedTuple):
    """Something that showed from ``start_s`` to ``end_s`` (equal for a moment). ``kind``: "throttle" or "event"."""

    start_s: float
    end_s: float
    name: str
    words: str
    kind: str


def spells(run: Run, origin_ns: int) -> list[Spell]:
    """All of them, in the order of time."""
    found = [*_sensors(run, origin_ns), *_events(run, origin_ns)]
    return sorted(found, key=lambda spell: (spell.start_s, spell.name))


def phase_times(run: Run, origin_ns: int) -> dict[str, float]:
    """When the steps of a run were done, in s."""
    return {
        event["name"]: (event["t_ns"] - origin_ns) / NS_PER_S
        for event in run.events
        if event.get("name") in PHASES and isinstance(event.get("t_ns"), int)
    }


def _sensors(run: Run, origin_ns: int) -> list[Spell]:
    found: list[Spell] = []
    for quantity in ("flag", "level", "count", "ratio"):
        for sensor in present(run, quantity):
            name = str(sensor["name"])
            if not name.startswith("cap." if quantity == "ratio" else "throttle"):
                continue
            whole = series(run, name)
            own = _rises(whole) if quantity == "count" else _stretches(whole, _shows(name, quantity, whole))
            scope = str(sensor.get("scope") or quantity)
            found += [
                Spell(_seconds(start, origin_ns), _seconds(end, origin_ns), name, f"{scope}: {words}", "throttle")
                for start, end, words in own[:MOST_SPELLS]
            ]
    return found


def _seconds(t_ns: int, origin_ns: int) -> float:
    return (t_ns - origin_ns) / NS_PER_S


def _shows(name: str, quantity: str, whole: Series) -> list[bool]:
    """Whether each reading shows throttling: a flag that is set, a level above its lowest, a cap below its highest."""
    shown, lowest, highest = [], float("inf"), float("-inf")
    for value in whole.values:
        lowest, highest = min(lowest, value), max(highest, value)
        if quantity == "flag":
            shown.append(value >= 0.5)
        elif quantity == "level":
            shown.append(value > (0 if name == "throttle.status" else lowest))
        else:
            shown.append(value < highest - CAP_TOLERANCE)
    return shown


def _stretches(whole: Series, shows: list[bool]) -> list[tuple[int, int, str]]:
    """(start, end, the furthest value) of each stretch of readings that show it, up to the reading that does not."""
    found: list[tuple[int, int, list[float]]] = []
    going_on = False
    for t, value, shown in zip(whole.t_ns, whole.values, shows, strict=True):
        if shown and not going_on:
            found.append((t, t, [value]))
        elif going_on:
            start, _, values = found[-1]
            found[-1] = (start, t, [*values, value] if shown else values)
        going_on = shown
    return [(start, end, _furthest(values)) for start, end, values in found]


def _furthest(values: list[float]) -> str:
    return f"{values[0]:g}" if min(values) == max(values) else f"{min(values):g} to {max(values):g}"


def _rises(whole: Series) -> list[tuple[int, int, str]]:
    found = []
    for place in range(1, len(whole.values)):
        rise = whole.values[place] - whole.values[place - 1]
        if rise > 0:
            found.append((whole.t_ns[place], whole.t_ns[place], f"rose by {rise:g}"))
    return found


def _events(run: Run, origin_ns: int) -> list[Spell]:
    found = []
    for event in run.events:
        name, t_ns, detail = event.get("name"), event.get("t_ns"), event.get("detail") or {}
        if name not in TOLD or not isinstance(t_ns, int) or (name == "intruders" and detail.get("over") is not True):
            continue
        at_s = _seconds(t_ns, origin_ns)
        found.append(Spell(at_s, at_s, str(name), TOLD[name] + _why(detail), _kind(str(name))))
    return found


def _why(detail: dict[str, Any]) -> str:
    why = detail.get("why") or detail.get("reason") or detail.get("what")
    return f": {why}" if why else ""


def _kind(name: str) -> str:
    return "throttle" if name in ("throttled", "guard") else "event"
