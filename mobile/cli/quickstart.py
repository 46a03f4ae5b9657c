"""`edgewise quickstart`: the main job on this machine, and a table of what it cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mobile.cli.output import json_option, open_inventory, open_store, plain_table, print_json, stderr_console

if TYPE_CHECKING:
    from mobile.cli.quickstart_job import Quickstart, Say
    from mobile.cli.quickstart_split import SplitStep
    from mobile.inventory import Inventory
    from mobile.results.store import RunStore

HEADERS = ["variant", "size", "p50", "p99", "items/s", "cold start", "peak memory", "energy", "accuracy", "verdict"]


@click.command("quickstart", short_help="The main job on this machine: export, push, bench, evaluate; a table.")
@click.option("--output", type=click.Path(file_okay=False), help="Folder for the artifacts; else the user's cache.")
@click.option("--duration", type=float, default=4.0, show_default=True, help="Measured time of each variant, seconds.")
@click.option("--no-split", is_flag=True, help="Leave out the last step, which needs the extra `split`.")
@json_option
@click.pass_context
def command(ctx: click.Context, output: str | None, duration: float, no_split: bool, as_json: bool) -> int:
    """The main job on this machine: export, push, bench, evaluate; a table.

    Takes the example model (Fashion-MNIST), exports it as fp32 and int8, pushes both to the device `local` (this
    machine, through the same agent and stream as any board), measures them with the sensors that are here, and checks
    their answers on labelled images. At last the fp32 model is split between this machine and a server that is this
    machine too: planned for an assumed link, run over loopback.
    """
    from mobile.cli.quickstart_job import quickstart

    inventory, store = open_inventory(ctx), open_store(ctx)
    folder = Path(output) if output else _default_folder()
    with _saying() as say:
        done = quickstart(folder, inventory, store, duration, say)
    if not as_json:
        _show(done)
    step, why, code = (None, "--no-split was given", 0) if no_split else _split(done, folder, inventory, store)
    if as_json:
        print_json({**done.to_json(), "split": step.to_json() if step else None, "split_missing": why})
    elif step is not None:
        from mobile.cli.quickstart_split import show

        show(step)
    elif not no_split:
        click.echo(f"the split step is left out: {why}")
    return code


def _split(
    done: Quickstart, folder: Path, inventory: Inventory, store: RunStore
) -> tuple[SplitStep | None, str | None, int]:
    """The split step, or None with the reason; and the exit code, 1 when it was tried and failed."""
    from mobile.cli.quickstart_split import missing, split_step
    from mobile.errors import EdgewiseError

    why = missing()
    if why is not None:
        return None, why, 0
    try:
        with _saying() as say:
            return split_step(done.variants[0].export.path, folder, inventory, store, say), None, 0
    except EdgewiseError as error:
        click.echo(f"edgewise: the split step failed: {error.message}", err=True)
        if error.hint:
            click.echo(f"  next: {error.hint}", err=True)
        return None, f"it failed: {error.message}", 1


@contextmanager
def _saying() -> Iterator[Say]:
    """What is told each step: a status line on a terminal, elsewhere a line for each change."""
    console, last = stderr_console(), [""]
    with console.status("starting") as status:

        def say(step: str) -> None:
            if step != last[0]:
                last[0] = step
                status.update(step)
                if not console.is_terminal:
                    console.print(step, markup=False, soft_wrap=True)

        yield say


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
