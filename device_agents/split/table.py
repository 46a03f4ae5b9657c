"""The placement table: which placement is best at which bandwidth, and what each costs under the conditions of now.

It is computed on the host for the whole range of bandwidths and some levels of server slow-down; here it is looked up.
"""

import math
from bisect import bisect_right
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

DEVICE, SERVER, SPLIT = "device", "server", "split"
MAX_PLACEMENTS, MAX_BOUNDS, MAX_LEVELS = 4096, 100_000, 64


class TableError(ValueError):
    """The table is damaged or of another version; the message names the field."""


class Conditions(NamedTuple):
    """What is known now. Bits and seconds; ``slow_down`` of the server and ``device_scale`` of the device are factors
    on what was measured for the table. None: not known.
    """

    uplink_bps: float
    downlink_bps: float
    rtt_s: float
    slow_down: float = 1.0
    device_scale: float = 1.0
    server_up: bool = True
    temperature_c: Optional[float] = None
    battery: Optional[float] = None  # share of its charge, 0 to 1
    charging: Optional[bool] = None


class Placement(NamedTuple):
    """What one placement costs: seconds on each side and for coding there, bits each way, joules of the device by what
    they depend on. ``label``: "device", "server" or "split".
    """

    id: str
    label: str
    device_s: float
    server_s: float
    device_codec_s: float
    server_codec_s: float
    up_bits: float
    down_bits: float
    request_s: float
    switch_s: float = 0.0

    def latency_s(self, now: Conditions) -> float:
        """The predicted latency of one frame; infinite when it needs a server that is down."""
        own_s = (self.device_s + self.device_codec_s) * now.device_scale
        if self.label == DEVICE:
            return own_s
        if not now.server_up:
            return math.inf
        theirs_s = (self.server_s + self.server_codec_s + self.request_s) * now.slow_down
        return own_s + theirs_s + now.rtt_s + self.up_bits / now.uplink_bps + self.down_bits / now.downlink_bps

    def energy_j(self, now: Conditions, power: "PowerProfile") -> float:
        """The device's joules for one frame; infinite when it needs a server that is down."""
        own_s = (self.device_s + self.device_codec_s) * now.device_scale
        if self.label == DEVICE:
            return own_s * power.busy_w
        waiting_s = self.latency_s(now) - own_s
        if waiting_s == math.inf:
            return math.inf
        up_s, down_s = self.up_bits / now.uplink_bps, self.down_bits / now.downlink_bps
        radio_j = up_s * power.send_beta_w + self.up_bits * power.send_alpha_w_per_mbps * 1e-6
        radio_j += down_s * power.receive_beta_w + self.down_bits * power.receive_alpha_w_per_mbps * 1e-6
        return own_s * power.busy_w + waiting_s * power.idle_w + radio_j


class PowerProfile(NamedTuple):
    """The device's watts: computing, waiting, and of its radio on top of waiting as alpha * Mbit/s + beta."""

    busy_w: float
    idle_w: float
    send_alpha_w_per_mbps: float = 0.0
    send_beta_w: float = 0.0
    receive_alpha_w_per_mbps: float = 0.0
    receive_beta_w: float = 0.0


class Level(NamedTuple):
    """One level of server slow-down: ``placements[i]`` is best from ``bounds[i]`` to ``bounds[i + 1]`` s per bit."""

    slow_down: float
    bounds: Tuple[float, ...]
    placements: Tuple[str, ...]


class Table:
    """Placements, and the best of them by bandwidth and server slow-down."""

    def __init__(
        self, placements: Sequence[Placement], levels: Sequence[Level], power: Optional[PowerProfile] = None
    ) -> None:
        self.placements: Dict[str, Placement] = {placement.id: placement for placement in placements}
        self.power = power
        self._levels = sorted(levels, key=lambda level: level.slow_down)
        self._edges = [
            math.sqrt(low.slow_down * high.slow_down) for low, high in zip(self._levels, self._levels[1:])
        ]  # fmt: skip

    @classmethod
    def from_json(cls, document: Any) -> "Table":
        """The table of a JSON object. TableError names what is wrong in it."""
        if not isinstance(document, dict) or document.get("schema") != 1:
            raise TableError("not a placement table of schema 1")
        try:
            placements = [_placement(item) for item in _listed(document, "placements", MAX_PLACEMENTS)]
            levels = [_level(item) for item in _listed(document, "levels", MAX_LEVELS)]
            power = document.get("power")
            profile = None if power is None else PowerProfile(**{key: _number(power, key) for key in power})
        except TypeError as error:
            raise TableError("a field of the table has the wrong type: {}".format(error)) from error
        _check(placements, levels)
        return cls(placements, levels, profile)

    def to_json(self) -> Dict[str, Any]:
        """The table as JSON."""
        return {
            "schema": 1,
            "placements": [dict(placement._asdict()) for placement in self.placements.values()],
            "levels": [
                {"slow_down": level.slow_down, "bounds": list(level.bounds), "placements": list(level.placements)}
                for level in self._levels
            ],
            "power": None if self.power is None else dict(self.power._asdict()),
        }

    @property
    def levels(self) -> Tuple[Level, ...]:
        """The levels of server slow-down, rising."""
        return tuple(self._levels)

    @property
    def local(self) -> Optional[Placement]:
        """The placement that needs no server; None when the model does not fit the device."""
        return next((placement for placement in self.placements.values() if placement.label == DEVICE), None)

    def choose(self, uplink_bps: float, slow_down: float = 1.0) -> Placement:
        """The best placement by the table at the level nearest to ``slow_down`` (by ratio)."""
        level = self._levels[bisect_right(self._edges, slow_down)]
        at = bisect_right(level.bounds, 1.0 / uplink_bps) - 1
        return self.placements[level.placements[min(max(at, 0), len(level.placements) - 1)]]


def _check(placements: List[Placement], levels: List[Level]) -> None:
    known = {placement.id for placement in placements}
    if len(known) != len(placements) or not known:
        raise TableError("placements: each needs an id of its own, and there must be one")
    if not levels:
        raise TableError("levels: there must be one")
    for level in levels:
        if len(level.bounds) != len(level.placements) + 1 or not level.placements:
            raise TableError("levels: there must be one bound more than placements")
        if any(not low <= high for low, high in zip(level.bounds, level.bounds[1:])):
            raise TableError("levels: bounds must rise")
        unknown = set(level.placements) - known
        if unknown:
            raise TableError("levels: placement {!r} does not exist".format(sorted(unknown)[0]))


def _listed(document: Dict[str, Any], name: str, most: int) -> List[Any]:
    items = document.get(name)
    if not isinstance(items, list) or len(items) > most or not all(isinstance(item, dict) for item in items):
        raise TableError("{}: a list of at most {} objects is wanted".format(name, most))
    return items


def _placement(item: Dict[str, Any]) -> Placement:
    numbers = {field: _number(item, field) for field in Placement._fields[2:-1]}
    label = item.get("label")
    if label not in (DEVICE, SERVER, SPLIT):
        raise TableError("placements: label is {!r}, expected device, server or split".format(label))
    return Placement(str(item.get("id")), label, switch_s=_number(item, "switch_s", 0.0), **numbers)


def _level(item: Dict[str, Any]) -> Level:
    bounds, placements = item.get("bounds"), item.get("placements")
    if not isinstance(bounds, list) or not isinstance(placements, list) or len(bounds) > MAX_BOUNDS:
        raise TableError("levels: bounds and placements are lists of at most {}".format(MAX_BOUNDS))
    numbers = tuple(_number({"bounds": bound}, "bounds") for bound in bounds)
    slow_down = _number(item, "slow_down")
    if slow_down <= 0:
        raise TableError("levels: slow_down must be above 0")
    return Level(slow_down, numbers, tuple(str(name) for name in placements))


def _number(item: Dict[str, Any], name: str, default: Optional[float] = None) -> float:
    value = item.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise TableError("{} is {!r}, expected a number of at least 0".format(name, value))
    return float(value)
