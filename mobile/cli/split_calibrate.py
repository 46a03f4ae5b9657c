"""`edgewise split calibrate`: what a package's placements take as they really run, put into its table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mobile.cli.output import json_option, open_inventory, open_store, plain_table, print_json
from mobile.cli.parsing import scales
from mobile.cli.split_run import only_run, open_package

if TYPE_CHECKING:
    from device_agents.split.package import Package
    from mobile.results.run import Run
    from offload.calibrate import Calibrated


@click.command("calibrate", short_help="Run all placements in turn, and put what they took into the table.")
@click.argument("folder", type=click.Path())
@click.option("--on", "device", default="local", show_default=True, help="The device.", metavar="NAME")
@click.option("--server", default="local", show_default=True, help="A server of the inventory.", metavar="NAME")
@click.option("--laps", type=click.IntRange(1, 10_000), default=10, show_default=True, help="Frames of each placement.")
@click.option("--inputs", type=click.Path(), help="Inputs as .npz; else random.", metavar="FILE")
@click.option("--scale", multiple=True, callback=scales, help="Factor to a float input.", metavar="NAME=F")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the device's runtime.")
@json_option
@click.pass_context
def calibrate(ctx: click.Context, /, folder: str, as_json: bool, **asked: Any) -> int:
    """Run all placements in turn, and put what they took into the table.

    A profile measures parts in a row; in a split run they begin after a pause, with the server's queue and coding about
    them. The package keeps its id: a server that serves it need not be started again.
    """
    from offload.calibrate import apply, calibrated

    package = open_package(folder)
    run = _measured(ctx, package, asked)
    if run is None:
        return 1
    found = calibrated(package, run)
    apply(package, found, run)
    if as_json:
        print_json(_document(package, found, run))
    else:
        _show(found)
    return 0


def _measured(ctx: click.Context, package: Package, asked: dict[str, Any]) -> Run | None:
    """The run that calibrates; None when it failed, which is said."""
    from mobile.benchmark import BenchOptions, Request
    from offload.calibrate import options_for
    from offload.plan.costs import Link

    options = BenchOptions(
        threads=(asked["threads"],),
        inputs=Path(asked["inputs"]) if asked["inputs"] else None,
        input_scale=asked["scale"],
    )
    inventory = open_inventory(ctx)
    server = inventory.server(asked["server"])
    options = options_for(package, options, server, Link(20e6, 20e6, 0.02), asked["laps"])
    request = Request.of([package.path], [asked["device"]], options, inventory=inventory, store=open_store(ctx))
    return only_run(request, "calibration")


def _document(package: Package, found: list[Calibrated], run: Run) -> dict[str, Any]:
    from dataclasses import asdict

    told = [asdict(one) for one in found]
    return {"package": package.id, "run": run.id, "provenance": run.provenance, "placements": told}


def _show(found: list[Calibrated]) -> None:
    from mobile.reports.units import pretty_seconds

    rows = [
        [
            one.placement,
            one.label,
            *(
                f"{pretty_seconds(before)} -> {pretty_seconds(now)}"
                for before, now in (
                    (one.table_device_s, one.device_s),
                    (one.table_codec_s, one.codec_s),
                    (one.table_server_s, one.server_s),
                )
            ),
            str(one.count),
        ]
        for one in found
    ]
    plain_table(["id", "runs", "device", "coding there", "server", "frames"], rows)
    click.echo("the package's table has what was measured now")
