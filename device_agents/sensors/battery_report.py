"""Battery values from reports: `dumpsys battery` where a phone closes the files of /sys, and uevent files.

BatteryService keeps the values that the health HAL sent last: about every 10 s while plugged in, every 30-90 s under
load, minutes apart at idle. So it is asked every 5 s, and a run shorter than minutes shows few different values.
"""

import os
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from device_agents import calibration
from device_agents.sensors import android, battery_text, supply
from device_agents.sensors.base import Descriptor, Findings, Reading, Source, SourceSensor, descriptor
from device_agents.sensors.battery_text import Battery
from device_agents.sensors.files import SensorError, read_text

SCOPE = "battery terminal"
DUMPSYS_PERIOD_S = 5.0  # a call takes 20-50 ms: one per cent of a core at most, twice per fastest broadcast
UPDATE_S = 10.0  # the fastest broadcast seen: Samsung, plugged in
UEVENT_PERIOD_S = 1.0  # a read asks the gauge for all its properties

QUANTITIES = {
    "voltage": "voltage",
    "temperature": "temperature",
    "charge": "charge",
    "level": "ratio",
    "current": "current",
    "power": "power",
}
NOTES = {
    "voltage": "at the battery's terminals",
    "temperature": "of the battery",
    "charge": "the charge that is left, in the gauge's own steps",
    "level": "the charge that is left, in steps of one per cent",
}
RESOLUTIONS = {"voltage": 1e-3, "temperature": 0.1, "level": 0.01}
SAMSUNG_STEPS = 1000  # Samsung's counter moves by 0.1 % of the capacity: 3750 µAh recorded on a Galaxy S23
NO_SENSOR = "no battery sensor: the battery shows 0 V and 0 °C, as emulators do"


class Meaning(NamedTuple):
    """What a gauge's numbers mean: signed A per unit (None: unit not decided), whether the sign was decided, how."""

    factor_a: Optional[float]
    signed: bool
    how: str


def calibrate(
    root: str,
    raw: Sequence[float],
    unit_a: Optional[float],
    state: Optional[str],
    external: Optional[bool],
    slope_a: Optional[float] = None,
) -> Meaning:
    """The meaning of the readings ``raw``, of one unit; ``unit_a`` where the format itself says the unit."""
    discharging = state == "Discharging" and not external
    vendor = android.getprop(root, "ro.product.manufacturer")
    unit = calibration.calibrate_unit(raw, discharging, slope_a, vendor)
    if unit_a is not None:
        unit = calibration.Unit(unit_a, "unit mA, as Samsung's report has it")
    if unit.factor_a is None:
        return Meaning(None, False, unit.how)
    mean_a = sum(raw) / len(raw) * unit.factor_a
    sign = calibration.calibrate_sign(mean_a, state, external, vendor, slope_a)
    return Meaning(unit.factor_a * (sign.sign or 1), sign.sign is not None, "{}, {}".format(unit.how, sign.how))


def describe(current: Descriptor, power: Descriptor, meaning: Meaning) -> None:
    """Nothing; the two descriptors say what the calibration gave, and are absent with the reason without one."""
    if meaning.factor_a is None:
        current.update(state="absent", reason=meaning.how)
        power.update(state="absent", reason=meaning.how)
    elif not meaning.signed:
        current["note"] = "as the driver gives it: " + meaning.how
        power.update(state="absent", reason=meaning.how)
    else:
        current["note"] = "positive is into the battery; " + meaning.how
        power["note"] = "voltage times current, positive is into the battery; " + meaning.how


class ReportSource(Source):
    """Values of one battery from a text that is had again and again."""

    def __init__(
        self, name: str, period_s: float, text: Callable[[], str], parse: Callable[[str], Battery], meaning: Meaning
    ) -> None:
        super().__init__(name, period_s)
        self._text = text
        self._parse = parse
        self._meaning = meaning

    def fetch(self) -> Dict[str, Reading]:
        """The values by quantity, and "external"; SensorError when the text cannot be had."""
        return readings(self._parse(self._text()), self._meaning)


def readings(battery: Battery, meaning: Meaning) -> Dict[str, Reading]:
    """The report's values by quantity, in SI, with the calibrated current; or the reasons."""
    found: Dict[str, Reading] = dict(battery.values)
    found.update(battery.reasons)
    if battery.current_raw is not None and meaning.factor_a is not None:
        current_a = battery.current_raw * meaning.factor_a
        if abs(current_a) > calibration.HIGHEST_A:
            found["current"] = "{:g} A is no current of a battery".format(current_a)
        else:
            found["current"] = current_a
            if "voltage" in battery.values:
                found["power"] = current_a * battery.values["voltage"]
    external = is_external(battery)
    found["external"] = supply.UNKNOWN if external is None else float(external)
    return found


def is_external(battery: Battery) -> Optional[bool]:
    """Whether the report has a charger connected; None when it does not say."""
    if battery.chargers is not None:
        return bool(battery.chargers) or battery.status == "Charging"
    return supply.is_external([], battery.status)


def add_uevent(findings: Findings, root: str, name: str, path: str) -> None:
    """Puts what a battery's uevent file shows into the findings; nothing when it shows nothing."""
    file = os.path.join(path, "uevent")

    def text() -> str:
        content = read_text(file)
        if content is None:
            raise SensorError("the file cannot be read")
        return content

    battery = battery_text.parse_uevent(read_text(file) or "")
    state = battery.status or supply.state_of(root)
    raw = [] if battery.current_raw is None else [battery.current_raw]
    meaning = calibrate(root, raw, None, state, supply.external(root)) if raw else Meaning(None, False, "no current")
    source = ReportSource("uevent of " + name, UEVENT_PERIOD_S, text, battery_text.parse_uevent, meaning)
    _add(findings, source, name, battery, meaning, file, set())
    source.refresh()


class _DumpsysBattery(android.Dumpsys):
    def __init__(self, root: str) -> None:
        super().__init__(root, ["battery"], DUMPSYS_PERIOD_S)
        self.meaning = Meaning(None, False, "not calibrated")

    def fetch(self) -> Dict[str, Reading]:
        return readings(battery_text.parse_dumpsys(self.report()), self.meaning)


def complete(findings: Findings, root: str) -> None:
    """Nothing; what the files of /sys do not show of a phone's battery is added from `dumpsys battery`."""
    have = {sensor.name.split(".")[0] for sensor in findings.sensors}
    source = _DumpsysBattery(root)
    text, why = android.try_report(source)
    if text is None:
        _note_failure(findings, why)
        return
    battery = battery_text.parse_dumpsys(text)
    if _is_made_up(battery):
        about = descriptor("power.battery", "power", SCOPE, source.name, "absent", NO_SENSOR)
        findings.missing.append(about)
        return
    _compare(findings, battery)
    raw, slope_a = _recorded(text, battery)
    if battery.current_raw is not None:
        source.meaning = calibrate(root, raw, battery.unit_a, battery.status, is_external(battery), slope_a)
    _add(findings, source, "battery", battery, source.meaning, source.name, have)
    if "supply" not in have and is_external(battery) is not None:
        findings.sensors.append(SourceSensor(supply.flag(source.name, UPDATE_S), source, "external"))
    if any(sensor.source is source for sensor in findings.sensors):
        source.refresh()


def _note_failure(findings: Findings, why: str) -> None:
    if not findings.sensors and not findings.missing:
        findings.missing.append(descriptor("power.battery", "power", SCOPE, "dumpsys battery", "failed", why))


def _is_made_up(battery: Battery) -> bool:
    refused = {"voltage", "temperature"} <= battery.reasons.keys()
    return refused and "0 V" in battery.reasons["voltage"]


def _recorded(text: str, battery: Battery) -> Tuple[List[float], Optional[float]]:
    """(the current's readings in mA, the slope of the charge counter over the same log or None)."""
    now = [float(battery.current_raw)] if battery.current_raw is not None else []
    log = battery_text.parse_broadcasts(text)
    slope = calibration.counter_slope([line.t_s for line in log], [line.charge_c for line in log])
    logged = [line.current_a * 1e3 for line in log if line.current_a is not None]
    if slope.current_a is None or not logged:
        return now, None
    return logged, slope.current_a


def _compare(findings: Findings, battery: Battery) -> None:
    sensor = next((sensor for sensor in findings.sensors if sensor.name == "charge.battery"), None)
    if sensor is None or "charge" not in battery.values:
        return
    try:
        charge_c = sensor.read()
    except SensorError:
        return
    sentence = calibration.disagreement([charge_c, battery.values["charge"]])
    if sentence:
        sensor.descriptor["note"] = "{}; dumpsys: {}".format(sensor.descriptor["note"], sentence)


def _add(
    findings: Findings, source: Source, name: str, battery: Battery, meaning: Meaning, where: str, have: Set[str]
) -> None:
    period_s = UPDATE_S if isinstance(source, android.Dumpsys) else None
    found = readings(battery, meaning)
    abouts = {}
    for key, quantity in QUANTITIES.items():
        mentioned = key in found or (key in ("current", "power") and battery.current_raw is not None)
        if key in have or not mentioned:
            continue
        note = "; ".join([NOTES[key], *battery.doubts]) if key in NOTES else None
        about = descriptor("{}.{}".format(key, name), quantity, SCOPE, where, period_s=period_s, note=note)
        about["resolution"] = _resolution(key, battery)
        abouts[key] = about
    if battery.current_raw is not None:
        blank = descriptor("power." + name, "power", SCOPE, where)
        describe(abouts.get("current", dict(blank)), abouts.get("power", blank), meaning)
    for key, about in abouts.items():
        _settle(findings, SourceSensor(about, source, key), found.get(key))


def _settle(findings: Findings, sensor: SourceSensor, reading: Optional[Reading]) -> None:
    """Nothing; the sensor is among the findings: to be sampled, or missing with its reason."""
    about = sensor.descriptor
    earlier = [other for other in findings.missing if other["name"] == sensor.name]
    if about["state"] == "present" and isinstance(reading, float):
        for other in earlier:  # the same quantity by another way
            findings.missing.remove(other)
            about["note"] = "{}; {}: {}".format(about["note"], os.path.basename(other["source"]), other["reason"])
        findings.sensors.append(sensor)
    elif not earlier:
        about["state"] = "absent"
        about["reason"] = about["reason"] or (reading if isinstance(reading, str) else "the report does not show it")
        findings.missing.append(about)


def _resolution(key: str, battery: Battery) -> Optional[float]:
    if key != "charge":
        return RESOLUTIONS.get(key)
    # Only Samsung's report has a current, and only its counter's step is known beforehand.
    charge, level = battery.values.get("charge"), battery.values.get("level")
    if battery.unit_a is None or charge is None or not level:
        return None
    return charge / level / SAMSUNG_STEPS
