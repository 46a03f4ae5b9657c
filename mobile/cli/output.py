"""stdout is data, stderr is progress: the one place where tables and JSON are written."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from mobile.inventory import Inventory
    from mobile.reports import Table
    from mobile.results.store import RunStore

PIPE_WIDTH = 400  # a file has no edge: no cell is folded there

json_option: Callable[[Any], Any] = click.option(
    "--json", "as_json", is_flag=True, help="One JSON document on stdout instead of a table."
)


def print_json(document: Any) -> None:
    """Writes one JSON document and a newline to stdout."""
    click.echo(json.dumps(document, indent=2, allow_nan=False))


def stdout_console() -> Console:
    """The console of the data; wide enough not to cut a table when it is not a terminal."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False, emoji=False)


def stderr_console() -> Console:
    """The console of the progress."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, emoji=False)


def print_table(table: Table) -> None:
    """Writes a report's table to stdout, what does not vary as a line under it."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    grid = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for header, is_number in zip(table.headers, table.numeric, strict=True):
        grid.add_column(header, justify="right" if is_number else "left", overflow="fold")
    for row in table.rows:
        grid.add_row(*(Text(cell) for cell in row))
    console = stdout_console()
    console.print(grid)
    for line in table.notes:
        console.print(Text(line), soft_wrap=True)


def plain_table(headers: list[str], rows: list[list[str]], notes: list[str] | None = None) -> None:
    """Writes a table of ready strings to stdout."""
    from mobile.reports import Table

    print_table(Table(headers=headers, rows=rows, numeric=[False] * len(headers), notes=notes or []))


def open_inventory(ctx: click.Context) -> Inventory:
    """The inventory that the command line asks for."""
    from pathlib import Path

    from mobile.inventory import load_inventory

    path = ctx.obj["inventory"]
    return load_inventory(Path(path) if path else None)


def open_store(ctx: click.Context) -> RunStore:
    """The run store that the command line asks for."""
    from pathlib import Path

    from mobile.results.store import RunStore

    path = ctx.obj["store"]
    return RunStore(Path(path)) if path else RunStore()
