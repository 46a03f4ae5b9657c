"""`edgewise profile`: what a model costs on a device, operator by operator and cut by cut."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mobile.cli.conditions import condition_options, conditions
from mobile.cli.output import json_option, open_inventory, open_store, print_json, print_table
from mobile.cli.parsing import bindings, cpu_list, number_list, scales, text_list

if TYPE_CHECKING:
    from mobile.inventory import Device
    from mobile.reports import Table
    from offload.costs.measure import Asked
    from offload.costs.profile import Profile
    from offload.costs.subject import Subject

SHOWN = 20  # pieces in the table; the JSON has all


@click.command("profile", short_help="Per-operator and per-cut times of a model on a device.")
@click.argument("file", type=click.Path())
@click.option("--on", "name", default="local", show_default=True, help="The device.", metavar="NAME")
@click.option(
    "--cuts", type=int, default=8, show_default=True, help="Heads and tails that are measured, at most.", metavar="N"
)
@click.option("--repeat", type=int, default=1, show_default=True, help="Rounds of all runs; the medians count.")
@click.option("--threads", callback=number_list, help="Threads of the runtime.", metavar="N")
@click.option("--provider", help="Execution provider; else the CPU.", metavar="P")
@click.option("--cpus", callback=cpu_list, help="CPUs that the worker may use: 0,2-3.", metavar="LIST")
@click.option("--dim", "dims", multiple=True, callback=bindings, help="Size of a symbolic dimension.", metavar="NAME=N")
@click.option("--inputs", type=click.Path(), help="Inputs (.npz or a folder), of which the first is used; else made.")
@click.option("--calibration", type=click.Path(), help="As --inputs: the data that `split plan` takes.", metavar="FILE")
@click.option(
    "--scale", multiple=True, callback=scales, help="Factor from uint8 data to a float input.", metavar="NAME=F"
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of made inputs.")
@click.option("--codecs", callback=text_list, help="Codecs that are timed on what crosses.", metavar="C,...")
@click.option("--duration", type=float, default=1.0, show_default=True, help="Shortest measured time of each run, s.")
@click.option("--min-count", type=int, default=20, show_default=True, help="Fewest measured inferences of each run.")
@click.option("--max-duration", type=float, default=60.0, show_default=True, help="Longest measured time of each, s.")
@condition_options
@click.option("--predict", is_flag=True, help="Run nothing there: predict from kept profiles of other models.")
@click.option(
    "--from", "sources", multiple=True, type=click.Path(), help="With --predict: these profiles.", metavar="PROFILE"
)
@click.option("--break-lock", is_flag=True, help="End a run of somebody else that is going on there.")
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Where the profile goes; else beside the runs.")
@json_option
@click.pass_context
def command(ctx: click.Context, /, file: str, name: str, output: str | None, as_json: bool, **asked: Any) -> int:
    """Per-operator and per-cut times of a model on a device.

    The runtime's own profile tells the operators apart; heads and tails of the model are run on the device at up to
    --cuts places, and the operators' times are corrected until they sum up to those. The result is kept beside the run
    store, or in the file that -o names; `edgewise split plan` takes it.
    """
    from mobile.errors import UsageError

    devices = open_inventory(ctx).select([name])
    if len(devices) != 1:
        raise UsageError(f"--on {name} names {len(devices)} devices, a profile is of one")
    if asked["sources"] and not asked["predict"]:
        raise UsageError("--from goes with --predict")
    subject = _subject(file, asked)
    made = (
        _predicted(ctx, subject, devices[0], asked) if asked["predict"] else _measured(ctx, subject, devices[0], asked)
    )
    path = _kept(ctx, made, output)
    if as_json:
        print_json(made.to_json())
        return 0
    for table in (pieces_table(made), cuts_table(made)):
        print_table(table)
    click.echo(f"kept in {path}", err=True)
    return 0


def _subject(file: str, asked: dict[str, Any]) -> Subject:
    from mobile.errors import UsageError
    from offload.costs.subject import open_subject

    if asked["inputs"] and asked["calibration"]:
        raise UsageError("--inputs and --calibration are the same here: give one")
    inputs = asked["inputs"] or asked["calibration"]
    return open_subject(
        Path(file),
        inputs=Path(inputs) if inputs else None,
        scale=asked["scale"],
        dims=asked["dims"],
        seed=asked["seed"],
    )


def _measured(ctx: click.Context, subject: Subject, device: Device, asked: dict[str, Any]) -> Profile:
    from mobile.cli.progress import BenchProgress
    from offload.costs.measure import profile

    plan = _asked(asked)
    with BenchProgress() as progress:
        return profile(subject, device, plan, open_store(ctx), progress.update)


def _asked(asked: dict[str, Any]) -> Asked:
    from mobile.benchmark import BenchOptions
    from mobile.errors import UsageError
    from offload.costs.measure import Asked
    from offload.model.coding import DEFAULT

    if len(asked["threads"]) > 1:
        raise UsageError("--threads: a profile is of one number of threads")
    options = BenchOptions(
        runner="ort",
        threads=asked["threads"] or (None,),
        provider=(asked["provider"],),
        cpus=asked["cpus"],
        warmup_duration_s=min(0.5, asked["duration"]),
        min_count=asked["min_count"],
        duration_s=asked["duration"],
        max_duration_s=asked["max_duration"],
        conditions=conditions(asked),
    )
    return Asked(
        options,
        cuts=asked["cuts"],
        repeat=asked["repeat"],
        codecs=asked["codecs"] or DEFAULT,
        break_lock=asked["break_lock"],
    )


def _predicted(ctx: click.Context, subject: Subject, device: Device, asked: dict[str, Any]) -> Profile:
    from offload.costs.features import features_of
    from offload.costs.predict import fit, of_place, predicted
    from offload.costs.profile import read_profile
    from offload.costs.shelf import all_kept, shelf_of

    given = [read_profile(Path(source)) for source in asked["sources"]]
    known = given or list(all_kept(shelf_of(open_store(ctx).path)))
    model = fit(of_place(known, device.name, subject.sha256))
    return predicted(subject, features_of(subject.model, subject.graph, subject.observed), model)


def _kept(ctx: click.Context, made: Profile, output: str | None) -> Path:
    from offload.costs.profile import write_profile
    from offload.costs.shelf import keep, shelf_of

    if output is None:
        return keep(shelf_of(open_store(ctx).path), made)
    write_profile(Path(output), made)
    return Path(output)


def pieces_table(made: Profile) -> Table:
    """The pieces that take longest, and under them what is to be known about the whole."""
    from mobile.reports import Table
    from mobile.reports.units import pretty_bytes, pretty_seconds, pretty_share

    order = sorted(range(len(made.pieces)), key=lambda index: made.pieces[index].head_s, reverse=True)
    sum_s = sum(piece.head_s for piece in made.pieces)
    rows = []
    for index in order[:SHOWN]:
        piece = made.pieces[index]
        rows.append(
            [
                str(index),
                piece.name,
                "+".join(piece.operators),
                pretty_seconds(piece.head_s),
                pretty_share(piece.head_s / sum_s if sum_s else None),
                pretty_seconds(piece.profiled_s),
                pretty_bytes(piece.weight_bytes),
                piece.how,
            ]
        )
    headers = ["piece", "name", "operators", "time", "share", "profiler's", "weights", "how"]
    return Table(headers, rows, [True, False, False, True, True, True, True, False], _notes(made))


def _notes(made: Profile) -> list[str]:
    from mobile.reports.units import pretty_degrees, pretty_seconds

    place = made.place
    setting = [f"{place.name} ({place.provenance})"]
    setting += [f"{place.runtime} {place.runtime_version}"] if place.runtime else []
    setting += [f"{place.threads or 'its own number of'} threads"]
    setting += [f"governor {place.governor}"] if place.governor else []
    setting += [f"slowed {place.slow_down:g} times"] if place.slow_down else []
    setting += [f"from {pretty_degrees(place.start_temperature_c)}"] if place.start_temperature_c is not None else []
    lines = [f"{made.model} on {', '.join(setting)}"]
    told = [piece.profiled_s for piece in made.pieces if piece.profiled_s is not None]
    whole = f"whole model: {pretty_seconds(made.whole_s)}, {made.how}"
    lines.append(f"{whole}; the profiler's operators sum up to {pretty_seconds(sum(told))}" if told else whole)
    if len(made.pieces) > SHOWN:
        lines.append(f"{len(made.pieces) - SHOWN} shorter pieces are left out here; --json has all")
    return lines + list(made.notes)


def cuts_table(made: Profile) -> Table:
    """The cuts that were measured: head, tail, what crosses; and how far the fit is from them."""
    from mobile.reports import Table
    from mobile.reports.units import pretty_bytes, pretty_seconds

    heads, tails = ({timed.cut: timed for timed in side} for side in (made.heads, made.tails))
    rows = []
    for cut in made.cuts:
        head, tail = heads.get(cut.cut), tails.get(cut.cut)
        rows.append(
            [
                str(cut.cut),
                made.pieces[cut.cut].name,
                pretty_seconds(head.seconds if head else None),
                pretty_seconds(tail.seconds if tail else None),
                pretty_bytes(cut.size_bytes),
                ", ".join(cut.values),
                "measured",
            ]
        )
    headers = ["cut", "before", "head", "tail", "crossing", "values", "how"]
    numeric = [True, False, True, True, True, False, False]
    off = [
        (t.residual_s, f"{kind} {t.cut}") for kind, side in (("head", made.heads), ("tail", made.tails)) for t in side
    ]
    worst = max(off, key=lambda one: abs(one[0]), default=None)
    notes = [] if worst is None else [f"largest difference of the fit: {pretty_seconds(worst[0])} ({worst[1]})"]
    return Table(headers, rows, numeric, notes)
