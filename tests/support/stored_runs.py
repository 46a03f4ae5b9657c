"""Runs of a chosen median in a store, as measurements would have left them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mobile.results.run import ModelRef, Run
from tests.support.runs import simple_run

MS = 1_000_000


def run_of(
    median_ms: float, *, seed: int = 0, count: int = 60, model: str = "net.onnx", minute: int = 0, sha: str = "ab",
    environment: dict[str, Any] | None = None, **more: Any,
) -> Run:  # fmt: skip
    """A valid run whose inferences scatter by 2 % around ``median_ms``."""
    noise = np.random.default_rng((seed, count)).normal(0, 0.02, count)
    durations = [round(median_ms * MS * float(np.exp(value))) for value in noise - np.median(noise)]
    run = simple_run(durations, **more)
    run.created_utc = f"2026-01-02T{3 + minute // 60:02d}:{minute % 60:02d}:05Z"
    run.spec = replace(run.spec, model=ModelRef(model, sha * 32, "onnx", 1000))
    run.environment.update(environment or {})
    return run


def several(median_ms: float, count: int, *, spread: float = 0.01, seed: int = 0, **more: Any) -> list[Run]:
    """``count`` runs whose medians scatter by ``spread``, a minute apart."""
    logs = np.random.default_rng(seed).normal(0, spread, count)
    first = more.pop("minute", 0)
    return [
        run_of(median_ms * float(np.exp(value)), seed=place, minute=first + place, **more)
        for place, value in enumerate(logs)
    ]
