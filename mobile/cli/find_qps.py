"""`edgewise bench --scenario server --find-qps`: the highest rate that keeps the latency bound."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from mobile.cli.output import plain_table, print_json

if TYPE_CHECKING:
    from mobile.benchmark import BenchOptions, Request
    from mobile.benchmark.find_qps import Found
    from mobile.results.run import Run

FIRST_S = 2.0  # of the run that tells what an inference takes


def run(request: Request, asked: dict[str, Any], as_json: bool) -> int:
    """The exit code, once the search is over and its answer is written."""
    from mobile.benchmark.find_qps import find_qps
    from mobile.errors import UsageError
    from mobile.results.figures import figures

    if request.total != 1:
        raise UsageError("--find-qps is for one model on one device, with one value of each option")
    plain = replace(request.options, scenario={}, duration_s=FIRST_S, min_count=50, max_duration_s=120.0)
    first = figures(_measured(request, plain))
    most = asked["qps"]

    def measure(qps: float) -> Run:
        from mobile.benchmark.scenario import length

        told = {**request.options.scenario, "qps": qps}
        options = request.options
        limit_s = length(told, "quick", options.duration_s, options.min_count).max_duration_s
        return _measured(request, replace(options, scenario=told, max_duration_s=max(limit_s, options.max_duration_s)))

    found = find_qps(measure, first["latency_s"]["mean"], most)
    _show(found, request.options, as_json)
    return 0 if found.qps is not None else 1


def _measured(request: Request, options: BenchOptions) -> Run:
    """The one run of the request with these options. EdgewiseError when it could not be measured."""
    from contextlib import closing

    from mobile.cli.progress import BenchProgress
    from mobile.errors import RunFailure
    from mobile.results.run import Run

    once = replace(request, options=options)
    with BenchProgress() as progress, closing(once.outcomes(progress.update)) as told:
        outcomes = [outcome for _, outcome in told]
    for outcome in outcomes:
        if isinstance(outcome, Run):
            return outcome
    (failure,) = outcomes
    raise RunFailure(getattr(failure, "code", "internal"), getattr(failure, "message", "nothing was measured"), "")


def _show(found: Found, options: BenchOptions, as_json: bool) -> None:
    if as_json:
        print_json({"find_qps": found.to_json()})
        return
    rows = [
        [f"{step.qps:.4g}", "kept" if step.held else "not kept", step.run, "; ".join(step.reasons)]
        for step in found.steps
    ]
    plain_table(["queries/s", "bound", "run", "why"], rows)
    bound = f"{1e3 * float(options.scenario['latency_bound_s']):g} ms"
    if found.qps is None:
        click.echo(f"no rate keeps p99 within {bound}: {found.why}")
    else:
        click.echo(f"{found.qps:.4g} queries/s keep p99 within {bound}: {found.why}")
