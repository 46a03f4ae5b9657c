"""The highest rate of Poisson arrivals at which a device keeps a latency bound: a search over measured runs.

The search halves the range between a rate that held and one that did not, on a scale of ratios, until they are within
TOLERANCE, and begins at what one inference behind the other would allow. Each step is a server run like any other, and
stored. A step holds when its run is valid, so a step that is invalid for another reason (throttling) ends the search:
nothing could be told from it. The answer is the highest rate that held; that it did was looked at several times, so it
is a little more likely to be luck than the 99 % of a single run say, which is why it is measured once more at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobile.results.run import Run

TOLERANCE = 0.05
MOST_STEPS = 12
START_SHARE = 0.7  # of one inference behind the other: queues grow without end at 1.0

# A rate -> the server run at it.
Measure = Callable[[float], "Run"]


@dataclass(frozen=True)
class Step:
    """One rate that was measured: whether the bound held there, and the run's reasons where it is invalid."""

    qps: float
    held: bool
    run: str
    reasons: tuple[str, ...]


@dataclass
class Found:
    """``qps``: the highest rate that held, None: none did. ``why``: how the search ended. ``steps`` in their order."""

    qps: float | None
    why: str
    confirmed: bool
    steps: list[Step] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As `bench --find-qps` has it: qps, confirmed, why, steps [{qps, held, run, reasons}]."""
        return {
            "qps": self.qps,
            "confirmed": self.confirmed,
            "why": self.why,
            "steps": [{**vars(step), "reasons": list(step.reasons)} for step in self.steps],
        }


def find_qps(measure: Measure, inference_s: float, most_qps: float | None = None) -> Found:
    """The highest rate that holds; ``inference_s``: what an inference takes, ``most_qps``: none above it is tried."""
    limit = 1.0 / inference_s if most_qps is None else min(most_qps, 1.0 / inference_s)
    low, high, qps = 0.0, limit, START_SHARE * limit
    steps: list[Step] = []
    while len(steps) < MOST_STEPS and (not low or high / low > 1 + TOLERANCE):
        step, stuck = _step(measure, qps)
        steps.append(step)
        if stuck:
            return Found(low or None, f"at {qps:.4g}/s the run is invalid for another reason", False, steps)
        if step.held:
            low = qps
        else:
            high = qps
        qps = math.sqrt(low * high) if low else high / 2
    if not low:
        return Found(None, f"not even {high:.4g}/s held", False, steps)
    again, _ = _step(measure, low)
    steps.append(again)
    why = "it held twice" if again.held else "it held once, and not when it was measured again"
    if high == limit:
        why += f"; none above {limit:.4g}/s was tried"
    return Found(low, why, again.held, steps)


def _step(measure: Measure, qps: float) -> tuple[Step, bool]:
    """(the step, True when its run is invalid for something else than the bound)."""
    from mobile.results.figures import figures

    run = measure(qps)
    row = figures(run)
    told = (row["scenario"] or {}).get("server") or {}
    held = row["verdict"] == "valid" and told.get("holds") is True
    kept = told.get("holds") is True and row["verdict"] != "valid"
    return Step(qps, held, run.id, tuple(row["reasons"])), kept
