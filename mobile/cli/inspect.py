"""`edgewise inspect`: what is in a model."""

from __future__ import annotations

from pathlib import Path

import click

from mobile.cli.output import json_option, plain_table, print_json
from mobile.cli.parsing import bindings


@click.command("inspect", short_help="What is in a model file, and who can run it.")
@click.argument("file", type=click.Path())
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Items in an inference.")
@click.option("--dim", "dims", multiple=True, callback=bindings, help="Size of a symbolic dimension.", metavar="NAME=N")
@json_option
def command(file: str, batch: int, dims: dict[str, int], as_json: bool) -> int:
    """What is in a model file, and who can run it.

    Inputs, outputs, weights by bit width, operators, multiply-accumulates, and the predicted (not measured) peak
    memory.
    """
    import exporters

    inspection = exporters.inspect_model(Path(file), batch=batch, dims=dims)
    if as_json:
        print_json(inspection.to_json())
        return 0
    for title, headers, rows in inspection.tables():
        click.echo(title)
        plain_table(headers, rows)
    return 0
