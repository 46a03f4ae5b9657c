"""What every meter shares: a reading, what is known of the meter, and which readings nobody should believe."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

WALL = "wall (with the losses of the power supply)"
PERIOD_S = 1.0  # plugs have a new value about once a second
HIGHEST_W = 1e6  # no device of an inventory takes a megawatt: a larger number is damage


@dataclass(frozen=True)
class Reading:
    """One look at a meter, SI units. A value that is missing is None; ``reason`` says why there is no power.

    ``energy_j`` is a counter that rises for good: only differences mean something.
    """

    power_w: float | None = None
    energy_j: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Info:
    """What is known of a meter. ``offset_w`` and ``gain`` bound its error, as far as that is known; None where not.

    ``period_s``: time between two readings. ``resolution_w``: the step of its values.
    """

    name: str
    kind: str
    scope: str
    period_s: float = PERIOD_S
    resolution_w: float | None = None
    offset_w: float | None = None
    gain: float | None = None
    accuracy_source: str | None = None


class MeterFault(RuntimeError):
    """The meter gave no reading; ``reason`` says why, in words for a report. Never holds what is secret."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Meter(Protocol):
    """An external meter. Used by one thread at a time."""

    @property
    def info(self) -> Info: ...

    def read(self) -> Reading:
        """The values now; returns within a few seconds. MeterFault with the reason when there are none."""

    def close(self) -> None:
        """Nothing; connections and programs are gone. ``read`` may be in progress in another thread, and then ends."""


def believed(power_w: object, floor_w: float | None, apparent_va: object = None) -> Reading:
    """The reading of an active power, or the reason why it is not one.

    A device that runs never takes 0 W: a meter that says so has not resolved the load (a Shelly Pro EM-50 showed 0 W
    beside 18.7 VA, ShellyPy issue 20). Nor is a value below the meter's own possible offset ``floor_w`` one. Volts
    times amperes are apparent power, of which the active power is any part, so they are never taken instead.
    """
    value = number(power_w)
    if value is None:
        return Reading(reason="the meter's answer has no power in it")
    if value < 0:
        return Reading(reason=f"the meter shows {value:g} W: its clamp is the wrong way round, or the device feeds in")
    if value == 0:
        apparent = number(apparent_va)
        beside = f" beside {apparent:g} VA" if apparent else ""
        return Reading(reason=f"the meter shows 0 W{beside}: the load is below what it resolves")
    if floor_w is not None and value < floor_w:
        return Reading(reason=f"the meter shows {value:g} W, less than its own possible error of {floor_w:g} W")
    return Reading(power_w=value)


def number(value: object) -> float | None:
    """A finite number of a plausible size; None for anything else, a truth value too."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) and abs(found) <= HIGHEST_W else None


def counter(value: object, factor: float) -> float | None:
    """A meter's counter in J: its number times ``factor`` (J per unit); None for anything that is no counter."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value) * factor
    except OverflowError:
        return None
    return found if math.isfinite(found) and found >= 0 else None
