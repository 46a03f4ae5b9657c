"""What a model costs by piece and by tensor, a link and a power profile; and the problems that they make.

Latency of a placement: the device's pieces, the server's, coding on both sides, each crossing's bits over its
direction of the link, and one request (a round trip and its framing) as soon as the server is used. Nothing overlaps:
this is the latency of one frame on its own.

Energy is the device's: busy power while it computes, idle power while it waits for the server, and the radio's power
P = alpha * throughput + beta while it sends or receives (Huang et al., A close examination of performance and power
characteristics of 4G LTE networks, MobiSys 2012: the form of the law; its numbers are those of the profile).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from offload.plan.problem import DEVICE, Line, Problem, ProblemError, Tensor, Way

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MEASURED, PREDICTED, ASSUMED = "measured", "predicted", "assumed"


@dataclass(frozen=True)
class CodedAs:
    """One codec for one value: seconds to encode where it is made and to decode where it is taken, bits sent."""

    codec: str
    encode_s: float
    decode_s: float
    bits: float


@dataclass(frozen=True)
class ValueCosts:
    """A value that may cross. ``up`` and ``down``: the codecs that are allowed; the times in them are those of the
    device and of an unloaded server.
    """

    name: str
    producer: int
    consumers: tuple[int, ...]
    up: tuple[CodedAs, ...] = ()
    down: tuple[CodedAs, ...] = ()
    needed_on_device: bool = False


@dataclass(frozen=True)
class Link:
    """Bits per second each way, the round trip of an empty request in seconds, and whether these were measured."""

    uplink_bps: float
    downlink_bps: float
    rtt_s: float
    how: str = ASSUMED

    def __post_init__(self) -> None:
        if not (self.uplink_bps > 0 and self.downlink_bps > 0 and self.rtt_s >= 0):
            raise ProblemError(f"no link has {self.uplink_bps} and {self.downlink_bps} bit/s with {self.rtt_s} s")


@dataclass(frozen=True)
class Power:
    """The device's watts: computing, waiting, and of its radio (on top of waiting) as alpha * Mbit/s + beta."""

    busy_w: float
    idle_w: float
    send_alpha_w_per_mbps: float = 0.0
    send_beta_w: float = 0.0
    receive_alpha_w_per_mbps: float = 0.0
    receive_beta_w: float = 0.0
    how: str = ASSUMED
    source: str = ""


@dataclass(frozen=True)
class Costs:
    """Seconds of each piece on each side, bytes of memory that its weights take, and the values between them.

    ``request_s``: what a request costs beside the link's round trip (framing, the server's overhead).
    """

    pieces: tuple[str, ...]
    device_s: tuple[float, ...]
    server_s: tuple[float, ...]
    values: tuple[ValueCosts, ...]
    weight_bytes: tuple[int, ...] = ()
    on_device: frozenset[int] = frozenset()
    on_server: frozenset[int] = frozenset()
    request_s: float = 0.0
    how: dict[str, str] = field(default_factory=dict, compare=False)  # "device_s": "measured"...


@dataclass(frozen=True)
class Price:
    """What a placement costs on one link. ``energy_j`` is None without a power profile."""

    latency_s: float
    device_s: float
    server_s: float
    codec_s: float
    network_s: float
    up_bits: float
    down_bits: float
    device_weight_bytes: int
    server_weight_bytes: int
    energy_j: float | None = None


def latency_problem(costs: Costs, link: Link, slow_down: float = 1.0, device_scale: float = 1.0) -> Problem:
    """The problem whose cost is seconds. ``slow_down``: of the server; ``device_scale``: of the device (heat).

    The downlink keeps its own bandwidth while the uplink's is the problem's variable.
    """
    import numpy as np

    return Problem(
        device=np.array(costs.device_s, dtype=float) * device_scale,
        server=np.array(costs.server_s, dtype=float) * slow_down,
        tensors=tuple(_latency_tensor(value, slow_down, device_scale) for value in costs.values),
        on_device=costs.on_device,
        on_server=costs.on_server,
        down_s_per_bit=1.0 / link.downlink_bps,
        request=link.rtt_s + costs.request_s * slow_down,
        names=costs.pieces,
    )


def _latency_tensor(value: ValueCosts, slow_down: float, device_scale: float) -> Tensor:
    up = tuple(Way(c.codec, c.encode_s * device_scale + c.decode_s * slow_down, c.bits) for c in value.up)
    down = tuple(Way(c.codec, c.encode_s * slow_down + c.decode_s * device_scale, c.bits) for c in value.down)
    return Tensor(value.name, value.producer, value.consumers, up, down, value.needed_on_device)


def energy_problem(
    costs: Costs, link: Link, power: Power, slow_down: float = 1.0, device_scale: float = 1.0
) -> Problem:
    """The problem whose cost is the device's joules."""
    import numpy as np

    return Problem(
        device=np.array(costs.device_s, dtype=float) * (device_scale * power.busy_w),
        server=np.array(costs.server_s, dtype=float) * (slow_down * power.idle_w),
        tensors=tuple(_energy_tensor(value, power, slow_down, device_scale) for value in costs.values),
        on_device=costs.on_device,
        on_server=costs.on_server,
        up_per_bit=power.idle_w + power.send_beta_w,
        down_per_bit=power.idle_w + power.receive_beta_w,
        down_s_per_bit=1.0 / link.downlink_bps,
        request=(link.rtt_s + costs.request_s * slow_down) * power.idle_w,
        names=costs.pieces,
    )


def _energy_tensor(value: ValueCosts, power: Power, slow_down: float, device_scale: float) -> Tensor:
    # alpha * throughput * (bits / throughput): the part of the radio's energy that does not depend on the bandwidth.
    send, receive = power.send_alpha_w_per_mbps * 1e-6, power.receive_alpha_w_per_mbps * 1e-6
    busy, idle = power.busy_w * device_scale, power.idle_w * slow_down
    up = tuple(Way(c.codec, c.encode_s * busy + c.decode_s * idle + send * c.bits, c.bits) for c in value.up)
    down = tuple(Way(c.codec, c.encode_s * idle + c.decode_s * busy + receive * c.bits, c.bits) for c in value.down)
    return Tensor(value.name, value.producer, value.consumers, up, down, value.needed_on_device)


def price(
    costs: Costs, line: Line, link: Link, power: Power | None = None, slow_down: float = 1.0, device_scale: float = 1.0
) -> Price:
    """What a placement costs, in every unit, on this link. ``line`` is one of this model's problems."""
    import numpy as np

    there = np.asarray(line.sides)
    device_s = float(np.array(costs.device_s, dtype=float)[~there].sum()) * device_scale
    server_s = float(np.array(costs.server_s, dtype=float)[there].sum()) * slow_down
    up = [costs.values[c.tensor].up[c.way] for c in line.crossings if c.up]
    down = [costs.values[c.tensor].down[c.way] for c in line.crossings if not c.up]
    own_s = (sum(c.encode_s for c in up) + sum(c.decode_s for c in down)) * device_scale
    theirs_s = (sum(c.decode_s for c in up) + sum(c.encode_s for c in down)) * slow_down
    up_bits, down_bits = sum(c.bits for c in up), sum(c.bits for c in down)
    request_s = link.rtt_s + costs.request_s * slow_down if there.any() else 0.0
    sending_s, receiving_s = up_bits / link.uplink_bps, down_bits / link.downlink_bps
    energy_j = None
    if power is not None:
        energy_j = (device_s + own_s) * power.busy_w
        energy_j += (server_s + theirs_s + request_s + sending_s + receiving_s) * power.idle_w
        energy_j += sending_s * power.send_beta_w + up_bits * power.send_alpha_w_per_mbps * 1e-6
        energy_j += receiving_s * power.receive_beta_w + down_bits * power.receive_alpha_w_per_mbps * 1e-6
    weights = _weights(costs.weight_bytes, there)
    network_s = request_s + sending_s + receiving_s
    total_s = device_s + server_s + own_s + theirs_s + network_s
    return Price(
        total_s, device_s, server_s, own_s + theirs_s, network_s, up_bits, down_bits, *weights, energy_j=energy_j
    )


def _weights(weight_bytes: Sequence[int], there: NDArray[np.bool_]) -> tuple[int, int]:
    """Bytes of weights on the device and on the server."""
    if not weight_bytes:
        return 0, 0
    import numpy as np

    weights = np.array(weight_bytes, dtype=np.int64)
    return int(weights[~there].sum()), int(weights[there].sum())


def check(costs: Costs) -> None:
    """Nothing. ProblemError when a list is too short or too long, or a value's pieces do not exist."""
    count = len(costs.pieces)
    for name in ("device_s", "server_s"):
        if len(getattr(costs, name)) != count:
            raise ProblemError(f"{name} has {len(getattr(costs, name))} entries for {count} pieces")
    if costs.weight_bytes and len(costs.weight_bytes) != count:
        raise ProblemError(f"weight_bytes has {len(costs.weight_bytes)} entries for {count} pieces")
    for value in costs.values:
        if not DEVICE <= value.producer < count:
            raise ProblemError(f"value {value.name}: its producer {value.producer} does not exist")
