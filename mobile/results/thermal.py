"""Heat of a run: temperatures of the hottest sensor, and whether the device held itself back (throttle.py)."""

from __future__ import annotations

from typing import Any

from mobile.results.run import Run
from mobile.results.throttle import throttling
from mobile.results.window import inside, measured_window, present, sample_period_s, series

NS_PER_S = 1e9


def thermal(run: Run) -> tuple[dict[str, Any] | None, str | None]:
    """(figure, None), or (None, the reason).

    The figure is of the sensor with the highest peak while measuring: sensor, start_c, peak_c, end_c (degrees
    C), samples; and throttled ("yes", "no" or "unknown") with throttled_why. Without a window it is of the
    whole run.
    """
    hottest: dict[str, Any] | None = None
    window = measured_window(run)
    for sensor in present(run, "temperature"):
        found = series(run, sensor["name"])
        if window is not None:
            period_s = max(sample_period_s(run), float(sensor.get("period_s") or 0.0))
            found = inside(found, window, round(2 * period_s * NS_PER_S))
        if found.values and (hottest is None or max(found.values) > hottest["peak_c"]):
            hottest = {
                "sensor": sensor["name"], "start_c": found.values[0], "peak_c": max(found.values),
                "end_c": found.values[-1], "samples": len(found.values),
            }  # fmt: skip
    if hottest is None:
        return None, _why_none(run)
    seen = throttling(run)
    return {**hottest, "throttled": seen.verdict, "throttled_why": seen.why}, None


def _why_none(run: Run) -> str:
    sensors = [sensor for sensor in run.sensors if sensor.get("quantity") == "temperature" and sensor.get("reason")]
    if sensors:
        return "; ".join(dict.fromkeys(str(sensor["reason"]) for sensor in sensors))
    return "this device has no temperature sensor"
