"""From which inference on a run was steady, found in its own data; nothing is cut off, nothing is deleted.

The logarithms of the durations are cut at change points (R. Killick, P. Fearnhead and I. Eckley, "Optimal Detection of
Changepoints with a Linear Computational Cost", Journal of the American Statistical Association 107, 2012; the package
`ruptures` does it). The run is steady from the first segment on after which every segment's median stays within
TOLERANCE of the last one's, chance aside (as E. Barrett and others merge segments, "Virtual Machine Warmup Blows Hot
and Cold", OOPSLA 2017), if that is at least half of the run and does not climb or fall by more than TOLERANCE from end
to end.
Outliers are flagged as hyperfine does it: more than 14.826 median absolute deviations from the median.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from mobile.results.run import Run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TOLERANCE = 0.02
LEAST_SHARE = 0.5
FEWEST = 40  # inferences
MOST_BINS = 500
SHORTEST_SEGMENT = 10  # bins
OUTLIER_DEVIATIONS = 14.826
CHANCE_DEVIATIONS = 3.0  # of the difference of two medians: as for the climb from end to end
_PENALTY = 4.0  # times the logarithm of the number of bins, in units of their noise's variance
MOST_DEPENDENT = 0.9
_CLIPPED_AT = 5.0  # standard deviations of the noise: a single slow inference is no segment


class Steady(NamedTuple):
    """``first``: the measured inference from which on the run was steady (0: all of it); None: never, see ``why``.

    ``from_s``: the same in seconds after the first one's start. ``segments``: (first inference, median in seconds) of
    each. ``outliers``: how many inferences were flagged.
    """

    first: int | None
    from_s: float | None
    why: str | None
    segments: tuple[tuple[int, float], ...]
    outliers: int

    def to_json(self) -> dict[str, Any]:
        """As reports have it: first, from_s, why, segments, outliers."""
        return {
            "first": self.first, "from_s": self.from_s, "why": self.why,
            "segments": [list(segment) for segment in self.segments], "outliers": self.outliers,
        }  # fmt: skip

    def words(self) -> str:
        """One line for people."""
        if self.first is None:
            return f"no steady state: {self.why}"
        return "steady all along" if self.first == 0 else f"steady from inference {self.first} on ({self.from_s:.3g} s)"


def steady(run: Run) -> Steady:
    """The steady part of the run's measured inferences."""
    from mobile.results.stats import as_numpy

    measured = run.phase("measure")
    durations_s = as_numpy(measured.duration_ns) / 1e9
    found = steady_of(durations_s)
    if not found.first:
        return found
    return found._replace(from_s=(measured.start_ns[found.first] - measured.start_ns[0]) / 1e9)


def steady_of(durations_s: Floats) -> Steady:
    """The same of bare durations [n]; ``from_s`` is then their sum up to there."""
    if len(durations_s) < FEWEST:
        return Steady(None, None, f"{len(durations_s)} inferences, {FEWEST} are needed to tell", (), 0)
    if float(durations_s.min()) <= 0:
        return Steady(None, None, "inferences of 0 s: too quick for the device's clock", (), 0)
    flagged = outliers(durations_s)
    logs, size = _binned(durations_s)
    edges = _change_points(logs)
    if edges is None:
        return Steady(None, None, "not looked for: `pip install 'edgewise[stats]'` (ruptures)", (), flagged)
    medians = _medians(logs, edges)
    segments = tuple((edge * size, math.exp(level)) for edge, level in zip(edges, medians, strict=True))
    place = _steady_from(medians, [*edges, len(logs)], _variance_of_means(logs, _noise(logs)))
    start = edges[place]
    why = _why_not(logs, start)
    if why is not None:
        return Steady(None, None, why, segments, flagged)
    return Steady(start * size, float(durations_s[: start * size].sum()), None, segments, flagged)


def _steady_from(medians: list[float], edges: list[int], variance: float) -> int:
    """The first segment after which all stay near the last one.

    Near is TOLERANCE, and beside it what the medians of two segments of so many bins differ by where nothing has
    changed: inferences that hang together wander, and make levels of a run that has none.
    """
    sizes = [right - left for left, right in pairwise(edges)]
    place = len(medians) - 1
    while place:
        chance = CHANCE_DEVIATIONS * math.sqrt(variance * (1 / sizes[place - 1] + 1 / sizes[-1]))
        if abs(medians[place - 1] - medians[-1]) > math.log1p(TOLERANCE) + chance:
            break
        place -= 1
    return place


def outliers(durations_s: Floats) -> int:
    """How many lie further than OUTLIER_DEVIATIONS median absolute deviations from the median."""
    import numpy as np

    away = np.abs(durations_s - np.median(durations_s))
    deviation = float(np.median(away))
    return int((away > OUTLIER_DEVIATIONS * deviation).sum()) if deviation > 0 else 0


def _binned(durations_s: Floats) -> tuple[Floats, int]:
    """(the logarithms of the medians of at most MOST_BINS bins, inferences of a bin); the last bin takes the rest."""
    import numpy as np

    size = max(1, math.ceil(len(durations_s) / MOST_BINS))
    count = len(durations_s) // size
    medians = np.median(durations_s[: count * size].reshape(count, size), axis=1)
    return np.log(medians), size


def _change_points(logs: Floats) -> list[int] | None:
    """The first bin of each segment; None where ruptures is not installed."""
    import numpy as np

    noise = _noise(logs)
    if noise <= 0 or len(logs) < 2 * SHORTEST_SEGMENT:
        return [0] if noise > 0 or not np.ptp(logs) else [0, *(np.flatnonzero(np.diff(logs)) + 1).tolist()]
    try:
        from ruptures import KernelCPD
    except ImportError:
        return None
    middle = _running_median(logs)
    signal = middle + np.clip(logs - middle, -_CLIPPED_AT * noise, _CLIPPED_AT * noise)
    penalty = _PENALTY * math.log(len(logs)) * _variance_of_means(logs, noise)
    ends = KernelCPD(kernel="linear", min_size=SHORTEST_SEGMENT).fit(signal.reshape(-1, 1)).predict(pen=penalty)
    return [0, *(int(end) for end in ends[:-1])]


def _noise(logs: Floats) -> float:
    """The standard deviation from one bin to the next, without the levels."""
    import numpy as np

    return float(np.median(np.abs(np.diff(logs)))) * 1.4826 / math.sqrt(2)


def _dependence(logs: Floats, noise: float) -> float:
    """The autocorrelation r of neighbours as an AR(1) process has it, 0 to MOST_DEPENDENT.

    From the steps between neighbours, which no level disturbs: their own autocorrelation is -(1 - r) / 2.
    """
    import numpy as np

    steps = np.clip(np.diff(logs), -_CLIPPED_AT * noise, _CLIPPED_AT * noise)
    power = float(np.square(steps).sum())
    if power <= 0 or len(steps) < 2:
        return 0.0
    return min(MOST_DEPENDENT, max(0.0, 1 + 2 * float((steps[1:] * steps[:-1]).sum()) / power))


def _running_median(logs: Floats) -> Floats:
    """Each bin's median with its neighbours on both sides."""
    import numpy as np

    half = SHORTEST_SEGMENT // 2
    padded = np.pad(logs, half, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=1)


def _variance_of_means(logs: Floats, noise: float) -> float:
    """What the variance of a mean of n bins is times n: that of one bin, (1 + r) / (1 - r) times with AR(1)."""
    r = _dependence(logs, noise)
    return noise**2 / (1 - r) * (1 + r) / (1 - r)


def _medians(logs: Floats, edges: list[int]) -> list[float]:
    import numpy as np

    return [float(np.median(logs[start:end])) for start, end in zip(edges, [*edges[1:], len(logs)], strict=True)]


def _why_not(logs: Floats, start: int) -> str | None:
    """Why the bins from ``start`` on are no steady state; None when they are."""
    import numpy as np

    rest = logs[start:]
    if len(rest) < LEAST_SHARE * len(logs):
        return f"the last level holds for {len(rest) / len(logs):.0%} of the run, at least {LEAST_SHARE:.0%} are needed"
    third = max(1, len(rest) // 3)
    climb = float(np.median(rest[-third:]) - np.median(rest[:third])) * 1.5
    scatter = CHANCE_DEVIATIONS * math.sqrt(_variance_of_means(logs, _noise(logs)) / third)
    if abs(climb) > math.log1p(TOLERANCE) + scatter:
        return (
            f"latency goes on {'climbing' if climb > 0 else 'falling'}, by {abs(math.expm1(climb)):.1%} from end to end"
        )
    return None
