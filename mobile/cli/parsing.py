"""Option values that are lists or bindings: "1,2,4", "0,2-3", "batch=8"."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import click


def number_list(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...]:
    """Whole numbers of at least 1; empty when the option was not given."""
    if value is None:
        return ()
    return tuple(_whole(item, least=1) for item in _items(value))


def text_list(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """The items of a comma list; empty when the option was not given."""
    return tuple(_items(value)) if value is not None else ()


def cpu_list(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """CPU numbers of a list in the kernel's own form ("0,2-3"); None when the option was not given."""
    if value is None:
        return None
    cpus: list[int] = []
    for item in _items(value):
        first, dash, last = item.partition("-")
        low = _whole(first, least=0)
        high = _whole(last, least=low) if dash else low
        if high - low >= 4096:
            raise click.BadParameter(f"{item!r} spans more than 4096 CPUs")
        cpus.extend(range(low, high + 1))
    return tuple(dict.fromkeys(cpus))


def bindings(ctx: click.Context, param: click.Parameter, value: Iterable[str]) -> dict[str, int]:
    """Whole numbers by name, from NAME=N items."""
    return {name: _whole(number, least=1) for name, number in map(_pair, value)}


def scales(ctx: click.Context, param: click.Parameter, value: Iterable[str]) -> dict[str, float]:
    """Factors by name, from NAME=F items; "1/255" is understood."""
    return {name: _factor(number) for name, number in map(_pair, value)}


def rate(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Bits per second of a rate such as "20Mbit/s"; None when the option was not given."""
    from mobile.inventory.units import rate_bps

    if value is None:
        return None
    try:
        return rate_bps(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: {error}") from error


def seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Seconds of a time such as "20ms", "1.5s" or "0.02"; None when the option was not given."""
    if value is None:
        return None
    number, scale = value, 1.0
    for suffix, factor in (("ms", 1e-3), ("us", 1e-6), ("s", 1.0)):
        if value.endswith(suffix):
            number, scale = value.removesuffix(suffix), factor
            break
    try:
        found = float(number) * scale
    except ValueError:
        found = -1.0
    if not 0 <= found < 1e6:
        raise click.BadParameter(f"{value!r} is no time such as 20ms")
    return found


def share(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """A share such as "2%" or "0.02"."""
    try:
        return float(value.strip().removesuffix("%")) / (100.0 if value.strip().endswith("%") else 1.0)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no share such as 2%") from error


def size(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Bytes of a size such as "64MB", "512KiB" or "1000000"; None when the option was not given."""
    if value is None:
        return None
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([kKMG]?)(i?)B?", value.strip())
    if found is None:
        raise click.BadParameter(f"{value!r} is no size such as 64MB")
    unit_bytes = (1024.0 if found[3] else 1000.0) ** " KMG".index(found[2].upper() or " ")
    return round(float(found[1]) * unit_bytes)


def options(*declared: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """One decorator of several of click's, in the order in which the help shows them."""

    def decorate(act: Any) -> Any:
        for option in reversed(declared):
            act = option(act)
        return act

    return decorate


def _items(value: str) -> list[str]:
    items = [item.strip() for item in value.split(",")]
    if not all(items):
        raise click.BadParameter(f"{value!r} has an empty item")
    return items


def _pair(item: str) -> tuple[str, str]:
    name, equals, number = item.partition("=")
    if not (name and equals and number):
        raise click.BadParameter(f"{item!r} is not NAME=VALUE")
    return name, number


def _whole(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a whole number") from error
    if number < least:
        raise click.BadParameter(f"{number} is less than {least}")
    return number


def _factor(text: str) -> float:
    above, slash, below = text.partition("/")
    try:
        factor = float(above) / float(below) if slash else float(text)
    except (ValueError, ZeroDivisionError) as error:
        raise click.BadParameter(f"{text!r} is not a number") from error
    if not 0 < abs(factor) < float("inf"):
        raise click.BadParameter(f"{text!r} is not a usable factor")
    return factor
