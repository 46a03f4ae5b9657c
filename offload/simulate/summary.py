"""The figures of a simulated run. Every one is simulated, and is named so wherever it is shown."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from offload.simulate.hindsight import Hindsight, mean
from offload.simulate.run import Run

LATE = 1e-9


def figures(run: Run, seen: Hindsight, deadline_s: float | None) -> dict[str, Any]:
    """Seconds, bits, joules and shares of a run, and its regret.

    ``regret``: mean latency over the clairvoyant's, less one. ``against_best_fixed``: over that of the best fixed
    placement, less one; below 0 is better than it. ``energy_j`` is of one frame, None without a power profile.
    """
    latencies = [frame.outcome.latency_s for frame in run.frames]
    span_s = run.frames[-1].begin_s + latencies[-1]
    fixed = {name: mean(values) for name, values in seen.fixed_s.items()}
    best = min(fixed, key=lambda name: fixed[name])
    own, least = mean(latencies), mean(seen.best_s)
    placed = Counter(frame.decision.placement.id for frame in run.frames if frame.decision.placement is not None)
    return {
        "simulated": True,
        "frames": len(latencies),
        "skipped": sum(frame.skipped for frame in run.frames),
        "latency_s": {"mean": own, "p50": quantile(latencies, 0.5), "p99": quantile(latencies, 0.99)},
        "deadline_misses": None if deadline_s is None else sum(value > deadline_s + LATE for value in latencies),
        "refused": sum(frame.outcome.refused for frame in run.frames),
        "fallbacks": dict(Counter(frame.outcome.fallback for frame in run.frames if frame.outcome.fallback)),
        "switches_per_min": sum(frame.switched for frame in run.frames) / span_s * 60,
        "up_bits": sum(frame.outcome.up_bits for frame in run.frames),
        "down_bits": sum(frame.outcome.down_bits for frame in run.frames),
        "probes": run.probes,
        "probe_bits": run.probe_bits,
        "energy_j": _energy(run),
        "placements": dict(sorted(placed.items())),
        "clairvoyant_s": least,
        "regret": own / least - 1 if least > 0 else None,
        "fixed_s": fixed,
        "best_fixed": best,
        "against_best_fixed": own / fixed[best] - 1 if fixed[best] > 0 else None,
    }


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of them does not exceed."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]


def _energy(run: Run) -> float | None:
    energies = [frame.outcome.energy_j for frame in run.frames]
    known = [energy for energy in energies if energy is not None]
    return mean(known) if len(known) == len(energies) else None
