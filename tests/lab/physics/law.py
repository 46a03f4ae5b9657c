"""The law of a board: its power as a function of the work done, its heat as a function of its power.

Power. P = idle + k * busy * cap^2, where ``busy`` is the number of cores at work (CPU seconds per second) and ``cap``
the clock as a share of the highest (voltage falls with the clock: dynamic power is C V^2 f, taken here as cap^2, for a
voltage that falls less than the clock). It follows ``busy`` with a first-order lag, as a rail behind its capacitors
does: from one tick to the next P -> target + (P - target) * exp(-dt / lag), and P is constant between two ticks.

Heat. C dT/dt = P - (T - Ta) / R, solved exactly for a constant P: T -> Tinf + (T - Tinf) * exp(-dt / (R C)), with
Tinf = Ta + R P.

Throttling. At ``trip_c`` the clock falls to ``hot_cap``; it comes back below ``release_c``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

# What can be wrong with a board; see `boards` for which board shows which, and how.
FAULTS = ("cap", "thermal", "undervoltage", "over-current", "status")


@dataclass(frozen=True)
class Law:
    """The constants of one board, in SI units (degrees C for temperatures)."""

    idle_w: float
    watts_per_core: float
    cores: int
    ambient_c: float = 25.0
    resistance_k_per_w: float = 4.0
    capacity_j_per_k: float = 40.0
    trip_c: float = 95.0
    release_c: float = 90.0
    hot_cap: float = 0.5
    lag_s: float = 0.1


@dataclass
class Body:
    """The state of a board under its law, moved on by `step`.

    ``faults`` holds what was injected: a fault and when it ends (ns), None for one that stays.
    """

    law: Law
    t_ns: int
    watts: float = 0.0
    temperature_c: float = 0.0
    hot: bool = False
    faults: dict[str, int | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.watts = self.watts or self.law.idle_w
        self.temperature_c = self.temperature_c or self.settled_c(self.watts)

    def settled_c(self, watts: float) -> float:
        """The temperature at which the board stays at this power."""
        return self.law.ambient_c + self.law.resistance_k_per_w * watts

    @property
    def cap(self) -> float:
        """The highest clock that is allowed, as a share of the hardware's."""
        return self.law.hot_cap if self.hot or "cap" in self.faults or "thermal" in self.faults else 1.0

    def inject(self, fault: str, until_ns: int | None) -> None:
        """Nothing; the fault holds from the next step on."""
        if fault not in FAULTS:
            raise ValueError(f"unknown fault {fault!r} (there are: {', '.join(FAULTS)})")
        self.faults[fault] = until_ns
        if fault == "thermal":  # a hot wind, as it were: the board is beyond its trip point at once
            self.temperature_c = max(self.temperature_c, self.law.trip_c + 2.0)

    def step(self, t_ns: int, busy: float) -> None:
        """Nothing; the board is at ``t_ns``, having spent the time since at ``watts``, which now follow ``busy``."""
        dt_s = (t_ns - self.t_ns) * 1e-9
        self.temperature_c = self._heated(dt_s)
        self.faults = {name: end for name, end in self.faults.items() if end is None or end > t_ns}
        if self.temperature_c >= self.law.trip_c:
            self.hot = True
        elif self.temperature_c < self.law.release_c:
            self.hot = False
        busy = min(max(busy, 0.0), float(self.law.cores))
        target = self.law.idle_w + self.law.watts_per_core * busy * self.cap**2
        self.watts = target + (self.watts - target) * math.exp(-dt_s / self.law.lag_s)
        self.t_ns = t_ns

    def _heated(self, dt_s: float) -> float:
        if "thermal" in self.faults:
            return max(self.temperature_c, self.law.trip_c + 2.0)
        settled = self.settled_c(self.watts)
        decay = math.exp(-dt_s / (self.law.resistance_k_per_w * self.law.capacity_j_per_k))
        return settled + (self.temperature_c - settled) * decay
