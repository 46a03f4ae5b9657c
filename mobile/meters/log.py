"""The log of a meter that another computer read: CSV with a time and a power, on that computer's own clock.

Columns by their names in the first line: the time is ``t_s``, ``t_ms``, ``t_us`` or ``t_ns`` (also as ``time_s``,
``timestamp_s``, ...), the power ``power_w`` or ``power_mw``, or ``voltage_v`` and ``current_a`` (``current_ma``). Any
start of the time will do. A line without a power is a missing reading.
"""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from mobile.errors import InputError
from mobile.meters.base import HIGHEST_W
from mobile.results.run import MeterSamples

MAX_BYTES = 512 * 1024 * 1024
MAX_READINGS = 2_000_000
MAX_LINE_CHARS = 4096
_TIMES = {"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1.0}
_FORMS = "It needs the columns t_s (or t_ms, t_us, t_ns) and power_w (or power_mw, or voltage_v and current_a)."
_LATEST_NS = 2**62


def read_log(
    path: Path, scope: str | None = None, offset_w: float | None = None, gain: float | None = None
) -> MeterSamples:
    """The readings of a log, in the order of time. InputError when it is none, or too large.

    ``scope``: what was measured, in words; ``offset_w`` and ``gain`` bound the meter's error, where they are known.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: larger than {MAX_BYTES} bytes", "Cut it to the time of the run.")
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return _samples(path, csv.DictReader(_bounded(path, stream)), scope, offset_w, gain)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: no CSV: {error}", _FORMS) from error


def _bounded(path: Path, stream: Any) -> Any:
    while line := stream.readline(MAX_LINE_CHARS):
        if len(line) >= MAX_LINE_CHARS:
            raise InputError(f"{path}: a line of more than {MAX_LINE_CHARS} characters", _FORMS)
        yield line


def _samples(
    path: Path, rows: csv.DictReader[str], scope: str | None, offset_w: float | None, gain: float | None
) -> MeterSamples:
    names = {str(name).strip().lower(): str(name) for name in rows.fieldnames or () if name is not None}
    time_name, factor = _time_column(path, names)
    read_power = _power_of(path, names)
    t_ns, power_w, missing = array("q"), list[float | None](), 0
    for number, row in enumerate(rows, start=2):
        at = _number(row.get(time_name))
        if at is None or abs(at * factor) > _LATEST_NS:
            raise InputError(f"{path}: line {number} has no time: {str(row.get(time_name))[:40]!r}", _FORMS)
        stamp = round(at * factor)
        if len(t_ns) and stamp <= t_ns[-1]:
            raise InputError(
                f"{path}: line {number} is not later than the one before it: that clock was set, or lines are mixed",
                "Cut the log to the time of one run.",
            )
        if len(t_ns) >= MAX_READINGS:
            raise InputError(f"{path}: more than {MAX_READINGS} readings", "Cut it to the time of the run.")
        value = read_power(row)
        missing += value is None
        t_ns.append(stamp)
        power_w.append(value)
    if len(t_ns) - missing < 2:
        raise InputError(f"{path}: {len(t_ns) - missing} readings with a power, at least two are needed", _FORMS)
    about = {
        "name": "meter.log", "kind": "log", "scope": scope or "external meter (a log)", "period_s": _period_s(t_ns),
        "resolution_w": None, "offset_w": offset_w, "gain": gain,
        "accuracy_source": "the command line" if offset_w is not None or gain is not None else None,
    }  # fmt: skip
    reasons = {"the log has no power there": missing} if missing else {}
    return MeterSamples(about, t_ns, array("q"), power_w, [], {}, reasons)


def _time_column(path: Path, names: Mapping[str, str]) -> tuple[str, float]:
    for word in ("t", "time", "timestamp"):
        for unit, factor in _TIMES.items():
            if f"{word}_{unit}" in names:
                return names[f"{word}_{unit}"], factor
    raise InputError(
        f"{path}: no column is a time of a known unit: {', '.join(list(names)[:6]) or 'it is empty'}", _FORMS
    )


def _power_of(path: Path, names: Mapping[str, str]) -> Any:
    for name, factor in (("power_w", 1.0), ("power_mw", 1e-3)):
        if name in names:
            return lambda row: _watts(_number(row.get(names[name])), factor)
    for name, factor in (("current_a", 1.0), ("current_ma", 1e-3)):
        if name in names and "voltage_v" in names:
            return lambda row: _product(_number(row.get(names["voltage_v"])), _number(row.get(names[name])), factor)
    raise InputError(f"{path}: no column is a power: {', '.join(list(names)[:6])}", _FORMS)


def _product(volts: float | None, amperes: float | None, factor: float) -> float | None:
    return None if volts is None or amperes is None else _watts(volts * amperes, factor)


def _watts(value: float | None, factor: float) -> float | None:
    """The power in W; None for what no device takes."""
    return value * factor if value is not None and 0 <= value * factor <= HIGHEST_W else None


def _number(text: Any) -> float | None:
    try:
        found = float(str(text).strip())
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _period_s(t_ns: array[int]) -> float:
    from statistics import median

    return median(right - left for left, right in pairwise(t_ns)) / 1e9
