"""The idle baseline of a run: the power before the worker started, and what the run used above it.

It is measured by the same sensors and the same integral. The sensor's offset is in both and cancels in the difference;
its gain, steps and scatter do not.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from mobile.results import uncertainty
from mobile.results.integrate import NoEnergyError
from mobile.results.measured import FEW_UPDATES, Measured, readings_of
from mobile.results.run import Run
from mobile.results.totals import Total
from mobile.results.window import Window

CANCELS = ("offset", "gain")  # gain acts on the difference, and is counted there


class Baseline(NamedTuple):
    """``measured`` is None where there is none, with ``missing``, the reason."""

    measured: Measured | None
    missing: str | None

    @property
    def power_w(self) -> float | None:
        """The mean power while idle."""
        return None if self.measured is None else self.measured.mean_w


def idle_of(run: Run, total: Total) -> Baseline:
    """The baseline of ``total``: between the events "idle-started" and "idle-done"."""
    window = _idle_window(run)
    if window is None:
        return Baseline(None, "no idle power was measured before this run")
    try:
        return Baseline(readings_of(run, total, window, None, FEW_UPDATES), None)
    except NoEnergyError as error:
        return Baseline(None, f"idle: {error}")


def above_idle(measured: Measured, idle: Baseline, inferences: int | None) -> dict[str, Any]:
    """The keys of a figure that speak of the idle power: null with ``above_idle_missing`` where there is none."""
    keys: dict[str, Any] = dict.fromkeys(
        ("idle_power_w", "idle_power_uncertainty_w", "idle_window_s", "above_idle_j", "above_idle_uncertainty_j",
         "above_idle_per_inference_j", "above_idle_note")
    )  # fmt: skip
    keys["above_idle_missing"] = idle.missing
    if idle.measured is None:
        return keys
    idle_s, window_s = idle.measured.window.duration_s, measured.window.duration_s
    idle_uncertainty_w = uncertainty.combined_j(idle.measured.parts) / idle_s
    spread_w = _without(idle.measured, CANCELS) / idle_s
    if uncertainty.COVERAGE_FACTOR * spread_w > measured.mean_w:
        return {**keys, "above_idle_missing": f"idle: {idle_s:.3g} s are too short for this sensor"}
    above_j = measured.total_j - idle.measured.mean_w * window_s
    gain_j = measured.about.gain * abs(above_j) / math.sqrt(3)
    doubt_j = uncertainty.COVERAGE_FACTOR * math.hypot(_without(measured, CANCELS), spread_w * window_s, gain_j)
    note = "not told apart from idle: it is smaller than its uncertainty" if abs(above_j) < doubt_j else None
    return {
        "idle_power_w": idle.measured.mean_w,
        "idle_power_uncertainty_w": idle_uncertainty_w,
        "idle_window_s": idle_s,
        "above_idle_j": above_j,
        "above_idle_uncertainty_j": doubt_j,
        "above_idle_per_inference_j": above_j / inferences if inferences else None,
        "above_idle_missing": None,
        "above_idle_note": note,
    }


def _without(measured: Measured, names: tuple[str, ...]) -> float:
    return math.hypot(*(part.u_j for part in measured.parts if part.name not in names))


def _idle_window(run: Run) -> Window | None:
    stamps = {event.get("name"): event.get("t_ns") for event in run.events}
    start, end = stamps.get("idle-started"), stamps.get("idle-done")
    if isinstance(start, int) and isinstance(end, int) and start < end:
        return Window(start, end)
    return None
