"""The options of `edgewise report` about energy: another meter's log, joules of a unit of work, carbon and water."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from mobile.results.run import Run

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--power-log", type=click.Path(dir_okay=False), metavar="FILE.csv",
        help="Energy from the log of a meter with a clock of its own; the run needs --marker.",
    ),
    click.option("--power-scope", metavar="TEXT", help="What that meter measured, in words."),
    click.option(
        "--per", multiple=True, metavar="UNIT=N", help="Also joules and time of a unit: an inference makes N of it."
    ),
    click.option("--carbon", metavar="g_per_kwh=N,source=TEXT", help="CO2 of the measured energy, by your factor."),
    click.option("--water", metavar="l_per_kwh=N,source=TEXT", help="Water of the measured energy, by your factor."),
)  # fmt: skip


def energy_options(command: F) -> F:
    """The command with these options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def with_log(run: Run, asked: Mapping[str, Any]) -> Run:
    """The run with the readings of the log that was named as its meter's, the run itself where none was."""
    if not asked["power_log"]:
        return run
    from mobile.errors import UsageError
    from mobile.meters.log import read_log
    from mobile.results.align import markers_of

    if not markers_of(run):
        raise UsageError(
            f"run {run.id} has no marker, so it cannot be found in {asked['power_log']}",
            "Measure it with `edgewise bench --marker S`, S being 2.5 times the meter's period or more.",
        )
    return replace(run, meter=read_log(Path(asked["power_log"]), asked["power_scope"]))


def more_of(row: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """The keys ``per`` and ``footprint`` of a run's figures, as far as they were asked for."""
    from mobile.results.footprint import footprint, parse_factor
    from mobile.results.per import parse_unit, per_unit

    factors = [parse_factor(asked[what], what) for what in ("carbon", "water") if asked[what]]
    units = [parse_unit(text) for text in asked["per"]]
    found: dict[str, Any] = {}
    if units:
        found["per"] = [per_unit(row, name, count) for name, count in units]
    if factors:
        found["footprint"] = footprint(row, factors)
    return found


def show_more(row: Mapping[str, Any]) -> None:
    """Writes a line for each unit and each factor."""
    from mobile.reports.units import pretty_joules, pretty_number, pretty_seconds

    for one in row.get("per") or ():
        joules = f"{pretty_joules(one['energy_j'])} ± {pretty_joules(one['energy_uncertainty_j'])}"
        energy = f"no energy: {one['missing']}" if one["energy_j"] is None else f"{joules} ({one['scope']})"
        click.echo(f"{row['id']}: per {one['unit']}: {pretty_seconds(one['time_s'])}, {energy}")
    for one in row.get("footprint") or ():
        if one["missing"]:
            click.echo(f"{row['id']}: no {one['what']}: {one['missing']}")
            continue
        each = (
            ""
            if one["per_inference"] is None
            else f", {pretty_number(one['per_inference'])} {one['unit']} an inference"
        )
        click.echo(
            f"{row['id']}: {one['what']} {pretty_number(one['total'])} ± {pretty_number(one['uncertainty'])}"
            f" {one['unit']}{each}: measured energy ({one['scope']}) times {one['per_kwh']:g} {one['unit']}/kWh,"
            f" from {one['source']}"
        )
