"""`edgewise push`: a model onto devices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mobile.cli.output import json_option, open_inventory, plain_table, print_json

if TYPE_CHECKING:
    from mobile.push.deploy import Deployed


@click.command("push", short_help="Put a model on devices.")
@click.argument("file", type=click.Path())
@click.argument("names", nargs=-1, required=True)
@click.option("--check/--no-check", default=True, help="Load and run it once there before it comes into use.")
@click.option("--use/--no-use", default=True, help="Bring it into use: WORKDIR/current/FILE leads to it.")
@click.option(
    "--max-duration", type=click.FloatRange(min=1), default=3600.0, show_default=True, help="Seconds for each device."
)
@json_option
@click.pass_context
def command(
    ctx: click.Context, file: str, names: tuple[str, ...], check: bool, use: bool, max_duration: float, as_json: bool
) -> int:
    """Put a model on devices.

    It is stored there by its content: whole or not at all, verified by SHA-256 on the device. Only what the device has
    nowhere is sent, and a push that was cut goes on where it stopped. Then it is loaded and run once, where there is a
    runtime, and comes into use under its name; `edgewise rollback` goes back to the version before.
    """
    from mobile.benchmark.models import open_model
    from mobile.cli.push_progress import PushProgress
    from mobile.push.deploy import deploy

    devices = open_inventory(ctx).select(list(names))
    model = open_model(Path(file))
    outcomes: dict[str, Deployed] = {}
    with PushProgress() as progress:
        for step in deploy(devices, model, check=check, use=use, limit_s=max_duration):
            progress.update(step)
            if step.outcome is not None:
                outcomes[step.device] = step.outcome
    ended = [outcomes[device.name] for device in devices]
    if as_json:
        rows = [{**outcome.to_json(), "sha256": model.ref.sha256} for outcome in ended]
        print_json({"model": model.ref.name, "pushed": rows})
    else:
        _show(ended)
    return max((outcome.error.exit_code for outcome in ended if outcome.error), default=0)


def _show(outcomes: list[Deployed]) -> None:
    rows = [outcome for outcome in outcomes if outcome.pushed]
    if rows:
        plain_table(["device", "sent", "check", "on the device"], [_cells(outcome) for outcome in rows])
    for outcome in outcomes:
        if outcome.error:
            click.echo(f"failed: {outcome.error.message}", err=True)
            if outcome.error.hint:
                click.echo(f"  next: {outcome.error.hint}", err=True)


def _cells(outcome: Deployed) -> list[str]:
    pushed, check = outcome.pushed, outcome.check
    assert pushed is not None
    sent = "was there"
    if pushed.duration_s and pushed.sent_bytes + pushed.copied_bytes + pushed.kept_bytes:
        sent = f"{pushed.sent_bytes / 1e6:.1f} of {pushed.size_bytes / 1e6:.1f} MB in {pushed.duration_s:.1f} s"
    checked = "" if check is None else check.state + (f": {check.reason}" if check.reason else "")
    return [outcome.device, sent, checked, outcome.current or pushed.path]
