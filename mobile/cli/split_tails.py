"""`edgewise split tails`: what a package's parts take on the server that serves them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mobile.cli.output import json_option, open_inventory, plain_table, print_json
from mobile.cli.split_run import open_package

if TYPE_CHECKING:
    from device_agents.split.package import Package
    from offload.costs.tails import TailTime


@click.command("tails", short_help="What each placement takes on the server that serves it.")
@click.argument("folder", type=click.Path())
@click.option("--server", default="local", show_default=True, help="A server of the inventory.", metavar="NAME")
@click.option("--count", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Requests of each.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random inputs.")
@json_option
@click.pass_context
def tails(ctx: click.Context, folder: str, server: str, count: int, seed: int, as_json: bool) -> int:
    """What each placement takes on the server that serves it, by the server's own clock, asked from this machine.

    Requests go one after the other, so it is the unloaded server. What it takes beside the inference is what
    `split plan --request` wants to know.
    """
    from device_agents.split.wire import Endpoint
    from offload.costs.link import certificates_of, token_of
    from offload.costs.tails import measure_tails, request_s

    package, found = open_package(folder), open_inventory(ctx).server(server)
    endpoint = Endpoint(found.url, token_of(found), None, certificates_of(found))
    times = measure_tails(package, endpoint, _sample(package, seed), count)
    own_s = request_s(times)
    if as_json:
        told = [one.to_json() for one in times]
        print_json({"package": package.id, "server": server, "request_s": own_s, "placements": told})
    else:
        _show(times, own_s)
    return 0


def _sample(package: Package, seed: int) -> dict[str, Any]:
    """One item of random inputs; a free dimension is 1."""
    import numpy as np

    from device_agents.split.frames import DTYPES, NUMPY_NAMES

    source = np.random.default_rng(seed)
    found: dict[str, Any] = {}
    for value in package.inputs:
        dtype = np.dtype(NUMPY_NAMES[DTYPES.index(value.dtype)])
        shape = tuple(max(size, 1) for size in value.shape)
        drawn = source.standard_normal(shape) if dtype.kind == "f" else source.integers(0, 2, shape)
        found[value.name] = drawn.astype(dtype)
    return found


def _show(times: list[TailTime], own_s: float) -> None:
    from mobile.reports.units import pretty_bytes, pretty_seconds

    rows = [
        [
            one.placement,
            pretty_seconds(one.inference_s),
            pretty_seconds(one.service_s),
            pretty_seconds(one.overhead_s),
            pretty_seconds(one.answer_s),
            pretty_bytes(one.bytes_up),
            str(one.count),
        ]
        for one in times
    ]
    plain_table(["id", "inference", "service", "beside it", "answer here", "sent", "requests"], rows)
    click.echo(
        f"a request's own time on the server: {pretty_seconds(own_s)} (`split plan --request {own_s * 1e3:.3g}ms`)"
    )
