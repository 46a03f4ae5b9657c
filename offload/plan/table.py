"""The placement table of a model: what the device looks up instead of planning (device_agents.split.table reads it).

For each level of server slow-down it holds the envelope over the uplink's bandwidth. The round trip is the same for
every placement that uses the server, so which of those is best does not depend on it: envelopes without a round trip
give, beside those with the link's, every placement that is best at any round trip. Envelopes of a hot device add those
that are best when it has become slower.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from offload.plan.candidates import DEVICE_ONLY, SERVER_ONLY, ends, label_of
from offload.plan.costs import CodedAs, Costs, Link, Power, latency_problem
from offload.plan.envelope import Envelope, envelope
from offload.plan.problem import Line

LEVELS = (1.0, 2.0, 4.0, 8.0, 16.0)  # of server slow-down
HOT = (2.0,)  # how many times slower the device may become
_Key = tuple[bytes, tuple[tuple[int, bool, int], ...]]


def compile_table(
    costs: Costs,
    link: Link,
    levels: Sequence[float],
    range_bps: tuple[float, float],
    power: Power | None = None,
    *,
    bidirectional: bool = False,
    hot: Sequence[float] = HOT,
    switch_s: float = 0.0,
    also: Sequence[Line] = (),
) -> tuple[dict[str, Any], dict[str, Line]]:
    """(table as JSON, the line of each placement by its id) for latency, over ``range_bps`` of uplink (slowest first).

    ``levels``: server slow-downs that have an envelope of their own; ``hot``: device slow-downs whose best placements
    are in the table too; ``switch_s``: what changing to a placement costs once (its sessions); ``also``: placements
    that are in the table though they may be best nowhere.

    All on the device is "p0" and all on the server is the last, each where the pins allow it; the rest go from little
    to much on the server. One placement is one choice of sides and codecs.
    """
    if not levels or any(not level > 0 for level in levels):
        raise ValueError(f"levels of slow-down are {list(levels)}: at least one is wanted, each above 0")
    slowest, fastest = range_bps

    def solved(level: float, scale: float, round_trip: Link) -> Envelope:
        problem = latency_problem(costs, round_trip, level, scale)
        return envelope(problem, slowest, fastest, bidirectional=bidirectional)

    planned = {level: solved(level, 1.0, link) for level in sorted(set(levels))}
    here = replace(link, rtt_s=0.0)
    lines = [line for found in planned.values() for line in found.lines]
    lines += [line for level in planned for scale in (1.0, *hot) for line in solved(level, scale, here).lines]
    lines += [*ends(latency_problem(costs, link), 1.0 / link.uplink_bps), *also]
    named = _named(lines)
    ids = {_key(line): name for name, line in named.items()}
    document = {
        "schema": 1,
        "objective": "latency",
        "range_bps": [slowest, fastest],
        "downlink_bps": link.downlink_bps,
        "rtt_s": link.rtt_s,
        "placements": [_row(costs, name, line, switch_s) for name, line in named.items()],
        "levels": [_level(level, found, ids) for level, found in planned.items()],
        "power": None if power is None else _watts(power),
    }
    return document, named


def _key(line: Line) -> _Key:
    return line.sides.tobytes(), tuple((c.tensor, c.up, c.way) for c in line.crossings)


def _named(lines: Iterable[Line]) -> dict[str, Line]:
    """Each placement once, by id: all on the device first, all on the server last."""
    found: dict[_Key, Line] = {}
    for line in lines:
        found.setdefault(_key(line), line)
    labels = (DEVICE_ONLY, "split", SERVER_ONLY)

    def order(line: Line) -> tuple[int, int, float]:
        return labels.index(label_of(line)), int(line.sides.sum()), line.slope

    return {f"p{index}": line for index, line in enumerate(sorted(found.values(), key=order))}


def _row(costs: Costs, name: str, line: Line, switch_s: float) -> dict[str, Any]:
    """One placement as the device prices it, under an unloaded server and a cool device."""
    up = [costs.values[c.tensor].up[c.way] for c in line.crossings if c.up]
    down = [costs.values[c.tensor].down[c.way] for c in line.crossings if not c.up]
    sides = [bool(side) for side in line.sides]
    return {
        "id": name,
        "label": label_of(line),
        "device_s": sum(s for s, there in zip(costs.device_s, sides, strict=True) if not there),
        "server_s": sum(s for s, there in zip(costs.server_s, sides, strict=True) if there),
        "device_codec_s": sum(_encode(up)) + sum(_decode(down)),
        "server_codec_s": sum(_decode(up)) + sum(_encode(down)),
        "up_bits": sum(coded.bits for coded in up),
        "down_bits": sum(coded.bits for coded in down),
        "request_s": costs.request_s if any(sides) else 0.0,
        "switch_s": switch_s,
    }


def _encode(coded: Iterable[CodedAs]) -> Iterator[float]:
    return (one.encode_s for one in coded)


def _decode(coded: Iterable[CodedAs]) -> Iterator[float]:
    return (one.decode_s for one in coded)


def _level(slow_down: float, found: Envelope, ids: dict[_Key, str]) -> dict[str, Any]:
    return {
        "slow_down": slow_down,
        "bounds": list(found.bounds),
        "placements": [ids[_key(line)] for line in found.lines],
    }


def _watts(power: Power) -> dict[str, float]:
    return {
        "busy_w": power.busy_w,
        "idle_w": power.idle_w,
        "send_alpha_w_per_mbps": power.send_alpha_w_per_mbps,
        "send_beta_w": power.send_beta_w,
        "receive_alpha_w_per_mbps": power.receive_alpha_w_per_mbps,
        "receive_beta_w": power.receive_beta_w,
    }
