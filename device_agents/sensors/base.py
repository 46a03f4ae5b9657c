"""What every sensor kind shares: the descriptor, the sensor, and the rules for names.

A descriptor is plain data (it goes into the ``hello`` record): name, quantity, unit (SI), scope (what the value covers:
values of different scopes are never added or compared), state, reason, period_s, resolution, source, wraps_at, and
``note`` for what a reader of the value must know. ``state`` is "present", "absent" (nothing there) or "failed" (there,
but not readable); the last two always carry a reason.
"""

from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Set

from device_agents.sensors.files import Attribute, SensorError

Descriptor = Dict[str, Any]

UNITS = {
    "temperature": "degC",
    "power": "W",
    "energy": "J",
    "frequency": "Hz",
    "voltage": "V",
    "current": "A",
    "charge": "C",
    "count": "1",
    "ratio": "1",
}


def descriptor(
    name: str,
    quantity: str,
    scope: str,
    source: str,
    state: str = "present",
    reason: Optional[str] = None,
    period_s: Optional[float] = None,
    resolution: Optional[float] = None,
    wraps_at: Optional[float] = None,
    note: Optional[str] = None,
) -> Descriptor:
    """A descriptor; the unit follows from the quantity. ``period_s``: how often the source has a new value."""
    return {
        "name": name,
        "quantity": quantity,
        "unit": UNITS[quantity],
        "scope": scope,
        "state": state,
        "reason": reason,
        "period_s": period_s,
        "resolution": resolution,
        "source": source,
        "wraps_at": wraps_at,
        "note": note,
    }


class Sensor:
    """One physical quantity in its SI unit, read again and again by the sampler.

    ``attributes`` are the files behind it and ``combine`` makes the value of their numbers (in file units), or raises
    SensorError when the numbers mean "no value".
    """

    __slots__ = ("_attributes", "_combine", "descriptor", "name")

    def __init__(self, about: Descriptor, paths: Iterable[str], combine: Callable[[List[int]], float]) -> None:
        self.descriptor = about
        self.name: str = about["name"]
        self._attributes = [Attribute(path) for path in paths]
        self._combine = combine

    def read(self) -> float:
        """The value now, in the descriptor's unit. SensorError with the reason when there is none."""
        return self._combine([attribute.read() for attribute in self._attributes])

    def close(self) -> None:
        """Gives the open files back; a later read opens them again."""
        for attribute in self._attributes:
            attribute.close()

    def rename(self, name: str) -> None:
        """Gives the sensor another name, also in its descriptor."""
        self.name = self.descriptor["name"] = name


class Findings(NamedTuple):
    """What one kind found: sensors that can be sampled, and descriptors of what is absent or failed."""

    sensors: List[Sensor]
    missing: List[Descriptor]


def scaled(factor: float) -> Callable[[List[int]], float]:
    """For a sensor with one file: its number times ``factor`` (SI units per file unit)."""

    def combine(numbers: List[int]) -> float:
        return numbers[0] * factor

    return combine


def add(findings: Findings, sensor: Sensor, tolerate: bool = False) -> None:
    """Puts a sensor into the findings after one trial read; one that cannot be read becomes a ``failed`` descriptor.

    ``tolerate``: the value may come and go (a power-gated sensor), so it is sampled all the same, with the reason
    noted, unless the error is a lasting one.
    """
    try:
        sensor.read()
    except SensorError as error:
        if error.lasting or not tolerate:
            sensor.close()
            sensor.descriptor.update(state="failed", reason=error.reason)
            findings.missing.append(sensor.descriptor)
            return
        sensor.descriptor["reason"] = "no value at the start: {}".format(error.reason)
    findings.sensors.append(sensor)


def make_unique(names: Iterable[str]) -> List[str]:
    """The names, a repeated one with "#2", "#3"... behind it, in the order given.

    >>> make_unique(["temperature.acpitz", "temperature.acpitz", "power.VIN"])
    ['temperature.acpitz', 'temperature.acpitz#2', 'power.VIN']
    """
    taken: Set[str] = set()
    unique = []
    for name in names:
        candidate, number = name, 1
        while candidate in taken:
            number += 1
            candidate = "{}#{}".format(name, number)
        taken.add(candidate)
        unique.append(candidate)
    return unique
