"""What is said under a table about the quality in it: on which items, what went wrong, and how stable answers are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mobile.reports import units

KINDS = {
    "nan": "not a number",
    "inf": "infinite",
    "shape": "of another shape than the model declares",
    "refused": "refused by the runtime",
}


def quality_notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines about the evaluations behind the rows (their figures), each line once."""
    lines = []
    for row in rows:
        told = row.get("quality")
        if told:
            lines += _lines(told, f"{row['model']['name']} on {row['device']}")
    return list(dict.fromkeys(lines))


def _lines(told: Mapping[str, Any], who: str) -> list[str]:
    lines = []
    name, items = (told.get("set") or {}).get("name"), told.get("items")
    if told.get("value") is not None:
        lines.append(f"quality: {told['metric']} on {items} items of {name}, 95 % interval: {told.get('method')}")
    for kind, error in (told.get("errors") or {}).items():
        lines.append(f"{who}: {error['count']} of {items} answers {KINDS.get(kind, kind)}: {error.get('why')}")
    if told.get("left_out"):
        lines.append(f"{who}: {told['left_out']} of {items} items could not be scored and are left out")
    repeats, against = told.get("repeats"), told.get("against")
    if repeats and not repeats["equal"]:
        words = _difference(repeats)
        lines.append(f"{who}: not stable: {repeats['items']} items asked again gave other answers{words}")
    if against and not against["equal"]:
        setting = ", ".join(f"{key} {'default' if value is None else value}" for key, value in against["of"].items())
        lines.append(f"{who}: other answers than with {setting}{_difference(against)}")
    return lines


def _difference(told: Mapping[str, Any]) -> str:
    largest = told.get("max_difference")
    return "" if largest is None else f", by at most {units.pretty_number(largest)}"
