"""`edgewise export`: a model into a verified artifact."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from mobile.cli.output import json_option, open_inventory, plain_table, print_json, stderr_console
from mobile.cli.parsing import bindings, scales


@click.command("export", short_help="Export a model to a verified artifact.")
@click.argument("source")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), help="The artifact's file.")
@click.option("--format", "form", type=click.Choice(["onnx", "tflite"]), help="Its format; else by FILE's suffix.")
@click.option("--scheme", help="Compress: int8, w8a16 (calibrated), int8-dynamic, or weights, as ternary or a.*=int4.")
@click.option("--budget", help="For --scheme auto: what is allowed, as size<=4MB,drop<=0.5%.")
@click.option("--weights", type=click.Path(), help="Compressed weights: a compressed spec, or a checkpoint.")
@click.option("--names", multiple=True, metavar="THEIRS=OURS", help="A name there and in the graph, or a JSON file.")
@click.option("--adapter", type=click.Choice(["merge", "apart"]), default="merge", show_default=True, help="Of LoRA.")
@click.option("--rows", type=int, help="Rows of matrix products (tokens x batch) where the graph leaves them open.")
@click.option("--target", help="What it must run on: ort:1.19, litert:2.3, tflite:2.14, or a device's name.")
@click.option("--calibration", type=click.Path(), help="Inputs: .npz, folder of .npy, file.py:function.")
@click.option("--timesteps", metavar="NAME[:STEPS[:EACH]]", help="Calibrate evenly over an input's values, as t:20:8.")
@click.option("--labels", metavar="KEY", help="Array of class numbers in --inputs: the accuracy is measured.")
@click.option("--split-shortcuts", is_flag=True, help="Quantise the branches of a Concat before a Conv apart.")
@click.option("--keep-reference", is_flag=True, help="Keep the dequantised reference's answers, for `edgewise verify`.")
@click.option("--inputs", type=click.Path(), help="Inputs for the check against the source, as .npz; else generated.")
@click.option(
    "--scale", multiple=True, callback=scales, help="Factor from uint8 data to a float input.", metavar="NAME=F"
)
@click.option("--dim", "dims", multiple=True, callback=bindings, help="Size of a symbolic dimension.", metavar="NAME=N")
@click.option(
    "--input",
    "example",
    multiple=True,
    help="Input of file.py:factory, as image:1x3x224x224:float32; by the names of forward().",
    metavar="NAME:SHAPE:DTYPE",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of generated inputs.")
@json_option
@click.pass_context
def command(ctx: click.Context, /, source: str, output: str, form: str | None, as_json: bool, **asked: Any) -> int:
    """Export a model to a verified artifact.

    SOURCE is a .onnx file, a torch.export program (.pt2), or file.py:factory, where factory() returns a
    torch.nn.Module. The result is compared with the source on real or generated inputs before it takes its place;
    beside it lies its manifest.
    """
    import exporters

    form = form or ("tflite" if output.endswith(".tflite") else "onnx")
    auto = asked["scheme"] == "auto"
    if auto != (asked["budget"] is not None):
        raise click.UsageError("--scheme auto and --budget belong together", ctx)
    if auto and form != "onnx":
        raise click.UsageError("--scheme auto searches among .onnx artifacts", ctx)
    with stderr_console().status(f"exporting {source}") as status:
        say = partial(_say, status, source)
        options = _options(ctx, asked, form)
        trials = _search(ctx, source, asked, options, say) if auto else None
        if trials is not None:
            if not as_json:
                _show(trials)
            options["scheme"] = trials.need_chosen().scheme
            if options["scheme"] not in STATIC:
                options["calibration"] = options["timesteps"] = None
        result = exporters.export(source, Path(output), format=form, progress=say, **options)
    if as_json:
        print_json({**result.to_json(), **({"auto": trials.to_json()} if trials is not None else {})})
        return 0
    for line in result.lines():
        click.echo(line)
    return 0


STATIC = ("int8", "w8a16")  # schemes that are calibrated


def _say(status: Any, source: str, step: str) -> None:
    status.update(f"exporting {source}: {step}")


def _options(ctx: click.Context, asked: dict[str, Any], form: str) -> dict[str, Any]:
    """The keyword arguments of `exporters.export`, but for the format."""
    target, probe = _target(ctx, asked["target"], form)
    return {
        "scheme": asked["scheme"],
        "target": target,
        "probe": probe,
        "weights": Path(asked["weights"]) if asked["weights"] else None,
        "names": _names(asked["names"]),
        "adapter": asked["adapter"],
        "rows": asked["rows"],
        "labels": asked["labels"],
        "split_shortcuts": asked["split_shortcuts"],
        "keep_reference": asked["keep_reference"],
        "calibration": Path(asked["calibration"]) if asked["calibration"] else None,
        "timesteps": asked["timesteps"],
        "inputs": Path(asked["inputs"]) if asked["inputs"] else None,
        "scale": asked["scale"],
        "dims": asked["dims"],
        "seed": asked["seed"],
        "example": asked["example"],
    }


def _target(ctx: click.Context, text: str | None, form: str) -> tuple[str | None, Any]:
    """The runtime's release, and what `edgewise probe` measured there where the target is a device."""
    if text is None:
        return None, None
    from exporters.device_target import target_text
    from exporters.probe import REAL, find_probe

    inventory = open_inventory(ctx)
    release = target_text(text, form, inventory)
    if text == release or form != "onnx":
        return release, None
    probe = find_probe(text, release)
    have = inventory.device(text).provenance
    if probe is None:
        click.echo(f"carriers are not ranked for {text}: `edgewise probe {text}` measures them there", err=True)
    elif probe.provenance != have:
        said = f"carriers are not ranked for {text}: the probe's times are {probe.provenance}, the device is {have}"
        click.echo(f"{said}; `edgewise probe {text}` measures them there", err=True)
        probe = None
    elif probe.provenance != REAL:
        click.echo(probe.said(), err=True)
    return release, probe


def _search(ctx: click.Context, source: str, asked: dict[str, Any], options: dict[str, Any], say: Any) -> Any:
    """What came of every scheme that was tried."""
    from exporters.auto import parse_budget, search

    if options["inputs"] is None:
        raise click.UsageError("--scheme auto needs --inputs FILE.npz, and --labels KEY where there are labels", ctx)
    left = {key: value for key, value in options.items() if key not in ("scheme", "inputs", "labels", "keep_reference")}
    return search(source, parse_budget(asked["budget"]), options["inputs"], options["labels"], None, say, **left)


def _show(trials: Any) -> None:
    headers, lines = trials.table()
    click.echo(f"{trials.items} items, {trials.measure}; budget: {trials.budget.said()}; * the Pareto set")
    plain_table(headers, lines)


def _names(given: tuple[str, ...]) -> dict[str, str]:
    """Names there and in the graph; what is given by hand goes before what a file says."""
    from exporters.checkpoints import read_names

    files = [text for text in given if text.endswith(".json") and "=" not in text]
    names = {theirs: ours for text in files for theirs, ours in read_names(Path(text)).items()}
    return {**names, **dict(_name_pair(text) for text in given if text not in files)}


def _name_pair(text: str) -> tuple[str, str]:
    theirs, equals, ours = text.partition("=")
    if not (theirs and equals and ours):
        raise click.BadParameter(f"{text!r} is not THEIRS=OURS")
    return theirs, ours
