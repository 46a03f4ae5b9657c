"""A run found in the power trace of a meter whose clock is not the device's, by the marker load around the run.

Before and after the run the device is busy in a pseudo-random pattern (device_agents/conditions/marker.py). For each
assumed offset between the clocks the pattern, averaged over the time between two readings, is fitted to the readings
with a level and a drift by least squares; the partial correlation of pattern and readings has its peak at the true
offset (matched filter: G. Turin, IRE Transactions on Information Theory 6, 1960). The offset found has the meter's own
lag in it, which is right: what the energy's window needs is where the run shows in the trace.

The peak must be clear: a correlation of LEAST or more, more than chance gives anywhere in the trace (Fisher's z, times
the number of places, below CHANCE), and well above any other place. Else there is no alignment, and the reason.

How far the offset may be off is what the fit bears: all offsets whose sum of squares is at most 1 + 4 / freedom times
the least one (profile likelihood, two standard deviations). Whether a reading is of a moment or the mean of the time
up to the next one is not known, which moves the place by half of an interval at most (rectangular, JCGM 100:2008,
4.3.7). Two markers give offset and drift; one gives the offset alone, and the clocks may then differ by DRIFT.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from mobile.results.run import Run
from mobile.results.window import Series

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

EVENT = "marker"
LEAST = 0.5
CHANCE = 1e-4
SECOND_BEST = 0.8  # of the peak's correlation: more than that elsewhere, and it is not clear which one it is
READINGS_PER_CHIP = 1.5
DRIFT = 100e-6  # of two quartz clocks, at most: usual crystals are within 20 to 50 ppm each
MOST_DRIFT = 1000e-6  # seen between two markers: more is no clock, and one of the two was mistaken
MOST_PLACES = 200_000
MOST_READINGS = 2_000_000
_COARSE, _FINE = 8, 200  # steps in a burst
_NS = 1e9


class NotAlignedError(ValueError):
    """The run was not found in the trace; the message says why."""


class Marker(NamedTuple):
    """A marker as it was played: seconds on the device's clock, ``bits`` "1" for busy."""

    when: str
    start_s: float
    chip_s: float
    bits: str

    @property
    def duration_s(self) -> float:
        """How long the pattern takes."""
        return self.chip_s * len(self.bits)


class Found(NamedTuple):
    """Where a marker lies in the trace: trace time less device time, its standard uncertainty, and how clear it was."""

    at_s: float
    offset_s: float
    uncertainty_s: float
    correlation: float
    elsewhere: float


class Alignment(NamedTuple):
    """Trace time as a function of device time: ``offset_s`` at ``at_s``, and ``drift`` from there on."""

    at_s: float
    offset_s: float
    drift: float
    found: tuple[Found, ...]

    def trace_ns(self, device_ns: int) -> int:
        """The time in the trace, ns, at which the device's clock showed ``device_ns``."""
        device_s = device_ns / _NS
        return round((device_s + self.offset_s + self.drift * (device_s - self.at_s)) * _NS)

    def uncertainty_s(self, device_ns: int) -> float:
        """The standard uncertainty of that time."""
        device_s = device_ns / _NS
        if len(self.found) < 2:
            away_s = abs(device_s - self.at_s)
            return math.hypot(self.found[0].uncertainty_s, DRIFT * away_s / math.sqrt(3))
        first, last = self.found
        share = (device_s - first.at_s) / (last.at_s - first.at_s)
        return math.hypot((1 - share) * first.uncertainty_s, share * last.uncertainty_s)


def markers_of(run: Run) -> list[Marker]:
    """The markers that were played around a run, as its events tell; [] where none was."""
    found = []
    for event in run.events:
        detail = event.get("detail")
        if event.get("name") != EVENT or not isinstance(detail, dict):
            continue
        start_ns, chip_s, bits = detail.get("start_ns"), detail.get("chip_s"), str(detail.get("bits"))
        if not isinstance(start_ns, int) or not isinstance(chip_s, (int, float)) or not 0.01 <= chip_s <= 3600:
            continue
        if 7 <= len(bits) <= 4096 and set(bits) == {"0", "1"}:
            found.append(Marker(str(detail.get("when")), start_ns / _NS, float(chip_s), bits))
    return found


def align(trace: Series, markers: Sequence[Marker], near: tuple[float, float] | None = None) -> Alignment:
    """Where the markers lie in the trace (W). NotAlignedError with the reason when that is not clear.

    ``near``: the least and the largest offset (trace time less device time, s) that come into question, where known.
    """
    import numpy as np

    if not markers:
        raise NotAlignedError("the run has no marker: `edgewise bench --marker S` plays one before and after it")
    if not 2 <= len(trace.t_ns) <= MOST_READINGS:
        raise NotAlignedError(f"the trace has {len(trace.t_ns)} readings, 2 to {MOST_READINGS} can be looked through")
    t_s = np.asarray(trace.t_ns, dtype=np.float64) / _NS
    values = np.asarray(trace.values, dtype=np.float64)
    if not np.isfinite(values).all() or (np.diff(t_s) <= 0).any():
        raise NotAlignedError("the trace's times do not rise, or a reading is no number: was its clock set?")
    chosen = [markers[0], markers[-1]] if len(markers) > 1 else [markers[0]]
    found = [_find(t_s, values, marker, near) for marker in chosen]
    if len(found) == 1:
        return Alignment(found[0].at_s, found[0].offset_s, 0.0, tuple(found))
    first, last = found
    drift = (last.offset_s - first.offset_s) / (last.at_s - first.at_s)
    room = 3 * math.hypot(first.uncertainty_s, last.uncertainty_s) / (last.at_s - first.at_s)
    if abs(drift) > MOST_DRIFT + room:
        raise NotAlignedError(
            f"the two markers are {last.offset_s - first.offset_s:+.3g} s further apart in the trace than on the"
            " device: a clock was set in between, or one of them is not what was found"
        )
    return Alignment(first.at_s, first.offset_s, drift, (first, last))


def _find(t_s: Floats, values: Floats, marker: Marker, near: tuple[float, float] | None) -> Found:
    import numpy as np

    interval_s = float(np.median(np.diff(t_s)))
    if interval_s * READINGS_PER_CHIP > marker.chip_s:
        raise NotAlignedError(
            f"the meter gives a value every {interval_s:.3g} s, too few for bursts of {marker.chip_s:.3g} s:"
            f" --marker {2.5 * interval_s:.2g} or more"
        )
    pad_s = marker.chip_s
    low, high = float(t_s[0]) - pad_s - marker.start_s, float(t_s[-1]) + pad_s - marker.duration_s - marker.start_s
    if near is not None:
        low, high = max(low, near[0]), min(high, near[1])
    step_s = marker.chip_s / _COARSE
    places = int((high - low) / step_s) + 1
    if high < low:
        raise NotAlignedError(f"the trace does not cover the marker {marker.when} the run")
    if places > MOST_PLACES:
        raise NotAlignedError(f"the trace is too long to look for bursts of {marker.chip_s:.3g} s: cut it")
    fit = _Fit(t_s, values, marker, interval_s)
    offsets = low + step_s * np.arange(places)
    scores = np.array([fit.correlation(offset) for offset in offsets])
    best = int(np.argmax(scores))
    peak, count = float(scores[best]), fit.count(float(offsets[best]))
    away = np.abs(offsets - offsets[best]) > 1.5 * marker.chip_s
    elsewhere = float(scores[away].max()) if away.any() else 0.0
    _check(marker, peak, elsewhere, count, places / _COARSE)
    return _refined(fit, marker, float(offsets[best]), elsewhere)


def _check(marker: Marker, peak: float, elsewhere: float, count: int, places: float) -> None:
    chance = places * 0.5 * math.erfc(math.atanh(min(peak, 1 - 1e-12)) * math.sqrt(max(0, count - 4)) / math.sqrt(2))
    where = f"the marker {marker.when} the run is not clear in the meter's trace"
    if peak < LEAST or chance > CHANCE:
        raise NotAlignedError(
            f"{where}: the best place agrees by {peak:.2f} (correlation), {LEAST:.2f} is needed and chance gives it"
            f" with {min(1.0, max(0.0, chance)):.1g}. Take longer bursts, or look whether the meter feeds this device"
        )
    if elsewhere > SECOND_BEST * peak:
        raise NotAlignedError(
            f"{where}: one place agrees by {peak:.2f}, another by {elsewhere:.2f}. Take longer bursts"
        )


def _refined(fit: _Fit, marker: Marker, near_s: float, elsewhere: float) -> Found:
    """The offset on a fine grid around a coarse one, with the interval that the fit bears."""
    import numpy as np

    grid = near_s + marker.chip_s * np.arange(-_FINE, _FINE + 1) / _FINE
    scores = np.array([fit.correlation(offset) for offset in grid])
    best = int(np.argmax(scores))
    freedom = max(1, fit.count(float(grid[best])) - 4)
    # The sum of squares that is left is in proportion to 1 - r^2.
    left = np.where(scores > 0, 1 - np.square(scores), 1.0)
    borne = left <= max(left[best], 1e-12) * (1 + 4 / freedom)
    first = last = best
    while first > 0 and borne[first - 1]:
        first -= 1
    while last < len(grid) - 1 and borne[last + 1]:
        last += 1
    middle_s, half_s = float(grid[first] + grid[last]) / 2, float(grid[last] - grid[first]) / 2
    grid_s, model_s = marker.chip_s / _FINE / math.sqrt(12), fit.interval_s / math.sqrt(12)
    return Found(
        marker.start_s + marker.duration_s / 2, middle_s, math.hypot(half_s / 2, grid_s, model_s),
        float(scores[best]), elsewhere,
    )  # fmt: skip


class _Fit:
    """The partial correlation of readings and pattern, a level and a drift aside, at an assumed offset."""

    def __init__(self, t_s: Floats, values: Floats, marker: Marker, interval_s: float) -> None:
        import numpy as np

        self._t_s, self._values, self._marker, self._half_s = t_s, values, marker, interval_s / 2
        self.interval_s = interval_s
        bits = np.array([float(bit) for bit in marker.bits])
        self._edges_s = marker.start_s + marker.chip_s * np.arange(len(bits) + 1)
        self._busy_s = np.concatenate(([0.0], np.cumsum(bits))) * marker.chip_s

    def _range(self, offset_s: float) -> tuple[int, int]:
        import numpy as np

        marker = self._marker
        start_s = marker.start_s + offset_s
        first, last = np.searchsorted(self._t_s, (start_s - marker.chip_s, start_s + marker.duration_s + marker.chip_s))
        return int(first), int(last)

    def count(self, offset_s: float) -> int:
        """How many readings the marker takes there."""
        first, last = self._range(offset_s)
        return last - first

    def correlation(self, offset_s: float) -> float:
        """-1 to 1; 0 where the trace does not cover nine tenths of the marker."""
        import numpy as np

        first, last = self._range(offset_s)
        wanted = (self._marker.duration_s + 2 * self._marker.chip_s) / (2 * self._half_s)
        if last - first < max(8, 0.9 * wanted):
            return 0.0
        t_s, values = self._t_s[first:last], self._values[first:last]
        at_s = t_s - offset_s
        # What a reading shows that is the mean over the time around it.
        upper = np.interp(at_s + self._half_s, self._edges_s, self._busy_s)
        lower = np.interp(at_s - self._half_s, self._edges_s, self._busy_s)
        pattern = (upper - lower) / (2 * self._half_s)
        line = t_s - t_s.mean()
        line /= np.sqrt(np.square(line).sum())
        left = [part - part.mean() for part in (values, pattern)]
        left = [part - line * float(line @ part) for part in left]
        power = math.sqrt(float(np.square(left[0]).sum()) * float(np.square(left[1]).sum()))
        return float(left[0] @ left[1]) / power if power > 0 else 0.0
