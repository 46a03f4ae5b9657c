"""The clocks of a run while it was measured: what ran how fast, and whether it stayed there."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from mobile.results.run import Run
from mobile.results.window import inside, measured_window, present, sample_period_s, series

NS_PER_S = 1e9
# Counted by the firmware; what cpufreq shows there is only the clock that was asked for.
REAL = ("frequency.arm",)


def clocks(run: Run) -> tuple[list[dict[str, Any]] | None, str | None]:
    """([a figure for each clock that had a value while measuring], None), or (None, the reason).

    A figure: sensor, scope, note, median_hz, min_hz, max_hz, samples. 0 Hz is a unit that was switched off.
    """
    window = measured_window(run)
    found = []
    for sensor in present(run, "frequency"):
        values = series(run, sensor["name"])
        if window is not None:
            period_s = max(sample_period_s(run), float(sensor.get("period_s") or 0.0))
            values = inside(values, window, round(2 * period_s * NS_PER_S))
        if values.values:
            found.append(
                {
                    "sensor": sensor["name"],
                    "scope": sensor.get("scope"),
                    "note": sensor.get("note"),
                    "median_hz": median(values.values),
                    "min_hz": min(values.values),
                    "max_hz": max(values.values),
                    "samples": len(values.values),
                }
            )
    return (found, None) if found else (None, _why_none(run))


def main_clock(medians_hz: Mapping[str, float]) -> str | None:
    """The name of the clock to show of several: the CPUs' real one where it is counted, else the fastest."""
    real = [name for name in REAL if medians_hz.get(name)]
    return real[0] if real else max(medians_hz, key=lambda name: medians_hz[name], default=None)


def _why_none(run: Run) -> str:
    clock_sensors = [sensor for sensor in run.sensors if sensor.get("quantity") == "frequency"]
    reasons = [str(sensor["reason"]) for sensor in clock_sensors if sensor.get("reason")]
    return "; ".join(dict.fromkeys(reasons)) or "this device shows no clocks"
