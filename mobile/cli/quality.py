"""Options of `edgewise bench` about what a model is worth, and the user's own stages around it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mobile.cli.comparison import METRICS
from mobile.cli.parsing import options

if TYPE_CHECKING:
    from mobile.benchmark import BenchOptions, Request

quality_options = options(
    click.option(
        "--evaluate", metavar="SET", help="Quality beside the cost, on labelled items: .npz, folder, .json, `manifest`."
    ),
    click.option("--labels", metavar="KEY", help="With --evaluate: array of class numbers; else label or labels."),
    click.option(
        "--again", type=int, default=1, show_default=True, help="With --evaluate: ask the first items again, so often."
    ),
    click.option("--outputs", type=click.Path(dir_okay=False), help="With --evaluate: write the answers, as .npz."),
    click.option(
        "--stages", type=click.Path(dir_okay=False), help="Python: preprocess(item), postprocess(outputs), timed there."
    ),
)


def compare_metric(asked: dict[str, Any]) -> str:
    """The metric that decides a comparison: the one of --metric that is one, else p50."""
    return _only([name for name in asked["metric"] if name in METRICS], "compares by") or "p50"


def with_quality(asked: dict[str, Any], files: tuple[str, ...], plain: BenchOptions) -> BenchOptions:
    """The options with what was asked about quality and stages. UsageError or InputError when it cannot be."""
    from mobile.benchmark.assessing import assessment
    from mobile.errors import UsageError

    metric = _only([name for name in asked["metric"] if name not in METRICS], "evaluates")
    found = replace(plain, stages=_stages(asked["stages"]))
    if not asked["evaluate"]:
        if metric:
            raise UsageError(
                f"--metric {metric} is none of {', '.join(METRICS)}; others go with --evaluate", "Add --evaluate SET."
            )
        for option in ("labels", "outputs"):
            if asked[option]:
                raise UsageError(f"--{option} goes with --evaluate", "Add --evaluate SET, or leave it out.")
        return found
    if asked["detach"]:
        raise UsageError("--evaluate does not go with --detach", "The answers are looked at on this machine.")
    present = [path for path in files if Path(path).exists()]  # one that is missing is told of later
    if not present:
        raise UsageError("--evaluate needs a model", "edgewise bench FILE --on NAME --evaluate SET")
    asks = assessment(
        present,
        asked["evaluate"],
        metric,
        labels=asked["labels"],
        again=asked["again"],
        outputs=Path(asked["outputs"]) if asked["outputs"] else None,
    )
    first = next(iter(asks.tasks.values()))
    if found.stages is not None and found.inputs is None:  # items to make inputs of
        found = replace(found, inputs=first.found.inputs)
    return replace(found, assess=asks)


def check_outputs(request: Request) -> None:
    """Nothing, or UsageError when several evaluations would be written into one file."""
    from mobile.errors import UsageError

    options = request.options
    if options.assess is None or options.assess.outputs is None:
        return
    count = len(request.devices) * len(request.models) * len(options.expand()) // options.repeat
    if count > 1:
        raise UsageError(f"--outputs is one file, there are {count} evaluations", "Measure one variant on one device.")


def _stages(path: str | None) -> Path | None:
    from mobile.errors import UsageError

    if path is not None and not Path(path).is_file():
        raise UsageError(f"{path}: no such file", "Give a Python file with preprocess(item) or postprocess(outputs).")
    return Path(path) if path is not None else None


def _only(names: list[str], does: str) -> str | None:
    from mobile.errors import UsageError

    if len(names) > 1:
        raise UsageError(f"--metric {does} one figure, not {' and '.join(names)}", "Give it once for each.")
    return names[0] if names else None
