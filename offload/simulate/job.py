"""What `edgewise policy simulate` does: a package's table, worlds from files or generators, a policy, the figures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_agents.split import package
from device_agents.split.decide import LOCAL, Policy, PolicyError
from device_agents.split.table import Table, TableError
from mobile.bounded import read_bounded
from mobile.errors import ConfigError, InputError, ModelError
from offload.simulate.hindsight import hindsight
from offload.simulate.read import read_trace
from offload.simulate.run import Stream, simulate
from offload.simulate.summary import figures
from offload.simulate.synthetic import MEAN_BPS, world
from offload.simulate.trace import Steps, Trace, TraceError
from offload.simulate.world import World

MAX_TABLE_BYTES = 64 << 20
UP, DOWN = "up", "down"


@dataclass(frozen=True)
class Named:
    """A world, where it is from, and what was assumed about it, in words."""

    name: str
    world: World
    assumed: tuple[str, ...] = ()


def table_of(path: Path) -> Table:
    """The placement table of a split package (a folder) or of a JSON file. ModelError when there is none."""
    if path.is_dir():
        try:
            found = package.read(str(path)).table
        except package.PackageError as error:
            raise ModelError(f"{path}: {error}", "`edgewise split package` makes one.") from error
        if found is None:
            raise ModelError(f"{path}: the package was made without costs, so it has no placement table")
        return found
    data = read_bounded(path, MAX_TABLE_BYTES, ModelError)
    try:
        return Table.from_json(json.loads(data))
    except TableError as error:
        raise ModelError(f"{path}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not JSON: {error}") from error


def synthetic(text: str, mean_bps: float | None = None) -> Named:
    """The world of "KIND:SEED". InputError when it is not that."""
    kind, _, seed = text.partition(":")
    if not seed.isdecimal() or len(seed) > 18:
        raise InputError(f"{text!r} is not KIND:SEED, such as lte:7")
    try:
        made = world(kind, int(seed), mean_bps=MEAN_BPS if mean_bps is None else mean_bps)
    except TraceError as error:
        raise InputError(f"{text}: {error}") from error
    return Named(text, made, ("an invented law, no recording",))


def recorded(
    path: Path,
    rtt_s: float,
    direction: str | None = None,
    uplink_scale: float | None = None,
    downlink_scale: float | None = None,
) -> Named:
    """The world of a trace file. ``direction``: "up" or "down", else its name's ending says so; beside ``X.up`` an
    ``X.down`` is taken along. A downlink alone needs ``uplink_scale``, which the uplink is times it; an uplink alone
    has a downlink ``downlink_scale`` times as fast (1 when left out). InputError where that is not said.
    """
    direction = direction or {".up": UP, ".down": DOWN}.get(path.suffix)
    if direction is None:
        raise InputError(f"{path}: is it an uplink or a downlink?", "Say --direction up, or name it .up or .down.")
    trace = read_trace(path)
    round_trip = f"a round trip of {rtt_s * 1e3:g} ms"
    if direction == DOWN:
        if uplink_scale is None:
            raise InputError(
                f"{path}: a downlink, and a split is bound by the uplink",
                "Give the uplink's trace, or state --uplink-scale, what the uplink is times the downlink.",
            )
        said = f"an uplink of {uplink_scale:g} times the downlink"
        return Named(str(path), World(trace.scaled(uplink_scale), trace, Steps((rtt_s,))), (said, round_trip))
    if uplink_scale is not None:
        raise InputError(f"{path}: an uplink is used as it is", "--uplink-scale is for downlinks.")
    other = path.with_suffix(".down")
    if path.suffix == ".up" and other.is_file():
        return Named(str(path), World(trace, read_trace(other), Steps((rtt_s,))), (round_trip,))
    scale = 1.0 if downlink_scale is None else downlink_scale
    said = f"a downlink of {scale:g} times the uplink"
    return Named(str(path), World(trace, _scaled(trace, scale), Steps((rtt_s,))), (said, round_trip))


def _scaled(trace: Trace, factor: float) -> Trace:
    return trace if factor == 1.0 else trace.scaled(factor)


def simulated(
    table: Table, policy: Policy, worlds: list[Named], stream: Stream, duration_s: float | None = None
) -> list[dict[str, Any]]:
    """The figures of each world: simulated, all of them. ConfigError when the policy does not fit the table.

    ``duration_s``: how long; left out one length of the trace, at most an hour. What is believed of the link before
    the first request is ``stream``'s.
    """
    found = []
    for named in worlds:
        span_s = min(named.world.up.duration_s, 3600.0) if duration_s is None else duration_s
        own = Stream(span_s, stream.period_s, stream.deadline_s, stream.believed)
        try:
            run = simulate(table, policy, named.world, own)
        except PolicyError as error:
            raise ConfigError(str(error)) from error
        rescue = policy.fallback == LOCAL
        seen = hindsight(table, named.world, run, stream.deadline_s, rescue=rescue)
        told = figures(run, seen, stream.deadline_s)
        found.append({"trace": named.name, "assumed": list(named.assumed), "duration_s": span_s, **told})
    return found
