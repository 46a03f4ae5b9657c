"""Whether a run's figures may be trusted: valid, or invalid with the reasons (the habit of MLPerf's LoadGen).

Invalid: the run failed, was stopped or its stream was cut; less was measured than was asked for; the device
throttled (throttle.py), or nothing that would have shown it had values; it was not as cool as asked for; a setting
(governor, power mode) changed in mid-run; other processes took more than the limit; the sampler missed more than a
tenth of its ticks; memory ran short (swap, stalls), the wall clock was set, the device slept, a charger came or went
(surroundings.py); a scenario's own rule is not kept (scenario.py: too few queries for its percentile, a latency bound);
energy was taken from a battery that was being charged; the provider that was asked for ran less
than half of the model. A warning, because the figures still are what happened: latency drifted by more than a fifth
(no steady state), a part of the model fell back to another provider, a runner gives no percentiles, clocks were capped
from the start, a sensor had gaps, a setting could not be verified or put back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mobile.results.circumstances import circumstances
from mobile.results.run import Run
from mobile.results.scenario import OPEN, judge_scenario, scenario_of
from mobile.results.stats import third_shift
from mobile.results.surroundings import surroundings
from mobile.results.throttle import throttling
from mobile.results.window import measured_window, summary_of

MAX_MISSED_SHARE = 0.10
MIN_NODE_SHARE = 0.5
MAX_SHIFT = 0.20
DURATION_TOLERANCE = 0.01  # the loop begins to count just before the first invocation
CPU_PROVIDERS = ("cpu", "cpuexecutionprovider")


class Verdict(NamedTuple):
    """``verdict``: "valid" or "invalid"; ``reasons``: why it is invalid; ``warnings``: what to know all the same."""

    verdict: str
    reasons: list[str]
    warnings: list[str]


def judge(run: Run, invocations: int | None, energy: Mapping[str, Any] | None = None) -> Verdict:
    """The verdict on a run of which ``invocations`` were measured (None: not known) and ``energy`` is the figure."""
    reasons = _ended_badly(run)
    warnings: list[str] = []
    if run.spec.agent_spec.get("task") != "evaluate":
        if not reasons:
            reasons += _too_little(run, invocations)
        seen = throttling(run)
        reasons += seen.signs
        around, beside = circumstances(run, energy), surroundings(run)
        reasons += around.reasons + beside.reasons + _missed(run)
        warnings += _shift(run) + seen.remarks + around.warnings + beside.warnings + _missed_by_sources(run)
        if seen.unseen and len(seen.unseen) == seen.live:
            reasons.append(f"throttling was not watched: {'; '.join(seen.unseen[:3])}")
        else:
            warnings += seen.unseen
    fallback = _provider(run)
    reasons += fallback[0]
    warnings += fallback[1] + _sampler_error(run)
    return Verdict("invalid" if reasons else "valid", reasons, warnings)


def _ended_badly(run: Run) -> list[str]:
    if run.failure is not None:
        return [f"it failed: {run.failure.get('code')}: {run.failure.get('message')}"]
    if run.done is None:
        return ["the stream was cut before the run was done"]
    if run.done.get("outcome") != "completed":
        return [f"it was {run.done.get('outcome')} before it was complete"]
    return []


def _too_little(run: Run, invocations: int | None) -> list[str]:
    spec = run.spec.agent_spec
    if summary_of(run):
        return []  # a program that times itself keeps its own minimums
    if not invocations:
        return ["nothing was measured"]
    reasons = _lost(run)
    least = spec.get("min_count") or 0
    if scenario_of(run):
        reasons += judge_scenario(run)  # its minimum is one of queries
    elif invocations < least:
        reasons.append(f"{invocations} invocations were measured, the minimum is {least}")
    window = measured_window(run)
    least_s = spec.get("min_duration_s") or 0.0
    if scenario_of(run).get("name") in OPEN:  # the last query that was due in time may well be done before
        ended = (run.event("measured") or {}).get("reason")
        return reasons + ([] if ended == "minimums" else [f"it ended before its minimums were reached ({ended})"])
    if window is not None and window.duration_s < least_s * (1 - DURATION_TOLERANCE):
        reasons.append(f"measured for {window.duration_s:.3g} s, the minimum is {least_s:g} s")
    return reasons


def _lost(run: Run) -> list[str]:
    told, arrived = (run.done or {}).get("invocations"), len(run.phase("measure"))
    if isinstance(told, int) and told != arrived:
        return [f"the agent measured {told} invocations, of which {arrived} arrived"]
    return []


def _missed(run: Run) -> list[str]:
    overhead = (run.done or {}).get("overhead") or {}
    ticks, missed = overhead.get("ticks") or 0, overhead.get("missed_ticks") or 0
    if missed > MAX_MISSED_SHARE * (ticks + missed):
        return [f"the sampler missed {missed} of {ticks + missed} ticks, more than {MAX_MISSED_SHARE:.0%}"]
    return []


def _missed_by_sources(run: Run) -> list[str]:
    """A line for each program that was asked less often than planned; what it tells has gaps of its own."""
    lines = []
    for name, overhead in (((run.done or {}).get("overhead") or {}).get("sources") or {}).items():
        ticks, missed = overhead.get("ticks") or 0, overhead.get("missed_ticks") or 0
        if missed > MAX_MISSED_SHARE * (ticks + missed):
            lines.append(f"{name} could be asked only {ticks} of {ticks + missed} times")
    return lines


def _provider(run: Run) -> tuple[list[str], list[str]]:
    """(reasons, warnings) about the provider that was asked for, when that is not the CPU.

    Where the time of each node is known it decides: a subgraph that a provider compiled counts as one node.
    """
    asked = run.spec.agent_spec.get("provider")
    loaded = run.event("loaded") or {}
    if not asked or asked.lower() in CPU_PROVIDERS:
        return [], []
    nodes = loaded.get("node_share") or summary_of(run).get("node_share")
    if not isinstance(nodes, dict) or not nodes:
        return [], [f"it is not known which share of the model ran on {asked}"]
    share = _share_of(asked, loaded.get("provider"), nodes)
    words = f"{share:.0%} of the model's nodes ran on {asked} ({_listed(nodes)})"
    decisive, times = share, loaded.get("node_time_share")
    if isinstance(times, dict) and times:
        decisive = _share_of(asked, loaded.get("provider"), times)
        words += f", {decisive:.0%} of the nodes' time ({_listed(times)})"
    if decisive < MIN_NODE_SHARE:
        return [f"only {words}"], []
    return [], [words] if min(share, decisive) < 1 else []


def _listed(shares: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:.0%}" for name, value in shares.items())


def _share_of(asked: str, used: Any, shares: dict[str, float]) -> float:
    """The share under the provider's own name or the name that the runtime gives it, else of all that is not the CPU.

    Delegates have names of their own ("gpu" is TfLiteGpuDelegateV2), so what is no CPU is taken as what was asked for.
    """
    names = {asked.lower(), f"{asked.lower()}executionprovider"}
    if isinstance(used, str) and used.lower() not in CPU_PROVIDERS:
        names.add(used.lower())
    own = [value for name, value in shares.items() if name.lower() in names]
    other = [value for name, value in shares.items() if not _is_cpu(name)]
    return float(sum(own or other))


def _is_cpu(name: str) -> bool:
    return name.lower() in CPU_PROVIDERS or "xnnpack" in name.lower()


def _shift(run: Run) -> list[str]:
    shift = third_shift(run.phase("measure").duration_ns)
    if shift is not None and abs(shift) > MAX_SHIFT:
        return [f"no steady state: the last third's median latency is {shift:+.0%} from the first third's"]
    return []


def _sampler_error(run: Run) -> list[str]:
    error = ((run.done or {}).get("overhead") or {}).get("sampler_error")
    return [f"sampling ended early: {error}"] if error else []
