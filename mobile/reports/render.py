"""Figures of runs as text: table, Markdown, CSV, JSON, JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from mobile.errors import UsageError
from mobile.reports.fields import FIELDS
from mobile.reports.table import Table, runs_table

FORMATS = ("table", "md", "csv", "json", "jsonl")

Row = Mapping[str, Any]


def render(rows: Sequence[Row], form: str = "table") -> str:
    """The figures of runs (mobile.results.figures) in one of FORMATS, with a newline at the end.

    "csv" has every field under its key, in SI units, an empty cell for a missing value; "json" is one document
    {"runs": [...], "failures": []}, "jsonl" one object a line, both with the figures whole.
    """
    if form == "table":
        return table_text(runs_table(rows))
    if form == "md":
        return table_markdown(runs_table(rows))
    if form == "csv":
        return _csv(rows)
    if form == "json":
        return json.dumps({"runs": list(rows), "failures": []}, indent=2, allow_nan=False) + "\n"
    if form == "jsonl":
        return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
    raise UsageError(f"there is no format {form!r}", f"Choose one of {', '.join(FORMATS)}.")


def table_text(table: Table) -> str:
    """The table as aligned plain text."""
    lines = [table.headers, *table.rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.headers))]
    text = [_aligned(line, widths, table.numeric) for line in lines]
    text.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*text, *table.notes]) + "\n"


def table_markdown(table: Table) -> str:
    """The table in GitHub's Markdown, the notes as a list."""
    lines = ["| " + " | ".join(_escaped(cell) for cell in line) + " |" for line in (table.headers, *table.rows)]
    lines.insert(1, "|" + "|".join(" ---: " if numeric else " --- " for numeric in table.numeric) + "|")
    notes = ["", *(f"- {_escaped(note)}" for note in table.notes)] if table.notes else []
    return "\n".join([*lines, *notes]) + "\n"


def _aligned(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    parts = [
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, widths, numeric, strict=True)
    ]
    return "  ".join(parts).rstrip()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def _csv(rows: Sequence[Row]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([field.key for field in FIELDS])
    for row in rows:
        writer.writerow([_cell(field.value(row)) for field in FIELDS])
    return out.getvalue()


def _cell(value: Any) -> Any:
    """A CSV cell: numbers and text as they are, lists with "; ", mappings as JSON, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return json.dumps(value, allow_nan=False) if value else ""
    if isinstance(value, (list, tuple)):
        return "; ".join(str(item) for item in value)
    return value
