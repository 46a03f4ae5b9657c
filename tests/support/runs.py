"""Runs with known figures, made through the collector as the agent's records would make them."""

from __future__ import annotations

import math
from typing import Any

from device_agents.spec import AgentSpec
from mobile.results import new_run_id
from mobile.results.collect import Collector
from mobile.results.run import ModelRef, Run, RunSpec

MS = 1_000_000
SECOND = 1_000_000_000
MODEL = ModelRef("net.onnx", "ab" * 32, "onnx", 123_456)


def sensor(name: str, quantity: str, state: str = "present", **more: Any) -> dict[str, Any]:
    """A descriptor as the agent's hello has it."""
    about = {
        "name": name,
        "quantity": quantity,
        "unit": "?",
        "scope": f"scope of {name}",
        "state": state,
        "reason": None,
    }
    about.update({"period_s": None, "resolution": None, "source": "/sys", "wraps_at": None, "note": None, **more})
    return about


def collector(device: str = "local", provenance: str = "real", **spec: Any) -> Collector:
    """A collector for a run of the given agent spec."""
    agent_spec = AgentSpec(runner="null", **spec).to_json()
    return Collector(new_run_id(), "2026-01-02T03:04:05Z", provenance, RunSpec(device, MODEL, agent_spec))


def hello(sensors: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """A hello record with some facts."""
    facts = {"model": "Board 5", "governor": "performance", "cores": 4}
    agent = {"version": "0.1.0", "sha256": "cd" * 32}
    return {"type": "hello", "schema": "1.0", "agent": agent, "t_ns": 1, "device": facts, "sensors": sensors or []}


def event(name: str, t_ns: int = 0, **detail: Any) -> dict[str, Any]:
    """An event record."""
    return {"type": "event", "t_ns": t_ns, "name": name, "detail": detail}


def block(
    phase: str, start_ns: list[int], duration_ns: list[int], stages: dict[str, Any] | None = None
) -> dict[str, Any]:
    """An invocations record."""
    return {
        "type": "invocations",
        "phase": phase,
        "start_ns": start_ns,
        "duration_ns": duration_ns,
        "stages": stages or {},
    }


def samples(t_ns: list[int], columns: dict[str, list[float | None]]) -> dict[str, Any]:
    """A samples record."""
    return {"type": "samples", "t_ns": t_ns, "columns": columns, "reasons": {}, "read_ns": [1000] * len(t_ns)}


def done(count: int, **more: Any) -> dict[str, Any]:
    """A done record of a completed run."""
    overhead = {
        "sampler_cpu_s": 0.01,
        "sampler_cpu_share": 0.001,
        "ticks": 50,
        "missed_ticks": 0,
        "supervisor_cpu_s": 0.1,
    }
    record = {
        "type": "done",
        "t_ns": 10 * SECOND,
        "outcome": "completed",
        "invocations": count,
        "memory": {"before_load": 20_000_000, "after_load": 30_000_000, "peak_rss": 40_000_000},
        "overhead": overhead,
        "summary": None,
    }
    record["overhead"] = {**overhead, **more.pop("overhead", {})}
    return {**record, **more}


def simple_run(
    durations_ns: list[int] | None = None,
    sensors: list[dict[str, Any]] | None = None,
    columns: dict[str, Any] | None = None,
    more: list[dict[str, Any]] | None = None,
    device: str = "local",
    provenance: str = "real",
    finish: dict[str, Any] | None = None,
    loaded: dict[str, Any] | None = None,
    **spec: Any,
) -> Run:
    """A completed run: 10 ms invocations back to back from t = 1 s on (or the given durations), 10 Hz samples.

    ``columns`` maps a sensor to a function of the time in seconds since the first measured invocation.
    """
    durations = [10 * MS] * 500 if durations_ns is None else durations_ns
    starts = [SECOND]
    for duration in durations:
        starts.append(starts[-1] + duration)
    made = collector(device, provenance, **{"min_count": 1, "min_duration_s": 0.0, **spec})
    made.feed(hello(sensors))
    runtime = {"name": "onnxruntime", "version": "1.30"}
    made.feed(event("loaded", 1, load_s=0.25, runtime=runtime, provider="CPU", **(loaded or {})))
    made.feed(block("first", [SECOND // 2], [50 * MS]))
    made.feed(event("first-done", 2, first_s=0.06))
    made.feed(event("warmup-done", SECOND - 1, count=3))
    made.feed(block("measure", starts[:-1], durations))
    times = [SECOND // 2 + i * SECOND // 10 for i in range(math.ceil((starts[-1] - SECOND) / SECOND * 10) + 10)]
    values = {name: [law((t - SECOND) / SECOND) for t in times] for name, law in (columns or {}).items()}
    made.feed(samples(times, values))
    for record in more or []:
        made.feed(record)
    made.feed({**done(len(durations)), **(finish or {})})
    return made.run
