"""The time in which a run was measured, and the sensor samples that fall into it.

All times are the device's own clock.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mobile.results.run import Run


class Window(NamedTuple):
    """From the start of the first measured invocation to the end of the last one, ns on the device's clock."""

    start_ns: int
    end_ns: int

    @property
    def duration_s(self) -> float:
        """Its length in seconds."""
        return (self.end_ns - self.start_ns) / 1e9


class Series(NamedTuple):
    """Samples of one sensor without the missing ones: ``values[i]`` (SI) was read at ``t_ns[i]``."""

    t_ns: list[int]
    values: list[float]


def measured_window(run: Run) -> Window | None:
    """The window in which the run was measured; None when it never was.

    A runner that gives only a summary has no invocations to go by: then it lies between the events
    "warmup-done" (or "loaded") and "measured".
    """
    measured = run.phase("measure")
    if len(measured):
        return Window(measured.start_ns[0], measured.start_ns[-1] + measured.duration_ns[-1])
    stamps = {event.get("name"): event.get("t_ns") for event in reversed(run.events)}
    start, end = stamps.get("warmup-done", stamps.get("loaded")), stamps.get("measured")
    if isinstance(start, int) and isinstance(end, int) and start < end:
        return Window(start, end)
    return None


def summary_of(run: Run) -> dict[str, Any]:
    """The figures that a command runner read from its program's output; {} for runners that time each invocation."""
    summary = (run.done or {}).get("summary")
    return summary if isinstance(summary, dict) and not len(run.phase("measure")) else {}


def series(run: Run, sensor: str) -> Series:
    """The samples of a sensor that have a value, in the order of time."""
    column = run.samples.columns.get(sensor, [])
    pairs = [(t, value) for t, value in zip(run.samples.t_ns, column, strict=False) if value is not None]
    return Series([t for t, _ in pairs], [value for _, value in pairs])


def inside(found: Series, window: Window, margin_ns: int = 0) -> Series:
    """The part of a series that lies in the window, widened by ``margin_ns`` at both ends."""
    low, high = window.start_ns - margin_ns, window.end_ns + margin_ns
    pairs = [(t, value) for t, value in zip(*found, strict=True) if low <= t <= high]
    return Series([t for t, _ in pairs], [value for _, value in pairs])


def present(run: Run, quantity: str) -> list[dict[str, Any]]:
    """The descriptors of the sensors of a quantity that were sampled, in the agent's order."""
    return [
        sensor
        for sensor in run.sensors
        if sensor.get("quantity") == quantity and sensor.get("name") in run.samples.columns
    ]


def sample_period_s(run: Run) -> float:
    """The time between two samples that was asked for, in seconds."""
    return float(run.spec.agent_spec.get("sample_period_s") or 0.1)
