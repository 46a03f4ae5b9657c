"""`edgewise export`: a model into a verified artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mobile.cli.output import json_option, print_json, stderr_console
from mobile.cli.parsing import bindings, scales


@click.command("export", short_help="Export a model to a verified artifact.")
@click.argument("source")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), help="The artifact's file.")
@click.option("--format", "form", type=click.Choice(["onnx"]), default="onnx", show_default=True, help="Its format.")
@click.option("--scheme", type=click.Choice(["int8"]), help="Compress: int8 is static QDQ, weights per channel.")
@click.option("--target", help="Runtime it must run on, such as onnxruntime==1.19; sets the opset.")
@click.option("--calibration", type=click.Path(), help="Inputs for --scheme: .npz, or a folder of .npy.")
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
def command(source: str, output: str, form: str, as_json: bool, **asked: Any) -> int:
    """Export a model to a verified artifact.

    SOURCE is a .onnx file, a torch.export program (.pt2), or file.py:factory, where factory() returns a
    torch.nn.Module. The result is compared with the source on real or generated inputs before it takes its place;
    beside it lies its manifest.
    """
    import exporters

    with stderr_console().status(f"exporting {source}") as status:
        result = exporters.export(
            source,
            Path(output),
            format=form,
            scheme=asked["scheme"],
            target=asked["target"],
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
