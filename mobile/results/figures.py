"""The figures of a run: one entry of "runs" in the JSON contract of `edgewise bench`, derived from the raw
columns.

SI units throughout. Null means that it was not measured; a ``..._missing`` key beside it says why.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from mobile.results.clocks import clocks
from mobile.results.energy import energies, widest
from mobile.results.frames import told
from mobile.results.metered import meter_energies
from mobile.results.quality import quality
from mobile.results.run import Run
from mobile.results.scenario import percentiles, queries, scenario
from mobile.results.stats import LATENCY_KEYS, describe_ns, describe_stages
from mobile.results.thermal import thermal
from mobile.results.verdict import judge
from mobile.results.window import measured_window, summary_of

SUMMARY_ONLY = "the program gives only a summary of its own, no single times"


def figures(run: Run) -> dict[str, Any]:
    """The figures of ``run`` as JSON.

    id, created_utc, device, provenance, model {name, sha256, format, size_bytes}, task, environment,
    spec (the agent's); verdict, reasons, warnings (verdict.py); invocations (measured ones; null when a program does
    not tell); latency_s {min, mean, p50, p90, p99, max, std}, latency_missing; stages_s {stage: the same};
    throughput_per_s (items: batch times invocations over the time from the first start to the last end);
    cold_start_s {load, first}; memory_bytes {before_load, peak_rss}; thermal or null, thermal_missing (thermal.py);
    clocks [{sensor, scope, note, median_hz, min_hz, max_hz, samples}] or null, clocks_missing (clocks.py);
    energy or null, energy_missing, energy_needed_s (how long to measure instead), energy_all (energy.py);
    quality or null, quality_missing (quality.py, mobile.quality.assess);
    percentiles {p90, p95, p97, p99, p999: {value_s, bound_s, discarded, needed}} of queries (scenario.py) or null;
    scenario or null (scenario.py); beside [the models measured at the same time];
    split (of a split run what became of its frames, else null; frames.py has them one by one);
    harness {sampler_cpu_share, missed_ticks, ticks, supervisor_cpu_s, spin_s (busy waiting for a scenario's queries)};
    failure {code, message, hint, phase} or null.
    """
    measured = run.phase("measure")
    own = summary_of(run)
    count: int | None = own.get("count") if own else len(measured)
    totals = meter_energies(run, count) + energies(run, count)
    joules, joules_missing = widest(run, totals)
    verdict = judge(run, count, joules)
    asked = scenario(run)
    latency, latency_missing = _latency(run, own)
    heat, heat_missing = thermal(run)
    speeds, speeds_missing = clocks(run)
    worth, worth_missing = quality(run, joules)
    warnings = verdict.warnings + ([f"no percentiles: {latency_missing}"] if own and latency_missing else [])
    return {
        "id": run.id,
        "created_utc": run.created_utc,
        "device": run.spec.device,
        "provenance": run.provenance,
        "model": asdict(run.spec.model),
        "task": run.spec.agent_spec.get("task", "bench"),
        "spec": run.spec.agent_spec,
        "environment": run.environment,
        "verdict": verdict.verdict,
        "reasons": verdict.reasons,
        "warnings": warnings,
        "invocations": count,
        "latency_s": latency,
        "latency_missing": latency_missing,
        "percentiles": _percentiles(run, asked),
        "scenario": asked,
        "beside": list(run.spec.agent_spec.get("beside") or []),
        "stages_s": own.get("stages_s") or describe_stages(measured.stages),
        "throughput_per_s": _throughput(run, own),
        "cold_start_s": _cold_start(run, own),
        "memory_bytes": _memory(run, own),
        "thermal": heat,
        "thermal_missing": heat_missing,
        "clocks": speeds,
        "clocks_missing": speeds_missing,
        "energy": joules,
        "energy_missing": joules_missing,
        "energy_needed_s": None if joules else min((t["needed_s"] for t in totals if t["needed_s"]), default=None),
        "energy_all": totals,
        "quality": worth,
        "quality_missing": worth_missing,
        "harness": _harness(run),
        "split": dict(told(run)) or None,
        "failure": run.failure,
    }


def _latency(run: Run, own: dict[str, Any]) -> tuple[dict[str, float | None], str | None]:
    measured = run.phase("measure")
    if len(measured):
        return describe_ns(measured.duration_ns), None
    given = own.get("latency_s")
    if not isinstance(given, dict):
        return dict.fromkeys(LATENCY_KEYS), "nothing was measured"
    latency: dict[str, float | None] = {key: given.get(key) for key in LATENCY_KEYS}
    missing = [key for key in LATENCY_KEYS if latency[key] is None]
    why = (own.get("missing") or {}).get("latency_s", SUMMARY_ONLY)
    return latency, f"{', '.join(missing)}: {why}" if missing else None


def _percentiles(run: Run, asked: dict[str, Any] | None) -> dict[str, Any] | None:
    """Those of whole queries, with their bounds; None where no single times are known."""
    if not len(run.phase("measure")):
        return None
    found: dict[str, Any] = asked["percentiles"] if asked else percentiles(queries(run).latency_ns)
    return found


def _throughput(run: Run, own: dict[str, Any]) -> float | None:
    """Items per second. Of a summary: the invocations a second that the program tells, else one per mean latency."""
    batch = int(run.spec.agent_spec.get("batch") or 1)
    window, count = measured_window(run), len(run.phase("measure"))
    if count and window is not None and window.duration_s > 0:
        return batch * count / window.duration_s
    told, mean = own.get("throughput_per_s"), (own.get("latency_s") or {}).get("mean")
    if told is not None:
        return batch * float(told)
    return batch / mean if mean else None


def _cold_start(run: Run, own: dict[str, Any]) -> dict[str, float | None]:
    """Seconds of loading the model, and of the first inference after it."""
    if own:  # such a program loads the model in its own time
        given = own.get("cold_start_s") or {}
        return {"load": given.get("load"), "first": given.get("first")}
    load = (run.event("loaded") or {}).get("load_s")
    first = (run.event("first-done") or {}).get("first_s")
    durations = run.phase("first").duration_ns
    if len(durations):
        first = durations[0] / 1e9  # the event's time has the making of the first input in it
    return {"load": load, "first": first}


def _memory(run: Run, own: dict[str, Any]) -> dict[str, int | None]:
    """Resident memory of the process with the model, in bytes: before the model was loaded, and at its peak."""
    if own:
        return {"before_load": None, "peak_rss": own.get("peak_rss_bytes")}
    memory = (run.done or {}).get("memory") or {}
    return {"before_load": memory.get("before_load"), "peak_rss": memory.get("peak_rss")}


def _harness(run: Run) -> dict[str, Any]:
    """What measuring cost: CPU share of the sampler, ticks it missed and held, CPU time of the supervisor."""
    overhead = (run.done or {}).get("overhead") or {}
    found = {key: overhead.get(key) for key in ("sampler_cpu_share", "missed_ticks", "ticks", "supervisor_cpu_s")}
    return {**found, "spin_s": (run.event("measured") or {}).get("spin_s")}
