"""Statistics of one run's invocations. Percentiles interpolate linearly between the closest ranks.

That is type 7 of Hyndman and Fan, "Sample Quantiles in Statistical Packages", The American Statistician 50
(1996), the default of numpy, R and Excel: for sorted x_1..x_n, the p-th percentile lies at rank 1 + (n - 1) p
/ 100.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PERCENTILE_METHOD = "linear interpolation between closest ranks (Hyndman-Fan type 7)"
LATENCY_KEYS = ("min", "mean", "p50", "p90", "p99", "max", "std")
NS_PER_S = 1e9


def as_numpy(values: array[int]) -> NDArray[np.int64]:
    """The array's own memory as int64 [n], not copied."""
    import numpy as np

    return np.frombuffer(values, dtype=np.int64) if len(values) else np.zeros(0, dtype=np.int64)


def describe_ns(durations_ns: array[int]) -> dict[str, float | None]:
    """min, mean, p50, p90, p99, max and std (n - 1) in seconds; all None for no values, std None for one.

    >>> describe_ns(array("q", [1_000, 2_000, 3_000]))["p50"]
    2e-06
    """
    import numpy as np

    if not len(durations_ns):
        return dict.fromkeys(LATENCY_KEYS)
    # From the smallest on: differences of whole nanoseconds are exact, and the standard deviation loses no
    # digits.
    values = as_numpy(durations_ns)
    least = int(values.min())
    offsets = (values - least).astype(np.float64)
    p50, p90, p99 = (float(value) for value in np.percentile(offsets, (50, 90, 99)))
    figures = {
        "min": 0.0,
        "mean": float(offsets.mean()),
        "p50": p50,
        "p90": p90,
        "p99": p99,
        "max": float(offsets.max()),
    }
    seconds: dict[str, float | None] = {name: (least + value) / NS_PER_S for name, value in figures.items()}
    seconds["std"] = float(offsets.std(ddof=1)) / NS_PER_S if len(values) > 1 else None
    return seconds


def third_shift(durations_ns: array[int]) -> float | None:
    """The shift of the last third's median from the first third's, as a share of it; None for fewer than 30 values."""
    import numpy as np

    third = len(durations_ns) // 3
    if third < 10:
        return None
    values = as_numpy(durations_ns)
    first = float(np.median(values[:third]))
    last = float(np.median(values[-third:]))
    return (last - first) / first if first > 0 else None


def describe_stages(stages: dict[str, array[int]]) -> dict[str, dict[str, Any]]:
    """The figures of describe_ns for each stage by name."""
    return {name: dict(describe_ns(values)) for name, values in stages.items()}
