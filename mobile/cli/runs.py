"""`edgewise runs`: what is in the store."""

from __future__ import annotations

import click

from mobile.cli.output import json_option, open_store, print_json, print_table


@click.command("runs", short_help="The stored runs, newest first.")
@click.option("--device", help="Only runs on this device.")
@click.option("--model", help="Only runs of this model file.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many at most.")
@json_option
@click.pass_context
def command(ctx: click.Context, device: str | None, model: str | None, limit: int, as_json: bool) -> int:
    """The stored runs, newest first."""
    from mobile.reports import stored_runs_table

    store = open_store(ctx)
    listed = store.list(device=device, model=model, limit=limit)
    if as_json:
        print_json({"store": str(store.path), "runs": listed})
        return 0
    if listed:
        print_table(stored_runs_table(listed))
    click.echo(f"{len(listed)} {'run' if len(listed) == 1 else 'runs'} from {store.path}")
    return 0
