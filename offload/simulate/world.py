"""The simulated world: the truth about link, server and device over time, and what becomes of one frame in it.

One frame is: the head on the device, the upload, half a round trip, the server, the download, half a round trip. The
order is that of the client (device_agents.split.client); so is what happens when no answer comes in time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from device_agents.split.decide import rest_s
from device_agents.split.table import DEVICE, Placement, PowerProfile, Table
from offload.simulate.trace import Steps, Trace

UP, REFUSED, HUNG = "up", "refused", "hung"
NEVER_S = 60.0  # a request without a deadline is given up then, as the client does


ONE, NOTHING, NO_CHARGER = Steps((1.0,)), Steps[float | None]((None,)), Steps[bool | None]((None,))
ALWAYS_UP, RTT = Steps((UP,)), Steps((0.02,))


@dataclass(frozen=True)
class World:
    """The truth. ``server``: "up", "refused" (nobody listens) or "hung" (it takes requests and never answers).

    ``slow_down`` and ``device_scale`` multiply the table's times. The device's own sensors are as they are at a time.
    """

    up: Trace
    down: Trace
    rtt_s: Steps[float] = RTT
    slow_down: Steps[float] = ONE
    server: Steps[str] = ALWAYS_UP
    device_scale: Steps[float] = ONE
    temperature_c: Steps[float | None] = NOTHING
    battery: Steps[float | None] = NOTHING
    charging: Steps[bool | None] = NO_CHARGER

    def sensed(self, when_s: float) -> dict[str, float | bool | None]:
        """What the device's sensors show."""
        return {
            "temperature_c": self.temperature_c.at(when_s),
            "battery": self.battery.at(when_s),
            "charging": self.charging.at(when_s),
        }


@dataclass(frozen=True)
class Answer:
    """Of one request: when the client knows, what the server said it took, and "ok", "refused" or "never"."""

    at_s: float
    service_s: float
    kind: str
    up_s: float = 0.0
    down_s: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What became of one frame: seconds from its begin, and what the client saw of its request.

    ``answer`` is None when no request was made. ``fallback``: why the rest ran on the device, else None. ``refused``:
    there was no result. ``up_bits`` were sent, even in vain.
    """

    latency_s: float
    head_s: float
    sent_s: float
    known_s: float
    answer: Answer | None
    fallback: str | None
    refused: bool
    up_bits: float
    down_bits: float
    energy_j: float | None = None


def ask(world: World, start_s: float, up_bits: float, down_bits: float, work_s: float) -> Answer:
    """A request whose first bit goes at ``start_s``, with ``work_s`` of an unloaded server's time."""
    half_s = world.rtt_s.at(start_s) / 2
    arrived_s = world.up.sent_at(start_s, up_bits) + half_s
    if arrived_s == math.inf:
        return Answer(math.inf, 0.0, "never")
    service_s = work_s * world.slow_down.at(arrived_s)
    done_s = arrived_s + service_s
    trouble = world.server.first(start_s + half_s, done_s, UP)
    if trouble is not None:
        when_s, kind = trouble
        return Answer(when_s + half_s if kind == REFUSED else math.inf, 0.0, REFUSED if kind == REFUSED else "never")
    received_s = world.down.sent_at(done_s, down_bits)
    return Answer(received_s + half_s, service_s, "ok", up_s=arrived_s - half_s - start_s, down_s=received_s - done_s)


def outcome(
    world: World,
    table: Table,
    row: Placement,
    start_s: float,
    limit_s: float,
    *,
    rescue: bool = True,
    free_s: float = 0.0,
) -> Outcome:
    """One frame begun at ``start_s`` in this placement, waiting for the server until ``limit_s`` after its begin.

    ``rescue``: the device does the rest when no answer came, and an answer that comes before it is done is taken; else
    the frame is refused. ``free_s``: before this time the connection is taken.
    """
    scale = world.device_scale.at(start_s)
    head_s = (row.device_s + row.device_codec_s) * scale
    if row.label == DEVICE:
        return _priced(table, Outcome(head_s, head_s, start_s, start_s + head_s, None, None, False, 0.0, 0.0), 0.0)
    sent_s = max(start_s + head_s, free_s)
    until_s = start_s + min(limit_s, NEVER_S)
    can_rescue = rescue and table.local is not None
    more_s = rest_s(table, row, scale) if can_rescue else 0.0
    if sent_s >= until_s:
        answer, rest_from_s, kind = None, start_s + head_s, "late"
    else:
        work_s = row.server_s + row.server_codec_s + row.request_s
        answer = ask(world, sent_s, row.up_bits, row.down_bits, work_s)
        # While the device does the rest the answer is still waited for: whichever is there first.
        kind = answer.kind if answer.at_s <= until_s or answer.at_s < until_s + more_s else "late"
        rest_from_s = min(answer.at_s, until_s)
    if kind == "ok" and answer is not None:
        known_s = answer.at_s
        done = Outcome(known_s - start_s, head_s, sent_s, known_s, answer, None, False, row.up_bits, row.down_bits)
        return _priced(table, done, max(known_s - until_s, 0.0))
    end_s = rest_from_s + more_s
    known_s = end_s if kind == "late" and answer is not None else rest_from_s
    up_bits = 0.0 if answer is None else min(row.up_bits, world.up.carried(known_s) - world.up.carried(sent_s))
    failed = Outcome(end_s - start_s, head_s, sent_s, known_s, answer, kind, not can_rescue, up_bits, 0.0)
    return _priced(table, failed, more_s)


def _priced(table: Table, done: Outcome, more_s: float) -> Outcome:
    """The outcome with the device's joules, when the table has its power: computing, waiting, the radio."""
    if table.power is None:
        return done
    power: PowerProfile = table.power
    busy_s = done.head_s + more_s
    energy_j = busy_s * power.busy_w + (done.latency_s - busy_s) * power.idle_w
    answer = done.answer
    if answer is not None:
        up_s = answer.up_s if done.fallback is None else min(answer.up_s or math.inf, done.known_s - done.sent_s)
        down_s = answer.down_s if done.fallback is None else 0.0
        energy_j += up_s * power.send_beta_w + done.up_bits * power.send_alpha_w_per_mbps * 1e-6
        energy_j += down_s * power.receive_beta_w + done.down_bits * power.receive_alpha_w_per_mbps * 1e-6
    return Outcome(**{**done.__dict__, "energy_j": energy_j})
