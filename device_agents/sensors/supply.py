"""What feeds a device that has a battery: the chargers and batteries of /sys/class/power_supply.

While any charger is connected the battery's current is not what the device uses: it may be charged, left alone or
drained, whatever the device does. The flag ``supply.external`` says so in every sample.
"""

import os
from typing import List, Optional, Sequence, Tuple

from device_agents.sensors.base import Descriptor, Sensor, descriptor
from device_agents.sensors.files import SensorError, folder, read_label, read_number, under

FOLDER = "/sys/class/power_supply"
CHARGED = ("Charging", "Full", "Not charging")  # states that a battery has on a charger only
UNKNOWN = "neither the chargers nor the battery's state say what feeds the device"
NOTE = "1 while any charger is connected: then no battery value is consumption"


def batteries(root: str) -> List[Tuple[str, str]]:
    """(name, folder) of each battery that feeds the system; those of a mouse or keyboard (scope "Device") are not."""
    base = under(root, FOLDER)
    found = []
    for name in folder(base):
        path = os.path.join(base, name)
        kind = read_label(os.path.join(path, "type"))
        if kind in ("Battery", "BMS") and read_label(os.path.join(path, "scope")) != "Device":
            found.append((name, path))
    return found


def chargers(root: str) -> List[str]:
    """The readable ``online`` files of everything that may feed the device."""
    base, found = under(root, FOLDER), []
    own = {name for name, _ in batteries(root)}
    for name in folder(base):
        path = os.path.join(base, name, "online")
        if name in own or read_label(os.path.join(base, name, "scope")) == "Device":
            continue
        try:
            read_number(path)
        except SensorError:
            continue
        found.append(path)
    return found


def is_external(online: Sequence[int], state: Optional[str]) -> Optional[bool]:
    """Whether a charger is connected: one is online, or the battery's state is one of a charger. None: not known.

    "No" needs the battery's own word, "Discharging": chargers may be hidden from an ordinary user.
    """
    if any(online) or state in CHARGED:
        return True
    return False if state == "Discharging" else None


def state_of(root: str) -> Optional[str]:
    """The state of the battery ("Discharging", "Full"...); of several the first that has one. None: none readable."""
    states = (read_label(os.path.join(path, "status")) for _, path in batteries(root))
    return next((state for state in states if state), None)


def external(root: str) -> Optional[bool]:
    """`is_external` by the files of /sys."""
    online = []
    for path in chargers(root):
        try:
            online.append(read_number(path))
        except SensorError:
            continue
    return is_external(online, state_of(root))


def flag(source: str, period_s: Optional[float] = None) -> Descriptor:
    """The descriptor of ``supply.external``."""
    return descriptor("supply.external", "flag", "power supply", source, period_s=period_s, note=NOTE)


class ExternalSensor(Sensor):
    """``supply.external`` from the files of /sys: the chargers' ``online`` and the battery's ``status``."""

    __slots__ = ("_root",)

    def __init__(self, root: str, online: Sequence[str]) -> None:
        super().__init__(flag(os.path.join(under(root, FOLDER), "*/online")), online, _first)
        self._root = root

    def read(self) -> float:
        """1.0 while a charger is connected, else 0.0. SensorError when nothing says so."""
        answer = is_external([attribute.read() for attribute in self._attributes], state_of(self._root))
        if answer is None:
            raise SensorError(UNKNOWN)
        return 1.0 if answer else 0.0


def _first(numbers: List[int]) -> float:
    return float(numbers[0])
