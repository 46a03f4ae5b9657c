"""`edgewise setup`: gives devices a runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mobile.cli.output import json_option, open_inventory, plain_table, print_json
from mobile.errors import ConfigError, EdgewiseError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mobile.inventory import Device, Server
    from mobile.provision.setup import SetupOptions, SetupResult

STATES = {"done": "set up", "nothing-to-do": "nothing to do", "planned": "planned"}


@click.command("setup", short_help="Give devices a runtime, offline if they must.")
@click.argument("names", nargs=-1, required=True)
@click.option(
    "--runtime",
    type=click.Choice(["onnxruntime", "litert", "all"]),
    default="all",
    show_default=True,
    help="What models are run with: .onnx, .tflite or both.",
)
@click.option(
    "--wheels",
    type=click.Path(exists=True, file_okay=False),
    help="Folder with wheels that no registry has; they come first.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done; send and change nothing on the device.")
@click.option("--upgrade", is_flag=True, help="Ask the registries again instead of using this host's cache.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    names: tuple[str, ...],
    runtime: str,
    wheels: str | None,
    dry_run: bool,
    upgrade: bool,
    as_json: bool,
) -> int:
    """Give devices a runtime, offline if they must.

    A device needs no internet, no root and no Python: what it lacks is chosen and built on this host, kept in its
    cache, and put into the device's working folder. Nothing else there is touched. A second set-up changes nothing.
    Certificates of the inventory's servers (`ca_file`) go along.
    """
    from mobile.provision.plan import RUNTIMES
    from mobile.provision.setup import SetupOptions

    inventory = open_inventory(ctx)
    devices = inventory.select(list(names))
    options = SetupOptions(
        runtimes=RUNTIMES if runtime == "all" else (runtime,),
        any_will_do=runtime == "all",
        wheels=Path(wheels) if wheels else None,
        dry_run=dry_run,
        renew=upgrade,
        certificates=_certificates(inventory.servers.values()),
    )
    outcomes = [_one(device, options) for device in devices]
    if as_json:
        print_json({"devices": [_document(device, outcome) for device, outcome in zip(devices, outcomes, strict=True)]})
    else:
        _show(devices, outcomes)
    return max((outcome.exit_code for outcome in outcomes if isinstance(outcome, EdgewiseError)), default=0)


def _certificates(servers: Iterable[Server]) -> dict[str, bytes]:
    """The files of certificates that servers name, by the servers' names. ConfigError for one that cannot be read."""
    found = {}
    for server in servers:
        if server.ca_file is not None:
            try:
                found[server.name] = Path(server.ca_file).read_bytes()
            except OSError as error:
                words = f"{server.ca_file}: {error.strerror or error}"
                raise ConfigError(words, f"It is `ca_file` of server {server.name}.") from error
    return found


def _one(device: Device, options: SetupOptions) -> SetupResult | EdgewiseError:
    from mobile.deadline import Deadline
    from mobile.provision.setup import SETUP_LIMIT_S, setup_device

    try:
        return setup_device(
            device, options, lambda text: click.echo(f"{device.name}: {text}", err=True), Deadline(SETUP_LIMIT_S)
        )
    except EdgewiseError as error:  # one device that fails spoils nothing of the others
        return error


def _document(device: Device, outcome: SetupResult | EdgewiseError) -> dict[str, Any]:
    if not isinstance(outcome, EdgewiseError):
        return outcome.to_json()
    error = {"code": outcome.code, "message": outcome.message, "hint": outcome.hint}
    return {"device": device.name, "state": "failed", "error": error}


def _show(devices: list[Device], outcomes: list[SetupResult | EdgewiseError]) -> None:
    from mobile.provision.plan import megabytes
    from mobile.provision.wheels import versions

    rows, notes = [], []
    for device, outcome in zip(devices, outcomes, strict=True):
        if isinstance(outcome, EdgewiseError):
            rows.append([device.name, "failed", "", "", "", outcome.message])
            notes += [f"{device.name}: next: {outcome.hint}"] if outcome.hint else []
            continue
        size_bytes = sum(layer.unpacked_bytes for layer in outcome.layers)
        used = versions(outcome.runtimes)
        rows.append([
            device.name, STATES[outcome.state], outcome.kind, used, megabytes(size_bytes) if size_bytes else "none",
            outcome.reason,
        ])  # fmt: skip
        notes += [f"{device.name}: {note}" for note in outcome.notes]
    plain_table(["device", "", "how", "what", "on its disk", "because"], rows, notes)
