"""The small chart of a run's course, under the table of its figures."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from mobile.cli.output import stdout_console

if TYPE_CHECKING:
    from mobile.results.run import Run

MOST_RUNS = 3
PIPE_CHART_WIDTH = 100

chart_option: Callable[[Any], Any] = click.option(
    "--chart/--no-chart", default=None, help="Latency, heat and power over time under the table; else on a terminal."
)


def print_charts(runs: Sequence[Run], wanted: bool | None) -> None:
    """Writes the charts of the first runs. ``wanted``: None for "where stdout is a terminal"."""
    if not (sys.stdout.isatty() if wanted is None else wanted):
        return
    from rich.text import Text

    from mobile.reports.course_text import course_lines

    console = stdout_console()
    width = console.width if sys.stdout.isatty() else PIPE_CHART_WIDTH
    shown = 0
    for run in runs:
        lines = course_lines(run, width, console.options.ascii_only)
        if not lines:
            continue
        if shown == MOST_RUNS:
            console.print(Text(f"more charts: edgewise report RUN --chart ({len(runs)} runs)"), soft_wrap=True)
            return
        shown += 1
        name = f"{run.spec.model.name} on {run.spec.device}, run {run.id}"
        for line in ("" if shown > 1 else None, name, *lines):
            if line is not None:
                console.print(Text(line), soft_wrap=True)
