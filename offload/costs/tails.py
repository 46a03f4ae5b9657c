"""What a package's tails take on a server that serves them: the server's own clock, as its answers tell.

Requests go one after the other, so nothing queues and no batch forms: what is told is the unloaded server. Where the
inference is also known from a profile of the server's machine, the two can be compared, and the rest of the service
time (framing, decoding, encoding, the way through the server) is what ``request_s`` of the planner's costs means.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from device_agents.failures import AgentFailure
from device_agents.split.exchange import Served, code, serve
from device_agents.split.local import LocalParts
from device_agents.split.package import Package, Placement
from device_agents.split.wire import Endpoint, Wire, WireError
from mobile.errors import DeviceUnreachable, EdgewiseError

if TYPE_CHECKING:
    from numpy.typing import NDArray

WARM = 3
DEADLINE_S = 60.0
LONGEST_S = 10.0  # of one placement


@dataclass(frozen=True)
class TailTime:
    """One placement on the server: medians of ``count`` requests, seconds, of all its parts there together.

    ``inference_s`` and ``service_s`` are the server's own; ``answer_s`` is from the first byte sent to the last one
    received, on this machine's clock.
    """

    placement: str
    inference_s: float
    service_s: float
    answer_s: float
    bytes_up: int
    bytes_down: int
    count: int

    @property
    def overhead_s(self) -> float:
        """What the server takes beside the inference."""
        return max(self.service_s - self.inference_s, 0.0)

    def to_json(self) -> dict[str, Any]:
        """The figures, all measured."""
        return {**asdict(self), "overhead_s": self.overhead_s, "how": "measured"}


def measure_tails(
    package: Package,
    endpoint: Endpoint,
    sample: Mapping[str, NDArray[Any]],
    count: int = 20,
    only: Iterable[str] | None = None,
) -> list[TailTime]:
    """The times of each placement that uses the server (or of ``only`` these); its other parts run on this machine.

    DeviceUnreachable when the server does not answer; EdgewiseError when it refuses, with its words.
    """
    chosen = [package.placements[name] for name in (package.placements if only is None else only)]
    parts = LocalParts(package, threads=1)
    wire = Wire(endpoint)
    try:
        return [
            _measure(package, placement, wire, parts, sample, count)
            for placement in chosen
            if any(part.place == "server" for part in placement.parts)
        ]
    except WireError as error:
        kind = DeviceUnreachable if error.kind in ("unreachable", "late") else EdgewiseError
        raise kind(f"{endpoint.url}: {error}", "`edgewise serve` must serve this very package.") from error
    except AgentFailure as error:
        raise EdgewiseError(error.message, error.hint) from error
    finally:
        wire.close()


def request_s(times: Iterable[TailTime]) -> float:
    """The server's time for a request beside its inference: the least of the placements' (it has the least coding).

    0 without any.
    """
    return min((one.overhead_s for one in times), default=0.0)


def _measure(
    package: Package,
    placement: Placement,
    wire: Wire,
    parts: LocalParts,
    sample: Mapping[str, NDArray[Any]],
    count: int,
) -> TailTime:
    rounds = []
    end_s = time.monotonic() + LONGEST_S
    for number in range(WARM + count):
        served = _once(package, placement, wire, parts, sample)
        if number >= WARM:
            rounds.append(served)
        if time.monotonic() > end_s and rounds:
            break
    return TailTime(
        placement=placement.id,
        inference_s=median(sum(one.inference_ns for one in served) for served in rounds) / 1e9,
        service_s=median(sum(one.service_ns for one in served) for served in rounds) / 1e9,
        answer_s=median(sum(one.link_ns for one in served) for served in rounds) / 1e9,
        bytes_up=sum(one.bytes_up for one in rounds[-1]),
        bytes_down=sum(one.bytes_down for one in rounds[-1]),
        count=len(rounds),
    )


def _once(
    package: Package, placement: Placement, wire: Wire, parts: LocalParts, sample: Mapping[str, NDArray[Any]]
) -> list[Served]:
    """The server's answers to one frame, part by part."""
    values: dict[str, Any] = dict(sample)
    answers = []
    for part in placement.parts:
        if part.place == "server":
            answers.append(serve(wire, package, placement, part, code(package, placement, part, values), DEADLINE_S))
            values.update(answers[-1].values)
        else:
            values.update(parts.run(part, values))
    return answers
