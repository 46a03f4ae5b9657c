"""The runs of a report as variants: what sets them apart, and how they compare.

A variant is what was measured under the same conditions: a model, with the conditions and the label that are not the
same in all runs of the report.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mobile.compare.answer import Answer, answer
from mobile.compare.conditions import check, conditions_of
from mobile.compare.metrics import METRICS, Metric
from mobile.compare.select import LABEL
from mobile.compare.units import Group, group_of
from mobile.compare.verdict import MARGIN, Terms
from mobile.errors import UsageError
from mobile.results.run import Run

Row = Mapping[str, Any]

COMPARED = ("p50", "energy")
# Conditions that differ from run to run without making another variant of it.
_NOT_APART = ("conditions", "inputs")


class Variant(NamedTuple):
    """``runs`` and their ``rows`` (figures), in the order given."""

    name: str
    runs: tuple[Run, ...]
    rows: tuple[Row, ...]


class Compared(NamedTuple):
    """A comparison by a metric: the answer, or why there is none; ``empty``: the variants left out, in words."""

    metric: Metric
    answer: Answer | None
    refused: str | None
    empty: tuple[str, ...]


def variants(runs: Sequence[Run], rows: Sequence[Row]) -> tuple[list[Variant], list[str]]:
    """(the variants in the order met, the conditions that set them apart)."""
    timed = [(run, row) for run, row in zip(runs, rows, strict=True) if row["task"] != "evaluate"]
    tables = [_apart(row) for _, row in timed]
    names = _model_names(row for _, row in timed)
    keys = _telling([names[_model_key(row)] for _, row in timed], tables)
    found: dict[str, list[tuple[Run, Row]]] = {}
    for (run, row), table in zip(timed, tables, strict=True):
        words = [names[_model_key(row)], *(f"{key} {_said(table.get(key, '-'))}" for key in keys)]
        found.setdefault(", ".join(words), []).append((run, row))
    made = [
        Variant(name, tuple(run for run, _ in pairs), tuple(row for _, row in pairs)) for name, pairs in found.items()
    ]
    return made, keys


def _said(value: str) -> str:
    return "default" if value == "-" else value


def _apart(row: Row) -> dict[str, str]:
    """The conditions that make another variant of a run."""
    label = (row.get("environment") or {}).get(LABEL)
    known = {key: value for key, value in conditions_of(row).items() if key not in _NOT_APART}
    return {**known, **({LABEL: str(label)} if label is not None else {})}


def _telling(models: Sequence[str], tables: Sequence[Mapping[str, str]]) -> list[str]:
    """The conditions that tell runs apart which the model and the conditions before do not."""
    keys: list[str] = []
    known: list[tuple[str, ...]] = [(model,) for model in models]
    for key in dict.fromkeys(key for table in tables for key in table):
        finer = [(*words, table.get(key, "-")) for words, table in zip(known, tables, strict=True)]
        if len(set(finer)) > len(set(known)):
            keys.append(key)
            known = finer
    return keys


def _model_key(row: Row) -> tuple[str, str]:
    return str(row["model"].get("name")), str(row["model"].get("sha256"))


def _model_names(rows: Iterable[Row]) -> dict[tuple[str, str], str]:
    """The name of each model; with the start of its hash where another one has the same name."""
    keys = list(dict.fromkeys(_model_key(row) for row in rows))
    taken = [name for name, _ in keys]
    return {(name, sha): f"{name} {sha[:8]}" if taken.count(name) > 1 else name for name, sha in keys}


def comparisons(found: Sequence[Variant], keys: Sequence[str], allowed: Iterable[str] = ()) -> list[Compared]:
    """The variants against the first, by latency and by energy; [] for fewer than two."""
    if len(found) < 2:
        return []
    allowed = list(allowed)
    known = [name for name in COMPARED if name == "p50" or _has_energy(found)]
    return [_compared(found, METRICS[name], keys, allowed) for name in known]


def _has_energy(found: Sequence[Variant]) -> bool:
    return any(row.get("energy") and row["verdict"] == "valid" for variant in found for row in variant.rows)


def _compared(found: Sequence[Variant], what: Metric, keys: Sequence[str], allowed: list[str]) -> Compared:
    groups: list[Group] = [group_of(variant.name, variant.runs, what) for variant in found]
    kept = [group for group in groups if group.units]
    empty = tuple(
        f"{group.name}: none of its {len(group.excluded)} runs has the figure and is valid"
        for group in groups
        if not group.units
    )
    if len(kept) < 2:
        return Compared(what, None, f"fewer than two variants have a valid run with the figure; {'; '.join(empty)}", ())
    try:
        differs = check(kept, what, allowed, [key for key in keys if key != LABEL])
        return Compared(what, answer(kept, Terms(what, MARGIN), differs=differs), None, empty)
    except UsageError as error:
        return Compared(what, None, error.message, empty)
