"""`edgewise split`: where the layers of a model run best, and the package that runs them there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mobile.cli.output import json_option, open_inventory, plain_table, print_json
from mobile.cli.parsing import bindings, options, rate, scales, seconds, text_list
from mobile.cli.split_aim import aim, aim_json, aim_options, best_said, power
from mobile.cli.split_calibrate import calibrate
from mobile.cli.split_run import bench, run
from mobile.cli.split_tails import tails

if TYPE_CHECKING:
    from device_agents.split.package import Package
    from offload.package.verify import Evidence
    from offload.plan.costs import Link
    from offload.planning import Plan, Request

SHOWN = 8  # placements in the table; the JSON has all


@click.group("split", short_help="Place a model's layers on a device and a server, and run it split.")
def command() -> None:
    """Place a model's layers on a device and a server, and run it split.

    First `edgewise profile FILE --on NAME -o NAME.json` for the device and for the server's machine, then
    `edgewise link DEVICE SERVER`; what was not measured can be given, and is then called assumed.
    """


_planning = options(
    click.argument("file", type=click.Path()),
    click.option("--device", required=True, type=click.Path(), help="Profile of the device.", metavar="FILE"),
    click.option("--server", required=True, type=click.Path(), help="Profile of the server.", metavar="FILE"),
    click.option("--link", nargs=2, help="A link of the inventory.", metavar="DEVICE SERVER"),
    click.option("--uplink", callback=rate, help="Instead: assumed rate, such as 20Mbit/s.", metavar="RATE"),
    click.option("--downlink", callback=rate, help="Assumed rate; left out, as the uplink.", metavar="RATE"),
    click.option("--rtt", callback=seconds, default="20ms", show_default=True, help="Round trip.", metavar="TIME"),
    click.option("--request", "request_s", callback=seconds, help="A request's own time, see `split tails`."),
    click.option("--calibration", type=click.Path(), help="Inputs: .npz or a folder; else made.", metavar="FILE"),
    click.option("--scale", multiple=True, callback=scales, help="Factor to a float input.", metavar="NAME=F"),
    click.option("--dim", "dims", multiple=True, callback=bindings, help="Size of a dimension.", metavar="NAME=N"),
    click.option("--codecs", callback=text_list, help="Codecs to choose from.", metavar="C,..."),
    click.option("--pin", "pinned", multiple=True, help="A piece that stays on the device.", metavar="PIECE"),
    click.option("--keep-input", is_flag=True, help="The raw input never leaves the device."),
    click.option("--return-hops", is_flag=True, help="Values may come back, not only outputs."),
    click.option("--with-split", is_flag=True, help="The best split is there even where it is best nowhere."),
    aim_options,
    click.option("--seed", type=int, default=0, show_default=True, help="Seed of generated inputs."),
)


@command.command("plan", short_help="The best placement, what else there is, and what would change it.")
@_planning
@json_option
@click.pass_context
def plan(ctx: click.Context, /, as_json: bool, **asked: Any) -> int:
    """The best placement, what else there is, and what would change it.

    All on the device and all on the server are always among them. Latencies are predicted from the profiles.
    """
    from offload.planning import Planner

    made = Planner(_request(ctx, asked)).plan()
    if as_json:
        print_json(plan_json(made))
    else:
        _show_plan(made)
    return 0


@command.command("package", short_help="Write the parts of the best placements, proven against the whole model.")
@_planning
@click.option("-o", "--output", required=True, type=click.Path(), help="Folder of the package.", metavar="FOLDER")
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 1),
    default=0.99,
    show_default=True,
    help="Share of samples on which the first output's arg-max must be the whole model's.",
)
@click.option("--triton", type=click.Path(), help="Write a model repository for a tritonserver, too.", metavar="FOLDER")
@json_option
@click.pass_context
def package(
    ctx: click.Context, /, output: str, min_agreement: float, triton: str | None, as_json: bool, **asked: Any
) -> int:
    """Write the parts of the best placements, proven against the whole model.

    The package holds every placement that is best at some bandwidth or server load, so that the device can change
    between them. A codec that changes the answers is left out and all is planned anew.

    For a tritonserver, which knows nothing of codecs, the models decode fp16, q8, q4 and q2 themselves: plan with those
    (`--codecs`).
    """
    from dataclasses import replace

    from offload.planning import Planner

    planner = Planner(replace(_request(ctx, asked), min_agreement=min_agreement))
    written, made, evidence = planner.package(Path(output))
    uncoded = _write_repository(Path(triton), output) if triton is not None else []
    if as_json:
        print_json({**plan_json(made), "package": package_json(written, evidence)})
    else:
        _show_plan(made)
        _show_package(written, evidence)
    for name in uncoded:
        click.echo(f"edgewise: warning: {name} takes its inputs uncoded from a tritonserver", err=True)
    return 0


def _write_repository(folder: Path, package: str) -> list[str]:
    """Models that a tritonserver takes uncoded only; the repository of the package's models stands in the folder."""
    from offload.serve import models, triton_repository

    return triton_repository.write(folder, models.load([package]))


def _request(ctx: click.Context, asked: dict[str, Any]) -> Request:
    from offload.costs.profile import read_profile
    from offload.model.coding import DEFAULT
    from offload.planning import Request

    wanted = aim(asked)
    device = read_profile(Path(asked["device"]))
    return Request(
        model=Path(asked["file"]),
        device=device,
        server=read_profile(Path(asked["server"])),
        link=_link(ctx, asked),
        power=power(device, asked),
        calibration=Path(asked["calibration"]) if asked["calibration"] else None,
        scale=asked["scale"],
        dims=asked["dims"],
        codecs=asked["codecs"] or DEFAULT,
        pinned=asked["pinned"],
        keep_input=asked["keep_input"],
        bidirectional=asked["return_hops"],
        request_s=asked["request_s"] or 0.0,
        with_split=asked["with_split"],
        seed=asked["seed"],
        aim=wanted,
    )


def _link(ctx: click.Context, asked: dict[str, Any]) -> Link:
    from mobile.errors import UsageError
    from offload.plan.costs import ASSUMED, MEASURED, Link

    if asked["link"]:
        device, server = asked["link"]
        for link in open_inventory(ctx).links:
            if (link.device, link.server) == (device, server):
                how = ASSUMED if link.assumed else MEASURED
                return Link(link.uplink_bps, link.downlink_bps, link.rtt_s, how)
        raise UsageError(
            f"the inventory has no link from {device} to {server}", f"`edgewise link {device} {server}` measures it."
        )
    if asked["uplink"] is None:
        raise UsageError("the link is not known", "Name one with --link DEVICE SERVER, or assume one with --uplink.")
    return Link(asked["uplink"], asked["downlink"] or asked["uplink"], asked["rtt"])


def plan_json(made: Plan) -> dict[str, Any]:
    """The document of `edgewise split plan --json`."""
    from dataclasses import asdict

    link = made.request.link
    return {
        "model": {"name": made.source.name, "sha256": made.source.sha256, "pieces": len(made.source.graph.pieces)},
        "link": asdict(link),
        "costs": made.costs.how,
        "device": asdict(made.request.device.place),
        "server": asdict(made.request.server.place),
        "placements": [
            {
                "id": made.id_of(candidate),
                "label": candidate.label,
                "predicted": asdict(candidate.price),
                "crossings": _crossings(made, candidate.line),
                "server_pieces": [n for n, there in zip(made.costs.pieces, candidate.line.sides, strict=True) if there],
            }
            for candidate in made.found
        ],
        "changes": [asdict(change) for change in made.changes],
        "power": None if made.request.power is None else asdict(made.request.power),
        "aim": aim_json(made),
        "notes": list(made.notes),
    }


def _crossings(made: Plan, line: Any) -> list[dict[str, Any]]:
    from device_agents.split.codecs import parse

    told = []
    for crossing in line.crossings:
        value = made.costs.values[crossing.tensor]
        way = (value.up if crossing.up else value.down)[crossing.way]
        measured = next((one for one in made.codings.get(value.name, ()) if one.codec == way.codec), None)
        told.append(
            {
                "value": value.name,
                "up": crossing.up,
                "codec": way.codec,
                "bits": way.bits,
                "lossy": not parse(way.codec).lossless,
                "relative_rms_error": None if measured is None else measured.error,
            }
        )
    return told


def _said_crossing(crossing: dict[str, Any]) -> str:
    """A value and its codec; of one that loses something, how much that is on the samples."""
    error = crossing["relative_rms_error"]
    lost = f" (lossy, {error:.2g} off)" if crossing["lossy"] and error is not None else ""
    return f"{crossing['value']} as {crossing['codec']}{lost}"


def _show_plan(made: Plan) -> None:
    from mobile.reports.units import pretty_bytes, pretty_joules, pretty_seconds

    rows = []
    for candidate in made.found[:SHOWN]:
        price = candidate.price
        crossing = ", ".join(_said_crossing(c) for c in _crossings(made, candidate.line) if c["up"])
        rows.append(
            [
                made.id_of(candidate) or "-",
                candidate.label,
                pretty_seconds(price.latency_s),
                pretty_seconds(price.device_s),
                pretty_seconds(price.server_s),
                pretty_seconds(price.network_s),
                pretty_bytes(price.up_bits / 8),
                pretty_joules(price.energy_j),
                crossing or "-",
            ]
        )
    headers = ["id", "runs", "latency", "device", "server", "network", "sent", "energy", "what crosses"]
    plain_table(headers, rows)
    link = made.request.link
    click.echo(
        f"predicted for a link of {link.uplink_bps / 1e6:.4g} Mbit/s up, {link.downlink_bps / 1e6:.4g} down,"
        f" {pretty_seconds(link.rtt_s)} round trip ({link.how}); device times {made.costs.how.get('device_s')},"
        f" server times {made.costs.how.get('server_s')}, coding times {made.costs.how.get('codec_s')}"
    )
    if made.request.power is not None:
        click.echo(f"power: {made.request.power.source}")
    if made.aimed is not None:
        click.echo(best_said(made, made.aimed))
    for change in made.changes:
        click.echo(_said(change))
    for note in made.notes:
        click.echo(note)


def _said(change: Any) -> str:
    if change.quantity == "uplink_bps":
        way = "above" if change.rising else "below"
        return f"{way} {change.at / 1e6:.4g} Mbit/s of uplink another is best: {change.winner}"
    who = "the server" if change.quantity == "slow_down" else "the device"
    return f"from {change.at:.3g} times slower on, {who} makes another best: {change.winner}"


def package_json(written: Package, evidence: list[Evidence]) -> dict[str, Any]:
    """What `edgewise split package --json` has under "package" beside the plan."""
    return {
        "path": written.path,
        "id": written.id,
        "name": written.name,
        "placements": list(written.placements),
        "evidence": [one.to_json() for one in evidence],
    }


def _show_package(written: Package, evidence: list[Evidence]) -> None:
    worst = max(evidence, key=lambda one: one.uncoded)
    least = min(evidence, key=lambda one: one.top1_agreement)
    click.echo(
        f"{written.path}: {len(written.placements)} placements, id {written.id[:12]}; uncoded parts differ from the"
        f" whole by at most {worst.uncoded:.2g} of the output's largest value; as coded the arg-max agrees on at least"
        f" {least.top1_agreement:.1%} of {least.samples} samples"
    )


command.add_command(bench)
command.add_command(calibrate)
command.add_command(run)
command.add_command(tails)
