"""`edgewise bundle`: runs as one file that another person imports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mobile.cli.output import json_option, open_inventory, open_store, print_json

if TYPE_CHECKING:
    from mobile.benchmark.models import Model
    from mobile.results.run import Run
    from mobile.results.store import RunStore


@click.command("bundle", short_help="Put runs into one file that another person imports.")
@click.argument("selectors", nargs=-1, required=True, metavar="RUN...")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), metavar="FILE.zip", help="The file.")
@click.option(
    "--with-models", multiple=True, type=click.Path(), metavar="PATH",
    help="Put the models in too: a model's file, or a folder to look for them in.",
)  # fmt: skip
@json_option
@click.pass_context
def command(
    ctx: click.Context, selectors: tuple[str, ...], output: str, with_models: tuple[str, ...], as_json: bool
) -> int:
    """Put runs into one file that another person imports.

    RUN is an id, or whatever `edgewise compare` takes (label=before, net.onnx@pi5,last=10). The raw samples, the
    environment and the hashes of models go in; models themselves only with --with-models. Names of users and hosts,
    addresses, serial numbers and tokens are taken out. Equal runs give equal bytes.
    """
    from mobile.share.bundle import write_bundle
    from mobile.share.privacy import Privacy, names_in

    store = open_store(ctx)
    ids = dict.fromkeys(run_id for text in selectors for run_id in _ids(store, text))
    runs = [store.get(run_id) for run_id in ids]
    models = _models(runs, [Path(path) for path in with_models])
    written = write_bundle(Path(output), runs, Privacy(names_in(open_inventory(ctx))), models)
    if as_json:
        print_json(written.to_json())
        return 0
    count = len(written.runs)
    many = len(written.models)
    models_in = f", {many} {'model' if many == 1 else 'models'}" if many else ", without models"
    click.echo(f"{written.path}: {count} {'run' if count == 1 else 'runs'}{models_in}, {written.size_bytes} bytes")
    click.echo(f"sha256 {written.sha256}")
    taken = ", ".join(f"{kind} {times}" for kind, times in written.redacted.items() if times)
    click.echo(f"taken out: {taken or 'nothing was found'}")
    click.echo("Look through it before you send it: a program cannot know all that is private to you.")
    return 0


def _ids(store: RunStore, text: str) -> list[str]:
    """The runs of a selector. UsageError when there are none."""
    from mobile.compare.select import find, parse

    return find(store, parse(text))


def _models(runs: list[Run], places: list[Path]) -> list[Model]:
    """The models of the runs in these files and folders. UsageError for one that is not there."""
    from mobile.benchmark.models import open_model
    from mobile.errors import ModelError, UsageError

    if not places:
        return []
    wanted = {run.spec.model.sha256: run.spec.model for run in runs if run.spec.model.format != "none"}
    names = {ref.name for ref in wanted.values()}
    found: dict[str, Model] = {}
    for place in places:
        if not place.exists():
            raise UsageError(f"{place}: no such file or folder")
        for path in _candidates(place, names):
            try:
                model = open_model(path)
            except ModelError:
                if path == place:
                    raise
                continue
            if model.ref.sha256 in wanted:
                found[model.ref.sha256] = model
    for sha256, ref in wanted.items():
        if sha256 not in found:
            raise UsageError(
                f"{ref.name} with sha256 {sha256[:12]} is not in {', '.join(map(str, places))}",
                "Name its file, or leave --with-models out.",
            )
    return list(found.values())


def _candidates(place: Path, names: set[str]) -> list[Path]:
    """The place itself, or what bears a model's name in that folder."""
    if place.is_file() or (place / "manifest.json").is_file():
        return [place]
    return [path for name in sorted(names) for path in sorted(place.rglob(name))]
