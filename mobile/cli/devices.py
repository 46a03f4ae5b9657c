"""`edgewise devices`: what the inventory holds, whether it answers, and what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mobile.cli.output import json_option, open_inventory, plain_table, print_json, stderr_console
from mobile.cli.results import age

if TYPE_CHECKING:
    from mobile.benchmark.remote_run import RemoteRun
    from mobile.probe import Probe

HEADERS = ["device", "kind", "reachable", "model", "cores", "clock", "governor", "memory", "system", "runtimes"]


@click.command("devices", short_help="The devices of the inventory: reachable or not, and what they are.")
@click.argument("names", nargs=-1)
@click.option("--no-probe", is_flag=True, help="List the inventory only; contact no device.")
@json_option
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...], no_probe: bool, as_json: bool) -> int:
    """The devices of the inventory: reachable or not, and what they are.

    NAMES are devices, groups or tags (@pis); without any, all. With one name, its sensors are listed too.
    Runs that devices keep (detached, or left behind) are listed below.
    """
    from mobile.probe import probe_all

    inventory = open_inventory(ctx)
    devices = inventory.select(list(names) or ["@all"])
    if no_probe:
        listed = [{"name": device.name, "kind": device.kind, "transport": device.transport} for device in devices]
        if as_json:
            print_json({"devices": listed})
        else:
            plain_table(["device", "kind", "transport"], [list(row.values()) for row in listed])
        return 0
    with stderr_console().status("asking the devices"):
        probes = probe_all(devices)
    if as_json:
        print_json({"devices": [probe.to_json() for probe in probes]})
    else:
        _show(probes)
    failed = [probe.error for probe in probes if probe.error is not None]
    return max((error.exit_code for error in failed), default=0)


def _show(probes: list[Probe]) -> None:
    plain_table(HEADERS, [_row(probe) for probe in probes])
    for probe in probes:
        if probe.error is not None:
            of = "" if probe.error.message.startswith(f"{probe.device.name}:") else f"{probe.device.name}: "
            click.echo(of + probe.error.message, err=True)
            if probe.error.hint:
                click.echo(f"  next: {probe.error.hint}", err=True)
    if len(probes) == 1 and probes[0].error is None:
        _show_sensors(probes[0].sensors)
        _show_missing(probes[0].facts)
    _show_runs(probes)


def _show_runs(probes: list[Probe]) -> None:
    """The runs that devices keep: going on, or left behind."""
    kept = [(probe.device.name, run) for probe in probes for run in probe.runs]
    if not kept:
        return
    rows = [
        [run.id, device, run.model.name, f"{run.state}{_reader(run)}", age(run.age_s), _owner(run)]
        for device, run in kept
    ]
    plain_table(["run", "device", "model", "state", "age", "started by"], rows)
    click.echo("`edgewise attach RUN` collects a run and removes it from its device")


def _reader(run: RemoteRun) -> str:
    return ", being read" if run.reader else ""


def _owner(run: RemoteRun) -> str:
    user, host = run.owner.get("user"), run.owner.get("host")
    return f"{user or 'unknown'}@{host or 'unknown'}"


def _row(probe: Probe) -> list[str]:
    device, facts = probe.device, probe.facts
    if probe.error is not None:
        return [device.name, device.kind, "no", *[""] * (len(HEADERS) - 3)]
    return [
        device.name,
        device.kind,
        "yes" + ("" if device.provenance == "real" else f" ({device.provenance})"),
        _text(facts.get("model")),
        _text(facts.get("cores")),
        _clock(facts),
        _text(facts.get("governor")),
        _gibibytes(facts.get("memory_bytes")),
        _text(facts.get("os")),
        _runtimes(facts),
    ]


def _text(value: Any) -> str:
    return "unknown" if value is None else str(value)


def _gibibytes(size_bytes: int | None) -> str:
    return "unknown" if size_bytes is None else f"{size_bytes / 2**30:.1f} GiB"


def _clock(facts: dict[str, Any]) -> str:
    clocks = sorted({cluster["max_hz"] for cluster in facts.get("cpu_clusters") or [] if cluster.get("max_hz")})
    return " + ".join(f"{hz / 1e9:.2f} GHz" for hz in clocks) or "unknown"


def _runtimes(facts: dict[str, Any]) -> str:
    found = [
        f"{runtime['name']} {runtime['version']}" for runtime in facts.get("runtimes") or [] if runtime.get("version")
    ]
    return ", ".join(found) or "none"


def _show_sensors(sensors: list[dict[str, Any]]) -> None:
    rows = [
        [
            sensor["name"],
            sensor["state"],
            sensor.get("unit") or "",
            sensor.get("scope") or "",
            sensor.get("reason") or "",
        ]
        for sensor in sensors
    ]
    plain_table(["sensor", "state", "unit", "scope", "why not"], rows)


def _show_missing(facts: dict[str, Any]) -> None:
    for name, reason in (facts.get("missing") or {}).items():
        click.echo(f"{name} is unknown: {reason}")
    for runtime in facts.get("runtimes") or []:
        if runtime.get("providers"):
            click.echo(f"{runtime['name']} {runtime['version']} offers {', '.join(runtime['providers'])}")
        if runtime.get("error"):
            click.echo(f"{runtime['name']} does not load: {runtime['error']}")
