"""`edgewise bench`: models on devices."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mobile.cli.output import json_option, open_inventory, open_store, print_json, print_table
from mobile.cli.parsing import bindings, cpu_list, number_list, scales, text_list

if TYPE_CHECKING:
    from mobile.benchmark import BenchOptions, BenchResult


@click.command("bench", short_help="Measure models on devices.")
@click.argument("files", nargs=-1, type=click.Path())
@click.option(
    "--on", multiple=True, help="Device, group or tag; may be repeated or a list: local,@pis.", metavar="NAMES"
)
@click.option(
    "--threads", callback=number_list, help="Threads of the runtime; a list measures each: 1,2,4.", metavar="N,..."
)
@click.option("--provider", callback=text_list, help="Execution provider; a list measures each.", metavar="P,...")
@click.option("--batch", callback=number_list, help="Items in an inference; a list measures each.", metavar="N,...")
@click.option("--cpus", callback=cpu_list, help="CPUs that the worker may use: 0,2-3.", metavar="LIST")
@click.option("--dim", "dims", multiple=True, callback=bindings, help="Size of a symbolic dimension.", metavar="NAME=N")
@click.option(
    "--inputs", type=click.Path(), help="Inputs as .npz, one array for each input; else random.", metavar="FILE"
)
@click.option(
    "--scale", multiple=True, callback=scales, help="Factor from uint8 data to a float input.", metavar="NAME=F"
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of random inputs.")
@click.option("--duration", type=float, default=3.0, show_default=True, help="Shortest measured time, seconds.")
@click.option("--min-count", type=int, default=50, show_default=True, help="Fewest measured invocations.")
@click.option("--max-duration", type=float, default=120.0, show_default=True, help="Longest measured time, seconds.")
@click.option("--warmup", type=int, default=3, show_default=True, help="Fewest warm-up invocations.")
@click.option("--warmup-duration", type=float, default=0.5, show_default=True, help="Shortest warm-up, seconds.")
@click.option("--repeat", type=int, default=1, show_default=True, help="Process launches of each combination.")
@click.option("--sample-period", type=float, default=0.1, show_default=True, help="Sensor sampling period, seconds.")
@click.option("--load-timeout", type=float, default=120.0, show_default=True, help="Longest time to load, seconds.")
@click.option(
    "--hang-timeout", type=float, default=60.0, show_default=True, help="Longest time without progress, seconds."
)
@click.option("--runner", type=click.Choice(["ort", "litert", "command", "null"]), help="Runner; else by the format.")
@click.option("--command", "command_line", help="For --runner command: program and arguments; {model} is the file.")
@click.option(
    "--preset", type=click.Choice(["benchmark_model", "trtexec"]), help="For --runner command: known program."
)
@click.option("--require-valid", is_flag=True, help="Exit with 1 when a run is invalid.")
@json_option
@click.pass_context
def command(ctx: click.Context, /, files: tuple[str, ...], on: tuple[str, ...], as_json: bool, **asked: Any) -> int:
    """Measure models on devices.

    Each FILE (.onnx or .tflite) is pushed to each device, run there by the agent, and measured until both
    --duration and --min-count are reached. Lists (--threads 1,2,4) measure every combination. Runs are stored as they
    finish.
    """
    from mobile.benchmark import BenchResult, Failure, iter_bench
    from mobile.cli.progress import BenchProgress

    options = _options(asked)
    names = [name for item in on for name in item.split(",") if name] or ["local"]
    inventory, store = open_inventory(ctx), open_store(ctx)
    result = BenchResult()
    try:
        with BenchProgress() as progress:
            for outcome in iter_bench(
                files, names, options, inventory=inventory, store=store, on_progress=progress.update
            ):
                if isinstance(outcome, Failure):
                    result.failures.append(outcome)
                else:
                    result.runs.append(outcome)
    finally:
        # Also after Ctrl-C or a full disk: what finished is shown, as it is kept.
        if result.runs or result.failures:
            _show(result, as_json)
    return _exit_code(result, asked["require_valid"])


def _options(asked: dict[str, Any]) -> BenchOptions:
    from mobile.benchmark import BenchOptions

    preset, command_line = asked["preset"], asked["command_line"]
    return BenchOptions(
        runner=asked["runner"],
        threads=asked["threads"] or (None,),
        provider=asked["provider"] or (None,),
        batch=asked["batch"] or (1,),
        cpus=asked["cpus"],
        dims=asked["dims"],
        inputs=Path(asked["inputs"]) if asked["inputs"] else None,
        input_scale=asked["scale"],
        seed=asked["seed"],
        warmup_count=asked["warmup"],
        warmup_duration_s=asked["warmup_duration"],
        min_count=asked["min_count"],
        duration_s=asked["duration"],
        max_duration_s=asked["max_duration"],
        sample_period_s=asked["sample_period"],
        load_timeout_s=asked["load_timeout"],
        hang_timeout_s=asked["hang_timeout"],
        repeat=asked["repeat"],
        command=tuple(shlex.split(command_line)) if command_line else (),
        command_preset=preset,
    )


def _show(result: BenchResult, as_json: bool) -> None:
    document = result.to_json()
    if as_json:
        print_json(document)
        return
    from mobile.reports import runs_table

    if document["runs"]:
        print_table(runs_table(document["runs"]))
    for failure in document["failures"]:
        click.echo(f"failed: {failure['device']}: {failure['model']}: {failure['message']}", err=True)
        if failure["hint"]:
            click.echo(f"  next: {failure['hint']}", err=True)


def _exit_code(result: BenchResult, require_valid: bool) -> int:
    if result.exit_code == 0 and require_valid:
        return int(any(run["verdict"] != "valid" for run in result.to_json()["runs"]))
    return result.exit_code
