"""`edgewise probe`: how fast each carrier of compressed weights is on a device."""

from __future__ import annotations

import re
from typing import Any

import click

from mobile.cli.output import json_option, open_inventory, plain_table, print_json, stderr_console
from mobile.cli.parsing import number_list, text_list


@click.command("probe", short_help="Time the carriers of compressed weights on a device.")
@click.argument("name")
@click.option("--schemes", callback=text_list, metavar="S,...", help="Families to carry; else the usual ones.")
@click.option("--shapes", callback=text_list, metavar="NxK,...", help="Sizes of the product; else 1024x1024.")
@click.option("--rows", callback=number_list, metavar="M,...", help="Rows of the other factor; else 1,16,128.")
@click.option("--threads", type=int, help="Threads of the runtime; else its own choice.")
@click.option("--duration", type=float, default=0.3, show_default=True, help="Shortest measured time each, seconds.")
@json_option
@click.pass_context
def command(ctx: click.Context, /, name: str, as_json: bool, **asked: Any) -> int:
    """Time the carriers of compressed weights on a device.

    For each family a product of matrices is made in every carrier that the device's runtime takes, measured there, and
    removed. The figures are kept by device and runtime; `edgewise export --target NAME` chooses carriers by them.
    """
    from exporters.probe import REAL, Plan, probe_device
    from exporters.probe.measure import DEFAULT_ROWS, DEFAULT_SCHEMES, DEFAULT_SHAPES, table

    plan = Plan(
        schemes=asked["schemes"] or DEFAULT_SCHEMES,
        shapes=[_shape(text) for text in asked["shapes"] or ()] or DEFAULT_SHAPES,
        rows_m=asked["rows"] or DEFAULT_ROWS,
        duration_s=asked["duration"],
        threads=asked["threads"],
    )
    with stderr_console().status(f"probing {name}") as status:
        found = probe_device(name, open_inventory(ctx), plan, lambda step: status.update(f"probing {name}: {step}"))
    if as_json:
        print_json(found.to_json())
        return 0
    columns, lines = table(found)
    click.echo(f"{name}: {found.runtime}, {found.provenance}; products [M,K] x [K,N], * the fastest of a family")
    plain_table(columns, lines)
    if found.provenance != REAL:
        click.echo(f"{found.provenance}: a real board may rank them otherwise; exports for {name} say so")
    for said in found.missing:
        click.echo(f"missing: {said}")
    if found.incomplete:
        click.echo(f"not ranked, since not every carrier was tried: {', '.join(found.incomplete)}; probe again")
    return 0


def _shape(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text)
    if found is None:
        raise click.BadParameter(f"{text!r} is not a shape such as 1024x512")
    return int(found[1]), int(found[2])
