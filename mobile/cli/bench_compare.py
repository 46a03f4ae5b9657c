"""`edgewise bench A B --compare`: variants measured in turns, and the verdict at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mobile.cli.comparison import METRICS
from mobile.cli.output import print_json
from mobile.cli.parsing import share, text_list
from mobile.cli.quality import compare_metric

if TYPE_CHECKING:
    from mobile.benchmark.interleave import InTurns
    from mobile.benchmark.orchestrate import Outcome, Request
    from mobile.compare.answer import Answer
    from mobile.compare.units import Excluded, Group, Unit
    from mobile.compare.verdict import Terms
    from mobile.results.run import Run

F = TypeVar("F", bound=Callable[..., Any])

METRIC_HELP = (
    f"With --compare, what decides: {', '.join(METRICS)} [p50]. "
    "With --evaluate: top1, top5, cosine, mse, map, wer, cer or FILE.py:function."
)

# What variants may differ in: the rest has to stay as it was during all of the turns.
VARIED = ("threads", "provider", "batch", "dims", "runner", "runtime")
STOPPED = {
    "decided": "stopped: the verdict stands",
    "runs": "stopped: all runs were measured",
    "budget": "stopped: the budget is used up",
    "failed": "stopped: it could not be measured further",
}

_OPTIONS = (
    click.option("--compare", is_flag=True, help="Measure the variants in turns, and say which is faster."),
    click.option("--until-decided", is_flag=True, help="With --compare: stop as soon as the verdict stands."),
    click.option("--runs", type=int, metavar="N", help="With --compare: launches of each variant at most (10, or 30)."),
    click.option("--budget", type=float, metavar="S", help="With --compare: seconds that it may take at most."),
    click.option("--metric", multiple=True, metavar="M", help=METRIC_HELP),
    click.option("--margin", callback=share, default="2%", help="With --compare: smallest change that matters. [2%]"),
    click.option("--fail-if", callback=text_list, metavar="LIST", help="With --compare: as `edgewise compare` has it."),
)


def compare_options(command: F) -> F:
    """The command with the options of a measurement in turns."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def wanted(asked: dict[str, Any]) -> bool:
    """True when the variants are to be measured in turns. UsageError for an option that needs --compare."""
    from mobile.errors import UsageError

    if asked["compare"] or asked["until_decided"]:
        return True
    for option in ("runs", "budget", "fail_if"):
        if asked[option]:
            raise UsageError(f"--{option.replace('_', '-')} goes with --compare", "Add --compare, or leave it out.")
    return False


def run(request: Request, asked: dict[str, Any], as_json: bool) -> int:
    """The exit code, once the variants are measured on every device and the answers are written."""
    from mobile.benchmark import BenchResult
    from mobile.benchmark.interleave import InTurns
    from mobile.cli.progress import BenchProgress
    from mobile.cli.results import exit_code, show
    from mobile.compare.failing import broken, limit

    limits = [limit(text) for text in asked["fail_if"]]
    terms, sequential = _terms(asked), asked["until_decided"]
    turns = InTurns(request, _turns(asked, terms))
    if sequential and len(turns.variants) != 2:
        from mobile.errors import UsageError

        raise UsageError(
            f"--until-decided compares two variants, there are {len(turns.variants)}", "Leave it out, or give two."
        )
    outcomes: dict[int, Outcome] = {}
    try:
        with BenchProgress() as progress, closing(turns.outcomes(progress.update)) as told:
            outcomes.update(told)
    finally:
        result = BenchResult.in_order(outcomes)
        if result.failures and not as_json:
            show(BenchResult(failures=result.failures), as_json=False)
    answers = {device.name: _answer(turns, device.name, terms, sequential) for device in request.devices}
    _show(turns, answers, as_json, result.to_json())
    failed = [line for found in answers.values() if found for line in broken(limits, found.comparisons)]
    for line in failed:
        click.echo(f"failed: {line}", err=True)
    return exit_code(result, asked["require_valid"]) or int(bool(failed) or None in answers.values())


def _terms(asked: dict[str, Any]) -> Terms:
    from mobile.compare.metrics import metric
    from mobile.compare.verdict import Terms

    return Terms(metric(compare_metric(asked)), asked["margin"])


def _turns(asked: dict[str, Any], terms: Terms) -> Any:
    from mobile.benchmark.interleave import FIXED_RUNS, MOST_RUNS, Turns

    runs = asked["runs"] or (MOST_RUNS if asked["until_decided"] else FIXED_RUNS)
    plain = Turns(runs, asked["budget"])
    if not asked["until_decided"]:
        return plain

    known: dict[str, Unit | Excluded] = {}

    def enough(measured: Sequence[Sequence[Run]]) -> bool:
        from mobile.compare.until import decided

        a, b = (_group(runs, name, terms, known) for name, runs in zip("ab", measured, strict=True))
        return decided(a, b, terms, plain.blocks)

    return Turns(runs, asked["budget"], enough)


def _group(runs: Sequence[Run], name: str, terms: Terms, known: dict[str, Unit | Excluded]) -> Group:
    """The group of these runs; each is looked at once, however often it is asked for."""
    from mobile.compare.units import Group, Manner, Unit, unit_of

    for run in runs:
        if run.id not in known:
            known[run.id] = unit_of(run, terms.metric, Manner())
    found = [known[run.id] for run in runs]
    return Group(name, tuple(one for one in found if isinstance(one, Unit)))


def _groups(measured: Sequence[Sequence[Run]], names: Sequence[str], terms: Terms) -> list[Group]:
    from mobile.compare.units import group_of

    return [group_of(name, runs, terms.metric) for name, runs in zip(names, measured, strict=True)]


def _answer(turns: InTurns, device: str, terms: Terms, sequential: bool) -> Answer | None:
    """The answer for one device; None where a variant has no valid run, which is said on stderr."""
    from dataclasses import replace

    from mobile.compare.answer import answer
    from mobile.compare.conditions import check
    from mobile.compare.until import until
    from mobile.errors import UsageError

    groups = _groups(turns.runs(device), [variant.name for variant in turns.variants], terms)
    try:
        differs = check(groups, terms.metric, VARIED)
        found = answer(groups, terms, differs=differs)
    except UsageError as error:
        click.echo(f"failed: {device}: {error.message}", err=True)
        return None
    if sequential:
        one = until(groups[0], groups[1], terms, turns.turns.blocks)
        found = replace(found, comparisons=(one,))
    return replace(found, more={"device": device, "stopped": turns.stopped(device)})


def _show(turns: InTurns, answers: dict[str, Answer | None], as_json: bool, document: dict[str, Any]) -> None:
    from mobile.cli.comparison import show_answer

    found = [answer for answer in answers.values() if answer is not None]
    if as_json:
        print_json({**document, "comparisons": [answer.to_json() for answer in found]})
        return
    for answer in found:
        if len(answers) > 1:
            click.echo(f"{answer.more['device']}:")
        show_answer(answer)
        click.echo(STOPPED[answer.more["stopped"]])
