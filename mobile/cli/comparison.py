"""A comparison as tables on stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mobile.cli.output import plain_table

if TYPE_CHECKING:
    from mobile.compare.answer import Answer
    from mobile.compare.metrics import Metric

METRICS = (  # mobile.compare.metrics
    *("p50", "p90", "p99", "mean", "query-p50", "query-p90", "query-p99"),
    *("energy", "above-idle", "load", "first", "memory"),
)
MOST_LISTED = 5


def show_answer(found: Answer) -> None:
    """Writes the groups, the verdicts, the effects, and what to know beside them."""
    from mobile.reports.verdicts import interval_words, p_words, ratio_words, verdict_words

    document = found.to_json()
    plain_table(
        ["", "runs", "left out", found.terms.metric.title, "lowest and highest run"],
        [_group_cells(group, found.terms.metric) for group in document["groups"]],
    )
    if found.effects:
        plain_table(
            ["effect", "F", "p", "partial omega squared"],
            [[one.name, _number(one.f), p_words(one.p), f"{one.omega_squared:.3f}"] for one in found.effects],
        )
    plain_table(
        ["against " + found.groups[0].name, "ratio", "95 % interval", "p", "verdict"],
        [
            [one.b, ratio_words(one), interval_words(one), p_words(one.p_adjusted), verdict_words(one)]
            for one in found.comparisons
        ],
    )
    for line in (*found.differs, *found.notes):
        click.echo(line)
    for group in found.groups:
        for one in group.excluded[:MOST_LISTED]:
            click.echo(f"left out: {one.run}: {one.reason}")
        if len(group.excluded) > MOST_LISTED:
            click.echo(f"left out: {len(group.excluded) - MOST_LISTED} more of {group.name}")


def _group_cells(group: dict[str, Any], what: Metric) -> list[str]:
    values = [run["value"] for run in group["runs"]]
    span = f"{pretty(min(values), what)} to {pretty(max(values), what)}" if values else "-"
    return [group["name"], str(len(values)), str(len(group["left_out"])), pretty(group["median"], what), span]


def pretty(value: float | None, what: Metric) -> str:
    """A figure of a metric for people."""
    from mobile.reports import units

    forms = {"s": units.pretty_seconds, "J": units.pretty_joules, "B": units.pretty_bytes}
    return forms[what.unit](value)


def _number(value: float) -> str:
    from mobile.reports.units import pretty_number

    return pretty_number(value)
