"""What else happened on the device while it measured: memory that ran short, clocks that were set, runs beside it.

From the agent's event "measured" (device_agents/surroundings.py) and those of runs that were measured together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mobile.results.circumstances import Circumstances
from mobile.results.run import Run
from mobile.results.window import inside, measured_window, series

SWAP_BYTES = 1024 * 1024  # a few pages of others come and go on any machine
STALL_SHARE, STALL_REMARK = 0.05, 0.005  # of the time: some task waited for memory
FAULTS = 64  # pages: fewer are no sign of anything
CLOCK_STEP_S = 0.01  # what is read twice differs by microseconds; slewing moves both clocks alike
ASLEEP_S = 0.01


def surroundings(run: Run) -> Circumstances:
    """Why the run is invalid for what went on around it, and what to know all the same."""
    around = (run.event("measured") or {}).get("around")
    told = around if isinstance(around, Mapping) else {}
    memory, clocks, beside = _memory(told), _clocks(told), _beside(run)
    supply = _supply(run)
    return Circumstances([*memory.reasons, *clocks, *beside.reasons, *supply], [*memory.warnings, *beside.warnings])


def _memory(told: Mapping[str, Any]) -> Circumstances:
    reasons, warnings = [], []
    swapped = _number(told, "swapped_bytes")
    if swapped is not None and swapped >= SWAP_BYTES:
        reasons.append(f"memory ran short: {swapped / 2**20:.3g} MiB were swapped in or out while it measured")
    stalled_s, over_s = _number(told, "stalled_s"), _number(told, "over_s")
    if stalled_s is not None and over_s:
        line = f"tasks waited for memory for {stalled_s / over_s:.1%} of the time"
        if stalled_s > STALL_SHARE * over_s:
            reasons.append(line)
        elif stalled_s > STALL_REMARK * over_s:
            warnings.append(line)
    faults = _number(told, "major_faults")
    if faults is not None and faults >= FAULTS:
        warnings.append(f"{faults:g} pages of the model's process had to be read from the disk while it measured")
    return Circumstances(reasons, warnings)


def _clocks(told: Mapping[str, Any]) -> list[str]:
    reasons = []
    step_s, asleep_s = _number(told, "clock_step_s"), _number(told, "asleep_s")
    if asleep_s is not None and asleep_s > ASLEEP_S:
        reasons.append(f"the device was asleep for {asleep_s:.3g} s while it measured")
        step_s = None if step_s is None else step_s - asleep_s  # the wall clock went on meanwhile
    if step_s is not None and abs(step_s) > CLOCK_STEP_S:
        reasons.append(f"the device's wall clock was set by {step_s:+.3g} s while it measured")
    return reasons


def _beside(run: Run) -> Circumstances:
    """A run that was to be measured beside others, and was alone for a part of its time."""
    beside = run.spec.agent_spec.get("beside") or []
    if not beside:
        return Circumstances([], [])
    started, done = run.event("together-started"), run.event("together-done")
    if started is None:
        return Circumstances(["it never met the runs that were to go on beside it"], [])
    if started.get("missing") or (done or {}).get("missing"):
        return Circumstances([f"not all of {', '.join(map(str, beside))} went on beside it to the end"], [])
    return Circumstances([], [])


def _supply(run: Run) -> list[str]:
    """A charger that came or went: many devices change their clocks with it."""
    window = measured_window(run)
    if window is None:
        return []
    found = series(run, "supply.external")
    before = [value for t, value in zip(*found, strict=True) if t <= window.start_ns][-1:]
    values = before + inside(found, window).values
    if len({value > 0 for value in values}) > 1:
        return ["a charger was plugged in or out while it measured"]
    return []


def _number(told: Mapping[str, Any], key: str) -> float | None:
    value = told.get(key)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
