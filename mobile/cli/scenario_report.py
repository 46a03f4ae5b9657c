"""`edgewise report RUN --mlperf` and `--minutes`: what scenarios have to tell beside a row of a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from mobile.cli.output import plain_table, print_json

if TYPE_CHECKING:
    from mobile.results.run import Run

COLUMNS = (
    *("t_s", "inferences", "p50_s", "per_s", "temperature_c", "clock_hz", "power_w", "per_inference_j"),
    "energy_missing",
)


def mlperf(runs: Sequence[Run]) -> int:
    """0, once each run is written in the layout of LoadGen's summary. UsageError for a run of another scenario."""
    from mobile.reports.mlperf import mlperf_summary
    from mobile.results.figures import figures

    click.echo("\n".join(mlperf_summary(run, figures(run)) for run in runs), nl=False)
    return 0


def minutes(runs: Sequence[Run], form: str) -> int:
    """0, once the course of each run is written, part by part: a table, JSON, or JSON lines."""
    from mobile.errors import UsageError
    from mobile.results.sustained import sustained, told_of

    found = {run.id: sustained(run) for run in runs}
    for name, course in found.items():
        if course is None:
            raise UsageError(f"run {name} has no single inferences", "Of a summary there is no course.")
    if form == "json":
        print_json({"runs": [{"id": name, "sustained": course} for name, course in found.items()]})
        return 0
    for name, course in found.items():
        assert course is not None  # looked at above
        if form == "jsonl":
            click.echo("\n".join(json.dumps({"run": name, **part}, allow_nan=False) for part in course["parts"]))
            continue
        click.echo(f"{name}: {told_of(course)}")
        plain_table(list(COLUMNS), [[_cell(part[column]) for column in COLUMNS] for part in course["parts"]])
    return 0


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
