"""`edgewise import`: the runs of somebody else's bundle."""

from __future__ import annotations

from pathlib import Path

import click

from mobile.cli.output import json_option, open_inventory, open_store, print_json


@click.command("import", short_help="Take the runs of a bundle into the store.")
@click.argument("files", nargs=-1, required=True, type=click.Path(dir_okay=False), metavar="FILE.zip...")
@click.option("--as", "origin", metavar="NAME", help="Where they are from, in a word: bundles of one place alike.")
@click.option(
    "--models", "folder", type=click.Path(file_okay=False), metavar="FOLDER", help="Put the models in it there."
)
@click.option("--rerun", is_flag=True, help="Show the command lines that measure the runs once more.")
@json_option
@click.pass_context
def command(
    ctx: click.Context, files: tuple[str, ...], origin: str | None, folder: str | None, rerun: bool, as_json: bool
) -> int:
    """Take the runs of a bundle into the store.

    A file is checked whole, every part against its hash, before its first run is kept; one that is damaged or of a
    newer edgewise is refused. Runs keep id, time and provenance, and say where they are from; none is ever overwritten.
    `compare` takes them for those of another place: --allow origin mixes them with one's own.
    """
    from mobile.share.privacy import names_in
    from mobile.share.take_in import take_in

    store = open_store(ctx)
    names, target = names_in(open_inventory(ctx)), Path(folder) if folder else None
    taken = [take_in(Path(path), store, origin=origin, models_to=target, names=names) for path in files]
    if as_json:
        print_json({"store": str(store.path), "bundles": [one.to_json() for one in taken]})
        return int(any(one.refused for one in taken))
    for one in taken:
        click.echo(f"{one.path}: {_runs(len(one.new))} new, from {one.origin}")
        if one.known:
            click.echo(f"already there, the same: {', '.join(one.known)}")
        for path in one.models:
            click.echo(f"model: {path}")
        if one.with_models and not folder:
            click.echo(f"models in it, not taken out (--models FOLDER does): {', '.join(one.with_models)}")
        for run_id, why in one.refused:
            click.echo(f"failed: {run_id}: {why}", err=True)
        if rerun:
            click.echo("once more:")
            for line in one.rerun:
                click.echo(f"  {line}")
    return int(any(one.refused for one in taken))


def _runs(count: int) -> str:
    return f"{count} {'run' if count == 1 else 'runs'}"
