"""`edgewise compare`: stored runs against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mobile.cli.comparison import METRICS, show_answer
from mobile.cli.output import json_option, open_store, print_json
from mobile.cli.parsing import share, text_list

if TYPE_CHECKING:
    from mobile.compare.answer import Answer
    from mobile.compare.units import Group
    from mobile.results.store import RunStore


@click.command("compare", short_help="Which of stored runs are faster, and whether that can be told.")
@click.argument("selectors", nargs=-1, required=True, metavar="SELECTOR...")
@click.option("--metric", type=click.Choice(METRICS), default="p50", show_default=True, help="What is compared.")
@click.option("--margin", callback=share, default="2%", show_default=True, help="Smallest change that matters.")
@click.option(
    "--alpha", callback=share, default="5%", show_default=True, help="Rate of false verdicts that is allowed."
)
@click.option("--by", callback=text_list, metavar="KEY[,KEY]", help="Compare the levels of one factor or two instead.")
@click.option("--allow", multiple=True, metavar="KEY", help="A condition that may differ; all for any.")
@click.option("--pareto", is_flag=True, help="The variants in latency, energy, size and quality: which none beats.")
@click.option("--steady", is_flag=True, help="Only the part of each run from which on it was steady.")
@click.option("--include-invalid", is_flag=True, help="Take invalid runs in, too.")
@click.option(
    "--fail-if", multiple=True, metavar="VERDICT[:SHARE]", help="Exit with 1 then: slower:3%, different, undecided."
)
@json_option
@click.pass_context
def command(ctx: click.Context, /, selectors: tuple[str, ...], as_json: bool, **asked: Any) -> int:
    """Which of stored runs are faster, and whether that can be told.

    SELECTOR is a list of run ids (a,b,c), MODEL, MODEL@DEVICE, or KEY=VALUE,... such as label=before or
    model=net.onnx,threads=2,last=10. Each other one is compared with the first. The unit is a run, one process launch;
    runs that are not comparable are refused unless --allow says what may differ; invalid runs are left out, and listed.
    """
    if asked["pareto"]:
        from mobile.cli.pareto import show_front

        return show_front(open_store(ctx), selectors, asked["include_invalid"], as_json)
    from mobile.compare.failing import broken, limit

    limits = [limit(text) for text in asked["fail_if"]]
    found = _answer(open_store(ctx), selectors, asked)
    failed = broken(limits, found.comparisons)
    if as_json:
        print_json({**found.to_json(), "failed": failed})
    else:
        show_answer(found)
    for line in failed:
        click.echo(f"failed: {line}", err=True)
    return int(bool(failed))


def _answer(store: RunStore, selectors: tuple[str, ...], asked: dict[str, Any]) -> Answer:
    from mobile.compare.answer import answer, by_levels
    from mobile.compare.conditions import check
    from mobile.compare.metrics import metric
    from mobile.compare.select import find, parse
    from mobile.compare.units import Manner, stored_group
    from mobile.compare.verdict import Terms
    from mobile.errors import UsageError

    terms = Terms(metric(asked["metric"]), asked["margin"], asked["alpha"])
    manner = Manner(include_invalid=asked["include_invalid"], steady=asked["steady"])
    parsed = [parse(text) for text in selectors]
    groups = [stored_group(one.text, store, find(store, one), terms.metric, manner) for one in parsed]
    if asked["by"]:
        groups = by_levels(groups, asked["by"])
    elif len(groups) < 2:
        raise UsageError("one selector was given, so there is nothing to compare it with", "Give two, or --by KEY.")
    _refuse_shared(groups)
    named = set.intersection(*(set(one.keys) for one in parsed)) | set(asked["by"] or ())
    differs = check(groups, terms.metric, asked["allow"], named)
    return answer(groups, terms, factors=asked["by"] or (), differs=differs)


def _refuse_shared(groups: list[Group]) -> None:
    """UsageError for a run that is in two groups: it would be compared with itself."""
    from mobile.errors import UsageError

    seen: dict[str, str] = {}
    for group in groups:
        for unit in group.units:
            if unit.run in seen:
                raise UsageError(
                    f"run {unit.run} is in {seen[unit.run]!r} and in {group.name!r}",
                    "Select runs that are in one of them only: by id, label or last=N.",
                )
            seen[unit.run] = group.name
