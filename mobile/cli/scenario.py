"""The options of `edgewise bench` about scenarios: how queries come, and for how long at least."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from mobile.cli.parsing import seconds

F = TypeVar("F", bound=Callable[..., Any])

SCENARIOS = ("single-stream", "multi-stream", "server", "offline", "rate", "sustained")  # mobile.benchmark.scenario
LENGTHS = ("quick", "full")
PROGRAMS = ("benchmark_model", "trtexec")

_OPTIONS = (
    click.option("--scenario", type=click.Choice(SCENARIOS), help="How queries come; else one behind the other."),
    click.option("--qps", type=float, metavar="N", help="With server: queries a second, on average (Poisson)."),
    click.option(
        "--latency-bound",
        callback=seconds,
        metavar="TIME",
        help="With server: what p99 has to keep. With rate: deadline.",
    ),
    click.option("--samples-per-query", type=int, metavar="N", help="With multi-stream: samples of a query. [8]"),
    click.option("--rate", type=float, metavar="HZ", help="With rate: frames a second of a sensor."),
    click.option(
        "--late",
        type=click.Choice(["newest", "queue"]),
        help="With rate: a late device drops to the newest, or queues.",
    ),
    click.option("--find-qps", is_flag=True, help="With server: the highest rate that keeps the bound; --qps caps it."),
    click.option("--together", is_flag=True, help="All FILEs at once on each device, each in a process of its own."),
    click.option(
        "--preset",
        type=click.Choice([*LENGTHS, *PROGRAMS]),
        help="quick or full: how long at least. For --runner command: a known program.",
    ),
)


def scenario_options(command: F) -> F:
    """The command with the options of scenarios, and --preset."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def program(asked: Mapping[str, Any]) -> str | None:
    """The known program of --preset; None for none, or for a length."""
    return asked["preset"] if asked["preset"] in PROGRAMS else None


def scenario_fields(asked: Mapping[str, Any]) -> dict[str, Any]:
    """``scenario``, ``duration_s``, ``min_count`` and ``max_duration_s`` of BenchOptions.

    What was not given on the command line comes from --preset, or of a scenario from its quick one. UsageError for
    options that do not go together.
    """
    from mobile.benchmark.scenario import length

    _check(asked)
    found = _scenario(asked)
    preset = asked["preset"] if asked["preset"] in LENGTHS else None
    names = {"duration_s": "duration", "min_count": "min_count", "max_duration_s": "max_duration"}
    if not found and preset is None:
        return {field: asked[option] for field, option in names.items()}
    given = {field: asked[option] for field, option in names.items() if _is_given(option)}
    return {"scenario": found, **length(found, preset, **given)._asdict()}


def _scenario(asked: Mapping[str, Any]) -> dict[str, Any]:
    from mobile.benchmark.scenario import scenario
    from mobile.errors import UsageError

    if asked["scenario"] is None:
        for option in ("qps", "latency_bound", "samples_per_query", "rate", "late", "find_qps"):
            if asked[option]:
                name = option.replace("_", "-")
                raise UsageError(f"--{name} goes with --scenario", f"Add --scenario, or leave --{name} out.")
        return {}
    qps = asked["qps"]
    if asked["find_qps"]:
        if asked["scenario"] != "server":
            raise UsageError(f"--find-qps goes with --scenario server, not {asked['scenario']}")
        qps = qps or 1.0  # each measurement of the search has its own
    return scenario(
        asked["scenario"],
        seed=asked["seed"],
        qps=qps,
        rate_hz=asked["rate"],
        late=asked["late"],
        samples_per_query=asked["samples_per_query"],
        latency_bound_s=asked["latency_bound"],
    )


def _is_given(option: str) -> bool:
    source = click.get_current_context().get_parameter_source(option)
    return source not in (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP, None)


def _check(asked: Mapping[str, Any]) -> None:
    """Nothing, or UsageError for manners of measuring that do not go together."""
    from mobile.errors import UsageError

    in_turns = asked["compare"] or asked["until_decided"]
    if asked["together"] and in_turns:
        raise UsageError("--together and --compare exclude each other", "In turns, one model runs at a time.")
    if asked["find_qps"] and (in_turns or asked["together"] or asked["detach"] or asked["resume"]):
        raise UsageError("--find-qps goes with none of --compare, --together, --detach and --resume")
