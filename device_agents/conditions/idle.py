"""The idle baseline: how long the device is watched doing nothing before the worker starts."""

from typing import Any, Dict, Sequence

from device_agents.spec import AgentSpec

PERIODS = 10.0  # of the slowest sensor: fewer readings give no mean
LEAST_S, MOST_S = 1.0, 10.0


def idle_s(spec: AgentSpec, descriptors: Sequence[Dict[str, Any]]) -> float:
    """The spec's own time; else 1 s or ten periods of the slowest power or energy sensor, at most 10 s.

    0 where the device has no such sensor, or the task is an evaluation: nothing would be made of it.
    """
    if spec.idle_s is not None:
        return float(spec.idle_s)
    periods = [
        about["period_s"] or spec.sample_period_s
        for about in descriptors
        if about["quantity"] in ("power", "energy") and about["state"] == "present"
    ]
    if not periods or spec.task != "bench":
        return 0.0
    return float(min(MOST_S, max(LEAST_S, PERIODS * max(periods))))
