"""How often the stated interval holds the true energy, and how wrong a sum of last values is beside it. SIMULATED.

Laws of power with a known integral are read by simulated sensors with the defects of the real ones
(tests/support/true_power.py). The peer is the sum that several tools make: the latest power times the time since the
reading before, from the first reading in the window to the last (Zeus 0.16 on a Jetson does this at about 10 Hz).
"""

from __future__ import annotations

from statistics import median

import numpy as np

from benchmarks.table import Line, show
from mobile.results.energy import energies
from mobile.results.run import Run
from tests.support import true_power
from tests.support.true_power import KINDS, Law, law

RUNS = 60
WINDOWS = (
    ("INA3221, one rail, 2 to 8 s", true_power.ina3221, (2, 8), 5e-4, 1.0),
    ("INA3221, sum of three, 2 to 8 s", true_power.agx_orin, (2, 8), 5e-4, 2.5),
    ("Pi 5 PMIC, 6 to 20 s", true_power.pmic, (6, 20), 1e-3, 1.0),
    ("plug, 12 to 40 s", true_power.plug, (12, 40), 2e-3, 2.0),
)


def last_values_j(run: Run, truth: Law) -> float:
    """The sum of the latest power times the time since the reading before."""
    start, end = (round(edge * 1e9) + true_power.OFFSET_NS for edge in truth.window_s)
    total_j, before = 0.0, None
    rows = zip(run.samples.t_ns, *(run.samples.columns[sensor["name"]] for sensor in run.sensors), strict=True)
    for t, *values in rows:
        if not start <= t <= end:
            continue
        if before is not None:
            total_j += sum(value for value in values if value is not None) * (t - before) / 1e9
        before = t
    return total_j


def line(name: str, read: object, window_s: tuple[float, float], step_s: float, scale: float) -> list[Line]:
    """Coverage, and the errors beside each other, over all laws."""
    rng = np.random.default_rng(1)
    hits, ours, peers, widths, refused = [], [], [], [], 0
    for kind in KINDS:
        for _ in range(RUNS):
            truth = law(rng, kind, rng.uniform(*window_s), step_s, scale)
            run = read(rng, truth)  # type: ignore[operator]
            figure = energies(run, len(truth.starts_s))[0]
            if figure["missing"] is not None:
                refused += 1
                continue
            error_j = abs(figure["total_j"] - truth.total_j)
            hits.append(error_j <= figure["uncertainty_j"])
            widths.append(figure["uncertainty_share"])
            ours.append(error_j / truth.total_j)
            peers.append(abs(last_values_j(run, truth) - truth.total_j) / truth.total_j)
    share, peer, inside = median(ours), median(peers), float(np.mean(hits))
    words = f"{name}: truth inside of +-{median(widths):.1%} (median), {refused} of {RUNS * len(KINDS)} runs refused"
    return [
        Line(words, f"{inside:.1%}", "95 % (stated)", inside / 0.95, ">= 0.98"),
        Line(f"{name}: error, median", f"{share:.2%}", f"{peer:.2%} (sum of last values)", share / peer, "<= 1"),
    ]


def main() -> None:
    """Prints the table."""
    show("Energy against a known truth, SIMULATED", [entry for window in WINDOWS for entry in line(*window)])


if __name__ == "__main__":
    main()
