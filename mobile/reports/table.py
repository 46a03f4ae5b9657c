"""Tables without a terminal: which columns there are, what stands in them, what is said under them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mobile.reports.fields import FIELDS, STORED_FIELDS, Field

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """Ready strings. ``rows[i]`` and ``numeric`` are as long as ``headers``; ``notes`` are lines under the table."""

    headers: list[str]
    rows: list[list[str]]
    numeric: list[bool]
    notes: list[str] = field(default_factory=list)


def runs_table(rows: Sequence[Row]) -> Table:
    """The figures of runs: conditions that vary and figures that were measured as columns, all else in the notes."""
    table = _table(rows, FIELDS)
    return Table(table.headers, table.rows, table.numeric, [*table.notes, *_missing(rows), *_remarks(rows)])


def stored_runs_table(rows: Sequence[Row]) -> Table:
    """The stored runs as the store lists them; what is the same in all of them is left out."""
    table = _table(rows, STORED_FIELDS)
    return Table(table.headers, table.rows, table.numeric)


def _table(rows: Sequence[Row], fields: Sequence[Field]) -> Table:
    shown = [field for field in fields if _is_shown(field, rows)]
    return Table(
        [field.header for field in shown],
        [[field.text(row) for field in shown] for row in rows],
        [field.numeric for field in shown],
        _caption(rows, fields),
    )


def _is_shown(field: Field, rows: Sequence[Row]) -> bool:
    if field.kind == "key":
        return True
    if field.kind == "condition":
        return _varies(field, rows)
    return field.kind == "figure" and any(field.value(row) is not None for row in rows)


def _varies(field: Field, rows: Sequence[Row]) -> bool:
    return len({repr(field.value(row)) for row in rows}) > 1


def _caption(rows: Sequence[Row], fields: Sequence[Field]) -> list[str]:
    """One line with the conditions that are the same in all rows and known."""
    if not rows:
        return []
    same = [
        f"{field.header} {field.text(rows[0])}"
        for field in fields
        if field.kind == "condition" and not _varies(field, rows) and field.value(rows[0]) not in (None, {}, [])
    ]
    if not same:
        return []
    return [("" if len(rows) == 1 else "all: ") + ", ".join(same)]


def _missing(rows: Sequence[Row]) -> list[str]:
    """Why a figure is missing, once for each reason."""
    lines = []
    for what, key in (("energy", "energy_missing"), ("temperature", "thermal_missing"), ("latency", "latency_missing")):
        for reason in dict.fromkeys(row[key] for row in rows if row.get(key)):
            who = [str(row["id"]) for row in rows if row.get(key) == reason]
            of = f" in {', '.join(who)}" if len(who) < len(rows) else ""
            lines.append(f"{what} not measured{of}: {reason}")
    return lines


def _remarks(rows: Sequence[Row]) -> list[str]:
    lines = []
    for row in rows:
        who = f"{row['id']} ({row['device']}, {row['model']['name']})"
        lines += [f"{who} is invalid: {reason}" for reason in row.get("reasons", [])]
        lines += [f"{who}: {warning}" for warning in row.get("warnings", [])]
    kinds = sorted({row.get("provenance", "real") for row in rows} - {"real"})
    if kinds:
        lines.append(f"not the times of a real device: those marked {', '.join(kinds)}")
    return lines
