"""What can be compared: one figure of each run, and how far it would move if the run's inferences were drawn again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mobile.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mobile.results.run import Run

    Floats = NDArray[np.float64]

NS_PER_S = 1e9


@dataclass(frozen=True)
class Metric:
    """One figure of a run. ``path`` leads to it in the run's figures; ``share``: the percentile that it is, if any.

    ``more`` and ``less``: the words for a B above and below A. Of every metric, less is better.
    """

    name: str
    title: str
    unit: str  # "s", "J" or "B"
    path: tuple[str, ...]
    share: float | None = None
    more: str = "slower"
    less: str = "faster"


METRICS = {
    metric.name: metric
    for metric in (
        Metric("p50", "median latency", "s", ("latency_s", "p50"), 0.5),
        Metric("p90", "90th percentile of latency", "s", ("latency_s", "p90"), 0.9),
        Metric("p99", "99th percentile of latency", "s", ("latency_s", "p99"), 0.99),
        Metric("mean", "mean latency", "s", ("latency_s", "mean")),
        Metric("query-p50", "median latency of queries", "s", ("scenario", "latency_s", "p50")),
        Metric("query-p90", "90th percentile of queries", "s", ("scenario", "latency_s", "p90")),
        Metric("query-p99", "99th percentile of queries", "s", ("scenario", "latency_s", "p99")),
        Metric("energy", "energy of an inference", "J", ("energy", "per_inference_j"), None, "more", "less"),
        Metric(
            "above-idle", "energy above idle of an inference", "J",
            ("energy", "above_idle_per_inference_j"), None, "more", "less",
        ),
        Metric("load", "time to load", "s", ("cold_start_s", "load")),
        Metric("first", "first inference", "s", ("cold_start_s", "first")),
        Metric("memory", "peak memory", "B", ("memory_bytes", "peak_rss"), None, "more", "less"),
    )
}  # fmt: skip
ENERGY = ("energy", "above-idle")


def metric(name: str) -> Metric:
    """The metric of a name. UsageError with the names when there is none."""
    if name not in METRICS:
        raise UsageError(f"there is no metric {name!r}", f"Choose one of {', '.join(METRICS)}.")
    return METRICS[name]


class NoFigureError(ValueError):
    """A run has no such figure; the message says why."""


def value_of(row: Mapping[str, Any], what: Metric) -> float:
    """The figure in a run's figures (mobile.results.figures), > 0. NoFigureError when it is missing or no number."""
    found: Any = row
    for name in what.path:
        found = found.get(name) if isinstance(found, Mapping) else None
    if found is None:
        raise NoFigureError(_why(row, what))
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found):
        raise NoFigureError(f"its {what.title} is {found!r}, which is no number")
    if found <= 0:
        raise NoFigureError(f"its {what.title} is {found:g} {what.unit}: too little for the device's clock or sensor")
    return float(found)


def _why(row: Mapping[str, Any], what: Metric) -> str:
    if what.path[0] == "scenario" and row.get("scenario") is None:
        return f"no {what.title}: it was measured without --scenario"
    keys = {"latency_s": "latency_missing", "energy": "energy_missing"}
    told = row.get(keys.get(what.path[0], ""))
    if what.name == "above-idle" and isinstance(row.get("energy"), Mapping):
        told = row["energy"].get("above_idle_missing")
    return f"no {what.title}" + (f": {told}" if told else "")


def durations_s(run: Run) -> Floats:
    """The measured durations [n] in seconds, in their order."""
    from mobile.results.stats import as_numpy

    return as_numpy(run.phase("measure").duration_ns) / NS_PER_S


def draws_of(values_s: Floats, what: Metric, rng: np.random.Generator) -> Floats:
    """The figure of resampled inferences as logarithms relative to its own [k]; [0.0] where a run is one number."""
    import numpy as np

    from mobile.compare.inner import mean_draws, percentile_draws

    if what.path[0] != "latency_s" or not len(values_s) or float(values_s.min()) <= 0:
        return np.zeros(1)
    return percentile_draws(values_s, what.share, rng) if what.share is not None else mean_draws(values_s, rng)
