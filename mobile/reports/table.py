"""Tables without a terminal: which columns there are, what stands in them, what is said under them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mobile.reports.fields import FIELDS, STORED_FIELDS, Field
from mobile.reports.quality import quality_notes

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
    return Table(
        table.headers,
        table.rows,
        table.numeric,
        [*table.notes, *_missing(rows), *_scopes(rows), *quality_notes(rows), *_remarks(rows)],
    )


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


_ABSENT = (
    ("energy", ("energy_missing",)),
    ("energy above idle", ("energy", "above_idle_missing")),
    ("temperature", ("thermal_missing",)),
    ("clocks", ("clocks_missing",)),
    ("latency", ("latency_missing",)),
)


def _missing(rows: Sequence[Row]) -> list[str]:
    """Why a figure is missing, once for each reason; and why it is not known whether a device throttled."""
    lines = []
    for what, path in _ABSENT:
        lines += _once(rows, f"{what} not measured", path)
    unknown = [row for row in rows if (row.get("thermal") or {}).get("throttled") == "unknown"]
    return lines + _once(rows, "throttling not known", ("thermal", "throttled_why"), unknown)


def _once(rows: Sequence[Row], words: str, path: tuple[str, ...], of: Sequence[Row] | None = None) -> list[str]:
    """A line for each text that stands at the path in ``of`` (all rows), with the runs that it stands in."""
    found: dict[str, list[str]] = {}
    for row in rows if of is None else of:
        text: Any = row
        for name in path:
            text = text.get(name) if isinstance(text, Mapping) else None
        if text:
            found.setdefault(str(text), []).append(str(row["id"]))
    return [f"{words}{_of(who, rows)}: {text}" for text, who in found.items()]


def _of(who: Sequence[str], rows: Sequence[Row]) -> str:
    return f" in {', '.join(who)}" if len(who) < len(rows) else ""


def _scopes(rows: Sequence[Row]) -> list[str]:
    """What an energy figure covers and leaves out, and what its uncertainty does."""
    lines = []
    for row in rows:
        figure = row.get("energy") or {}
        lines += [f"energy, {figure.get('scope')}: {figure[key]}" for key in _REMARKS if figure.get(key)]
    return list(dict.fromkeys(lines))


_REMARKS = ("remark", "uncertainty_note", "above_idle_note")


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
