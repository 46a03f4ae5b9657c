"""What a plan is asked to make best, and within which limits: options, and what is told of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mobile.cli.parsing import options, seconds, size

if TYPE_CHECKING:
    from offload.costs.profile import Profile
    from offload.plan.costs import Power
    from offload.plan.objectives import Aim, Aimed
    from offload.plan.problem import Line
    from offload.planning import Plan

OBJECTIVES = ("latency", "energy", "weighted", "throughput")
RADIOS = ("none", "wifi", "lte", "3g")

aim_options = options(
    click.option(
        "--objective", type=click.Choice(OBJECTIVES), default="latency", show_default=True, help="What is made best."
    ),
    click.option(
        "--weights", nargs=2, type=click.FloatRange(min=0), help="Of weighted: per second, per joule.", metavar="S J"
    ),
    click.option("--deadline", callback=seconds, help="Limit of a frame's latency.", metavar="TIME"),
    click.option("--device-memory", callback=size, help="Limit of weights there, such as 64MB.", metavar="SIZE"),
    click.option("--server-memory", callback=size, help="The same on the server.", metavar="SIZE"),
    click.option("--busy-w", type=click.FloatRange(min=0), help="The device's watts while it computes (assumed)."),
    click.option("--idle-w", type=click.FloatRange(min=0), help="Its watts while it waits (assumed)."),
    click.option("--radio", type=click.Choice(RADIOS), help="Its radio's draw: figures of 2011 handsets (assumed)."),
)


def power(device: Profile, asked: dict[str, Any]) -> Power | None:
    """What the device draws: measured with its profile, or as it was given. UsageError where an energy is asked for
    that nobody knows.
    """
    from mobile.errors import UsageError
    from offload.costs.power import power_of, radio

    found, why = power_of(device, radio(asked["radio"] or "none"), asked["busy_w"], asked["idle_w"])
    wanted = asked["objective"] in ("energy", "weighted") or asked["radio"] or asked["busy_w"] or asked["idle_w"]
    if found is None and wanted:
        raise UsageError(str(why), "Assume it with --busy-w and --idle-w.")
    return found


def aim(asked: dict[str, Any]) -> Aim:
    """The aim of the options. UsageError for weights without their objective, or the other way round."""
    from mobile.errors import UsageError
    from offload.plan.objectives import Aim

    if bool(asked["weights"]) != (asked["objective"] == "weighted"):
        raise UsageError("--objective weighted and --weights SECONDS JOULES go together")
    second, joule = asked["weights"] or (1.0, 1.0)
    return Aim(
        asked["objective"], second, joule, asked["deadline"], asked["device_memory"], asked["server_memory"]
    )  # fmt: skip


def aim_json(made: Plan) -> dict[str, Any] | None:
    """What was asked for and the placement for it; None where the fastest one was asked for, without limits."""
    from dataclasses import asdict

    best = made.aimed
    if best is None:
        return None
    return {
        **asdict(best.aim),
        "id": id_of(made, best.line),
        "value": best.value,
        "unit": best.aim.unit,
        "bound": best.bound,
        "optimal": best.is_optimal,
        "predicted": asdict(best.price),
    }


def id_of(made: Plan, line: Line) -> str | None:
    """The table's id of a placement with these crossings."""
    return next((name for name, own in made.lines.items() if own.crossings == line.crossings), None)


def best_said(made: Plan, best: Aimed) -> str:
    """The placement that was asked for, and how sure it is that there is no better one."""
    from mobile.reports.units import pretty_joules, pretty_seconds

    def pretty(value: float) -> str:
        if best.aim.objective == "throughput":
            return f"{1 / value:.4g} frames/s" if value else "any number of frames"
        return {"s": pretty_seconds(value), "J": pretty_joules(value)}.get(best.aim.unit, f"{value:.4g}")

    sure = "the optimum" if best.is_optimal else f"best found, nothing can be better than {pretty(best.bound)}"
    limits = [] if best.aim.deadline_s is None else [f"within {pretty_seconds(best.aim.deadline_s)}"]
    limits += [
        f"at most {limit / 1e6:.4g} MB of weights on the {place}"
        for place, limit in (("device", best.aim.device_memory_bytes), ("server", best.aim.server_memory_bytes))
        if limit is not None
    ]
    wanted = ", ".join([best.aim.objective, *limits])
    return f"best for {wanted}: {id_of(made, best.line)} with {pretty(best.value)} ({sure})"
