"""Scenarios of a benchmark: what may be asked, and for how long at least.

The presets are minimums. "full" follows MLPerf: 600 s for the scenarios of its inference rules (MLCommons
inference_policies, inference_rules.adoc), 60 s and 1,024 queries without a scenario or at a rate, as MLPerf Mobile has
it (mlcommons/mobile_app_open, flutter/assets/tasks.pbtxt, "normal"). Counts of single-stream, multi-stream and server
are the fewest from which LoadGen's early stopping gives a bound (mobile/results/early_stopping.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mobile.errors import UsageError

SCENARIOS = ("single-stream", "multi-stream", "server", "offline", "rate", "sustained")
OPEN = ("server", "rate")
LATE = ("newest", "queue")
DEFAULT_PRESET = "quick"  # of a scenario
SAMPLES_PER_QUERY = 8  # of multi-stream, as MLPerf has it
SLACK_S = 60.0


class Length(NamedTuple):
    """Shortest measured time, fewest queries (invocations without a scenario), longest measured time; seconds."""

    duration_s: float
    min_count: int
    max_duration_s: float


PRESETS: dict[str, dict[str, Length]] = {
    "quick": {
        "": Length(10.0, 128, 120.0),
        "single-stream": Length(10.0, 64, 120.0),
        "multi-stream": Length(10.0, 662, 600.0),
        "server": Length(10.0, 662, 600.0),
        "offline": Length(10.0, 64, 120.0),
        "rate": Length(10.0, 64, 120.0),
        "sustained": Length(300.0, 1, 360.0),
    },
    "full": {
        "": Length(60.0, 1024, 600.0),
        "single-stream": Length(600.0, 64, 3600.0),
        "multi-stream": Length(600.0, 662, 3600.0),
        "server": Length(600.0, 662, 3600.0),
        "offline": Length(600.0, 24_576, 3600.0),
        "rate": Length(60.0, 1024, 600.0),
        "sustained": Length(1800.0, 1, 1860.0),
    },
}


def scenario(
    name: str,
    *,
    seed: int = 0,
    qps: float | None = None,
    rate_hz: float | None = None,
    late: str | None = None,
    samples_per_query: int | None = None,
    latency_bound_s: float | None = None,
) -> dict[str, Any]:
    """The agent's field ``scenario`` (device_agents/scenarios.py). UsageError for what is missing or does not belong.

    >>> scenario("server", qps=20, latency_bound_s=0.05)
    {'name': 'server', 'seed': 0, 'qps': 20.0, 'latency_bound_s': 0.05}
    """
    if name not in SCENARIOS:
        raise UsageError(f"--scenario is {name!r}, expected one of {', '.join(SCENARIOS)}")
    _belongs("--qps", qps, name, ("server",), needed=True)
    _belongs("--rate", rate_hz, name, ("rate",), needed=True)
    _belongs("--late", late, name, ("rate",))
    _belongs("--samples-per-query", samples_per_query, name, ("multi-stream",))
    _belongs("--latency-bound", latency_bound_s, name, OPEN, needed=name == "server")
    for option, value in (("--qps", qps), ("--rate", rate_hz)):
        if value is not None and not 1e-3 <= value <= 1e6:
            raise UsageError(f"{option} is {value:g}, expected 0.001 to 1000000 a second")
    if latency_bound_s is not None and not 0 < latency_bound_s <= 1e6:
        raise UsageError(f"--latency-bound is {latency_bound_s:g} s, expected more than 0")
    if samples_per_query is not None and not 1 <= samples_per_query <= 4096:
        raise UsageError(f"--samples-per-query is {samples_per_query}, expected 1 to 4096")
    if late is not None and late not in LATE:
        raise UsageError(f"--late is {late!r}, expected one of {', '.join(LATE)}")
    asked = {
        "qps": None if qps is None else float(qps),
        "rate_hz": None if rate_hz is None else float(rate_hz),
        "late": (late or LATE[0]) if name == "rate" else None,
        "samples_per_query": (samples_per_query or SAMPLES_PER_QUERY) if name == "multi-stream" else None,
        "latency_bound_s": latency_bound_s,
    }
    return {"name": name, "seed": seed, **{key: value for key, value in asked.items() if value is not None}}


def _belongs(option: str, value: object, name: str, scenarios: tuple[str, ...], needed: bool = False) -> None:
    if value is not None and name not in scenarios:
        raise UsageError(f"{option} goes with --scenario {' or '.join(scenarios)}, not {name}")
    if needed and value is None and name in scenarios:
        raise UsageError(f"--scenario {name} needs {option}", _EXAMPLES[name])


_EXAMPLES = {
    "server": "For example --scenario server --qps 20 --latency-bound 50ms",
    "rate": "For example --scenario rate --rate 30",
}


def check_scenario(asked: Mapping[str, Any], batches: tuple[int, ...], preset: str | None) -> None:
    """Nothing, or UsageError when the scenario does not go with the rest of what is asked."""
    if not asked:
        return
    if preset is not None:
        raise UsageError(
            f"--scenario needs single inferences; {preset} gives only a summary of its own",
            "Use the runner ort or litert.",
        )
    for batch in batches:
        if asked.get("name") == "multi-stream" and asked.get("samples_per_query", 1) % batch:
            raise UsageError(
                f"--samples-per-query {asked.get('samples_per_query')} is no multiple of --batch {batch}",
                "A query is several whole batches.",
            )


def length(
    asked: Mapping[str, Any],
    preset: str | None,
    duration_s: float | None = None,
    min_count: int | None = None,
    max_duration_s: float | None = None,
) -> Length:
    """How long to measure: the preset's, with what was asked explicitly in its place.

    The longest time, where it was not asked for, has room for the rest: twice the duration (sustained: a minute more),
    and twice what a schedule takes for its fewest queries.
    """
    name = str(asked.get("name") or "")
    found = PRESETS[preset or DEFAULT_PRESET][name]
    duration_s = found.duration_s if duration_s is None else duration_s
    min_count = found.min_count if min_count is None else min_count
    if max_duration_s is None:
        per_s = asked.get("qps") or asked.get("rate_hz")
        schedule_s = 2 * min_count / per_s if per_s else 0.0
        room_s = duration_s + SLACK_S if name == "sustained" else 2 * duration_s
        max_duration_s = max(found.max_duration_s, room_s, schedule_s)
    return Length(duration_s, min_count, max_duration_s)
