"""The link between a device and a server: what the device measured, as round trip and bandwidth each way.

A transfer takes t = intercept + bits / bandwidth. The slope is the median of the slopes between all pairs of sizes,
each weighted by the pair's difference (Sen, Estimates of the regression coefficient based on Kendall's tau, JASA 1968),
of the medians of each size: a stalled transfer does not move it. The round trip is the median of empty requests,
measured and not extrapolated.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from mobile.benchmark.agent import owner
from mobile.deadline import Deadline
from mobile.errors import AgentError, ConfigError, DeviceUnreachable, EdgewiseError, UsageError
from offload.plan.costs import MEASURED, Link

if TYPE_CHECKING:
    from mobile.inventory import Device, Server

UP, DOWN, EMPTY = "up", "down", "empty"
LONGEST_S = 600.0
ALLOWANCE_S = 120.0  # for starting the agent there, and for bodies that are under way when the time is over
ENOUGH_SEGMENTS = 500  # sent, for a share of lost ones to mean anything
MAX_CERTIFICATE_BYTES = 4 << 20


@dataclass(frozen=True)
class Way:
    """One direction: bits per second (goodput), with the tenth and the ninetieth percentile of the transfers of the
    largest size; the fit's intercept; how many bytes the largest body had, and how many transfers there were.
    """

    bandwidth_bps: float
    slow_bps: float
    fast_bps: float
    intercept_s: float
    largest_bytes: int
    count: int


@dataclass(frozen=True)
class LinkMeasured:
    """A measured link. ``rtt_s``: the median of ``rtt_count`` empty requests, with its 10 and 90 % percentiles.

    ``loss``: share of the device's segments that had to be sent again, None with ``loss_missing`` saying why.
    """

    device: str
    server: str
    url: str
    provenance: str
    created_utc: str
    rtt_s: float
    rtt_low_s: float
    rtt_high_s: float
    rtt_count: int
    connect_s: float
    up: Way
    down: Way
    loss: float | None
    loss_missing: str | None
    notes: tuple[str, ...] = ()

    @property
    def link(self) -> Link:
        """The link as the planner takes it."""
        return Link(self.up.bandwidth_bps, self.down.bandwidth_bps, self.rtt_s, MEASURED)

    def to_json(self) -> dict[str, Any]:
        """The JSON contract of `edgewise link`."""
        return {
            **asdict(self),
            "notes": list(self.notes),
            "how": MEASURED,
            "uplink_bps": self.up.bandwidth_bps,
            "downlink_bps": self.down.bandwidth_bps,
        }


def measure_link(device: Device, server: Server, duration_s: float = 6.0) -> LinkMeasured:
    """The link, once the device has measured it for about ``duration_s``.

    The token goes to the device's agent on its standard input. ConfigError without the token that the inventory names,
    DeviceUnreachable when the server does not answer the device, AgentError when the answer makes no sense.
    """
    from mobile.benchmark.session import DeviceSession

    if not 0.5 <= duration_s <= LONGEST_S:
        raise UsageError(f"--duration is {duration_s:g} s, expected 0.5 to {LONGEST_S:g}")
    order = {
        "url": server.url,
        "token": token_of(server),
        "certificates": certificates_of(server),
        "duration_s": duration_s,
        "owner": owner(f"link {server.name}"),
    }
    created_utc = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with DeviceSession.open(device) as session:
        session.agent.make_ready(Deadline(ALLOWANCE_S))
        answer = session.agent.ask(
            "link", deadline=Deadline(2 * duration_s + ALLOWANCE_S), stdin=json.dumps(order).encode("utf-8")
        )
    return of_answer(answer, device, server, created_utc)


def token_of(server: Server) -> str | None:
    """The server's bearer token, from the environment variable that the inventory names. ConfigError without it."""
    if server.token_env is None:
        return None
    token = os.environ.get(server.token_env)
    if not token:
        raise ConfigError(
            f"the token of server {server.name} is not there: ${server.token_env} is not set",
            f"Set {server.token_env} in this shell.",
        )
    return token


def certificates_of(server: Server) -> str | None:
    """The text of the certificates to trust, None for the system's. ConfigError when the file cannot be read."""
    if server.ca_file is None:
        return None
    path = Path(server.ca_file)
    try:
        if path.stat().st_size > MAX_CERTIFICATE_BYTES:
            raise ConfigError(f"{path}: is no file of certificates")
        return path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}", f"It is `ca_file` of server {server.name}.") from error


def of_answer(answer: dict[str, Any], device: Device, server: Server, created_utc: str) -> LinkMeasured:
    """The link of the agent's answer; see ``measure_link`` for the errors."""
    error = answer.get("error")
    if isinstance(error, dict):
        raise _refusal(device, server, str(error.get("kind")), str(error.get("message")))
    try:
        samples = [(str(kind), int(size), int(ns) / 1e9) for kind, size, ns in answer["samples"]]
        connect_s = int(answer["connect_ns"]) / 1e9
        tcp = answer.get("tcp")
        counters = (int(tcp["segments"]), int(tcp["retransmitted"])) if tcp is not None else None
    except (KeyError, TypeError, ValueError) as wrong:
        raise AgentError(f"{device.name}: the agent's answer about the link is damaged") from wrong
    empty = sorted(seconds for kind, _, seconds in samples if kind == EMPTY)
    if not empty or not all(any(kind == way for kind, _, _ in samples) for way in (UP, DOWN)):
        why = answer.get("problem") or "the time was too short"
        raise EdgewiseError(f"the link from {device.name} to {server.name} could not be measured: {why}")
    rtt_s = median(empty)
    loss, loss_missing = _loss(counters)
    return LinkMeasured(
        device=device.name,
        server=server.name,
        url=server.url,
        provenance=device.provenance,
        created_utc=created_utc,
        rtt_s=rtt_s,
        rtt_low_s=_percentile(empty, 0.1),
        rtt_high_s=_percentile(empty, 0.9),
        rtt_count=len(empty),
        connect_s=connect_s,
        up=fit_way([(size, s) for kind, size, s in samples if kind == UP], rtt_s),
        down=fit_way([(size, s) for kind, size, s in samples if kind == DOWN], rtt_s),
        loss=loss,
        loss_missing=loss_missing,
        notes=(f"it ended early: {answer['problem']}",) if answer.get("problem") else (),
    )


def _refusal(device: Device, server: Server, kind: str, message: str) -> EdgewiseError:
    if kind == "busy":
        return EdgewiseError(message, f"`edgewise devices {device.name}` lists what is going on there.")
    if kind == "unauthorized":
        return ConfigError(f"server {server.name} refuses the token: {message}", "Check `token_env` of the server.")
    if kind == "unknown-model":
        return ConfigError(
            f"{server.url} has no /edgewise/link: {message}", "Only `edgewise serve` can be measured in this way."
        )
    return DeviceUnreachable(f"from {device.name}: {message}", f"Is `edgewise serve` running at {server.url}?")


def _loss(counters: tuple[int, int] | None) -> tuple[float | None, str | None]:
    if counters is None:
        return None, "the device's system does not tell how often TCP sent again"
    segments, retransmitted = counters
    if segments < ENOUGH_SEGMENTS:
        return None, f"{segments} segments are too few to tell"
    return min(retransmitted / segments, 1.0), None


def fit_way(transfers: Sequence[tuple[int, float]], rtt_s: float) -> Way:
    """One direction of (bytes, seconds) of each transfer, of which there is at least one."""
    by_size: dict[int, list[float]] = {}
    for size, seconds in transfers:
        by_size.setdefault(size, []).append(seconds)
    points = [(size, median(taken)) for size, taken in sorted(by_size.items())]
    largest, last = points[-1]
    s_per_byte = slope(points)
    if s_per_byte is None or s_per_byte <= 0:  # one size, or so fast that sizes make no difference: a lower bound
        s_per_byte = max(last - rtt_s, last / 2) / largest
    rates = sorted(8 * largest / max(seconds - rtt_s, seconds / 2) for seconds in by_size[largest])
    return Way(
        bandwidth_bps=8 / s_per_byte,
        slow_bps=_percentile(rates, 0.1),
        fast_bps=_percentile(rates, 0.9),
        intercept_s=median(seconds - s_per_byte * size for size, seconds in points),
        largest_bytes=largest,
        count=len(transfers),
    )


def slope(points: Sequence[tuple[int, float]]) -> float | None:
    """The weighted median of the slopes between all pairs of points; None for fewer than two sizes.

    >>> slope([(0, 1.0), (10, 50.0), (20, 3.0), (30, 4.0)])
    0.1
    """
    slopes = sorted(
        ((after - before) / (large - small), large - small)
        for place, (small, before) in enumerate(points)
        for large, after in points[place + 1 :]
        if large != small
    )
    if not slopes:
        return None
    half, passed = sum(weight for _, weight in slopes) / 2, 0.0
    for value, weight in slopes:
        passed += weight
        if passed >= half:
            return value
    return slopes[-1][0]


def _percentile(ordered: Sequence[float], share: float) -> float:
    """Between the closest ranks of a sorted sequence."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
