"""The figures of a scenario: latencies of whole queries from the moment they were due, and whether the result holds.

Terms and rules are LoadGen's (mlcommons/inference, loadgen; MLCommons inference rules, "Early Stopping"): single-stream
reports the 90th percentile, multi-stream the 99th of a query of N samples; server is valid when the 99th percentile
keeps the latency bound with 99 % confidence; offline reports samples a second. A query's latency runs from when it was
due to when its last sample was done, so a device that falls behind cannot hide it. "rate" is judged by deadlines:
a frame is missed when it is done later than its deadline after it came, or was dropped because a newer one had come.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from mobile.results import early_stopping
from mobile.results.early_stopping import CONFIDENCE
from mobile.results.run import Run
from mobile.results.stats import as_numpy, describe_ns

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Whole = NDArray[np.int64]

NS_PER_S = 1e9
SHARES = {"p90": 0.9, "p95": 0.95, "p97": 0.97, "p99": 0.99, "p999": 0.999}
DECIDING = {"single-stream": "p90", "multi-stream": "p99", "server": "p99"}  # the percentile that LoadGen reports
OPEN = ("server", "rate")


class Queries(NamedTuple):
    """Whole queries in the order in which they were taken, ns: when each was due, began, and was done, each [n]."""

    due_ns: Whole
    start_ns: Whole
    end_ns: Whole

    @property
    def latency_ns(self) -> Whole:
        """From when a query was due to when it was done."""
        return self.end_ns - self.due_ns


def scenario_of(run: Run) -> Mapping[str, Any]:
    """What was asked of the run: the agent's field ``scenario``; empty for a run without."""
    found = run.spec.agent_spec.get("scenario")
    return found if isinstance(found, Mapping) else {}


def per_query(run: Run) -> int:
    """How many invocations one query of the run takes."""
    asked = scenario_of(run)
    if asked.get("name") != "multi-stream":
        return 1
    return max(1, int(asked.get("samples_per_query") or 1) // int(run.spec.agent_spec.get("batch") or 1))


def queries(run: Run) -> Queries:
    """The measured queries; one that was cut in its midst is left out."""
    measured, each = run.phase("measure"), per_query(run)
    start, duration = as_numpy(measured.start_ns), as_numpy(measured.duration_ns)
    count = len(duration) // each
    due = as_numpy(measured.scheduled_ns) if len(measured.scheduled_ns) == len(start) else start
    whole = slice(0, count * each)
    return Queries(due[whole][::each], start[whole][::each], (start[whole] + duration[whole])[each - 1 :: each])


def percentiles(latency_ns: Whole) -> dict[str, dict[str, Any]]:
    """For each of SHARES: value_s (linear interpolation), bound_s (one-sided, 99 %), discarded, needed (queries).

    ``bound_s`` is None where there are fewer than ``needed``; it counts queries as independent of each other.
    """
    import numpy as np

    ordered = np.sort(latency_ns)
    found: dict[str, dict[str, Any]] = {}
    for name, share in SHARES.items():
        out = early_stopping.discarded(len(ordered), share) if len(ordered) else None
        found[name] = {
            "value_s": float(np.percentile(ordered, 100 * share)) / NS_PER_S if len(ordered) else None,
            "bound_s": None if out is None else float(ordered[len(ordered) - 1 - out]) / NS_PER_S,
            "discarded": out,
            "needed": early_stopping.least_queries(share),
        }
    return found


def scenario(run: Run) -> dict[str, Any] | None:
    """The figures of the run's scenario as JSON; None for a run without one, or one that measured nothing.

    name, asked (the agent's field), queries, samples, unserved (had come and were not answered), latency_s {min, mean,
    p50, p90, p99, max, std} of queries, percentiles, deciding (the percentile that LoadGen reports, or None),
    confidence, result (one line for people), words (what was asked, in one), and by scenario: server
    {qps, completed_per_s, latency_bound_s, over, allowed, holds, needed}; samples_per_s (offline); rate {rate_hz,
    period_s, deadline_s, late, frames, answered, skipped, late_frames, missed, miss_share, longest_streak,
    start_delay_s {...}, jitter_s}; sustained (sustained.py). Every scenario has wait {spin_s, slept_s}.
    """
    asked = scenario_of(run)
    name = asked.get("name")
    measured = run.phase("measure")
    if not name or not len(measured):
        return None
    found = queries(run)
    event = run.event("measured") or {}
    batch = int(run.spec.agent_spec.get("batch") or 1)
    figures: dict[str, Any] = {
        "name": name,
        "asked": dict(asked),
        "queries": len(found.due_ns),
        "samples": len(measured) * batch,
        "unserved": event.get("unserved") if isinstance(event.get("unserved"), int) else 0,
        "latency_s": describe_ns(_array(found.latency_ns)),
        "percentiles": percentiles(found.latency_ns),
        "deciding": DECIDING.get(str(name)),
        "confidence": CONFIDENCE,
        "wait": {key: event.get(key) for key in ("spin_s", "slept_s")},
    }
    figures.update(_special(run, str(name), asked, found, figures))
    figures["words"] = words(asked)
    figures["result"] = _result(str(name), figures)
    return figures


def _special(
    run: Run, name: str, asked: Mapping[str, Any], found: Queries, figures: Mapping[str, Any]
) -> dict[str, Any]:
    if name == "server":
        return {"server": _server(asked, found, int(figures["unserved"]))}
    if name == "offline":
        window_s = float(found.end_ns[-1] - found.start_ns[0]) / NS_PER_S
        return {"samples_per_s": figures["samples"] / window_s if window_s > 0 else None}
    if name == "rate":
        return {"rate": rate(asked, found, int(figures["unserved"]))}
    if name == "sustained":
        from mobile.results.sustained import sustained

        return {"sustained": sustained(run)}
    return {}


def _server(asked: Mapping[str, Any], found: Queries, unserved: int) -> dict[str, Any]:
    """Those that were never answered count as late: whoever waited for them got nothing."""
    bound_s = float(asked["latency_bound_s"])
    count = len(found.due_ns) + unserved
    over = int((found.latency_ns > bound_s * NS_PER_S).sum()) + unserved
    share = SHARES[DECIDING["server"]]
    window_s = float(found.end_ns[-1] - found.due_ns[0]) / NS_PER_S
    return {
        "qps": asked.get("qps"),
        "completed_per_s": (len(found.due_ns) - 1) / window_s if window_s > 0 and len(found.due_ns) > 1 else None,
        "latency_bound_s": bound_s,
        "over": over,
        "allowed": early_stopping.most_over(count, share),
        "holds": early_stopping.holds(count, over, share),
        "needed": early_stopping.needed_for(over, share),
    }


def rate(asked: Mapping[str, Any], found: Queries, unserved: int) -> dict[str, Any]:
    """The real-time figures of frames that came every period; ``unserved`` had come when the run ended.

    ``jitter_s`` is the standard deviation of the time from a frame's arrival to its answer; ``start_delay_s`` is how
    long a frame waited. The share of missed frames is of those that came up to the last one answered, and the unserved.
    """
    import numpy as np

    rate_hz = float(asked["rate_hz"])
    period_s = 1.0 / rate_hz
    deadline_s = float(asked.get("latency_bound_s") or period_s)
    numbers = np.rint((found.due_ns - found.due_ns[0]) * (rate_hz / NS_PER_S)).astype(np.int64)
    frames = int(numbers[-1]) + 1 + unserved
    late = found.latency_ns > deadline_s * NS_PER_S
    missed = np.ones(frames, dtype=bool)
    missed[numbers] = late
    answered = len(numbers)
    return {
        "rate_hz": rate_hz,
        "period_s": period_s,
        "deadline_s": deadline_s,
        "late": asked.get("late", "newest"),
        "frames": frames,
        "answered": answered,
        "skipped": frames - unserved - answered,
        "late_frames": int(late.sum()),
        "missed": int(missed.sum()),
        "miss_share": float(missed.mean()),
        "longest_streak": _longest_streak(missed),
        "start_delay_s": describe_ns(_array(found.start_ns - found.due_ns)),
        "jitter_s": float(found.latency_ns.std(ddof=1)) / NS_PER_S if answered > 1 else None,
    }


def _longest_streak(missed: NDArray[np.bool_]) -> int:
    """The most frames missed one behind the other."""
    import numpy as np

    edges = np.flatnonzero(np.diff(np.concatenate(([0], missed.astype(np.int8), [0]))))
    return int((edges[1::2] - edges[::2]).max()) if len(edges) else 0


def _array(values: Whole) -> Any:
    """As the standard library's array, which describe_ns takes."""
    from array import array

    return array("q", values.astype("int64").tobytes())


def words(asked: Mapping[str, Any]) -> str:
    """What was asked, in a few words; "" for no scenario.

    >>> words({"name": "server", "qps": 20.0, "latency_bound_s": 0.05})
    'server 20/s within 50 ms'
    """
    name = str(asked.get("name") or "")
    parts = [name]
    if name == "server":
        parts.append(f"{asked.get('qps'):g}/s")
    if name == "rate":
        parts.append(f"{asked.get('rate_hz'):g} Hz, {asked.get('late', 'newest')}")
    if name == "multi-stream":
        parts.append(f"of {asked.get('samples_per_query', 1)}")
    if name in OPEN and asked.get("latency_bound_s"):
        parts.append(f"within {1e3 * float(asked['latency_bound_s']):g} ms")
    return " ".join(parts)


def _result(name: str, figures: Mapping[str, Any]) -> str:
    """The one line that answers what the scenario asks."""
    if name == "offline":
        per_s = figures["samples_per_s"]
        return "-" if per_s is None else f"{per_s:.4g} samples/s"
    if name == "rate":
        told = figures["rate"]
        return (
            f"{told['miss_share']:.2%} of {told['frames']} frames missed, {told['longest_streak']} in a row, "
            f"{told['skipped']} dropped"
        )
    if name == "sustained":
        from mobile.results.sustained import told_of

        return told_of(figures["sustained"])
    key = str(figures["deciding"])
    percentile = figures["percentiles"][key]
    text = f"{key} {_ms(percentile['value_s'])}"
    if percentile["bound_s"] is None:
        return f"{text}, no bound from {figures['queries']} queries ({percentile['needed']} needed)"
    text += f", at most {_ms(percentile['bound_s'])}"
    if name != "server":
        return text
    told = figures["server"]
    kept = "kept" if told["holds"] else "not kept"
    return f"{text}; bound {kept} ({told['over']} of {figures['queries'] + figures['unserved']} late)"


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None or not math.isfinite(seconds) else f"{1e3 * seconds:.4g} ms"


def judge_scenario(run: Run) -> list[str]:
    """Why the run is no valid one of its scenario, beside what makes any run invalid; [] where it is, or has none."""
    asked = scenario_of(run)
    name, measured = str(asked.get("name") or ""), run.phase("measure")
    if not name or not len(measured):
        return []
    found = queries(run)
    count, least = len(found.due_ns), run.spec.agent_spec.get("min_count") or 0
    reasons = []
    if count < least:
        reasons.append(f"{count} queries were measured, the minimum is {least}")
    unserved = (run.event("measured") or {}).get("unserved") or 0
    if name == "server":
        return reasons + _why_no_server(_server(asked, found, int(unserved)), count + int(unserved))
    key = DECIDING.get(name)
    if key is not None and count < early_stopping.least_queries(SHARES[key]):
        needed = early_stopping.least_queries(SHARES[key])
        reasons.append(f"{key} needs {needed} queries for a bound that holds with 99 %, {count} were measured")
    return reasons


def _why_no_server(told: Mapping[str, Any], count: int) -> list[str]:
    if told["holds"]:
        return []
    bound = _ms(told["latency_bound_s"])
    if told["over"] <= 0.01 * count:  # so many may be late, but it is not sure yet that it is no luck
        return [
            f"too few queries to tell that p99 keeps {bound}: {told['over']} of {count} were late, "
            f"with so many late {told['needed']} queries are needed"
        ]
    allowed = "none may be" if told["allowed"] < 1 else f"{told['allowed']} may be"
    return [f"p99 does not keep {bound}: {told['over']} of {count} queries were late or not answered, {allowed}"]
