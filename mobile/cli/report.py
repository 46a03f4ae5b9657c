"""`edgewise report`: the figures of stored runs."""

from __future__ import annotations

import click

from mobile.cli.output import open_store, print_json, print_table

FORMATS = ("table", "md", "csv", "json", "jsonl")


@click.command("report", short_help="Figures of stored runs, as a table or as data.")
@click.argument("run_ids", nargs=-1, metavar="RUN...")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="How to write them."
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.pass_context
def command(ctx: click.Context, run_ids: tuple[str, ...], form: str, as_json: bool) -> int:
    """Figures of stored runs, as a table or as data.

    RUN is an id, the start of one, or "last" (also when none is given). The figures are computed from the raw samples.
    """
    from mobile.reports import render, runs_table
    from mobile.results.figures import figures

    store = open_store(ctx)
    rows = [figures(store.get(run_id)) for run_id in run_ids or ("last",)]
    if as_json or form == "json":
        print_json({"runs": rows, "failures": []})
    elif form == "table":
        print_table(runs_table(rows))
    else:
        click.echo(render(rows, form), nl=False)
    return 0
