"""The short form of a run that lists show: computed when it is stored, so that listing reads no column."""

from __future__ import annotations

from typing import Any

from mobile.results.environment import origin_of
from mobile.results.run import Run


def summary(run: Run) -> dict[str, Any]:
    """id, created_utc, device, model, format, sha256, task, runner, provenance, verdict, invocations, p50_s,
    failure, origin.

    ``p50_s`` is the median latency in seconds, None when nothing was measured; ``failure`` is a code or None;
    ``origin`` says where an imported run is from.
    """
    from mobile.results.figures import figures

    row = figures(run)
    model, spec = run.spec.model, run.spec.agent_spec
    return {
        "id": run.id, "created_utc": run.created_utc, "device": run.spec.device, "model": model.name,
        "format": model.format, "sha256": model.sha256, "task": row["task"], "runner": spec.get("runner"),
        "provenance": run.provenance, "verdict": row["verdict"], "invocations": row["invocations"],
        "p50_s": row["latency_s"]["p50"], "failure": run.failure["code"] if run.failure else None,
        "origin": origin_of(run.environment),
    }  # fmt: skip
