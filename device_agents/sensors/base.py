"""What every sensor kind shares: the descriptor, the sensor, and the rules for names.

A descriptor is plain data (it goes into the ``hello`` record): name, quantity, unit (SI), scope (what the value covers:
values of different scopes are never added or compared), state, reason, period_s, resolution, source, wraps_at, and
``note`` for what a reader of the value must know. ``state`` is "present", "absent" (nothing there) or "failed" (there,
but not readable); the last two always carry a reason. ``accuracy`` is what the data sheet or a measurement says of the
value beside its resolution: offset (in the unit, at most), gain (a share of the value, at most), noise (standard
deviation of one reading, in the unit), and the source of these; None where nothing is known.
"""

import threading
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Set, Union

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
    "count": "1",  # rises for good, since boot: only differences mean something
    "ratio": "1",
    "flag": "1",  # 1.0 while something holds, else 0.0
    "level": "1",  # how bad, in the source's own steps; 0.0 is none
    "time": "s",  # the source's own clock at which its other values were true
}

Reading = Union[float, str]  # a value in SI, or the reason why there is none


def accuracy(
    source: str, offset: Optional[float] = None, gain: Optional[float] = None, noise: Optional[float] = None
) -> Dict[str, Any]:
    """What a descriptor's ``accuracy`` holds; ``source`` says where the numbers come from."""
    return {"offset": offset, "gain": gain, "noise": noise, "source": source}


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
    accuracy: Optional[Dict[str, Any]] = None,
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
        "accuracy": accuracy,
    }


class Sensor:
    """One physical quantity in its SI unit, read again and again by the sampler.

    ``attributes`` are the files behind it and ``combine`` makes the value of their numbers (in file units), or raises
    SensorError when the numbers mean "no value".
    """

    __slots__ = ("_attributes", "_combine", "descriptor", "name")

    source: "Optional[Source]" = None  # what it shares with others; None: files of its own

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


class Source:
    """Something that gives several values at once and at a price: a program, a file with a table in it.

    The sampler gives it a thread and a schedule of its own, of ``period_s`` or slower: the fastest rate that it can
    bear. Subclasses fill in ``fetch`` and, where they hold something open, ``close``.
    """

    def __init__(self, name: str, period_s: float) -> None:
        self.name = name
        self.period_s = period_s
        self.cpu_s = 0.0  # CPU time of the programs that were started, which is not in the thread's own
        self._lock = threading.Lock()
        self._latest: Dict[str, Reading] = {}

    def fetch(self) -> Dict[str, Reading]:
        """The values by key, each a number in SI or the reason why not. SensorError when there is none at all."""
        raise NotImplementedError

    def refresh(self) -> None:
        """Nothing, once the sensors of this source read what is true now; never raises for what the source says."""
        try:
            latest = self.fetch()
        except SensorError as error:
            latest = {"": error.reason}
        with self._lock:
            self._latest = latest

    def value(self, key: str) -> float:
        """The value of a key as of the last refresh. SensorError with the reason when there is none."""
        with self._lock:
            reading = self._latest.get(key, self._latest.get("", "{} does not show it".format(self.name)))
        if isinstance(reading, str):
            raise SensorError(reading)
        return reading

    def close(self) -> None:
        """Gives back what is held open; a later refresh opens it again."""


class SourceSensor(Sensor):
    """One value of a shared source, by its key."""

    __slots__ = ("_key", "source")

    def __init__(self, about: Descriptor, source: Source, key: str) -> None:
        super().__init__(about, (), _no_combination)
        self.source = source
        self._key = key

    def read(self) -> float:
        """The value as of the source's last refresh."""
        assert self.source is not None  # given to the constructor
        return self.source.value(self._key)


def _no_combination(numbers: List[int]) -> float:
    raise SensorError("this sensor has no files", lasting=True)


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
