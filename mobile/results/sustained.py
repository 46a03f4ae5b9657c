"""A long run in equal parts: what it sustains against what it could do at first, and when it began to hold back.

The parts are minutes, of a run shorter than two minutes tenths of it; a last part that is not whole is left out. The
energy of each part comes from the run's widest total (energy.py), with the same integrator and its refusals.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mobile.results.run import Run
from mobile.results.stats import as_numpy
from mobile.results.window import Window, inside, measured_window, present, series

PART_S = 60.0
PARTS = 10  # of a run that is shorter than two of PART_S
SLOWER = 0.05  # median latency above the best part before it, and so to the end
FALL = 1e-3  # of a clock's cap, which is a ratio
NS_PER_S = 1e9


def sustained(run: Run) -> dict[str, Any] | None:
    """The course of the run; None where nothing was measured, or in no time.

    part_s; parts [{t_s (its middle, from the start of measuring), inferences, p50_s, mean_s, per_s, temperature_c (the
    highest), clock_hz (median of the highest clock), power_w, per_inference_j, energy_missing}]; first and last {p50_s,
    per_s}; last_to_first (ratio of the medians); peak_per_s; sustained_to_peak (the last part's inferences a second to
    the best part's); slowed_at_s (None: never); throttled_at_s and throttled_by (the first sign of a sensor; None: none
    was seen); energy_sensor.
    """
    window = measured_window(run)
    if window is None or window.duration_s <= 0 or not len(run.phase("measure")):
        return None
    part_s = PART_S if window.duration_s >= 2 * PART_S else window.duration_s / PARTS
    parts = _parts(run, window, part_s)
    sensor = _energies(run, window, part_s, parts)
    full = [part for part in parts if part["inferences"]]
    first, last = full[0], full[-1]
    peak_per_s = max(part["per_s"] for part in full)
    throttled_s, by = first_sign(run, window)
    return {
        "part_s": part_s,
        "parts": parts,
        "first": {key: first[key] for key in ("p50_s", "per_s")},
        "last": {key: last[key] for key in ("p50_s", "per_s")},
        "last_to_first": last["p50_s"] / first["p50_s"] if first["p50_s"] else None,
        "peak_per_s": peak_per_s,
        "sustained_to_peak": last["per_s"] / peak_per_s if peak_per_s else None,
        "slowed_at_s": _slowed_s(full, part_s),
        "throttled_at_s": throttled_s,
        "throttled_by": by,
        "energy_sensor": sensor,
    }


def told_of(figures: Mapping[str, Any] | None) -> str:
    """The course in one line."""
    if not figures:
        return "-"
    part = "minute" if figures["part_s"] == PART_S else f"{figures['part_s']:.3g} s"
    ratio = figures["last_to_first"]
    text = f"last {part} {ratio:.3g} times the first's median" if ratio else f"no median in the first {part}"
    if figures["sustained_to_peak"] is not None:
        text += f", sustains {figures['sustained_to_peak']:.0%} of its peak"
    if figures["throttled_at_s"] is not None:
        return f"{text}, throttled after {figures['throttled_at_s']:.3g} s ({figures['throttled_by']})"
    if figures["slowed_at_s"] is not None:
        return f"{text}, slower after {figures['slowed_at_s']:.3g} s"
    return text


def _parts(run: Run, window: Window, part_s: float) -> list[dict[str, Any]]:
    """One entry for each whole part; an inference belongs to the part in which it ended."""
    import numpy as np

    measured = run.phase("measure")
    durations = as_numpy(measured.duration_ns)
    ends_s = (as_numpy(measured.start_ns) + durations - window.start_ns) / NS_PER_S
    count = max(1, int(window.duration_s / part_s + 1e-6))
    places = np.maximum(np.ceil(ends_s / part_s - 1e-9).astype(np.int64) - 1, 0)  # those behind the last are not taken
    parts = []
    for number in range(count):
        own = durations[places == number]
        parts.append(
            {
                "t_s": (number + 0.5) * part_s,
                "inferences": len(own),
                "p50_s": float(np.median(own)) / NS_PER_S if len(own) else None,
                "mean_s": float(own.mean()) / NS_PER_S if len(own) else None,
                "per_s": len(own) / part_s,
                **_senses(run, _window(window, number, part_s)),
            }
        )
    return parts


def _window(window: Window, number: int, part_s: float) -> Window:
    start_ns = window.start_ns + round(number * part_s * NS_PER_S)
    return Window(start_ns, start_ns + round(part_s * NS_PER_S))


def _senses(run: Run, window: Window) -> dict[str, float | None]:
    """The highest temperature of any sensor, and the highest of the clocks' medians."""
    from statistics import median

    heat = [inside(series(run, sensor["name"]), window).values for sensor in present(run, "temperature")]
    clocks = [inside(series(run, sensor["name"]), window).values for sensor in present(run, "frequency")]
    return {
        "temperature_c": max((max(values) for values in heat if values), default=None),
        "clock_hz": max((median(values) for values in clocks if values), default=None),
    }


def _energies(run: Run, window: Window, part_s: float, parts: list[dict[str, Any]]) -> str | None:
    """The sensor's name, once each part has power_w, per_inference_j and energy_missing."""
    from mobile.results.energy import part_energy, widest_total

    total = widest_total(run)
    for number, part in enumerate(parts):
        joules, why = part_energy(run, total, _window(window, number, part_s))
        part["power_w"] = None if joules is None else joules / part_s
        part["per_inference_j"] = joules / part["inferences"] if joules is not None and part["inferences"] else None
        part["energy_missing"] = why
    return None if total is None else total.label


def _slowed_s(parts: list[dict[str, Any]], part_s: float) -> float | None:
    """When the first of the parts began that were slower than the best before them, to the end; two at least."""
    best = parts[0]["p50_s"]
    for place, part in enumerate(parts[1:-1], start=1):
        if all(later["p50_s"] > best * (1 + SLOWER) for later in parts[place:]):
            return float(part["t_s"]) - part_s / 2
        best = min(best, part["p50_s"])
    return None


def first_sign(run: Run, window: Window) -> tuple[float | None, str | None]:
    """(seconds after the start of measuring, sensor) of the first sign of throttling; (None, None) where there is none.

    A flag of now that is up, a cap that fell, a counter or a level that rose; see throttle.py for the verdict.
    """
    found: list[tuple[float, str]] = []
    for quantity, start in (("flag", "throttle.now."), ("ratio", "cap"), ("count", "throttle"), ("level", "throttle.")):
        for sensor in present(run, quantity):
            if not sensor["name"].startswith(start):
                continue
            pairs = list(zip(*inside(series(run, sensor["name"]), window), strict=True))
            at_ns = next((t for t, value in pairs if _is_sign(quantity, value, pairs[0][1])), None)
            if at_ns is not None:
                found.append(((at_ns - window.start_ns) / NS_PER_S, sensor["name"]))
    return min(found) if found else (None, None)


def _is_sign(quantity: str, value: float, first: float) -> bool:
    if quantity == "flag":
        return value >= 0.5
    return value < first - FALL if quantity == "ratio" else value > first
