"""`edgewise runs`: what is in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mobile.cli.files import table_options, write_tables
from mobile.cli.output import json_option, open_store, print_json, print_table

if TYPE_CHECKING:
    from mobile.results.store import RunStore


@click.command("runs", short_help="The stored runs, newest first.")
@click.option("--device", help="Only runs on this device.")
@click.option("--model", help="Only runs of this model file.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many at most.")
@table_options
@json_option
@click.pass_context
def command(
    ctx: click.Context, /, device: str | None, model: str | None, limit: int, as_json: bool, **asked: Any
) -> int:
    """The stored runs, newest first."""
    from mobile.reports import stored_runs_table

    store = open_store(ctx)
    listed = store.list(device=device, model=model, limit=limit)
    if any(asked.values()):
        return _write(store, [row["id"] for row in listed], asked)
    if as_json:
        print_json({"store": str(store.path), "runs": listed})
        return 0
    if listed:
        print_table(stored_runs_table(listed))
    click.echo(f"{len(listed)} {'run' if len(listed) == 1 else 'runs'} from {store.path}")
    return 0


def _write(store: RunStore, ids: list[str], asked: dict[str, Any]) -> int:
    """0 once the files are written; 1 when a run could not be read, which is said."""
    from mobile.errors import StoreError
    from mobile.results.figures import figures

    rows, damaged = [], 0
    for run_id in ids:
        try:
            rows.append(figures(store.get(run_id)))
        except StoreError as error:
            damaged += 1
            click.echo(f"failed: {error.message}", err=True)
    write_tables(asked, rows)
    return int(damaged > 0)
