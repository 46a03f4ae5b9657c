"""`edgewise link`: the way from a device to an edge server, measured by the device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mobile.cli.output import json_option, open_inventory, plain_table, print_json, stderr_console

if TYPE_CHECKING:
    from mobile.inventory.models import Link
    from offload.costs.link import LinkMeasured, Way


@click.command("link", short_help="Measure the link between a device and an edge server.")
@click.argument("device")
@click.argument("server")
@click.option("--duration", type=float, default=6.0, show_default=True, help="How long, seconds.", metavar="S")
@click.option("--save", is_flag=True, help="Write it into the inventory's `links`, as measured.")
@json_option
@click.pass_context
def command(ctx: click.Context, /, device: str, server: str, duration: float, save: bool, as_json: bool) -> int:
    """Measure the link between a device and an edge server.

    The DEVICE sends requests of several sizes to the SERVER (both names of the inventory; `edgewise serve` runs there)
    and takes answers of several sizes: round trip, and what arrives of the bandwidth each way.
    """
    from mobile.errors import UsageError
    from offload.costs.link import measure_link

    inventory = open_inventory(ctx)
    if save and inventory.path is None:
        raise UsageError("--save: there is no devices.yaml to write to", "Make one, or name it with --inventory.")
    with stderr_console().status(f"measuring the link from {device} to {server}"):
        found = measure_link(inventory.device(device), inventory.server(server), duration)
    if as_json:
        print_json(found.to_json())
    else:
        _show(found)
    if save and inventory.path is not None:
        _save(Path(inventory.path), found)
    return 0


def _show(found: LinkMeasured) -> None:
    from mobile.reports.units import pretty_bytes, pretty_seconds, pretty_share

    def row(name: str, way: Way) -> list[str]:
        spread = f"{_rate(way.slow_bps)} to {_rate(way.fast_bps)}"
        return [name, _rate(way.bandwidth_bps), spread, pretty_bytes(way.largest_bytes), str(way.count), "measured"]

    spread = f"{pretty_seconds(found.rtt_low_s)} to {pretty_seconds(found.rtt_high_s)}"
    rows = [
        ["round trip", pretty_seconds(found.rtt_s), spread, "-", str(found.rtt_count), "measured"],
        row("up", found.up),
        row("down", found.down),
    ]
    notes = [f"{found.device} ({found.provenance}) to {found.server} at {found.url}"]
    if found.loss is None:
        notes.append(f"loss not measured: {found.loss_missing}")
    else:
        notes.append(f"sent again by TCP: {pretty_share(found.loss)} of the device's segments")
    plain_table(["", "median", "10 to 90 %", "largest", "count", "how"], rows, [*notes, *found.notes])


def _rate(bps: float) -> str:
    from mobile.reports.units import pretty_number

    return f"{pretty_number(bps / 1e6)} Mbit/s"


def _save(path: Path, found: LinkMeasured) -> None:
    from mobile.inventory.save_link import save_link

    save_link(path, _entry(found))
    click.echo(f"saved in {path}", err=True)


def _entry(found: LinkMeasured) -> Link:
    from mobile.inventory.models import Link

    return Link(
        device=found.device,
        server=found.server,
        uplink_bps=found.up.bandwidth_bps,
        downlink_bps=found.down.bandwidth_bps,
        rtt_s=found.rtt_s,
        loss=found.loss,
        assumed=False,
    )
