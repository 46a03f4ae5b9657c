"""`edgewise split bench` and `run`: a package on a device, against its alternatives or as a policy has it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mobile.cli.output import json_option, open_inventory, open_store, plain_table, print_json
from mobile.cli.parsing import options, rate, scales, seconds
from mobile.cli.results import exit_code, show

if TYPE_CHECKING:
    from device_agents.split.decide import Policy
    from device_agents.split.package import Package
    from mobile.benchmark import BenchOptions, Request
    from mobile.inventory import Server
    from mobile.results.run import Run
    from offload.plan.costs import Link
    from offload.running import Outcome, Variant


_options = options(
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
)


@click.command("bench", short_help="Local, server, best split and adaptive, side by side.")
@_options
@click.option(
    "--quality/--no-quality",
    default=True,
    show_default=True,
    help="Each item of --inputs once: accuracy where it has labels, else agreement with the whole model.",
)
@json_option
@click.pass_context
def bench(ctx: click.Context, /, as_json: bool, **asked: Any) -> int:
    """Local, server, best split and adaptive, side by side.

    Each is a run of its own on the device, stored like any other: latency, energy, heat, and what became of the frames.
    """
    from offload.running import variants

    package, link = open_package(asked["folder"]), _link(ctx, asked)
    tried = [(variant, _measure(ctx, asked, variant, link)) for variant in variants(package, link)]
    return _show(_with_quality(ctx, asked, link, tried), link, as_json, asked["deadline"])


@click.command("run", short_help="Run a package as a policy has it, and say what became of the frames.")
@_options
@click.option("--policy", type=click.Path(), help="Policy (YAML); left out, the fastest placement.", metavar="FILE")
@click.option("--detach", is_flag=True, help="Start the run, print its id, and leave; `attach` collects it.")
@json_option
@click.pass_context
def run(ctx: click.Context, /, policy: str | None, detach: bool, as_json: bool, **asked: Any) -> int:
    """Run a package as a policy has it, and say what became of the frames.

    `edgewise report RUN --frames` has every frame: where it ran and why, predicted and measured.
    """
    from offload.running import Variant

    open_package(asked["folder"])
    link = _link(ctx, asked)
    chosen = _policy(policy)
    variant = Variant(chosen.policy, chosen)
    if detach:
        return _detached(ctx, asked, variant, link, as_json)
    outcomes = [_measure(ctx, asked, variant, link)]
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
    from offload.running import outcome

    request = _request(ctx, asked, _bench_options(ctx, asked, variant, link), detach=False)
    run = only_run(request, variant.name)
    return None if run is None else outcome(variant.name, run, asked["deadline"])


def only_run(request: Request, what: str) -> Run | None:
    """The run of a request for one; None when it failed, which is said of ``what``."""
    from mobile.benchmark import Failure
    from mobile.cli.progress import BenchProgress
    from mobile.results.run import Run

    with BenchProgress() as progress, closing(request.outcomes(progress.update)) as told:
        found = [result for _, result in told]
    for result in found:
        if isinstance(result, Run):
            return result
    failure = next((result for result in found if isinstance(result, Failure)), None)
    if failure is not None:
        _failed(what, failure.message, failure.hint)
    return None


def _bench_options(ctx: click.Context, asked: dict[str, Any], variant: Variant, link: Link) -> BenchOptions:
    from mobile.benchmark import BenchOptions
    from offload.running import LOCAL, settings

    server = None if variant.name == LOCAL else _server(ctx, asked)
    return BenchOptions(
        threads=(asked["threads"],),
        inputs=Path(asked["inputs"]) if asked["inputs"] else None,
        input_scale=asked["scale"],
        duration_s=asked["duration"],
        max_duration_s=max(BenchOptions.max_duration_s, asked["duration"]),
        min_count=asked["min_count"],
        split=settings(variant.policy, server, link, asked["deadline"]),
    )


def _request(ctx: click.Context, asked: dict[str, Any], options: BenchOptions, *, detach: bool) -> Request:
    from mobile.benchmark import Manner, Request

    inventory, store = open_inventory(ctx), open_store(ctx)
    manner = Manner(detach=detach)
    return Request.of([asked["folder"]], [asked["device"]], options, inventory=inventory, store=store, manner=manner)


def _detached(ctx: click.Context, asked: dict[str, Any], variant: Variant, link: Link, as_json: bool) -> int:
    """The exit code, once the run goes on by itself; its id is told."""
    from mobile.benchmark import BenchResult
    from mobile.cli.progress import BenchProgress

    request = _request(ctx, asked, _bench_options(ctx, asked, variant, link), detach=True)
    with BenchProgress() as progress, closing(request.outcomes(progress.update)) as told:
        result = BenchResult.in_order(dict(told))
    show(result, as_json)
    if result.left and not as_json:
        click.echo("next: `edgewise attach` waits for it and stores it, `edgewise report RUN --frames` has its frames")
    return exit_code(result, require_valid=False)


def _with_quality(
    ctx: click.Context, asked: dict[str, Any], link: Link, tried: list[tuple[Variant, Outcome | None]]
) -> list[Outcome | None]:
    """The outcomes with how often each variant is right on the items of --inputs; as they are without such."""
    from dataclasses import replace

    from mobile.benchmark import classes
    from mobile.errors import EdgewiseError
    from offload.running import LOCAL, quality

    if not asked["inputs"] or not asked["quality"]:
        return [outcome for _, outcome in tried]
    device, labels = open_inventory(ctx).device(asked["device"]), _labels(asked["inputs"])
    whole: list[int] | None = None
    found: list[Outcome | None] = []
    for variant, outcome in tried:
        try:
            if outcome is not None:
                options = _bench_options(ctx, asked, variant, link)
                top1 = list(classes(asked["folder"], Path(asked["inputs"]), device, options).top1)
                whole = top1 if variant.name == LOCAL else whole
                outcome = replace(outcome, quality=quality(top1, labels, whole))
        except EdgewiseError as error:
            _failed(f"{variant.name}: quality", str(error), error.hint)
        found.append(outcome)
    return found


def _labels(inputs: str) -> list[int] | None:
    """The labels in the inputs' file; None, which is said, where there are none."""
    from mobile.benchmark.quality import read_labels
    from mobile.errors import InputError

    try:
        return read_labels(Path(inputs))
    except InputError:
        click.echo("no labels in --inputs: instead of accuracy, the agreement with the whole model", err=True)
        return None


def _failed(what: str, message: str, hint: str | None) -> None:
    click.echo(f"failed: {what}: {message}", err=True)
    if hint:
        click.echo(f"  next: {hint}", err=True)


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
    measure = next((one.quality.measure for one, _ in rows if one.quality is not None), None)
    headers += [measure] if measure is not None else []
    plain_table(headers, [_row(one, found, deadline_s, measure) for one, found in rows])
    click.echo(
        f"believed of the link at first: {link.uplink_bps / 1e6:.4g} Mbit/s up, {link.downlink_bps / 1e6:.4g} down,"
        f" {link.rtt_s * 1e3:.3g} ms ({link.how}); provenance {', '.join(sorted({o.run.provenance for o, _ in rows}))}"
    )
    return code


def _row(one: Outcome, found: dict[str, Any], deadline_s: float | None, measure: str | None) -> list[str]:
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
    row += [pretty_share(one.missed)] if deadline_s is not None else []
    right = one.quality
    told = "-" if right is None else f"{right.share:.1%} ({right.low:.1%} to {right.high:.1%} of {right.items})"
    return [*row, told] if measure is not None else row
