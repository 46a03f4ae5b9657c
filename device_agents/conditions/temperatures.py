"""Which temperatures tell how hot the chip is, and what the hottest of them shows now.

The sampler hands its readings over as it takes them, so nothing is read twice and no program is started for this.
"""

import re
import threading
import time
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

from device_agents.sensors import Sensor

# What is no temperature of the chip: radios, supplies and their chips, drives, what surrounds the board, and thresholds
# or estimates that a driver shows as zones.
_OTHER = re.compile(
    r"wi-?fi|wlan|ath[0-9]|mt7|modem|mdm|xo[-_]therm|pa[-_]therm|pm(ic|[0-9])|batt|bms|charg|usb|bcl|nvme|ssd|drive|disk"
    r"|composite|fan|phy|eth|camera|flash|display|lcd|quiet|ambient|pch|iio|dram|ddr|memory|bq2"
)
# What is: junctions, cores and packages, GPUs, NPUs, and the skin of phones, by which those are throttled.
_CHIP = re.compile(
    r"(^|[^a-z])(tj|ao|pll|cv[0-9]?|tdie|tctl|cl[0-9]|apc[0-9]?|big|mid|little|lit|tpu|npu|npus|dsp|nsp|aoss|hot)($|[^a-z])"
    r"|cpu|gpu|soc|core|package|pkg|junction|k10temp|zenpower|skin|cluster|tsens|therm-?zone|bcm2"
)
STALE_S = 5.0  # a reading older than this, or than three periods of its source, says nothing about now
PREFIX = "temperature."


class Reading(NamedTuple):
    """One temperature: the sensor's name, °C, and when, on the monotonic clock in seconds."""

    sensor: str
    temperature_c: float
    at_s: float


def relevant(names: Sequence[str]) -> List[str]:
    """The names that tell how hot the chip is; else those that may; else, with nothing better, the battery's.

    >>> relevant(["temperature.cpu-thermal", "temperature.iwlwifi_1", "temperature.acpitz"])
    ['temperature.cpu-thermal']
    """
    found = [name for name in names if name.startswith(PREFIX)]
    words = {name: name[len(PREFIX) :].lower() for name in found}
    others = [name for name in found if _OTHER.search(words[name])]
    chip = [name for name in found if name not in others and _CHIP.search(words[name])]
    unknown = [name for name in found if name not in others and name not in chip]
    return chip or unknown or [name for name in others if "batt" in words[name]]


class Temperatures:
    """The relevant temperatures of a device while it is sampled. Thread-safe."""

    def __init__(
        self, sensors: Sequence[Sensor], period_s: float, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        names = set(relevant([sensor.name for sensor in sensors]))
        self._limits_s: Dict[str, float] = {}
        for sensor in sensors:
            if sensor.name in names:
                own_s = sensor.source.period_s if sensor.source is not None else 0.0
                self._limits_s[sensor.name] = max(STALE_S, 3.0 * max(period_s, own_s))
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._latest: Dict[str, Reading] = {}
        self._reasons: Dict[str, str] = {}
        self._on_reading: Optional[Callable[[Reading], None]] = None

    @property
    def patience_s(self) -> float:
        """How long nothing may be read before nothing can be said; 0 where there is nothing to wait for."""
        return max(self._limits_s.values(), default=0.0)

    def take(self, values: Mapping[str, Optional[float]], reasons: Mapping[str, str]) -> None:
        """Nothing; what the sampler read at this moment, null where there was nothing, with the reasons."""
        now_s = self._clock_s()
        with self._lock:
            for name in self._limits_s:
                value = values.get(name)
                if value is not None:
                    self._latest[name] = Reading(name, value, now_s)
                    self._reasons.pop(name, None)
                elif name in reasons:
                    self._reasons[name] = reasons[name]
            watch = self._on_reading
        if watch is not None:
            hottest = self.hottest()
            if hottest is not None:
                watch(hottest)

    def watch(self, on_reading: Optional[Callable[[Reading], None]]) -> None:
        """Nothing; called with the hottest after each reading, in the sampler's thread. None ends it."""
        with self._lock:
            self._on_reading = on_reading

    def hottest(self) -> Optional[Reading]:
        """The hottest that is known now; None when none is."""
        with self._lock:
            fresh = [one for one in self._latest.values() if self._is_fresh(one)]
        return max(fresh, key=lambda one: one.temperature_c, default=None)

    def fresh(self, name: str) -> bool:
        """True while the sensor shows what is true now."""
        with self._lock:
            return name in self._latest and self._is_fresh(self._latest[name])

    def reason(self, name: str) -> str:
        """Why the sensor showed nothing at last."""
        with self._lock:
            return self._reasons.get(name, "no reading")

    def _is_fresh(self, one: Reading) -> bool:
        return self._clock_s() - one.at_s <= self._limits_s[one.sensor]

    def why_none(self) -> str:
        """Why ``hottest`` is None, for a message."""
        if not self._limits_s:
            return "this device shows no temperature of its chip"
        with self._lock:
            told = ["{}: {}".format(name, self._reasons.get(name, "no reading")) for name in sorted(self._limits_s)]
        return "; ".join(told[:3])
