"""`edgewise compare --pareto`: variants in latency, energy, size and quality at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mobile.cli.output import print_json, print_table

if TYPE_CHECKING:
    from mobile.results.store import RunStore


def show_front(store: RunStore, selectors: tuple[str, ...], include_invalid: bool, as_json: bool) -> int:
    """0, once the variants of the selected runs are written. UsageError when fewer than two are left."""
    from mobile.compare.select import find, parse
    from mobile.errors import UsageError
    from mobile.reports.pareto import pareto_json, pareto_table, variants_of
    from mobile.results.figures import figures

    ids = dict.fromkeys(run_id for text in selectors for run_id in find(store, parse(text)))
    rows = [figures(store.get(run_id)) for run_id in ids]
    measured = [row for row in rows if row["task"] != "evaluate"]
    taken = [row for row in measured if include_invalid or row["verdict"] == "valid"]
    found = variants_of(taken)
    if len(found.points) < 2:
        raise UsageError(
            f"{len(found.points)} variant is left of {len(rows)} runs, a front takes two",
            "Select more runs; invalid ones go in with --include-invalid.",
        )
    if as_json:
        print_json(pareto_json(found))
        return 0
    print_table(pareto_table(found))
    for row in measured:
        if row not in taken:
            click.echo(f"left out: {row['id']}: it is invalid: {'; '.join(row['reasons'])}")
    return 0
