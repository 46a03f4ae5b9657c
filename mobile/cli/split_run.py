"""`edgewise split bench` and `run`: a package on a device, against its alternatives or as a policy has it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mobile.cli.output import json_option, open_inventory, open_store, plain_table, print_json
from mobile.cli.parsing import rate, scales, seconds

if TYPE_CHECKING:
    from device_agents.split.decide import Policy
    from device_agents.split.package import Package
    from mobile.inventory import Server
    from offload.plan.costs import Link
    from offload.running import Outcome, Variant


def _options(act: Any) -> Any:
    options = [
        click.argument("folder", type=click.Path()),
        click.option("--on", "device", default="local", show_default=True, help="The device.", metavar="NAME"),
        click.option("--server", help="A server of the inventory.", metavar="NAME"),
        click.option("--uplink", callback=rate, help="What is believed of the link at first.", metavar="RATE"),
        click.option("--downlink", callback=rate, help="Left out, as the uplink.", metavar="RATE"),
        click.option("--rtt", callback=seconds, default="20ms", show_default=True, help="Round trip.", metavar="TIME"),
        click.option("--deadline", callback=seconds, help="By when each frame must be answered.", metavar="TIME"),
        click.option("--inputs", type=click.Path(), help="Inputs as .npz; else random.", metavar="FILE"),
        click.option("--scale", multiple=True, callback=scales, help="Factor to a float input.", metavar="NAME=F"),
        click.option("--duration", type=float, default=3.0, show_default=True, help="Shortest measured time, s."),
        click.option("--min-count", type=int, default=50, show_default=True, help="Fewest measured frames."),
        click.option("--threads", type=click.IntRange(min=1), help="Threads of the device's runtime."),
    ]
    for option in reversed(options):
        act = option(act)
    return act


@click.command("bench", short_help="Local, server, best split and adaptive, side by side.")
@_options
@json_option
@click.pass_context
def bench(ctx: click.Context, /, as_json: bool, **asked: Any) -> int:
    """Local, server, best split and adaptive, side by side.

    Each is a run of its own on the device, stored like any other: latency, energy, heat, and what became of the frames.
    """
    from offload.running import variants

    package, link = open_package(asked["folder"]), _link(ctx, asked)
    outcomes = [_measure(ctx, asked, variant, link) for variant in variants(package, link)]
    return _show(outcomes, link, as_json, asked["deadline"])


@click.command("run", short_help="Run a package as a policy has it, and say what became of the frames.")
@_options
@click.option("--policy", type=click.Path(), help="Policy (YAML); left out, the fastest placement.", metavar="FILE")
@json_option
@click.pass_context
def run(ctx: click.Context, /, policy: str | None, as_json: bool, **asked: Any) -> int:
    """Run a package as a policy has it, and say what became of the frames."""
    from offload.running import Variant

    open_package(asked["folder"])
    link = _link(ctx, asked)
    chosen = _policy(policy)
    outcomes = [_measure(ctx, asked, Variant(chosen.policy, chosen), link)]
    return _show(outcomes, link, as_json, asked["deadline"])


def open_package(folder: str) -> Package:
    """The package in a folder. ModelError when it is not in order."""
    from device_agents.split.package import PackageError, read
    from mobile.errors import ModelError

    try:
        return read(folder)
    except PackageError as error:
        raise ModelError(f"{folder}: {error}", "`edgewise split package` makes one.") from error


def _policy(path: str | None) -> Policy:
    from device_agents.split.decide import Policy

    if path is None:
        return Policy("latency")
    from offload.policy import load_policy

    return load_policy(Path(path))


def _server(ctx: click.Context, asked: dict[str, Any]) -> Server:
    return open_inventory(ctx).server(asked["server"] or "local")


def _link(ctx: click.Context, asked: dict[str, Any]) -> Link:
    """What was given, else the inventory's link between the two, else 20 Mbit/s (assumed)."""
    from offload.plan.costs import ASSUMED, MEASURED, Link

    if asked["uplink"] is not None:
        return Link(asked["uplink"], asked["downlink"] or asked["uplink"], asked["rtt"])
    for link in open_inventory(ctx).links:
        if (link.device, link.server) == (asked["device"], asked["server"] or "local"):
            how = ASSUMED if link.assumed else MEASURED
            return Link(link.uplink_bps, link.downlink_bps, link.rtt_s, how)
    return Link(20e6, 20e6, asked["rtt"])


def _measure(ctx: click.Context, asked: dict[str, Any], variant: Variant, link: Link) -> Outcome | None:
    """The variant's outcome; None when it failed, which is said."""
    from mobile.benchmark import BenchOptions, Failure, Request
    from mobile.cli.progress import BenchProgress
    from mobile.results.run import Run
    from offload.running import LOCAL, outcome, settings

    server = None if variant.name == LOCAL else _server(ctx, asked)
    options = BenchOptions(
        threads=(asked["threads"],),
        inputs=Path(asked["inputs"]) if asked["inputs"] else None,
        input_scale=asked["scale"],
        duration_s=asked["duration"],
        min_count=asked["min_count"],
        split=settings(variant.policy, server, link, asked["deadline"]),
    )
    request = Request.of(
        [asked["folder"]], [asked["device"]], options, inventory=open_inventory(ctx), store=open_store(ctx)
    )
    with BenchProgress() as progress, closing(request.outcomes(progress.update)) as told:
        found = [result for _, result in told]
    for result in found:
        if isinstance(result, Run):
            return outcome(variant.name, result, asked["deadline"])
    failure = next((result for result in found if isinstance(result, Failure)), None)
    if failure is not None:
        click.echo(f"failed: {variant.name}: {failure.message}", err=True)
        if failure.hint:
            click.echo(f"  next: {failure.hint}", err=True)
    return None


def _show(outcomes: list[Outcome | None], link: Link, as_json: bool, deadline_s: float | None) -> int:
    """The exit code: 1 when a variant failed."""
    from dataclasses import asdict

    from mobile.results.figures import figures

    rows = [(one, figures(one.run)) for one in outcomes if one is not None]
    code = int(len(rows) < len(outcomes))
    if as_json:
        document = [{**one.to_json(), "figures": found} for one, found in rows]
        print_json({"variants": document, "link": asdict(link), "deadline_s": deadline_s})
        return code
    if not rows:
        return code
    headers = ["variant", "placement", "p50", "p99", "per frame up", "fallbacks", "as predicted", "energy", "verdict"]
    headers += ["missed"] if deadline_s is not None else []
    plain_table(headers, [_row(one, found, deadline_s) for one, found in rows])
    click.echo(
        f"believed of the link at first: {link.uplink_bps / 1e6:.4g} Mbit/s up, {link.downlink_bps / 1e6:.4g} down,"
        f" {link.rtt_s * 1e3:.3g} ms ({link.how}); provenance {', '.join(sorted({o.run.provenance for o, _ in rows}))}"
    )
    return code


def _row(one: Outcome, found: dict[str, Any], deadline_s: float | None) -> list[str]:
    from mobile.reports.units import pretty_bytes, pretty_joules, pretty_seconds, pretty_share

    energy = found["energy"] or {}
    ratio = one.predicted_ratio
    row = [
        one.name,
        ", ".join(f"{name} ({count})" for name, count in one.placements.items()) or "-",
        pretty_seconds(found["latency_s"]["p50"]),
        pretty_seconds(found["latency_s"]["p99"]),
        pretty_bytes(one.bytes_up_per_frame),
        ", ".join(f"{kind}: {count}" for kind, count in one.fallbacks.items()) or "none",
        "-" if ratio is None else f"{ratio:.2f} x",
        pretty_joules(energy.get("per_inference_j")),
        found["verdict"],
    ]
    return [*row, pretty_share(one.missed)] if deadline_s is not None else row
