"""`edgewise doctor`: everything that could go wrong on a device, checked in order; or a recording of the board."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mobile.cli.output import json_option, open_inventory, print_json

if TYPE_CHECKING:
    from mobile.inventory import Device
    from mobile.provision.findings import Finding
    from mobile.record.document import Recording

MARKS = {"ok": "ok", "warning": "warning", "problem": "PROBLEM", "skipped": "not checked"}


@click.command("doctor", short_help="Everything that could go wrong on a device, checked in order.")
@click.argument("name")
@click.option(
    "--record",
    "archive",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.zip",
    help="Record the board instead: what its sensors' readers use, redacted, in one archive to look at and send.",
)
@json_option
@click.pass_context
def command(ctx: click.Context, name: str, archive: Path | None, as_json: bool) -> int:
    """Everything that could go wrong on a device, checked in order.

    Each line is one check, with the next step where something is wrong. Exits with 0 when a run would work, with 3
    when the device was not reached, else with 1. It puts the agent on the device, and changes nothing else.
    """
    from mobile.deadline import Deadline
    from mobile.provision.doctor import DOCTOR_LIMIT_S, examine

    device = open_inventory(ctx).device(name)
    if archive is not None:
        return _record(device, archive, as_json)
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


def _record(device: Device, archive: Path, as_json: bool) -> int:
    from mobile.record.capture import capture, check_target

    check_target(archive)
    click.echo(f"{device.name}: looking at all that the readers use, several times over", err=True)
    recording = capture(device, archive)
    about = _about(recording, archive)
    if as_json:
        print_json(about)
        return 0
    counts = about["counts"]
    click.echo(f"{archive}: {recording.board}, {recording.date}")
    click.echo(f"  {counts['files']} files, {counts['folders']} folders, {counts['programs']} programs")
    click.echo(f"  {counts['present']} of {counts['sensors']} sensors can be read there")
    taken = (
        ", ".join(f"{kind} {count}" for kind, count in recording.redacted.items()) or "nothing was found to take out"
    )
    click.echo(f"  redacted: {taken}")
    for note in recording.notes:
        click.echo(f"  note: {note}")
    click.echo(f"Look through it before you send it: unzip -p {archive} | less")
    return 0


def _about(recording: Recording, archive: Path) -> dict[str, Any]:
    present = sum(sensor.get("state") == "present" for sensor in recording.sensors)
    counts = {name: len(getattr(recording, name)) for name in ("files", "folders", "links", "programs", "sensors")}
    return {
        "archive": str(archive),
        "board": recording.board,
        "date": recording.date,
        "counts": {**counts, "present": present},
        "redacted": recording.redacted,
        "notes": list(recording.notes),
    }
