"""`edgewise policy`: check a policy file, and try it on simulated links before a device has it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mobile.cli.output import json_option, open_store, plain_table, print_json
from mobile.cli.parsing import rate, seconds

if TYPE_CHECKING:
    from offload.policy.replay import Replayed
    from offload.simulate.job import Named


@click.group("policy", short_help="Check a policy of split runs, and simulate it on bandwidth traces.")
def command() -> None:
    """Check a policy of split runs, and simulate it on bandwidth traces."""


@command.command("check", short_help="Check a policy file, and show what it is compiled to.")
@click.argument("file", type=click.Path())
@json_option
def check(file: str, as_json: bool) -> int:
    """Check a policy file, and show what it is compiled to.

    An error names file, line, field, value and what was expected.
    """
    from offload.policy import load_policy

    policy = load_policy(Path(file))
    if as_json:
        print_json(policy.to_json())
        return 0
    rules = f"{len(policy.when)} rule{'' if len(policy.when) == 1 else 's'}"
    click.echo(f"{file}: policy {policy.policy}, {rules}, fallback {policy.fallback}")
    return 0


@command.command("simulate", short_help="Simulate a policy on bandwidth traces; every figure is simulated.")
@click.argument("source", metavar="PACKAGE_OR_TABLE", type=click.Path())
@click.option("--policy", type=click.Path(), metavar="FILE", help="Policy (YAML); left out, the fastest placement.")
@click.option("--trace", "traces", multiple=True, type=click.Path(), metavar="FILE", help="Mahimahi or CSV; repeat.")
@click.option("--direction", type=click.Choice(["up", "down"]), help="What the traces are, if their names do not say.")
@click.option("--uplink-scale", type=click.FloatRange(min=1e-6, max=1e6), help="For downlinks: uplink over downlink.")
@click.option("--downlink-scale", type=click.FloatRange(min=1e-6, max=1e6), help="For uplinks: downlink over uplink.")
@click.option("--synthetic", multiple=True, metavar="KIND:SEED", help="An invented link, such as lte:7; repeat.")
@click.option("--mean", callback=rate, metavar="RATE", help="Mean uplink of synthetic links; else 6 Mbit/s.")
@click.option("--rtt", callback=seconds, default="20ms", show_default=True, metavar="TIME", help="Of traces in files.")
@click.option("--period", callback=seconds, metavar="TIME", help="A frame is due so often; else back to back.")
@click.option("--deadline", callback=seconds, metavar="TIME", help="Of each frame; else the policy's, if it has one.")
@click.option("--duration", callback=seconds, metavar="TIME", help="How long; else the length of the trace.")
@json_option
def simulate(source: str, policy: str | None, as_json: bool, **asked: Any) -> int:
    """Simulate a policy on bandwidth traces; every figure is simulated.

    The objects that decide on the device decide here. Costs are those of the package's table; the link is the trace's;
    nothing is measured. The regret is against a clairvoyant that knows the whole trace.

    Kinds of synthetic links: markov, ar1, outages, steps, lte, wifi, steady, load (a shared server), heat (a hot
    device). See docs/policies.md.
    """
    from device_agents.split.decide import Policy
    from offload.policy import load_policy
    from offload.simulate.job import simulated, table_of
    from offload.simulate.run import Stream

    chosen = Policy() if policy is None else load_policy(Path(policy))
    worlds = _worlds(asked)
    if asked["period"] == 0 or asked["deadline"] == 0 or asked["duration"] == 0:
        raise click.UsageError("--period, --deadline and --duration must be above 0")
    deadline_s = chosen.deadline_s if asked["deadline"] is None else asked["deadline"]
    stream = Stream(0.0, asked["period"], deadline_s)
    found = simulated(table_of(Path(source)), chosen, worlds, stream, asked["duration"])
    if as_json:
        print_json({"simulated": True, "policy": chosen.to_json(), "deadline_s": deadline_s, "runs": found})
        return 0
    _show(found, deadline_s)
    return 0


@command.command("replay", short_help="What another policy would have decided in a stored split run.")
@click.argument("source", metavar="PACKAGE_OR_TABLE", type=click.Path())
@click.argument("run", default="last")
@click.option("--policy", type=click.Path(), metavar="FILE", help="Policy (YAML); left out, the fastest placement.")
@click.option("--deadline", callback=seconds, metavar="TIME", help="Of each frame; else the policy's, if it has one.")
@json_option
@click.pass_context
def replay(ctx: click.Context, source: str, run: str, policy: str | None, deadline: float | None, as_json: bool) -> int:
    """What another policy would have decided in a stored split run, with what was known then.

    This tells what would have been decided, not what would have happened: the outcome of a placement that was not taken
    was not recorded. RUN is an id, the start of one, or "last".
    """
    from device_agents.split.decide import Decider, Policy, PolicyError
    from mobile.errors import ConfigError, UsageError
    from mobile.results.frames import frames
    from offload.policy import load_policy
    from offload.policy.replay import replay as replayed
    from offload.simulate.job import table_of

    chosen = Policy() if policy is None else load_policy(Path(policy))
    kept = open_store(ctx).get(run)
    rows = [row for row in frames(kept) if row["uplink_bps"] is not None]
    if not rows:
        raise UsageError(f"run {kept.id} has no frames with decisions", "`edgewise split run` makes such runs.")
    try:
        decider = Decider(chosen, table_of(Path(source)), chosen.deadline_s if deadline is None else deadline)
    except PolicyError as error:
        raise ConfigError(str(error)) from error
    found = replayed(rows, decider)
    if as_json:
        print_json({"run": kept.id, "policy": chosen.to_json(), "frames": [_replayed_json(one) for one in found]})
    else:
        _show_replayed(kept.id, found)
    return 0


def _replayed_json(one: Replayed) -> dict[str, Any]:
    now = one.now
    return {
        "t_s": one.t_s,
        "then": one.then,
        "now": None if now.placement is None else now.placement.id,
        "why": now.why,
        "predicted_then_s": one.predicted_then_s,
        "predicted_now_s": now.predicted_s,
    }


def _show_replayed(run: str, found: list[Replayed]) -> None:
    from collections import Counter

    rows = [_replayed_json(one) for one in found]
    counted = Counter((row["then"] or "refused", row["now"] or "refused") for row in rows)
    plain_table(["then", "now", "frames"], [[then, now, str(count)] for (then, now), count in counted.most_common()])
    other = sum(row["then"] != row["now"] for row in rows)
    click.echo(
        f"{other} of {len(rows)} frames of {run} would have been decided otherwise; what had come of it is not known"
    )


def _worlds(asked: dict[str, Any]) -> list[Named]:
    from offload.simulate.job import recorded, synthetic

    worlds = [
        recorded(Path(file), asked["rtt"], asked["direction"], asked["uplink_scale"], asked["downlink_scale"])
        for file in asked["traces"]
    ]
    worlds += [synthetic(text, asked["mean"]) for text in asked["synthetic"]]
    if not worlds:
        raise click.UsageError("name a --trace FILE or a --synthetic KIND:SEED")
    return worlds


def _show(found: list[dict[str, Any]], deadline_s: float | None) -> None:
    headers = ["simulated trace", "frames", "mean ms", "p50", "p99", "switches/min", "MB up", "J", "fallbacks"]
    headers += ["regret", "to best fixed"] + (["missed"] if deadline_s is not None else [])
    rows = []
    for told in found:
        latency, energy = told["latency_s"], told["energy_j"]
        row = [told["trace"], str(told["frames"])]
        row += [f"{latency[name] * 1e3:.1f}" for name in ("mean", "p50", "p99")]
        row += [f"{told['switches_per_min']:.1f}", f"{(told['up_bits'] + told['probe_bits']) / 8e6:.2f}"]
        row += ["" if energy is None else f"{energy:.3g}", str(sum(told["fallbacks"].values()))]
        row += [_percent(told["regret"]), f"{_percent(told['against_best_fixed'])} {told['best_fixed']}"]
        rows.append(row + ([str(told["deadline_misses"])] if deadline_s is not None else []))
    notes = ["Every figure is simulated: costs of the table, links of the trace; nothing was measured."]
    notes += [f"{told['trace']}: assumed {', '.join(told['assumed'])}." for told in found]
    plain_table(headers, rows, notes)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:+.1%}"
