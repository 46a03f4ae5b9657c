"""`edgewise report`: the figures of stored runs."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mobile.cli import scenario_report
from mobile.cli.charts import chart_option, print_charts
from mobile.cli.energy import energy_options, more_of, show_more, with_log
from mobile.cli.files import sample_options, table_options, write_samples, write_tables
from mobile.cli.output import open_store, plain_table, print_json, print_table
from mobile.cli.report_html import selected, write_html

if TYPE_CHECKING:
    from mobile.results.run import Run

FORMATS = ("table", "md", "csv", "json", "jsonl")


@click.command("report", short_help="Figures of stored runs, as a table or as data.")
@click.argument("run_ids", nargs=-1, metavar="RUN...")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="How to write them."
)
@click.option("--frames", is_flag=True, help="Of split runs: every frame, its decision and what became of it.")
@energy_options
@table_options
@sample_options
@click.option("--mlperf", "as_mlperf", is_flag=True, help="Of scenarios: in the layout of LoadGen's summary.")
@click.option("--minutes", "by_minute", is_flag=True, help="The course of long runs: latency, heat, power, energy.")
@click.option(
    "--html", type=click.Path(dir_okay=False), metavar="FILE", help="Write one page with charts; opens offline."
)
@click.option(
    "--allow", multiple=True, metavar="KEY", help="With --html: a condition that may differ in its comparison."
)
@chart_option
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.pass_context
def command(
    ctx: click.Context, /, run_ids: tuple[str, ...], form: str, frames: bool, as_json: bool, **asked: Any
) -> int:
    """Figures of stored runs, as a table or as data.

    RUN is an id, the start of one, "last" (also when none is given), or a selector as `compare` takes them (label=try).
    The figures are computed from the raw samples.
    """
    from mobile.reports import render, runs_table
    from mobile.results.figures import figures
    from mobile.results.steady import steady

    store = open_store(ctx)
    run_ids = selected(store, run_ids)
    form = "json" if as_json else form
    if asked["html"]:
        runs = [with_log(store.get(run_id), asked) for run_id in run_ids]
        return write_html(runs, Path(asked["html"]), asked["allow"], as_json)
    if asked["as_mlperf"]:
        return scenario_report.mlperf([store.get(run_id) for run_id in run_ids or ("last",)])
    if asked["by_minute"]:
        return scenario_report.minutes([store.get(run_id) for run_id in run_ids or ("last",)], form)
    if frames:
        return _frames([store.get(run_id) for run_id in run_ids or ("last",)], form)
    runs = [with_log(store.get(run_id), asked) for run_id in run_ids or ("last",)]
    rows = [{**figures(run), "steady": steady(run).to_json()} for run in runs]
    rows = [{**row, **more_of(row, asked)} for row in rows]
    if write_tables(asked, rows) | write_samples(asked, runs):
        return 0
    if form == "json":
        print_json({"runs": rows, "failures": []})
    elif form == "table":
        print_table(runs_table(rows))
        for run in runs:
            click.echo(f"{run.id}: {steady(run).words()}")
        for row in rows:
            show_more(row)
        print_charts(runs, asked["chart"])
    else:
        click.echo(render(rows, form), nl=False)
    return 0


def _frames(runs: list[Run], form: str) -> int:
    """Every frame of split runs. UsageError for a run without."""
    from mobile.errors import UsageError
    from mobile.results.frames import frames

    found = {run.id: list(frames(run)) for run in runs}
    for name, rows in found.items():
        if not rows:
            raise UsageError(f"run {name} has no frames with decisions", "`edgewise split run` makes such runs.")
    if form == "json":
        print_json({"runs": [{"id": name, "frames": rows} for name, rows in found.items()]})
        return 0
    rows = [{"run": name, **row} for name, told in found.items() for row in told]
    if form == "jsonl":
        click.echo("\n".join(json.dumps(row, allow_nan=False) for row in rows))
        return 0
    if form == "csv":
        click.echo(_csv(rows), nl=False)
        return 0
    plain_table(list(rows[0]), [[_cell(value) for value in row.values()] for row in rows])
    return 0


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
