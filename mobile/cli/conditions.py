"""The options of `edgewise bench` about the conditions of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from mobile.benchmark.conditions import ConditionOptions

F = TypeVar("F", bound=Callable[..., Any])


def _pins(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, Any]:
    from mobile.benchmark.conditions import pin
    from mobile.errors import UsageError

    try:
        return dict(pin(text) for text in value)
    except UsageError as error:
        raise click.BadParameter(f"{error.message}" + (f" ({error.hint})" if error.hint else "")) from error


_OPTIONS = (
    click.option("--cool-below", type=float, metavar="C", help="Start when the chip is below this, degrees C."),
    click.option("--cool-back", is_flag=True, help="Start each run as cool as the first one of this command was."),
    click.option(
        "--cool-timeout", type=float, default=300.0, show_default=True, metavar="S", help="Wait so long to cool down."
    ),
    click.option("--max-temp", type=float, metavar="C", help="Stop a run above this, degrees C; else the inventory's."),
    click.option(
        "--pin",
        "pins",
        multiple=True,
        callback=_pins,
        metavar="NAME=VALUE",
        help="Hold a setting: governor=NAME, mode=ID, clocks=locked, sustained=on. Put back at the end.",
    ),
    click.option("--idle", type=float, metavar="S", help="Idle baseline before the run; else by the power sensors."),
    click.option(
        "--probe/--no-probe", default=None, help="Look for throttling without sensors; else where none tells."
    ),
    click.option(
        "--intruders",
        type=click.Choice(["warn", "refuse", "ignore"]),
        default="warn",
        show_default=True,
        help="When other processes keep the device busy.",
    ),
    click.option(
        "--marker",
        type=float,
        metavar="S",
        help="Busy bursts of S seconds before and after, to find the run in a meter's trace.",
    ),
)


def condition_options(command: F) -> F:
    """The command with the options of ``conditions``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def conditions(asked: Mapping[str, Any]) -> ConditionOptions:
    """What was asked for. UsageError when it does not fit together."""
    from mobile.benchmark.conditions import ConditionOptions

    return ConditionOptions(
        idle_s=asked["idle"],
        cool_below_c=asked["cool_below"],
        cool_back=asked["cool_back"],
        cool_timeout_s=asked["cool_timeout"],
        max_temperature_c=asked["max_temp"],
        pins=asked["pins"],
        probe=asked["probe"],
        intruders=asked["intruders"],
        marker_s=asked["marker"],
    )
