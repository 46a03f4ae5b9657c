"""Joules of a run: from the sensors that stand for a whole of a known scope, with how uncertain they are; or none, with
the reason and how long to measure instead.

Which sensors those are is data (totals.py), the integral is one for all (integrate.py), and the uncertainty is made of
named parts (uncertainty.py). Scopes are never added; where a device shows several wholes, each is a figure of its own.
"""

from __future__ import annotations

import math
from typing import Any

from mobile.results import uncertainty
from mobile.results.baseline import above_idle, idle_of
from mobile.results.gauge import refuse_gauge
from mobile.results.integrate import NoEnergyError
from mobile.results.measured import measure, refuse_charger
from mobile.results.run import Run
from mobile.results.spread import Spread, spread
from mobile.results.totals import Total, totals
from mobile.results.uncertainty import Traits
from mobile.results.window import Window, measured_window, present

METHODS = {"energy": "counter", "charge": "charge", "power": "trapezoid"}


def energy(run: Run, inferences: int | None, force_battery: bool = False) -> tuple[dict[str, Any] | None, str | None]:
    """(figure, None) of the widest total that has one, or (None, the reason). See `energies`."""
    return widest(run, energies(run, inferences, force_battery))


def widest(run: Run, found: list[dict[str, Any]]) -> tuple[dict[str, Any] | None, str | None]:
    """(the first figure of `energies`, None), or (None, why there is none)."""
    for entry in found:
        if entry["missing"] is None:
            return entry, None
    if found:
        return None, "; ".join(dict.fromkeys(str(entry["missing"]) for entry in found[:2]))
    return None, _why_none(run)


def energies(run: Run, inferences: int | None, force_battery: bool = False) -> list[dict[str, Any]]:
    """A figure for each whole that the device's sensors show, widest scope first; [] where they show none.

    Each: total_j over the window, per_inference_j (None without a count), mean_power_w, window_s, covered_s; scope,
    scope_kind (totals.SCOPE_KINDS), rule, sensor, remark; method ("counter", "charge" or "trapezoid"), samples,
    update_period_s, largest_gap_s, resolution (of one reading, in its unit); uncertainty_j (of total_j, k = 2, about
    95 %), uncertainty_k, uncertainty_share, per_inference_uncertainty_j (with what the parts of the window scatter by:
    window_spread_j, windows {length_s, per_inference_j [..]}; None where it is too short for parts),
    uncertainty_parts {name: standard uncertainty in J}, uncertainty_note (what it leaves out, or None),
    sampling_uncertainty_j (a bound of sampling alone);
    idle_power_w, idle_power_uncertainty_w, idle_window_s, above_idle_j, above_idle_uncertainty_j,
    above_idle_per_inference_j, above_idle_missing, above_idle_note; idle_subtracted (False: total_j is all of it);
    missing (None), needed_s (how long to measure so that the readings leave 5 % open at most; None where they do now).
    One without a figure has scope, scope_kind, rule, sensor, missing (the reason) and needed_s.

    ``force_battery``: also while a charger is connected, where the battery's current is not the consumption.
    """
    window = measured_window(run)
    result = []
    for total in totals(_sampled(run)):
        try:
            if window is None:
                raise NoEnergyError("nothing was measured, or the runner does not tell when")
            result.append(_figure(run, total, window, inferences, force_battery))
        except NoEnergyError as error:
            result.append({**_names(total), "missing": str(error), "needed_s": error.needed_s})
    return result


def _sampled(run: Run) -> list[dict[str, Any]]:
    return [sensor for quantity in ("energy", "power", "charge", "voltage") for sensor in present(run, quantity)]


def _names(total: Total) -> dict[str, Any]:
    return {
        "scope": total.scope, "scope_kind": total.scope_kind, "rule": total.rule.name, "sensor": total.label,
    }  # fmt: skip


def _figure(run: Run, total: Total, window: Window, inferences: int | None, force_battery: bool) -> dict[str, Any]:
    forced = _check_battery(run, window, total, force_battery)
    idle = idle_of(run, total)
    measured = measure(run, total, window, idle.power_w)
    total_j, uncertainty_j = measured.total_j, uncertainty.combined_j(measured.parts)
    _, open_share = uncertainty.open_shares(measured.parts, total_j)
    integral = measured.integral
    parts = spread(run, total, measured, inferences, idle.power_w) if inferences else None
    each_j = uncertainty_j / inferences if inferences else None
    return {
        "total_j": total_j,
        "per_inference_j": total_j / inferences if inferences else None,
        "mean_power_w": measured.mean_w,
        "window_s": window.duration_s,
        "covered_s": integral.covered_s,
        **_names(total),
        "remark": total.rule.remark,
        "method": METHODS[total.rule.quantity],
        "samples": integral.readings,
        "update_period_s": measured.about.period_s or None,
        "largest_gap_s": integral.largest_gap_s,
        "resolution": measured.about.step or None,
        "sampling_uncertainty_j": integral.bound_j,
        "uncertainty_j": uncertainty_j,
        "uncertainty_k": uncertainty.COVERAGE_FACTOR,
        "uncertainty_share": uncertainty_j / abs(total_j) if total_j else None,
        "per_inference_uncertainty_j": _with_spread(each_j, parts),
        "window_spread_j": parts.u_j if parts else None,
        "windows": {"length_s": parts.part_s, "per_inference_j": list(parts.per_inference_j)} if parts else None,
        "uncertainty_parts": {part.name: part.u_j for part in measured.parts},
        "uncertainty_note": _note(measured.about, forced),
        **above_idle(measured, idle, inferences),
        "idle_subtracted": False,
        "missing": None,
        "needed_s": measured.needed_s if open_share > uncertainty.MAX_SHARE else None,
    }


def _with_spread(each_j: float | None, parts: Spread | None) -> float | None:
    """The uncertainty (k = 2) of an inference's energy: the total's, and what the parts of the window scatter by."""
    if each_j is None or parts is None:
        return each_j
    return math.hypot(each_j, uncertainty.COVERAGE_FACTOR * parts.u_j)


def _check_battery(run: Run, window: Window, total: Total, force: bool) -> str | None:
    """Why a battery's values are no consumption, which is NoEnergyError unless it was forced; None where they are."""
    if total.rule.scope_kind != "battery terminal":
        return None
    try:
        refuse_charger(run, window)
        refuse_gauge(run, total)
    except NoEnergyError as error:
        if not force:
            raise
        return str(error)
    return None


def _note(about: Traits, forced: str | None) -> str | None:
    """What the uncertainty leaves out: why the figure was refused and yet forced, and accuracies that nobody states."""
    words = [f"forced, although {forced}"] if forced else []
    if about.unknown:
        words.append(f"of the readings alone: the accuracy of {', '.join(about.unknown)} is not stated")
    return "; ".join(words) or None


def _why_none(run: Run) -> str:
    """Why no sensor of this device stands for the whole of it."""
    parts = [sensor["name"] for quantity in ("energy", "power") for sensor in present(run, quantity)]
    energetic = [sensor for sensor in run.sensors if sensor.get("quantity") in ("energy", "power")]
    failed = [sensor for sensor in energetic if sensor.get("state") == "failed"]
    if failed:
        return "; ".join(f"{sensor['name']}: {sensor['reason']}" for sensor in failed[:2])
    if parts:
        return f"no sensor covers the whole device, and parts are not added ({', '.join(parts[:6])})"
    absent = [str(sensor["reason"]) for sensor in energetic if sensor.get("reason")]
    if absent:
        return "; ".join(dict.fromkeys(absent))
    return "this device has no energy or power sensor"


def widest_total(run: Run) -> Total | None:
    """The widest whole that has a figure over the run; None where there is none."""
    window = measured_window(run)
    if window is None:
        return None
    for total in totals(_sampled(run)):
        try:
            _check_battery(run, window, total, force=False)
            measure(run, total, window, None)
        except NoEnergyError:
            continue
        return total
    return None


def part_energy(run: Run, total: Total | None, window: Window) -> tuple[float | None, str | None]:
    """(joules of the total in a part of the run, None), or (None, the reason)."""
    if total is None:
        return None, "no whole of the device has an energy figure"
    try:
        return measure(run, total, window, None).total_j, None
    except NoEnergyError as error:
        return None, str(error)
