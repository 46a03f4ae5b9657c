"""`edgewise doctor`: everything that could go wrong on a device, checked in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mobile.cli.output import json_option, open_inventory, print_json

if TYPE_CHECKING:
    from mobile.provision.findings import Finding

MARKS = {"ok": "ok", "warning": "warning", "problem": "PROBLEM", "skipped": "not checked"}


@click.command("doctor", short_help="Everything that could go wrong on a device, checked in order.")
@click.argument("name")
@json_option
@click.pass_context
def command(ctx: click.Context, name: str, as_json: bool) -> int:
    """Everything that could go wrong on a device, checked in order.

    Each line is one check, with the next step where something is wrong. Exits with 0 when a run would work, with 3
    when the device was not reached, else with 1. It puts the agent on the device, and changes nothing else.
    """
    from mobile.deadline import Deadline
    from mobile.provision.doctor import DOCTOR_LIMIT_S, examine

    device = open_inventory(ctx).device(name)
    seen = examine(device, Deadline(DOCTOR_LIMIT_S), (lambda finding: None) if as_json else _show)
    if as_json:
        print_json(seen.to_json())
    else:
        click.echo(f"{name}: {'a run would work' if seen.ready else 'a run would not work'}")
    return seen.exit_code


def _show(finding: Finding) -> None:
    click.echo(f"{MARKS[finding.state]:<12}{finding.check}: {finding.message}")
    if finding.hint:
        click.echo(f"{'':<12}next: {finding.hint}")
