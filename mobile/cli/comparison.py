"""A comparison as tables on stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mobile.cli.output import plain_table

if TYPE_CHECKING:
    from mobile.compare.answer import Answer
    from mobile.compare.metrics import Metric
    from mobile.compare.verdict import Comparison

METRICS = (  # mobile.compare.metrics
    *("p50", "p90", "p99", "mean", "query-p50", "query-p90", "query-p99"),
    *("energy", "above-idle", "load", "first", "memory"),
)
MOST_LISTED = 5


def show_answer(found: Answer) -> None:
    """Writes the groups, the verdicts, the effects, and what to know beside them."""
    document = found.to_json()
    plain_table(
        ["", "runs", "left out", found.terms.metric.title, "lowest and highest run"],
        [_group_cells(group, found.terms.metric) for group in document["groups"]],
    )
    if found.effects:
        plain_table(
            ["effect", "F", "p", "partial omega squared"],
            [[one.name, _number(one.f), _p(one.p), f"{one.omega_squared:.3f}"] for one in found.effects],
        )
    plain_table(
        ["against " + found.groups[0].name, "ratio", "95 % interval", "p", "verdict"],
        [[one.b, _ratio(one.value), _interval(one), _p(one.p_adjusted), verdict(one)] for one in found.comparisons],
    )
    for line in (*found.differs, *found.notes):
        click.echo(line)
    for group in found.groups:
        for one in group.excluded[:MOST_LISTED]:
            click.echo(f"left out: {one.run}: {one.reason}")
        if len(group.excluded) > MOST_LISTED:
            click.echo(f"left out: {len(group.excluded) - MOST_LISTED} more of {group.name}")


def verdict(one: Comparison) -> str:
    """The verdict in words, with how many more runs it likely takes."""
    if one.verdict != "undecided":
        return one.verdict
    if one.further is None:
        return "undecided; at this spread more runs will not tell"
    how = "at least" if one.spread is None else "about"
    return f"undecided; {how} {one.further} more {'run' if one.further == 1 else 'runs'} of each may tell"


def _group_cells(group: dict[str, Any], what: Metric) -> list[str]:
    values = [run["value"] for run in group["runs"]]
    span = f"{pretty(min(values), what)} to {pretty(max(values), what)}" if values else "-"
    return [group["name"], str(len(values)), str(len(group["left_out"])), pretty(group["median"], what), span]


def pretty(value: float | None, what: Metric) -> str:
    """A figure of a metric for people."""
    from mobile.reports import units

    forms = {"s": units.pretty_seconds, "J": units.pretty_joules, "B": units.pretty_bytes}
    return forms[what.unit](value)


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(one: Comparison) -> str:
    return "-" if one.low is None or one.high is None else f"{one.low:.3f} to {one.high:.3f}"


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-4 else "< 0.0001"


def _number(value: float) -> str:
    from mobile.reports.units import pretty_number

    return pretty_number(value)
