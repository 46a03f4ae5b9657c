"""`dumpsys thermalservice` and `dumpsys android.hardware.thermal.IThermal/default` as values.

Pure functions that never raise. Of the two lists of the first report only "Current temperatures from HAL" is read: the
cached one is as old as the last change of a throttling level (37.0 °C where the CPU had 66.5). The second report is
that of Pixel's thermal HAL (hardware/google/pixel/thermal, Thermal::dumpThermalData): "getCurrentTemperatures".
What a value is follows from its name where that says so (TYPE_SKIN): some Samsung phones number the types from 1.
"""

import math
import re
from typing import Dict, List, NamedTuple, Optional, Tuple

MAX_LINES = 20_000
MAX_SENSORS = 64
LOWEST_DEGC, HIGHEST_DEGC = -40.0, 200.0
STALE = "the report has no list from the HAL, and the cached one is stale"

# android.hardware.thermal.TemperatureType, ThrottlingSeverity and CoolingType.
KINDS = {
    -1: "UNKNOWN",
    0: "CPU",
    1: "GPU",
    2: "BATTERY",
    3: "SKIN",
    4: "USB_PORT",
    5: "POWER_AMPLIFIER",
    6: "BCL_VOLTAGE",
    7: "BCL_CURRENT",
    8: "BCL_PERCENTAGE",
    9: "NPU",
    10: "TPU",
    11: "DISPLAY",
    12: "MODEM",
    13: "SOC",
}
NOT_DEGREES = {"BCL_VOLTAGE": "mV", "BCL_CURRENT": "mA", "BCL_PERCENTAGE": "per cent"}
LEVELS = ("NONE", "LIGHT", "MODERATE", "SEVERE", "CRITICAL", "EMERGENCY", "SHUTDOWN")
_COOLING = {2: "CPU", 3: "GPU", 5: "NPU", 6: "COMPONENT", 7: "TPU"}  # what slows computing: no fan, charger, modem

_TEMPERATURE = re.compile(
    r"Temperature\{mValue=([^,]{1,32}), mType=(-?\d{1,4}), mName=([^}]{1,80}), mStatus=(\d{1,4})\}"
)
_HAL_LINE = re.compile(r"Type: (\w{1,40}) Name: (\S{1,80}) CurrentValue: (\S{1,32}) ThrottlingStatus: (\w{1,40})")
_COOLER = re.compile(r"CoolingDevice\{mValue=(\d{1,9}), mType=(-?\d{1,4}), mName=([^}]{1,80})\}")
_HAL_COOLER = re.compile(r"Type: (\w{1,40}) Name: (\S{1,80}) CurrentValue: (\d{1,9})\Z")
_THRESHOLD = re.compile(
    r"TemperatureThreshold\{.{0,200}?mName=([^,}]{1,80}), mHotThrottlingThresholds=\[([^\]]{0,400})\]"
)
_SECTIONS = {
    "Current temperatures from HAL": "temperatures",
    "getCurrentTemperatures": "temperatures",
    "Current cooling devices from HAL": "cooling",
    "getCurrentCoolingDevices": "cooling",
}


class ThermalReport(NamedTuple):
    """What a report shows, by the HAL's names.

    temperatures in °C; reasons: why a listed one has none ("" is the reason for all); kinds: CPU, GPU, SKIN...; status:
    0 (none) to 6 (shutdown), else status_reason; cooling: the state of what slows computing, 0 is idle; thresholds: the
    °C at which each of the six levels begins, None where there is none.
    """

    temperatures: Dict[str, float]
    reasons: Dict[str, str]
    kinds: Dict[str, str]
    status: Optional[int]
    status_reason: str
    cooling: Dict[str, int]
    thresholds: Dict[str, List[Optional[float]]]


class _Entry(NamedTuple):
    name: str
    kind: str
    text: str
    level: Optional[int]


def parse_thermal(text: str) -> ThermalReport:
    """The values of either report; for anything else none, with the reason."""
    lines = [line.strip() for line in text.splitlines()[:MAX_LINES]]
    entries, cooling = _listed(lines)
    temperatures: Dict[str, float] = {}
    reasons: Dict[str, str] = {}
    for entry in entries:
        try:
            temperatures[entry.name] = degc(entry.name, entry.kind, entry.text)
        except ValueError as error:
            reasons[entry.name] = str(error)
    not_ready = "HAL Ready: false" in lines
    if not_ready:
        temperatures, cooling = {}, {}
        reasons = dict.fromkeys((entry.name for entry in entries), "")
    if not temperatures:
        reasons[""] = "the thermal HAL is not ready" if not_ready else STALE if not entries else "no sensor has a value"
    status, why = _status(lines, entries, not_ready)
    kinds = {entry.name: entry.kind for entry in entries}
    return ThermalReport(temperatures, reasons, kinds, status, why, cooling, _thresholds(lines))


def degc(name: str, kind: str, text: str) -> float:
    """The temperature in °C of one entry. ValueError with the reason when it has none, or is none."""
    if kind in NOT_DEGREES:
        raise ValueError("a battery current limiter's value in {}, not a temperature".format(NOT_DEGREES[kind]))
    parts = name.upper().split("-")
    if "MINUS" in parts or "MODEL" in parts:
        raise ValueError("computed from other sensors, not a temperature")
    try:
        value = float(text)
    except ValueError:
        raise ValueError("not a number: {!r}".format(text[:16])) from None
    if not math.isfinite(value):
        raise ValueError("the HAL shows {}".format(text[:16]))
    if value == 0.0:
        raise ValueError("exactly 0.0 is what absent and virtual sensors show")
    if not LOWEST_DEGC <= value <= HIGHEST_DEGC:
        raise ValueError("{:g} °C is no temperature: the sensor is off or means something else".format(value))
    return value


def kind_of(name: str, number: int) -> str:
    """What an entry is: by its name where that says so, else by its type's number."""
    if name.startswith("TYPE_"):
        return name[len("TYPE_") :]
    return KINDS.get(number, "UNKNOWN")


def _listed(lines: List[str]) -> Tuple[List[_Entry], Dict[str, int]]:
    entries: Dict[str, _Entry] = {}
    cooling: Dict[str, int] = {}
    section = ""
    for line in lines:
        heading = line.rstrip(":")
        if line.endswith(":") and len(heading) < 80:
            section = _SECTIONS.get(heading, "")
        elif section == "temperatures" and len(entries) < MAX_SENSORS:
            entry = _entry(line)
            if entry is not None:
                entries.setdefault(entry.name, entry)
        elif section == "cooling" and len(cooling) < MAX_SENSORS:
            _take_cooler(cooling, line)
    return list(entries.values()), cooling


def _entry(line: str) -> Optional[_Entry]:
    match = _TEMPERATURE.match(line)
    if match:
        name, level = _printable(match.group(3)), int(match.group(4))
        return _Entry(name, kind_of(name, int(match.group(2))), match.group(1), level if level < len(LEVELS) else None)
    match = _HAL_LINE.match(line)
    if match:
        word = match.group(4)
        return _Entry(
            _printable(match.group(2)), match.group(1), match.group(3), LEVELS.index(word) if word in LEVELS else None
        )
    return None


def _take_cooler(cooling: Dict[str, int], line: str) -> None:
    match = _COOLER.match(line)
    if match:
        state, kind, name = match.group(1), _COOLING.get(int(match.group(2)), ""), match.group(3)
    else:
        match = _HAL_COOLER.match(line)
        if match is None:
            return
        kind, name, state = match.groups()
    if kind in _COOLING.values():
        cooling.setdefault(_printable(name), int(state))


def _status(lines: List[str], entries: List[_Entry], not_ready: bool) -> Tuple[Optional[int], str]:
    if "IsStatusOverride: true" in lines:
        return None, "the thermal status is overridden: cmd thermalservice reset puts it back"
    if not_ready:
        return None, "the thermal HAL is not ready"
    said = next((line for line in lines if line.startswith("Thermal Status:")), None)
    if said is not None:
        word = said.partition(":")[2].strip()
        if word.isascii() and word.isdigit() and len(word) == 1 and int(word) < len(LEVELS):
            return int(word), ""
        return None, "the thermal status is {!r}".format(word[:16])
    # ThermalManagerService takes the highest level of the skin sensors; Pixel's own report leaves that to the reader.
    levels = [entry.level for entry in entries if entry.kind == "SKIN" and entry.level is not None]
    return (max(levels), "") if levels else (None, "the report has no thermal status")


def _thresholds(lines: List[str]) -> Dict[str, List[Optional[float]]]:
    """The temperatures of the levels LIGHT to SHUTDOWN by the sensor's name."""
    found: Dict[str, List[Optional[float]]] = {}
    for line in lines:
        match = _THRESHOLD.match(line)
        if match and len(found) < MAX_SENSORS:
            limits = [_limit(word) for word in match.group(2).split(",")]
            found.setdefault(_printable(match.group(1)), limits[1 : len(LEVELS)])  # the first is for NONE
    return found


def _limit(word: str) -> Optional[float]:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) and LOWEST_DEGC <= value <= HIGHEST_DEGC else None


def _printable(name: str) -> str:
    return "".join(char for char in name if char.isprintable() and char != "\ufffd").strip()[:64] or "unnamed"
