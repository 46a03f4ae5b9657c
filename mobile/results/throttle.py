"""Whether a device held itself back while it measured, from everything that shows it: one indicator alone misses
cases on every platform.

Signs, each enough for "yes": a counter of events rose; a clock cap fell, or stood below the highest clock on a board
that was hot from the start; a flag was set at any sample; a flag that sticks since boot came up; a level (thermal
status, cooling device) rose; a clock fell under a constant load and the inferences slowed down with it; fixed reference
work took longer after measuring than before; the agent said so. Looked at from the start of the warm-up: what slows the
warm-up is still there when measuring begins. Counters from the start of measuring.
"""

from __future__ import annotations

from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

from mobile.results.run import Run
from mobile.results.stats import third_shift
from mobile.results.window import Series, Window, inside, measured_window, present, sample_period_s, series

CAP_TOLERANCE = 1e-3  # of the hardware's maximum; a cap is a ratio of two whole kHz
HOT_C = (
    80.0  # Raspberry Pi's own limit (documentation, "Frequency management and thermal control"); phones stop earlier
)
PROBE_RATIO = 1.10  # AndroidX Benchmark's ThrottleDetector: fixed work that takes a tenth longer than before
CLOCK_RATIO = 0.90  # last third's median clock to the first's
SLOWER = 0.05  # and the inferences' latency, likewise: a clock that fell for want of work slows nothing
BUSY_SHARE = 0.90  # of the window inside inferences: a constant load
MIN_SAMPLES = 12
NS_PER_S = 1e9
WATCHED_NAMES = 12

NOTHING_TO_WATCH = "this device shows no throttle counters, clock caps, flags or levels, and no reference work was done"


class Throttling(NamedTuple):
    """``verdict``: "yes", "no" or "unknown". ``signs``: what shows it. ``remarks``: what to know all the same.

    ``watched``: the sensors that had values, and other ways. ``live``: how many of them show what is, and not what was;
    ``unseen``: a line for each of these that had no values for a good part of the time.
    """

    verdict: str
    signs: list[str]
    remarks: list[str]
    watched: list[str]
    live: int
    unseen: list[str]

    @property
    def why(self) -> str:
        """The signs; for "no" what was watched; for "unknown" why."""
        if self.verdict == "yes":
            return "; ".join(self.signs)
        if self.verdict == "unknown":
            return NOTHING_TO_WATCH
        names = ", ".join(self.watched[:WATCHED_NAMES])
        more = len(self.watched) - WATCHED_NAMES
        return f"watched: {names}" + (f" and {more} more" if more > 0 else "")


class Look(NamedTuple):
    """What one kind of indicator says; ``watched`` are those that would have shown something."""

    signs: list[str]
    remarks: list[str]
    watched: list[str]


def throttling(run: Run) -> Throttling:
    """The verdict on the run, from all indicators that the device has."""
    span = _span(run)
    looks = [
        _counters(run),
        _caps(run, span),
        _flags(run, span),
        _levels(run, span),
        _clocks(run),
        _probe(run),
        _said(run),
    ]
    signs = [sign for look in looks for sign in look.signs]
    watched = [name for look in looks for name in look.watched]
    verdict = "yes" if signs else ("no" if watched else "unknown")
    live = _live(run)
    remarks = [remark for look in looks for remark in look.remarks]
    return Throttling(verdict, signs, remarks, watched, len(live), _unseen(run, live))


def _span(run: Run) -> Window:
    """From the start of the warm-up to the end of measuring; the whole run where it is not known."""
    window = measured_window(run)
    starts = {event["name"]: event.get("t_ns") for event in reversed(run.events)}
    start = starts.get("first-done", starts.get("loaded"))
    start_ns = start if isinstance(start, int) else 0
    if window is None:
        return Window(start_ns, 2**62)
    return Window(min(start_ns, window.start_ns), window.end_ns)


def _after_ns(run: Run, window: Window) -> int:
    """The end of what may be read after measuring: when settings were put back, caps are no longer those of the run."""
    put_back = [
        event["t_ns"]
        for event in run.events
        if event["name"] == "restored" and isinstance(event.get("t_ns"), int) and event["t_ns"] > window.end_ns
    ]
    return min(put_back, default=2**62)


def _course(run: Run, sensor: dict[str, Any], span: Window) -> list[float]:
    """The last value before the span, all in it, and after it one, or those of a period: they still tell of it."""
    return [value for _, value in _course_pairs(run, sensor, span)]


def _course_pairs(run: Run, sensor: dict[str, Any], span: Window) -> list[tuple[int, float]]:
    pairs = list(zip(*series(run, sensor["name"]), strict=True))
    before = [pair for pair in pairs if pair[0] <= span.start_ns][-1:]
    during = [pair for pair in pairs if span.start_ns < pair[0] <= span.end_ns]
    after = [pair for pair in pairs if span.end_ns < pair[0] < _after_ns(run, span)]
    late_ns = span.end_ns + round(_period_s(run, sensor) * NS_PER_S)
    return before + during + (after[:1] + [pair for pair in after[1:] if pair[0] <= late_ns])


def _live_course(run: Run, sensor: dict[str, Any], span: Window) -> list[float]:
    """The values of what shows only what is: none from before the span, unless there is no other."""
    pairs = _course_pairs(run, sensor, span)
    return [value for t, value in pairs if t > span.start_ns] or [value for _, value in pairs]


def _period_s(run: Run, sensor: dict[str, Any]) -> float:
    return max(sample_period_s(run), float(sensor.get("period_s") or 0.0))


def _named(run: Run, quantity: str, start: str) -> list[dict[str, Any]]:
    return [sensor for sensor in present(run, quantity) if sensor["name"].startswith(start)]


def _scope(sensor: dict[str, Any]) -> str:
    return str(sensor.get("scope") or "throttling")


def _counters(run: Run) -> Look:
    window = measured_window(run) or Window(0, 2**62)
    signs, watched = [], []
    for sensor in _named(run, "count", "throttle"):
        values = _course(run, sensor, window)
        watched += [sensor["name"]] * bool(values)
        if len(values) > 1 and values[-1] > values[0]:
            signs.append(f"{sensor['name']} rose by {values[-1] - values[0]:g} ({_scope(sensor)})")
    return Look(signs, [], watched)


def _caps(run: Run, span: Window) -> Look:
    signs, watched = [], []
    low: dict[str, list[str]] = {}
    for sensor in _named(run, "ratio", "cap"):
        name, values = sensor["name"], _course(run, sensor, span)
        if not values:
            continue
        watched.append(name)
        fall = _deepest_fall(values)
        if fall is not None:
            signs.append(f"{name} fell from {fall[0]:.0%} to {fall[1]:.0%} of the highest clock")
        elif values[0] < 1 - CAP_TOLERANCE:
            low.setdefault(f"{values[0]:.0%}", []).append(name)
    start_c = run.environment.get("start_temperature_c")
    hot = isinstance(start_c, (int, float)) and start_c >= HOT_C
    why = (
        f"heat from before the run: {start_c:.1f} C" if hot else "a power mode, a governor, or what came before the run"
    )
    lines = [
        f"clocks were capped at {share} of the highest from the start ({why}): {', '.join(names)}"
        for share, names in low.items()
    ]
    return Look(signs + lines * hot, lines * (not hot), watched)


def _deepest_fall(values: list[float]) -> tuple[float, float] | None:
    """(from, to) of the deepest fall below what had been reached before; None where nothing fell."""
    highest, deepest = values[0], None
    for value in values:
        highest = max(highest, value)
        if value < highest - CAP_TOLERANCE and (deepest is None or value - highest < deepest[1] - deepest[0]):
            deepest = (highest, value)
    return deepest


def _flags(run: Run, span: Window) -> Look:
    found: dict[str, list[str]] = {}  # by what they say: one line for each
    remarks, watched = [], []
    for sensor in _named(run, "flag", "throttle."):
        name, values = sensor["name"], _course(run, sensor, span)
        if not values:
            continue
        if name.startswith("throttle.now."):
            watched.append(name)
            values = _live_course(run, sensor, span)
            hits = sum(value >= 0.5 for value in values)
            if hits:
                found.setdefault(_scope(sensor), []).append(f"{name} in {hits} of {len(values)} samples")
        elif values[0] >= 0.5:
            remarks.append(f"{name} was set before the run: only the live flags tell whether it came again")
        else:
            watched.append(name)
            if max(values) >= 0.5:
                found.setdefault(_scope(sensor), []).append(f"{name} came up")
    return Look([f"{scope} ({', '.join(parts)})" for scope, parts in found.items()], remarks, watched)


def _levels(run: Run, span: Window) -> Look:
    signs, remarks, watched = [], [], []
    for sensor in _named(run, "level", "throttle."):
        name, values = sensor["name"], _course(run, sensor, span)
        if not values:
            continue
        watched.append(name)
        worst = max(_live_course(run, sensor, span))
        if name == "throttle.status" and worst >= 1:
            signs.append(f"{name} was {worst:g} ({_scope(sensor)})")
        elif _rise(values) > 0:
            signs.append(f"{name} rose by {_rise(values):g} to {max(values):g} ({_scope(sensor)})")
        elif values[0] > 0:
            remarks.append(f"{name} was {values[0]:g} from the start ({_scope(sensor)})")
    return Look(signs, remarks, watched)


def _rise(values: list[float]) -> float:
    """The highest rise above what had been the lowest before."""
    lowest, highest = values[0], 0.0
    for value in values:
        lowest = min(lowest, value)
        highest = max(highest, value - lowest)
    return highest


def _clocks(run: Run) -> Look:
    """A clock that fell under a constant load, when the inferences slowed down with it; else nothing, never a "no"."""
    measured, window = run.phase("measure"), measured_window(run)
    shift = third_shift(measured.duration_ns)
    if window is None or shift is None or shift < SLOWER:
        return Look([], [], [])
    if sum(measured.duration_ns) < BUSY_SHARE * (window.end_ns - window.start_ns):
        return Look([], [], [])
    signs = []
    for sensor in present(run, "frequency"):
        values = inside(series(run, sensor["name"]), window).values
        third = len(values) // 3
        if len(values) < MIN_SAMPLES:
            continue
        first, last = median(values[:third]), median(values[-third:])
        if first >= CLOCK_RATIO * max(values) and last < CLOCK_RATIO * first:
            course = f"fell from {first / 1e6:.0f} to {last / 1e6:.0f} MHz under a constant load"
            signs.append(f"{sensor['name']} {course}, and latency rose by {shift:.0%}")
    return Look(signs, [], [])


def _probe(run: Run) -> Look:
    """Fixed reference work, before measuring and after: the fastest of several times, which others disturb least.

    Its CPU time where that is known: a slower clock shows in it, another process's turn does not. When others kept the
    cores busy all the same (shared caches, hyper-threads), it tells nothing.
    """
    if any(event["name"] == "intruders" and event["detail"].get("over") is True for event in run.events):
        return Look([], [], [])
    before: dict[str, float] = {}
    signs, watched = [], []
    for event in run.events:
        detail = event["detail"]
        if event["name"] != "probe":
            continue
        told = detail.get("cpu_ns") or detail.get("duration_ns") or []
        times = [time for time in told if isinstance(time, (int, float)) and time > 0]
        work = str(detail.get("work"))
        if not times:
            continue
        if detail.get("when") == "before":
            before.setdefault(work, min(times))
        elif work in before:
            watched.append(f"reference work {detail.get('when')}")
            ratio = min(times) / before[work]
            if ratio > PROBE_RATIO:
                signs.append(
                    f"fixed reference work took {ratio - 1:.0%} longer {detail.get('when')} measuring than before"
                )
    return Look(signs, [], watched)


def _said(run: Run) -> Look:
    """What the agent itself reported; the same words once."""
    signs = []
    for event in run.events:
        why = event["detail"].get("why")
        if event["name"] == "throttled":
            signs.append("the agent reported throttling" + (f": {why}" if why else ""))
        elif event["name"] == "guard":
            signs.append(f"the thermal guard stopped the run: {why or _heat(event['detail'])}")
    return Look(list(dict.fromkeys(signs))[:3], [], [])


def _heat(detail: dict[str, Any]) -> str:
    return f"{detail.get('sensor')} at {detail.get('temperature_c')} C, the limit is {detail.get('limit_c')} C"


def _live(run: Run) -> list[dict[str, Any]]:
    """The indicators that gave values and tell nothing of the time between two of them: caps, live flags, levels."""
    live = _named(run, "ratio", "cap") + _named(run, "flag", "throttle.now.") + _named(run, "level", "throttle.")
    return [sensor for sensor in live if series(run, sensor["name"]).t_ns]


def _unseen(run: Run, live: list[dict[str, Any]]) -> list[str]:
    """A line for each of the live indicators that gave no value for a good part of the time measured."""
    window = measured_window(run)
    if window is None:
        return []
    lines = []
    for sensor in live:
        found = series(run, sensor["name"])
        gap_s = _largest_gap_s(found, window)
        if gap_s > max(2.0, 5 * _period_s(run, sensor), 0.1 * window.duration_s):
            reason = run.samples.reasons.get(sensor["name"])
            lines.append(
                f"{sensor['name']} gave no value for {gap_s:.3g} s of the {window.duration_s:.3g} s measured"
                + (f": {reason}" if reason else "")
            )
    return lines


def _largest_gap_s(found: Series, window: Window) -> float:
    stamps = [window.start_ns, *inside(found, window).t_ns, window.end_ns]
    return max(right - left for left, right in pairwise(stamps)) / NS_PER_S
