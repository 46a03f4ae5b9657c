"""Heat and throttling of a run: temperatures of the hottest sensor, and whether the device held itself back."""

from __future__ import annotations

from typing import Any

from mobile.results.run import Run
from mobile.results.window import Window, inside, measured_window, present, sample_period_s, series

CAP_TOLERANCE = 1e-3  # of the hardware's maximum; a cap is a ratio of two whole kHz
NS_PER_S = 1e9


def thermal(run: Run) -> tuple[dict[str, Any] | None, str | None]:
    """(figure, None), or (None, the reason).

    The figure is of the sensor with the highest peak while measuring: sensor, start_c, peak_c, end_c (degrees
    C), samples; and throttled ("yes", "no" or "unknown") with throttled_why. Without a window it is of the
    whole run.
    """
    hottest: dict[str, Any] | None = None
    window = measured_window(run)
    margin_ns = round(2 * sample_period_s(run) * NS_PER_S)
    for sensor in present(run, "temperature"):
        found = series(run, sensor["name"])
        if window is not None:
            found = inside(found, window, margin_ns)
        if found.values and (hottest is None or max(found.values) > hottest["peak_c"]):
            hottest = {
                "sensor": sensor["name"], "start_c": found.values[0], "peak_c": max(found.values),
                "end_c": found.values[-1], "samples": len(found.values),
            }  # fmt: skip
    if hottest is None:
        return None, _why_none(run)
    throttled, why = throttling(run)
    return {**hottest, "throttled": throttled, "throttled_why": why}, None


def throttling(run: Run) -> tuple[str, str]:
    """("yes", what shows it), ("no", what was watched) or ("unknown", why), from counters, caps and the
    agent's events.

    Counters and caps are compared between the last samples before and the first after measuring (docs: one
    indicator alone misses cases on every platform).
    """
    signs = rose_counters(run) + lowered_caps(run)
    signs += ["the agent reported it" for event in run.events if event.get("name") == "throttled"][:1]
    if signs:
        return "yes", "; ".join(signs)
    watched = [sensor["name"] for sensor in _indicators(run) if series(run, sensor["name"]).values]
    if watched:
        return "no", f"watched: {', '.join(watched[:6])}"
    return "unknown", "this device shows neither throttle counters nor clock caps"


def rose_counters(run: Run) -> list[str]:
    """A line for each throttle counter that rose while measuring."""
    lines = []
    for sensor in _indicators(run):
        change = _change(run, sensor["name"])
        if sensor["quantity"] == "count" and change is not None and change[1] > change[0]:
            lines.append(f"{sensor['name']} rose by {change[1] - change[0]:g} ({sensor.get('scope', 'throttling')})")
    return lines


def lowered_caps(run: Run) -> list[str]:
    """A line for each clock cap that was lowered while measuring."""
    lines = []
    for sensor in _indicators(run):
        change = _change(run, sensor["name"], lowest=True)
        if sensor["quantity"] == "ratio" and change is not None and change[1] < change[0] - CAP_TOLERANCE:
            lines.append(f"{sensor['name']} fell from {change[0]:.0%} to {change[1]:.0%} of the highest clock")
    return lines


def _indicators(run: Run) -> list[dict[str, Any]]:
    counters = [sensor for sensor in present(run, "count") if sensor["name"].startswith("throttle")]
    return counters + [sensor for sensor in present(run, "ratio") if sensor["name"].startswith("cap")]


def _change(run: Run, name: str, lowest: bool = False) -> tuple[float, float] | None:
    """The value before measuring and the one after it, or the lowest from then on; None for fewer than two values."""
    found = series(run, name)
    window = measured_window(run) or Window(0, 2**62)
    before = [value for t, value in zip(*found, strict=True) if t <= window.start_ns][-1:]
    rest = [value for t, value in zip(*found, strict=True) if window.start_ns < t]
    upto = [value for t, value in zip(*found, strict=True) if window.start_ns < t <= window.end_ns]
    after = rest[: len(upto) + 1]
    values = before + after
    if len(values) < 2:
        return None
    return values[0], min(values[1:]) if lowest else values[-1]


def _why_none(run: Run) -> str:
    sensors = [sensor for sensor in run.sensors if sensor.get("quantity") == "temperature" and sensor.get("reason")]
    if sensors:
        return "; ".join(dict.fromkeys(str(sensor["reason"]) for sensor in sensors))
    return "this device has no temperature sensor"
