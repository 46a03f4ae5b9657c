"""`edgewise bench`: models on devices."""

from __future__ import annotations

import shlex
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mobile.cli import bench_compare, find_qps, quality
from mobile.cli.charts import chart_option
from mobile.cli.conditions import condition_options, conditions
from mobile.cli.output import json_option, open_inventory, open_store
from mobile.cli.parsing import bindings, cpu_list, number_list, scales, text_list
from mobile.cli.results import exit_code, show
from mobile.cli.scenario import program, scenario_fields, scenario_options

if TYPE_CHECKING:
    from mobile.benchmark import BenchOptions
    from mobile.benchmark.orchestrate import Outcome


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
@scenario_options
@condition_options
@bench_compare.compare_options
@quality.quality_options
@click.option("--label", metavar="NAME", help="A name that the runs keep, to select them by: label=NAME.")
@click.option("--detach", is_flag=True, help="Start the runs, print their ids, and leave; `attach` collects them.")
@click.option("--resume", is_flag=True, help="Measure what the last such command, cut or failed, has not stored.")
@click.option(
    "--reconnect", type=float, default=60.0, show_default=True, help="How long a broken link may take, seconds."
)
@click.option("--break-lock", is_flag=True, help="End a run of somebody else that is going on there.")
@click.option("--require-valid", is_flag=True, help="Exit with 1 when a run is invalid.")
@chart_option
@json_option
@click.pass_context
def command(ctx: click.Context, /, files: tuple[str, ...], on: tuple[str, ...], as_json: bool, **asked: Any) -> int:
    """Measure models on devices.

    Each FILE (.onnx or .tflite) is pushed to each device, run there by the agent, and measured until both
    --duration and --min-count are reached. Lists (--threads 1,2,4) measure every combination, devices work side by
    side. Runs are stored as they finish; the same command with --resume measures what is missing.
    """
    from mobile.benchmark import BenchResult, Manner, Request
    from mobile.cli.progress import BenchProgress

    names = [name for item in on for name in item.split(",") if name] or ["local"]
    manner = Manner(
        detach=asked["detach"],
        resume=asked["resume"],
        reconnect_s=asked["reconnect"],
        break_lock=asked["break_lock"],
        label=asked["label"],
        together=asked["together"],
    )
    in_turns = bench_compare.wanted(asked)
    options = quality.with_quality(asked, files, _options(asked))
    inventory, store = open_inventory(ctx), open_store(ctx)
    request = Request.of(files, names, options, inventory=inventory, store=store, manner=manner)
    quality.check_outputs(request)
    if asked["find_qps"]:
        return find_qps.run(request, asked, as_json)
    if in_turns:
        return bench_compare.run(request, asked, as_json)
    outcomes: dict[int, Outcome] = {}
    try:
        with BenchProgress() as progress, closing(request.outcomes(progress.update)) as told:
            outcomes.update(told)
    except KeyboardInterrupt:
        if request.total > 1:
            click.echo(f"{_stored(outcomes)} of {request.total} runs are stored; --resume measures the rest", err=True)
        raise
    finally:
        # Also after Ctrl-C or a full disk: what finished is shown, as it is kept.
        result = BenchResult.in_order(outcomes)
        if outcomes:
            show(result, as_json, asked["chart"])
    if result.left and not as_json:
        click.echo("next: `edgewise attach` waits for them and stores them")
    return exit_code(result, asked["require_valid"])


def _stored(outcomes: dict[int, Outcome]) -> int:
    from mobile.results.run import Run

    return sum(isinstance(outcome, Run) for outcome in outcomes.values())


def _options(asked: dict[str, Any]) -> BenchOptions:
    from mobile.benchmark import BenchOptions

    command_line = asked["command_line"]
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
        **scenario_fields(asked),
        sample_period_s=asked["sample_period"],
        load_timeout_s=asked["load_timeout"],
        hang_timeout_s=asked["hang_timeout"],
        repeat=asked["repeat"],
        command=tuple(shlex.split(command_line)) if command_line else (),
        command_preset=program(asked),
        conditions=conditions(asked),
    )
