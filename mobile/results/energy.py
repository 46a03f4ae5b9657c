"""Joules of a run: from one total sensor of a known scope, with what the figure rests on; or none, with the
reason.

Cumulative counters (RAPL) are read by difference, wraps undone; power rails are integrated by the trapezoid
rule over the sampler's own timestamps. Values of different scopes are never added: only the CPU packages of
one machine are, which are disjoint parts of one kind. Idle power is not subtracted.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, NamedTuple

from mobile.results.run import Run
from mobile.results.window import Series, Window, inside, measured_window, present, sample_period_s, series

MIN_UPDATES = 10  # fewer readings than that give no figure: their spacing would be a large part of it
MIN_COVERED = 0.9  # share of the window that must lie between the first and the last reading
MAX_GAP_SHARE = 0.1  # of the window, for power: what happened in a longer gap is not known
NS_PER_S = 1e9

# The sensor that stands for the whole of a device, best first. Parts of a whole (cores, DRAM, single rails)
# are in none.
TOTALS = (
    ("energy", re.compile(r"^energy\.rapl\.package-\d+(?:#\d+)?$")),
    ("energy", re.compile(r"^energy\.rapl\.psys(?:#\d+)?$")),
    ("power", re.compile(r"^power\.(?:VDD_IN|POM_5V_IN|VIN)$")),
)


class Integral(NamedTuple):
    """Energy between the first and last reading inside a window.

    ``bound_j`` bounds the error of sampling alone.
    """

    energy_j: float
    covered_s: float
    readings: int
    largest_gap_s: float
    bound_j: float


class NoEnergyError(ValueError):
    """There is no energy figure; the message is the reason."""


def energy(run: Run, inferences: int | None) -> tuple[dict[str, Any] | None, str | None]:
    """(figure, None), or (None, the reason).

    The figure: total_j over the window, per_inference_j (None without a count), mean_power_w, window_s,
    scope, sensor, method ("counter" or "trapezoid"), samples, largest_gap_s, sampling_uncertainty_j (of
    total_j; the sensor's own accuracy comes on top), idle_subtracted (False).
    """
    try:
        return _figure(run, inferences), None
    except NoEnergyError as error:
        return None, str(error)


def _figure(run: Run, inferences: int | None) -> dict[str, Any]:
    window = measured_window(run)
    if window is None:
        raise NoEnergyError("nothing was measured, or the runner does not tell when")
    quantity, sensors = _total_sensors(run)
    parts = [_integrate(run, sensor, quantity, window) for sensor in sensors]
    mean_power_w = sum(part.energy_j / part.covered_s for part in parts)
    total_j = mean_power_w * window.duration_s
    scopes = list(dict.fromkeys(sensor["scope"] for sensor in sensors))
    return {
        "total_j": total_j,
        "per_inference_j": total_j / inferences if inferences else None,
        "mean_power_w": mean_power_w,
        "window_s": window.duration_s,
        "scope": " and ".join(scopes),
        "sensor": " + ".join(sensor["name"] for sensor in sensors),
        "method": "counter" if quantity == "energy" else "trapezoid",
        "samples": min(part.readings for part in parts),
        "largest_gap_s": max(part.largest_gap_s for part in parts),
        "sampling_uncertainty_j": sum(part.bound_j for part in parts),
        "idle_subtracted": False,
    }


def _total_sensors(run: Run) -> tuple[str, list[dict[str, Any]]]:
    """The quantity and the sensors of the first rule of TOTALS that this device meets."""
    for quantity, pattern in TOTALS:
        found = [sensor for sensor in present(run, quantity) if pattern.match(sensor["name"])]
        if found:
            return quantity, found
    raise NoEnergyError(_why_none(run))


def _why_none(run: Run) -> str:
    """Why no sensor of this device stands for the whole of it."""
    parts = [sensor["name"] for quantity in ("energy", "power") for sensor in present(run, quantity)]
    failed = [
        sensor
        for sensor in run.sensors
        if sensor.get("state") == "failed" and sensor.get("quantity") in ("energy", "power")
    ]
    if failed:
        return "; ".join(f"{sensor['name']}: {sensor['reason']}" for sensor in failed[:2])
    if parts:
        return f"no sensor covers the whole device, and parts are not added ({', '.join(parts[:6])})"
    absent = [
        sensor for sensor in run.sensors if sensor.get("quantity") in ("energy", "power") and sensor.get("reason")
    ]
    if absent:
        return "; ".join(dict.fromkeys(str(sensor["reason"]) for sensor in absent))
    return "this device has no energy or power sensor"


def _integrate(run: Run, sensor: dict[str, Any], quantity: str, window: Window) -> Integral:
    name = sensor["name"]
    period_s = max(sample_period_s(run), float(sensor.get("period_s") or 0.0))
    # One reading on each side of the window may be used: between it and the edge the value is interpolated.
    found = inside(series(run, name), window, margin_ns=round(2 * period_s * NS_PER_S))
    updates = min(len(inside(found, window).t_ns), int(window.duration_s / period_s) + 1)
    if updates < MIN_UPDATES:
        raise NoEnergyError(
            f"measured for {window.duration_s:.3g} s, in which {name} was read {updates} times; at least {MIN_UPDATES}"
            f" readings are needed: measure for {MIN_UPDATES * period_s:.3g} s or longer"
        )
    if quantity == "energy":
        found = Series(found.t_ns, _unwrapped(found.values, sensor))
        integral = _difference(found, window, float(sensor.get("resolution") or 0.0))
    else:
        integral = _trapezoid(found, window)
        if integral.largest_gap_s > MAX_GAP_SHARE * window.duration_s:
            raise NoEnergyError(f"{name} gave no value for {integral.largest_gap_s:.3g} s of {window.duration_s:.3g} s")
    if integral.covered_s < MIN_COVERED * window.duration_s:
        raise NoEnergyError(f"{name} covers only {integral.covered_s:.3g} s of the {window.duration_s:.3g} s measured")
    return integral


def _unwrapped(values: list[float], sensor: dict[str, Any]) -> list[float]:
    """The counter's values without the jumps back to 0 at ``wraps_at``."""
    wraps_at = sensor.get("wraps_at")
    result, added = [], 0.0
    previous = values[0]
    for value in values:
        if value < previous:
            if not wraps_at:
                raise NoEnergyError(f"{sensor['name']} went back, and it is not known where it wraps")
            added += float(wraps_at)
        previous = value
        result.append(value + added)
    return result


def _difference(found: Series, window: Window, resolution_j: float) -> Integral:
    """Counter at the window's end minus counter at its start, each interpolated between its two neighbours."""
    start_ns, end_ns = max(window.start_ns, found.t_ns[0]), min(window.end_ns, found.t_ns[-1])
    start_j, start_step_j = _at(found, start_ns)
    end_j, end_step_j = _at(found, end_ns)
    # When inside its interval the energy of an edge step was spent is not known: at most all of it is
    # misplaced.
    bound_j = start_step_j + end_step_j + resolution_j
    used = inside(found, window)
    return Integral(end_j - start_j, (end_ns - start_ns) / NS_PER_S, len(used.t_ns), _largest_gap_s(used), bound_j)


def _at(found: Series, t_ns: int) -> tuple[float, float]:
    """The value at a time between two readings, and the step between the two (0 when the time is a reading's)."""
    for (left_t, left), (right_t, right) in pairwise(zip(*found, strict=True)):
        if left_t <= t_ns <= right_t:
            if t_ns in (left_t, right_t):
                return (left if t_ns == left_t else right), 0.0
            return left + (right - left) * (t_ns - left_t) / (right_t - left_t), right - left
    return found.values[-1], 0.0


def _trapezoid(found: Series, window: Window) -> Integral:
    """Power integrated over the window; at its edges the power is interpolated between the two neighbours."""
    start_ns, end_ns = max(window.start_ns, found.t_ns[0]), min(window.end_ns, found.t_ns[-1])
    used = inside(found, Window(start_ns, end_ns))
    points = [(start_ns, _at(found, start_ns)[0]), *zip(*used, strict=True), (end_ns, _at(found, end_ns)[0])]
    energy_j = bound_j = 0.0
    for (left_t, left), (right_t, right) in pairwise(points):
        step_s = (right_t - left_t) / NS_PER_S
        energy_j += (left + right) / 2 * step_s
        bound_j += abs(right - left) / 2 * step_s  # exact where the power moves one way between two readings
    gap_s = _largest_gap_s(used)
    return Integral(energy_j, (end_ns - start_ns) / NS_PER_S, len(used.t_ns), gap_s, bound_j)


def _largest_gap_s(found: Series) -> float:
    return max((right - left for left, right in pairwise(found.t_ns)), default=0) / NS_PER_S
