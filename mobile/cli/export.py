"""`edgewise export`: a model into a verified artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mobile.cli.output import json_option, open_inventory, print_json, stderr_console
from mobile.cli.parsing import bindings, scales


@click.command("export", short_help="Export a model to a verified artifact.")
@click.argument("source")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), help="The artifact's file.")
@click.option("--format", "form", type=click.Choice(["onnx", "tflite"]), help="Its format; else by FILE's suffix.")
@click.option("--scheme", help="Compress: int8, w8a16 (calibrated), int8-dynamic, or weights, as ternary or a.*=int4.")
@click.option("--weights", type=click.Path(), help="Compressed weights: a compressed spec, or a checkpoint.")
@click.option("--names", multiple=True, metavar="THEIRS=OURS", help="A name there and in the graph, or a JSON file.")
@click.option("--adapter", type=click.Choice(["merge", "apart"]), default="merge", show_default=True, help="Of LoRA.")
@click.option("--rows", type=int, help="Rows of matrix products (tokens x batch) where the graph leaves them open.")
@click.option("--target", help="What it must run on: ort:1.19, litert:2.3, tflite:2.14, or a device's name.")
@click.option("--calibration", type=click.Path(), help="Inputs for --scheme: .npz, or a folder of .npy.")
@click.option("--labels", metavar="KEY", help="Array of class numbers in --inputs: the accuracy is measured.")
@click.option("--split-shortcuts", is_flag=True, help="Quantise the branches of a Concat before a Conv apart.")
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
    from exporters.device_target import target_text

    form = form or ("tflite" if output.endswith(".tflite") else "onnx")
    with stderr_console().status(f"exporting {source}") as status:
        result = exporters.export(
            source,
            Path(output),
            format=form,
            scheme=asked["scheme"],
            target=target_text(asked["target"], form, open_inventory(ctx)) if asked["target"] else None,
            weights=Path(asked["weights"]) if asked["weights"] else None,
            names=_names(asked["names"]),
            adapter=asked["adapter"],
            rows=asked["rows"],
            labels=asked["labels"],
            split_shortcuts=asked["split_shortcuts"],
            calibration=Path(asked["calibration"]) if asked["calibration"] else None,
            inputs=Path(asked["inputs"]) if asked["inputs"] else None,
            scale=asked["scale"],
            dims=asked["dims"],
            seed=asked["seed"],
            example=asked["example"],
            progress=lambda step: status.update(f"exporting {source}: {step}"),
        )
    if as_json:
        print_json(result.to_json())
        return 0
    for line in result.lines():
        click.echo(line)
    return 0


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
