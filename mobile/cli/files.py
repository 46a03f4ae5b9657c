"""The options of `runs` and `report` that write tables into files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from mobile.results.run import Run

F = TypeVar("F", bound=Callable[..., Any])

_TABLES = (
    click.option("--csv", "to_csv", type=click.Path(dir_okay=False), metavar="FILE", help="Write the table as CSV."),
    click.option(
        "--jsonl", "to_jsonl", type=click.Path(dir_okay=False), metavar="FILE", help="Write all figures, a run a line."
    ),
    click.option(
        "--parquet", "to_parquet", type=click.Path(dir_okay=False), metavar="FILE", help="Write the table as Parquet."
    ),
)
_SAMPLES = (
    click.option(
        "--samples-csv", type=click.Path(file_okay=False), metavar="FOLDER",
        help="Write the raw invocations and sensor samples there.",
    ),
    click.option(
        "--samples-parquet", type=click.Path(file_okay=False), metavar="FOLDER", help="The same as Parquet."
    ),
)  # fmt: skip


def table_options(command: F) -> F:
    """The command with --csv, --jsonl and --parquet."""
    for option in reversed(_TABLES):
        command = option(command)
    return command


def sample_options(command: F) -> F:
    """The command with --samples-csv and --samples-parquet."""
    for option in reversed(_SAMPLES):
        command = option(command)
    return command


def write_tables(asked: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> bool:
    """True once the files that were asked for are written; False when none was."""
    from mobile.share.tables import runs_columns, write_columns, write_lines

    wanted = [(form, asked[f"to_{form}"]) for form in ("csv", "jsonl", "parquet") if asked[f"to_{form}"]]
    for form, name in wanted:
        if form == "jsonl":
            write_lines(Path(name), rows)
        else:
            write_columns(Path(name), runs_columns(rows), form)
        click.echo(f"{name}: {len(rows)} {'run' if len(rows) == 1 else 'runs'}")
    return bool(wanted)


def write_samples(asked: Mapping[str, Any], runs: Sequence[Run]) -> bool:
    """True once the raw samples that were asked for are written; False when none were."""
    from mobile.errors import InputError
    from mobile.share.tables import invocations_columns, meter_columns, sensors_columns, write_columns

    wanted = [(form, asked[f"samples_{form}"]) for form in ("csv", "parquet") if asked[f"samples_{form}"]]
    for form, name in wanted:
        folder = Path(name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: cannot be made: {error.strerror or error}") from error
        for run in runs:
            parts = {
                "invocations": invocations_columns(run), "sensors": sensors_columns(run), "meter": meter_columns(run),
            }  # fmt: skip
            for part, columns in parts.items():
                if columns is None:
                    continue
                path = folder / f"{run.id}.{part}.{form}"
                write_columns(path, columns, form)
                click.echo(f"{path}: {len(next(iter(columns.values())))} rows")
    return bool(wanted)
