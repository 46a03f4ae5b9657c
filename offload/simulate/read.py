"""Bandwidth traces from files: Mahimahi's packet deliveries, and time with bandwidth as CSV.

No trace comes with edgewise. Most published ones are downlinks, and an offload is bound by the uplink: so a file says
by its name (``.up``, ``.down``) or its user which it is, and a downlink becomes an uplink only by a stated factor.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from mobile.bounded import read_bounded
from mobile.errors import InputError
from offload.simulate.trace import Trace, TraceError, from_opportunities, from_rates

MAX_FILE_BYTES = 64 << 20
MAX_LINES = 4_000_000
MAX_SECONDS = 7 * 86_400.0
MAX_BPS = 1e13
_TIMES = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6}
_PREFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_RATE = re.compile(r"([kmg]?)(?:bit|b)(?:/s|ps|ps/s)?$")
_WHOLE = re.compile(r"[0-9]{1,12}$")
_SEPARATORS = re.compile(r"[,;\t ]+")


def read_trace(path: Path) -> Trace:
    """The trace in a file. InputError names file, line and value.

    A file of whole numbers, one on a line, is Mahimahi's: milliseconds at which a packet of 1500 bytes passes, from the
    begin; the last one is the length after which it repeats. Any other is ``time,bandwidth``: seconds and Mbit/s unless
    a header line says other units, such as ``time_ms,kbit/s``. A bandwidth holds until the next time, the last for as
    long as the one before; the first time is the begin. Lines from "#" on are comments.
    """
    data = read_bounded(path, MAX_FILE_BYTES, InputError)
    try:
        return parse_trace(data.decode("utf-8-sig", "replace"))
    except TraceError as error:
        raise InputError(f"{path}: {error}") from error


def parse_trace(text: str) -> Trace:
    """The trace of a text, see read_trace. TraceError names the line."""
    lines = [
        (number, stripped)
        for number, line in enumerate(text.split("\n"), 1)
        if (stripped := line.split("#", 1)[0].strip())
    ]
    if not lines:
        raise TraceError("it has no lines")
    if len(lines) > MAX_LINES:
        raise TraceError(f"it has more than {MAX_LINES} lines")
    return _deliveries(lines) if _WHOLE.match(lines[0][1]) else _rates(lines)


def _deliveries(lines: list[tuple[int, str]]) -> Trace:
    times: list[int] = []
    for number, line in lines:
        if not _WHOLE.match(line) or int(line) > MAX_SECONDS * 1000:
            raise TraceError(f"line {number}: {line[:40]!r} is no number of milliseconds up to a week")
        if times and int(line) < times[-1]:
            raise TraceError(f"line {number}: {line} ms comes after {times[-1]} ms")
        times.append(int(line))
    return from_opportunities(times)


def _rates(lines: list[tuple[int, str]]) -> Trace:
    time_s, rate_bps = 1.0, 1e6
    if _pair(lines[0][1]) is None:
        time_s, rate_bps = _units(*lines[0])
        lines = lines[1:]
    times: list[float] = []
    rates: list[float] = []
    for number, line in lines:
        pair = _pair(line)
        if pair is None:
            raise TraceError(f"line {number}: {line[:40]!r} is not a time and a bandwidth, such as 1.5,20")
        when_s, rate = pair[0] * time_s, pair[1] * rate_bps
        if not 0 <= rate <= MAX_BPS:
            raise TraceError(f"line {number}: the bandwidth {line[:40]!r} is out of range")
        if times and not when_s > times[-1]:
            raise TraceError(f"line {number}: the time {pair[0]:g} does not come after the one before")
        if times and when_s - times[0] > MAX_SECONDS:
            raise TraceError(f"line {number}: the trace is longer than a week")
        times.append(when_s)
        rates.append(rate)
    if len(times) < 2:
        raise TraceError("it has fewer than two times")
    begin_s = times[0]
    ends = [when_s - begin_s for when_s in times] + [2 * times[-1] - times[-2] - begin_s]
    return from_rates(ends, rates)


def _pair(line: str) -> tuple[float, float] | None:
    fields = _SEPARATORS.split(line)
    if len(fields) != 2:
        return None
    try:
        when, rate = float(fields[0]), float(fields[1])
    except ValueError:
        return None
    return (when, rate) if math.isfinite(when) and abs(when) < 1e15 and math.isfinite(rate) else None


def _units(number: int, line: str) -> tuple[float, float]:
    """(seconds per unit of time, bit/s per unit of bandwidth) of a header."""
    fields = [field.strip() for field in re.split(r"[,;\t]", line.lower())]
    if len(fields) != 2:
        raise TraceError(f"line {number}: {line[:40]!r} is neither two numbers nor a header such as t,Mbit/s")
    unit = re.split(r"[_ (\[]", fields[0].rstrip(")]"))[-1]
    time_s = 1.0 if unit in ("t", "time", "timestamp") else _TIMES.get(unit)
    rate = _RATE.search(fields[1].rstrip(")]"))
    if time_s is None or rate is None or re.search(r"(?:byte|mb/s|kb/s)", fields[1]):
        raise TraceError(f"line {number}: the header {line[:40]!r} names no units such as t,Mbit/s or time_ms,kbit/s")
    return time_s, _PREFIXES[rate[1]]
