"""`edgewise attach`: runs that devices measure on their own."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import click

from mobile.cli.charts import chart_option
from mobile.cli.output import json_option, open_inventory, open_store
from mobile.cli.results import exit_code, show

if TYPE_CHECKING:
    from mobile.benchmark.collecting import Outcome


@click.command("attach", short_help="Come back to runs that devices measure on their own, and store them.")
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--on", multiple=True, help="Look on these only: device, group or tag; may be a list.", metavar="NAMES")
@click.option("--no-wait", is_flag=True, help="List what still goes on instead of waiting for it.")
@click.option("--stop", is_flag=True, help="End the runs first; what they have measured is kept.")
@click.option(
    "--reconnect", type=float, default=60.0, show_default=True, help="How long a broken link may take, seconds."
)
@click.option("--require-valid", is_flag=True, help="Exit with 1 when a run is invalid.")
@chart_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    runs: tuple[str, ...],
    on: tuple[str, ...],
    no_wait: bool,
    stop: bool,
    reconnect: float,
    require_valid: bool,
    chart: bool | None,
    as_json: bool,
) -> int:
    """Come back to runs that devices measure on their own, and store them.

    RUN is an id, or the beginning of one, also of a run that another machine has started. Without any: all that were
    started from here and not collected, or, with --on, all on those devices that nobody reads. Each is waited for,
    stored, and removed from its device; what is interrupted can be repeated.
    """
    from mobile.benchmark import BenchResult, Collecting, iter_attach
    from mobile.cli.progress import BenchProgress

    names = [name for item in on for name in item.split(",") if name]
    outcomes: list[Outcome] = []
    result = BenchResult()
    manner = Collecting(wait=not no_wait, stop=stop, reconnect_s=reconnect)
    inventory, store = open_inventory(ctx), open_store(ctx)
    try:
        with (
            BenchProgress() as progress,
            closing(
                iter_attach(runs, names, inventory=inventory, store=store, on_progress=progress.update, manner=manner)
            ) as told,
        ):
            for outcome in told:
                outcomes.append(outcome)
    finally:
        result = BenchResult.of(outcomes)
        if outcomes or as_json:
            show(result, as_json, chart, left=[left.to_json() for left in result.left])
    if not outcomes and not as_json:
        click.echo("no run is waiting to be collected", err=True)
    return exit_code(result, require_valid)
