"""`edgewise store`: what lies on a device, and freeing its space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mobile.cli.output import json_option, open_inventory, plain_table, print_json
from mobile.errors import AgentError

if TYPE_CHECKING:
    from mobile.deadline import Deadline
    from mobile.inventory import Device
    from mobile.push import DeviceStore
    from mobile.transports.base import Transport

LIMIT_S = 300.0


@click.command("store", short_help="What edgewise stored on a device: list it, or free its space.")
@click.argument("name")
@click.argument("action", type=click.Choice(["list", "prune"]))
@click.option("--keep", type=click.IntRange(min=1), metavar="N", help="prune: versions of each model to keep; else 2.")
@click.option("--all", "everything", is_flag=True, help="prune: everything of edgewise, runtimes and runs too.")
@json_option
@click.pass_context
def command(ctx: click.Context, name: str, action: str, keep: int | None, everything: bool, as_json: bool) -> int:
    """What edgewise stored on a device: list it, or free its space.

    `prune` spares the models in use and the version before each, for `edgewise rollback`; inputs and what was left of
    pushes that were cut go. With --all no trace of edgewise is left there.
    """
    from mobile.deadline import Deadline
    from mobile.push import DeviceStore
    from mobile.transports import open_transport

    if action == "list" and (keep is not None or everything):
        raise click.UsageError("--keep and --all belong to prune", ctx)
    if keep is not None and everything:
        raise click.UsageError("--keep and --all exclude each other", ctx)
    device = open_inventory(ctx).device(name)
    transport = open_transport(device)
    try:
        store, deadline = DeviceStore(transport, device.workdir), Deadline(LIMIT_S)
        if everything:
            _put_settings_back(device, transport, store, deadline)
        if action == "list":
            document = _list(store, deadline)
        else:
            document = _prune(store, deadline, 2 if keep is None else keep, everything)
    finally:
        transport.close()
    document = {"device": device.name, **document}
    if as_json:
        print_json(document)
    else:
        _show(document)
    return 0


def _list(store: DeviceStore, deadline: Deadline) -> dict[str, Any]:
    from mobile.push.current import in_use

    current = {(model.address, model.name) for model in in_use(store, deadline=deadline)}
    files = [
        {
            "name": file.name,
            "address": file.address,
            "size_bytes": file.size_bytes,
            "in_use": (file.address, file.name) in current,
            "path": file.path,
        }
        for file in store.stored(deadline=deadline)
    ]
    return {"files": files, "size_bytes": sum(file["size_bytes"] for file in files)}


def _prune(store: DeviceStore, deadline: Deadline, keep: int, everything: bool) -> dict[str, Any]:
    from mobile.push.current import in_use, kept_addresses

    if everything:
        freed_bytes = sum(file.size_bytes for file in store.stored(deadline=deadline))
        store.remove_all(deadline=deadline)
        return {"freed_bytes": freed_bytes, "kept": []}
    spared = kept_addresses(in_use(store, deadline=deadline), keep)
    freed_bytes = store.prune(deadline=deadline, keep=spared, incoming=True)
    return {"freed_bytes": freed_bytes, "kept": sorted({file.address for file in store.stored(deadline=deadline)})}


def _put_settings_back(device: Device, transport: Transport, store: DeviceStore, deadline: Deadline) -> None:
    """Nothing, once the settings that a run was cut with are put back: their journal is about to go."""
    from mobile.benchmark.agent import DeviceAgent

    open_books = ["sh", "-c", 'ls "$1"/*.json', "sh", f"{store.folder(deadline)}/journal"]
    if transport.run(open_books, deadline=deadline).exit_code == 0:
        left = DeviceAgent(device, transport, store).ask("runs", deadline=deadline).get("journal") or []
        for entry in left:
            raise AgentError(
                f"{device.name}: {entry.get('what')} is not as it was found ({entry.get('was')})",
                hint=f"`edgewise doctor {device.name}` says why; nothing was removed",
            )


def _show(document: dict[str, Any]) -> None:
    if "files" not in document:
        click.echo(f"{document['device']}: {document['freed_bytes'] / 1e6:.1f} MB freed")
        return
    rows = [
        [file["name"], f"{file['size_bytes'] / 1e6:.1f} MB", file["address"][:12], "in use" if file["in_use"] else ""]
        for file in document["files"]
    ]
    if rows:
        plain_table(["file", "size", "version", ""], rows, [f"{document['size_bytes'] / 1e6:.1f} MB in all"])
    else:
        click.echo(f"{document['device']}: nothing is stored there")
