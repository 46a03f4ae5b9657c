"""`edgewise history`: a model's runs on a device over time, and where they changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mobile.cli.comparison import METRICS, MOST_LISTED, pretty
from mobile.cli.output import json_option, open_store, plain_table, print_json
from mobile.cli.parsing import share

if TYPE_CHECKING:
    from mobile.compare.history import Level
    from mobile.compare.metrics import Metric


@click.command("history", short_help="A model's runs on a device over time, and where they changed.")
@click.argument("model")
@click.option("--on", "device", required=True, metavar="NAME", help="The device.")
@click.option("--metric", type=click.Choice(METRICS), default="p50", show_default=True, help="What is looked at.")
@click.option("--margin", callback=share, default="2%", show_default=True, help="Smallest change that matters.")
@click.option("--allow", multiple=True, metavar="KEY", help="A condition that may differ; all for any.")
@click.option("--include-invalid", is_flag=True, help="Take invalid runs in, too.")
@click.option("--fail-if", multiple=True, metavar="VERDICT[:SHARE]", help="Exit with 1 when the last change is that.")
@json_option
@click.pass_context
def command(ctx: click.Context, /, model: str, device: str, as_json: bool, **asked: Any) -> int:
    """A model's runs on a device over time, and where they changed.

    MODEL is a file's name, or a list such as net.onnx,threads=2,last=50. Runs under other conditions than the newest
    one, and invalid ones, are left out. Where nothing happened, a change is shown in about 5 % of all histories.
    """
    from mobile.compare.failing import broken, limit
    from mobile.compare.history import alike, levels
    from mobile.compare.metrics import metric
    from mobile.compare.select import find, parse
    from mobile.compare.units import Manner, stored_group
    from mobile.compare.verdict import Terms

    limits = [limit(text) for text in asked["fail_if"]]
    store, terms = open_store(ctx), Terms(metric(asked["metric"]), asked["margin"])
    selector = parse(f"{model},device={device}")
    manner = Manner(include_invalid=asked["include_invalid"])
    group = stored_group(model, store, find(store, selector), terms.metric, manner)
    units, others = alike(group, asked["allow"])
    excluded = [*group.excluded, *others]
    found = levels(units, terms)
    failed = broken(limits, [found[-1].change] if found[-1].change else [])
    document = {
        "model": model,
        "device": device,
        "metric": terms.metric.name,
        "unit": terms.metric.unit,
        "levels": [level.to_json() for level in found],
        "left_out": [{"id": one.run, "reason": one.reason} for one in excluded],
        "failed": failed,
    }
    if as_json:
        print_json(document)
    else:
        _show(found, terms.metric)
        for one in excluded[:MOST_LISTED]:
            click.echo(f"left out: {one.run}: {one.reason}")
        if len(excluded) > MOST_LISTED:
            click.echo(f"left out: {len(excluded) - MOST_LISTED} more")
    for line in failed:
        click.echo(f"failed: {line}", err=True)
    return int(bool(failed))


def _show(found: list[Level], what: Metric) -> None:
    from mobile.reports.verdicts import verdict_words

    rows = []
    for level in found:
        row = level.to_json()
        change = level.change
        ratio = "-" if change is None or change.value is None else f"x{change.value:.3f}, {verdict_words(change)}"
        models = ", ".join(level.models)
        rows.append([row["from"], row["to"], str(len(level.units)), pretty(row["median"], what), ratio, models])
    plain_table(["from (UTC)", "to", "runs", what.title, "change", "model"], rows)
    runs = sum(len(level.units) for level in found)
    click.echo(f"{runs} runs, {len(found) - 1 or 'no'} {'change' if len(found) <= 2 else 'changes'}")
