"""`edgewise push`: a model onto devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mobile.cli.output import json_option, open_inventory, plain_table, print_json, stderr_console

PUSH_LIMIT_S = 3600.0


@click.command("push", short_help="Put a model on devices.")
@click.argument("file", type=click.Path())
@click.argument("names", nargs=-1, required=True)
@json_option
@click.pass_context
def command(ctx: click.Context, file: str, names: tuple[str, ...], as_json: bool) -> int:
    """Put a model on devices.

    It is stored there by its content: whole or not at all, verified by SHA-256 on the device, sent once.
    """
    from mobile.benchmark.models import open_model
    from mobile.benchmark.session import DeviceSession
    from mobile.deadline import Deadline
    from mobile.errors import EdgewiseError

    devices = open_inventory(ctx).select(list(names))
    model = open_model(Path(file))
    done: list[dict[str, Any]] = []
    failures: list[EdgewiseError] = []
    for device in devices:
        try:
            with (
                stderr_console().status(f"{device.name}: pushing {model.ref.name}"),
                DeviceSession.open(device) as session,
            ):
                path = session.push(model, Deadline(PUSH_LIMIT_S))
            done.append({"device": device.name, "path": path, "sha256": model.ref.sha256, "error": None})
        except EdgewiseError as error:
            failures.append(error)
            done.append({
                "device": device.name, "path": None, "sha256": model.ref.sha256,
                "error": {"code": error.code, "message": error.message, "hint": error.hint},
            })  # fmt: skip
    if as_json:
        print_json({"model": model.ref.name, "pushed": done})
    else:
        plain_table(
            ["device", "on the device"], [[row["device"], row["path"] or row["error"]["message"]] for row in done]
        )
    return max((error.exit_code for error in failures), default=0)
