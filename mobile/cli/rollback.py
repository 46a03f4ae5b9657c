"""`edgewise rollback`: back to the version of a model that was in use before."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import click

from mobile.cli.output import json_option, open_inventory, plain_table, print_json

if TYPE_CHECKING:
    from mobile.inventory import Device, Inventory

LIMIT_S = 60.0


@click.command("rollback", short_help="Go back to the version of a model that was in use before.")
@click.argument("words", nargs=-1, required=True, metavar="[FILE] NAME...")
@json_option
@click.pass_context
def command(ctx: click.Context, words: tuple[str, ...], as_json: bool) -> int:
    """Go back to the version of a model that was in use before, on each device.

    FILE is the model's name, as it was pushed; it may be left out where a device has only one model in use. Repeated,
    it goes further back.
    """
    from mobile.errors import EdgewiseError

    name, devices = _split(open_inventory(ctx), words)
    rows: list[dict[str, Any]] = []
    failures: list[EdgewiseError] = []
    for device in devices:
        try:
            rows.append(_roll_back(device, name))
        except EdgewiseError as error:
            failures.append(error)
            rows.append({
                "device": device.name, "model": name, "path": None, "address": None, "switched_utc": None,
                "error": {"code": error.code, "message": error.message, "hint": error.hint},
            })  # fmt: skip
    if as_json:
        print_json({"rolled_back": rows})
    else:
        done = [row for row in rows if row["error"] is None]
        if done:
            table = [[row["device"], row["path"], row["address"][:12], row["switched_utc"]] for row in done]
            plain_table(["device", "in use", "version", "first used (UTC)"], table)
        for failure in failures:
            click.echo(f"failed: {failure.message}", err=True)
            if failure.hint:
                click.echo(f"  next: {failure.hint}", err=True)
    return max((failure.exit_code for failure in failures), default=0)


def _roll_back(device: Device, name: str | None) -> dict[str, Any]:
    from mobile.deadline import Deadline
    from mobile.push import DeviceStore
    from mobile.push.current import roll_back
    from mobile.transports import open_transport

    deadline = Deadline(LIMIT_S)
    transport = open_transport(device)
    try:
        store = DeviceStore(transport, device.workdir)
        model = name or _only_model(device, store, deadline)
        path, version = roll_back(store, model, deadline=deadline)
    finally:
        transport.close()
    return {
        "device": device.name, "model": model, "path": path, "address": version.address,
        "switched_utc": version.switched_utc, "error": None,
    }  # fmt: skip


def _only_model(device: Device, store: Any, deadline: Any) -> str:
    from mobile.errors import UsageError
    from mobile.push.current import in_use

    found = [model.name for model in in_use(store, deadline=deadline)]
    if len(found) != 1:
        there = ", ".join(found) or "none"
        raise UsageError(f"{device.name}: models in use: {there}", hint="name one: `edgewise rollback FILE NAME`")
    return found[0]


def _split(inventory: Inventory, words: tuple[str, ...]) -> tuple[str | None, list[Device]]:
    """The model's name, None when none was given, and the devices. The first word may be either; a device wins."""
    from mobile.errors import UsageError

    if words[0].startswith("@") or words[0] in inventory.devices:
        return None, inventory.select(list(words))
    if len(words) == 1:
        raise UsageError(f"{words[0]!r} is no device of the inventory", hint="`edgewise rollback [FILE] NAME...`")
    return PurePath(words[0]).name, inventory.select(list(words[1:]))
