"""`edgewise quickstart`: the main job on this machine, and a table of what it cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mobile.cli.output import json_option, open_inventory, open_store, plain_table, print_json, stderr_console

if TYPE_CHECKING:
    from mobile.cli.quickstart_job import Quickstart

HEADERS = ["variant", "size", "p50", "p99", "items/s", "cold start", "peak memory", "energy", "accuracy", "verdict"]


@click.command("quickstart", short_help="The main job on this machine: export, push, bench, evaluate; a table.")
@click.option("--output", type=click.Path(file_okay=False), help="Folder for the artifacts; else the user's cache.")
@click.option("--duration", type=float, default=4.0, show_default=True, help="Measured time of each variant, seconds.")
@json_option
@click.pass_context
def command(ctx: click.Context, output: str | None, duration: float, as_json: bool) -> int:
    """The main job on this machine: export, push, bench, evaluate; a table.

    Takes the example model (Fashion-MNIST), exports it as fp32 and int8, pushes both to the device `local` (this
    machine, through the same agent and stream as any board), measures them with the sensors that are here, and checks
    their answers on labelled images.
    """
    from mobile.cli.quickstart_job import quickstart

    inventory, store = open_inventory(ctx), open_store(ctx)
    folder = Path(output) if output else _default_folder()
    console = stderr_console()
    with console.status("starting") as status:
        last: list[str] = []

        def say(step: str) -> None:
            if [step] != last:
                last[:] = [step]
                status.update(step)
                if not console.is_terminal:
                    console.print(step, markup=False, soft_wrap=True)

        done = quickstart(folder, inventory, store, duration, say)
    if as_json:
        print_json(done.to_json())
    else:
        _show(done)
    return 0


def _default_folder() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("edgewise", appauthor=False) / "quickstart"


def _show(done: Quickstart) -> None:
    document = done.to_json()
    rows = [_row(row) for row in document["runs"]]
    plain_table(HEADERS, rows)
    difference = document["accuracy_difference"]
    items = document["runs"][0]["accuracy"]["items"]
    click.echo(
        f"int8 - fp32 accuracy on {items} images: {100 * difference['difference']:+.2f} points, 95 % interval "
        f"{100 * difference['low']:+.2f} to {100 * difference['high']:+.2f} (paired, {difference['method']})"
    )
    _show_missing(document, done.variants[0].run.sensors)
    ids = " ".join(row["id"] for row in document["runs"])
    click.echo(f"stored in {document['store']}; again with: edgewise report {ids}")


def _row(row: dict[str, Any]) -> list[str]:
    from mobile.reports.units import pretty_bytes, pretty_seconds

    latency, cold = row["latency_s"], row["cold_start_s"]
    accuracy = row["accuracy"]
    energy = row["energy"]
    return [
        row["scheme"],
        pretty_bytes(row["model"]["size_bytes"]),
        pretty_seconds(latency["p50"]),
        pretty_seconds(latency["p99"]),
        f"{row['throughput_per_s']:.0f}",
        pretty_seconds(cold["load"] + cold["first"]),
        pretty_bytes(row["memory_bytes"]["peak_rss"]),
        "not measured" if energy is None else f"{1e3 * energy['per_inference_j']:.3g} mJ",
        f"{100 * accuracy['top1']:.2f} %",
        row["verdict"],
    ]


def _show_missing(document: dict[str, Any], sensors: list[dict[str, Any]]) -> None:
    """Says what could not be measured, and why."""
    run = document["runs"][0]
    if run["energy"] is None:
        click.echo(f"energy was not measured: {run['energy_missing']}")
    for row in document["runs"]:
        for reason in row["reasons"]:
            click.echo(f"{row['scheme']} is invalid: {reason}")
        for warning in row.get("warnings", []):
            click.echo(f"{row['scheme']}: {warning}")
    absent = [sensor for sensor in sensors if sensor["state"] != "present"]
    for sensor in absent:
        click.echo(f"{sensor['name']} is {sensor['state']}: {sensor['reason']}")
