"""What comes of a benchmark or a collection, as `bench` and `attach` show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mobile.cli.charts import print_charts
from mobile.cli.output import plain_table, print_json, print_table

if TYPE_CHECKING:
    from mobile.benchmark import BenchResult


def show(result: BenchResult, as_json: bool, chart: bool | None = False, **more: Any) -> None:
    """Writes the result: its JSON with ``more`` beside it, or the tables, and the failures to stderr.

    ``chart``: the course of the runs under the table; None for "where stdout is a terminal".
    """
    document = {**result.to_json(), **more}
    if as_json:
        print_json(document)
        return
    from mobile.reports import runs_table

    if document["runs"]:
        print_table(runs_table(document["runs"]))
        print_charts(result.runs, chart)
    if result.left:
        rows = [[left.run, left.device, left.model, left.state, age(left.age_s)] for left in result.left]
        plain_table(["run", "device", "model", "state", "age"], rows)
    for failure in document["failures"]:
        place = ": ".join(word for word in (failure["device"], failure["model"]) if word)
        click.echo(f"failed: {place}: {failure['message']}", err=True)
        if failure["hint"]:
            click.echo(f"  next: {failure['hint']}", err=True)


def exit_code(result: BenchResult, require_valid: bool) -> int:
    """The result's exit code; 1 also for an invalid run when valid ones are required."""
    if result.exit_code == 0 and require_valid:
        return int(any(run["verdict"] != "valid" for run in result.to_json()["runs"]))
    return result.exit_code


def age(seconds: float | None) -> str:
    """A time for people; empty when it is not known.

    >>> age(7300.0)
    '2 h'
    """
    if seconds is None:
        return ""
    for limit, unit_s, unit in ((120.0, 1.0, "s"), (7200.0, 60.0, "min"), (172_800.0, 3600.0, "h")):
        if seconds < limit:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds / 86_400.0:.0f} days"
