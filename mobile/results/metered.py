"""Joules by an external meter: the host's readings, in the window between the receipt of two events, on its own clock.

They go through the one integrator as a run of their own, whose clock is the host's. Host and device times are never
subtracted; how long the window was is known on both clocks, and by how much the two lengths differ shows how unevenly
the events arrived.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import replace
from itertools import pairwise
from typing import Any

from mobile.results.align import Alignment, NotAlignedError, align, markers_of
from mobile.results.energy import energies
from mobile.results.run import MeterSamples, Run, Samples
from mobile.results.uncertainty import COVERAGE_FACTOR
from mobile.results.window import Series, measured_window

NS_PER_S = 1e9
# Beside what the two lengths show: a delay that both events share moves the window. The agent's stream is looked at
# every 50 ms, and a link in a building takes as much at most.
RECEIPT_S = 0.1
MAX_UNEVEN_S, MAX_UNEVEN_SHARE = 1.0, 0.1  # of the window: more than that, and the events were held back on the way
PART, ALIGNED = "receipt of the events", "alignment by the marker"
LATEST_S = 10.0  # that an event may take to be heard of: the marker is looked for so long before
EDGES = ("warmup-done", "measured")
_UNITS = {"power": "W", "energy": "J"}


def meter_energies(run: Run, inferences: int | None) -> list[dict[str, Any]]:
    """The figures by the meter, as those of `energy.energies`; [] where the device has no meter."""
    if run.meter is None:
        why = run.environment.get("meter_missing")
        return [_none({}, str(why))] if why else []
    found, why_not = alignment(run)
    view, why_none = meter_run(run, found)
    if view is None:
        return [_none(run.meter.about, "; ".join(dict.fromkeys(why for why in (why_none, why_not) if why)))]
    part, uneven_s = (PART, _uneven_s(run, run.meter)) if found is None else (ALIGNED, _ends_s(run, found))
    told = [_with_ends(entry, part, uneven_s, inferences) for entry in energies(view, inferences)]
    return [{**entry, "alignment": _told(found, why_not)} for entry in told]


def alignment(run: Run) -> tuple[Alignment | None, str | None]:
    """(where the run lies in the meter's trace by its markers, None) or (None, why not); (None, None) without any."""
    meter, markers = run.meter, markers_of(run)
    if meter is None or not markers:
        asked = (run.spec.agent_spec.get("conditions") or {}).get("marker_s")
        return None, "the marker that was asked for was not played" if asked and meter is not None else None
    pairs = [(t, value) for t, value in zip(meter.t_ns, meter.power_w, strict=False) if value is not None]
    trace = Series([t for t, _ in pairs], [value for _, value in pairs])
    device_ns, host_ns = _stamps(run).get(EDGES[0]), meter.marks.get(EDGES[0])
    near = None
    if isinstance(device_ns, int) and host_ns is not None:
        late_s = (host_ns - device_ns) / NS_PER_S
        near = (late_s - LATEST_S, late_s + LATEST_S)
    try:
        return align(trace, markers, near), None
    except NotAlignedError as error:
        return None, str(error)


def meter_run(run: Run, found: Alignment | None = None) -> tuple[Run | None, str]:
    """(a run whose samples, events and clock are those of the meter's host, "") or (None, why there is none).

    Its sensors are ``power.meter.KIND`` in W and ``energy.meter.KIND`` in J, as far as the meter gives them.
    """
    meter = run.meter
    if meter is None:
        return None, "no meter was read"
    marks = meter.marks if found is None else _aligned_marks(run, found)
    why_not = None if found is not None else _why_not_heard(run, meter)
    if why_not is not None:
        return None, why_not
    columns = {"power": meter.power_w, "energy": meter.energy_j}
    given = {name: values for name, values in columns.items() if sum(value is not None for value in values) > 1}
    if not given:
        return None, _reason(meter)
    kind = str(meter.about.get("kind", "meter"))
    sensors = [_descriptor(meter, kind, quantity, values) for quantity, values in given.items()]
    samples = Samples(
        meter.t_ns,
        {f"{quantity}.meter.{kind}": list(values) for quantity, values in given.items()},
        {f"power.meter.{kind}": _reason(meter)} if meter.reasons else {},
        meter.read_ns,
    )
    events = [{"t_ns": t_ns, "name": name, "detail": {}} for name, t_ns in sorted(marks.items(), key=_when)]
    spec = replace(run.spec, agent_spec={**run.spec.agent_spec, "sample_period_s": _period_s(meter)})
    view = replace(
        run, spec=spec, environment={}, sensors=sensors, events=events, phases={}, samples=samples, meter=None,
        top1=array("i"),
    )  # fmt: skip
    return view, ""


def _why_not_heard(run: Run, meter: MeterSamples) -> str | None:
    """Why the events that this host heard of bound no window; None where they do."""
    start, end = (meter.marks.get(name) for name in EDGES)
    if start is None or end is None or start >= end:
        return "this host did not hear both of the beginning and of the end of measuring"
    device_s, host_s = _device_s(run), (end - start) / NS_PER_S
    if device_s is not None and abs(host_s - device_s) > max(MAX_UNEVEN_S, MAX_UNEVEN_SHARE * device_s):
        return f"the run's events were held back on the way: {host_s:.3g} s between them here, {device_s:.3g} s there"
    return None


def _aligned_marks(run: Run, found: Alignment) -> dict[str, int]:
    """The device's own window and events, in the trace's time."""
    stamps = {name: t_ns for name, t_ns in _stamps(run).items() if isinstance(t_ns, int)}
    window = measured_window(run)
    if window is not None:
        stamps.update(zip(EDGES, window, strict=True))
    return {name: found.trace_ns(t_ns) for name, t_ns in stamps.items()}


def _ends_s(run: Run, found: Alignment) -> float:
    """Both ends of the window together, as a half-width of which a third of the square is the variance."""
    window = measured_window(run)
    ends = window or (round(found.at_s * NS_PER_S),) * 2
    return math.sqrt(3) * math.hypot(*(found.uncertainty_s(end) for end in ends))


def _told(found: Alignment | None, why_not: str | None) -> dict[str, Any]:
    """How the window was found in the meter's trace: as `report --json` has it."""
    if found is None:
        return {"by": "receipt", "why_no_marker": why_not}
    first, last = found.found[0], found.found[-1]
    return {
        "by": "marker", "offset_s": found.offset_s, "uncertainty_s": max(first.uncertainty_s, last.uncertainty_s),
        "drift": found.drift if len(found.found) > 1 else None,
        "correlation": min(first.correlation, last.correlation), "elsewhere": max(first.elsewhere, last.elsewhere),
    }  # fmt: skip


def _when(mark: tuple[str, int]) -> int:
    return mark[1]


def _descriptor(meter: MeterSamples, kind: str, quantity: str, values: list[float | None]) -> dict[str, Any]:
    """As the agent's descriptors are. A counter's step is the smallest rise that was seen."""
    about = meter.about
    resolution = about.get("resolution_w") if quantity == "power" else _step_j(values)
    offset = about.get("offset_w") if quantity == "power" else None
    known = about.get("gain") is not None or offset is not None
    accuracy = {"offset": offset, "gain": about.get("gain"), "noise": None, "source": about.get("accuracy_source")}
    return {
        "name": f"{quantity}.meter.{kind}", "quantity": quantity, "unit": _UNITS[quantity],
        "scope": about.get("scope"), "state": "present", "reason": None, "period_s": about.get("period_s"),
        "resolution": resolution, "source": "external meter", "wraps_at": None, "note": None,
        "accuracy": accuracy if known else None,
    }  # fmt: skip


def _step_j(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return min((right - left for left, right in pairwise(known) if right > left), default=None)


def _stamps(run: Run) -> dict[str, Any]:
    return {str(event.get("name")): event.get("t_ns") for event in reversed(run.events)}


def _device_s(run: Run) -> float | None:
    stamps = _stamps(run)
    start, end = (stamps.get(name) for name in EDGES)
    return (end - start) / NS_PER_S if isinstance(start, int) and isinstance(end, int) else None


def _uneven_s(run: Run, meter: MeterSamples) -> float:
    device_s = _device_s(run)
    host_s = (meter.marks[EDGES[1]] - meter.marks[EDGES[0]]) / NS_PER_S
    return RECEIPT_S + (abs(host_s - device_s) if device_s is not None else 0.0)


def _with_ends(entry: dict[str, Any], part: str, uneven_s: float, inferences: int | None) -> dict[str, Any]:
    """The figure with one part more: what the window's ends may be off by, times the power (GUM 4.3.7)."""
    if entry["missing"] is not None:
        return entry
    u_j = abs(entry["mean_power_w"]) * uneven_s / math.sqrt(3)
    expanded_j = math.hypot(entry["uncertainty_j"], COVERAGE_FACTOR * u_j)
    above_j = entry["above_idle_uncertainty_j"]
    return {
        **entry,
        "uncertainty_j": expanded_j,
        "uncertainty_share": expanded_j / abs(entry["total_j"]) if entry["total_j"] else None,
        "per_inference_uncertainty_j": _each_j(entry, expanded_j, inferences),
        "uncertainty_parts": {**entry["uncertainty_parts"], part: u_j},
        "above_idle_uncertainty_j": math.hypot(above_j, COVERAGE_FACTOR * u_j) if above_j is not None else None,
    }


def _each_j(entry: dict[str, Any], expanded_j: float, inferences: int | None) -> float | None:
    if not inferences:
        return None
    return math.hypot(expanded_j / inferences, COVERAGE_FACTOR * (entry["window_spread_j"] or 0.0))


def _none(about: dict[str, Any], why: str) -> dict[str, Any]:
    kind = about.get("kind")
    return {
        "scope": about.get("scope") or "external meter", "scope_kind": "wall", "rule": "meter power",
        "sensor": f"power.meter.{kind}" if kind else "power.meter", "missing": why, "needed_s": None,
    }  # fmt: skip


def _reason(meter: MeterSamples) -> str:
    """The reason that came most often."""
    if not meter.reasons:
        return "the meter gave fewer than two readings"
    return max(meter.reasons, key=lambda reason: meter.reasons[reason])


def _period_s(meter: MeterSamples) -> float:
    period_s = meter.about.get("period_s")
    return float(period_s) if isinstance(period_s, (int, float)) and period_s > 0 else 1.0
