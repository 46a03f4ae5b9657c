"""A run's figures in the layout of LoadGen's mlperf_log_summary.txt, for people and scripts who know it.

The layout is that of mlcommons/inference, loadgen/results.cc. It is edgewise's own measurement, not LoadGen's, and no
submission: that needs LoadGen itself, its compliance runs, and MLCommons' review. Percentiles are LoadGen's: the
latency at rank floor(p * n) of the sorted ones (edgewise's tables interpolate between ranks).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mobile.errors import UsageError
from mobile.results.run import Run
from mobile.results.scenario import Queries, queries
from mobile.results.stats import as_numpy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NAMES = {"single-stream": "SingleStream", "multi-stream": "MultiStream", "server": "Server", "offline": "Offline"}
SHARES = (0.5, 0.9, 0.95, 0.97, 0.99, 0.999)
TARGET = {"single-stream": 0.9, "multi-stream": 0.99, "server": 0.99}
_RULE = "=" * 48
NS_PER_S = 1e9


def mlperf_summary(run: Run, row: Mapping[str, Any]) -> str:
    """The summary of a run with one of LoadGen's scenarios; ``row``: its figures. UsageError for another run."""
    told = row.get("scenario") or {}
    name = told.get("name")
    if name not in NAMES:
        raise UsageError(
            f"run {run.id} has no scenario of LoadGen's",
            "`edgewise bench --scenario single-stream|multi-stream|server|offline` makes such runs.",
        )
    found = queries(run)
    parts = [
        ["This is a measurement of edgewise in LoadGen's layout. It is not an MLPerf submission."],
        _titled("MLPerf Results Summary", _results(run, row, told, found)),
        _titled("Additional Stats", _additional(run, told, found)),
        _titled("Test Parameters Used", _parameters(run, told)),
        _problems(row),
    ]
    return "\n".join("\n".join(lines) for lines in parts) + "\n"


def _titled(title: str, lines: list[str]) -> list[str]:
    return [_RULE, title, _RULE, *lines, ""]


def _results(run: Run, row: Mapping[str, Any], told: Mapping[str, Any], found: Queries) -> list[str]:
    name, latencies = str(told["name"]), _sorted(found)
    lines = [
        f"SUT name : edgewise {row['device']} {row['model']['name']}",
        f"Scenario : {NAMES[name]}",
        "Mode     : PerformanceOnly",
    ]
    if name == "server":
        lines.append(f"Scheduled samples per second : {_decimal(_scheduled_per_s(found))}")
    elif name == "offline":
        lines.append(f"Samples per second: {_decimal(told['samples_per_s'])}")
    else:
        lines.append(f"{100 * TARGET[name]:.0f}th percentile latency (ns) : {_rank(latencies, TARGET[name])}")
    lines.append(f"Result is : {str(row['verdict']).upper()}")
    spec = run.spec.agent_spec
    if name == "server":
        kept = _rank(latencies, TARGET[name]) <= told["server"]["latency_bound_s"] * NS_PER_S
        lines.append(f"  Performance constraints satisfied : {_yes(kept and not told['unserved'])}")
    lines.append(f"  Min duration satisfied : {_yes(_long_enough(run, found))}")
    lines.append(f"  Min queries satisfied : {_yes(told['queries'] >= (spec.get('min_count') or 0))}")
    lines.append(f"  Early stopping satisfied: {_yes(name == 'offline' or _stops_early(told))}")
    if name != "offline":
        lines += ["Early Stopping Result:", *_early_stopping(told)]
    return lines


def _early_stopping(told: Mapping[str, Any]) -> list[str]:
    if told["name"] == "server":
        server = told["server"]
        if server["holds"]:
            return [" * Run successful."]
        return [
            f" * Run unsuccessful: {server['over']} queries were over the latency bound.",
            f" * With so many over it, {server['needed']} queries would be needed.",
        ]
    key = str(told["deciding"])
    percentile = told["percentiles"][key]
    if percentile["bound_s"] is None:
        return [f" * Only processed {told['queries']} queries.", f" * Need to process at least {percentile['needed']}."]
    lines = [
        f" * Processed at least {percentile['needed']} queries ({told['queries']}).",
        f" * Would discard {percentile['discarded']} highest latency queries.",
        f" * Early stopping {key[1:]}th percentile estimate: {round(percentile['bound_s'] * NS_PER_S)}",
    ]
    other = told["percentiles"]["p99"]
    if key == "p90" and other["bound_s"] is not None:
        lines.append(f" * Early stopping 99th percentile estimate: {round(other['bound_s'] * NS_PER_S)}")
    elif key == "p90":
        lines.append(
            f" * Not enough queries processed for 99th percentile early stopping estimate ({other['needed']})."
        )
    return lines


def _stops_early(told: Mapping[str, Any]) -> bool:
    if told["name"] == "server":
        return bool(told["server"]["holds"])
    return told["percentiles"][told["deciding"]]["bound_s"] is not None


def _additional(run: Run, told: Mapping[str, Any], found: Queries) -> list[str]:
    latencies = _sorted(found)
    lines = []
    if told["name"] == "single-stream":
        lines.append(f"QPS w/ loadgen overhead         : {_decimal(_scheduled_per_s(found))}")
        lines.append(f"QPS w/o loadgen overhead        : {_decimal(NS_PER_S / latencies.mean())}")
        lines.append("")
    if told["name"] == "server":
        lines.append(f"Completed samples per second    : {_decimal(told['server']['completed_per_s'])}")
        lines.append("")
    if told["name"] == "multi-stream":
        lines.append("Per-query latency:")
    if told["name"] == "offline":  # one query: LoadGen shows the samples' own times, counted from its begin
        latencies = found.end_ns - found.start_ns[0]
    lines += [
        f"Min latency (ns)                : {latencies[0]}",
        f"Max latency (ns)                : {latencies[-1]}",
        f"Mean latency (ns)               : {round(latencies.mean())}",
        *(f"{100 * share:.2f} percentile latency (ns)   : {_rank(latencies, share)}" for share in SHARES),
    ]
    return lines


def _parameters(run: Run, told: Mapping[str, Any]) -> list[str]:
    spec, asked = run.spec.agent_spec, told["asked"]
    bound_s = asked.get("latency_bound_s")
    return [
        f"samples_per_query : {asked.get('samples_per_query', told['samples'] if told['name'] == 'offline' else 1)}",
        f"target_qps : {asked.get('qps', '-')}",
        f"target_latency (ns): {round(bound_s * NS_PER_S) if bound_s else '-'}",
        f"min_duration (ms): {round(1000 * (spec.get('min_duration_s') or 0))}",
        f"max_duration (ms): {round(1000 * (spec.get('max_duration_s') or 0))}",
        f"min_query_count : {spec.get('min_count')}",
        f"schedule_rng_seed : {asked.get('seed', 0)}",
        f"inputs : {(spec.get('inputs') or {}).get('kind')}, taken in turn",
    ]


def _problems(row: Mapping[str, Any]) -> list[str]:
    lines = []
    for word, what, told in (("WARNING", "warnings", row["warnings"]), ("ERROR", "errors", row["reasons"])):
        lines += [f"{word}: {line}" for line in told] or [f"No {what} encountered during test."]
        lines.append("")
    return lines[:-1]


def _sorted(found: Queries) -> NDArray[np.int64]:
    import numpy as np

    return np.sort(found.latency_ns)


def _rank(ordered: NDArray[np.int64], share: float) -> int:
    return int(ordered[min(len(ordered) - 1, int(len(ordered) * share))])


def _scheduled_per_s(found: Queries) -> float | None:
    span_ns = int(found.due_ns[-1] - found.due_ns[0])
    return (len(found.due_ns) - 1) * NS_PER_S / span_ns if span_ns > 0 else None


def _long_enough(run: Run, found: Queries) -> bool:
    """As LoadGen: of a schedule by what was due, of the others by what was done."""
    from mobile.results.verdict import DURATION_TOLERANCE

    least_s = run.spec.agent_spec.get("min_duration_s") or 0.0
    if len(as_numpy(run.phase("measure").scheduled_ns)) and (run.event("measured") or {}).get("reason") == "minimums":
        return True
    return float(found.end_ns[-1] - found.start_ns[0]) / NS_PER_S >= least_s * (1 - DURATION_TOLERANCE)


def _decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _yes(holds: bool) -> str:
    return "Yes" if holds else "NO"
