"""Batteries of laptops and phones: /sys/class/power_supply/*, µA, µV, µW, µAh, 0.1 °C (kernel Documentation/ABI/
testing/sysfs-class-power), and on a phone that closes these files, its uevent files and `dumpsys battery`.

On phones the current's unit and sign are calibrated (device_agents/calibration.py): positive is into the battery, and
the note says how that was decided. Without a decision there is no power, and the current stays as the driver has it.
Laptops keep the driver's value: most ACPI batteries show a magnitude. While a charger is connected
(``supply.external``) none of this is consumption.
"""

import os
from typing import Callable, Dict, List, NamedTuple, Optional, Set, Tuple

from device_agents import calibration
from device_agents.sensors import android, battery_report, battery_text, supply
from device_agents.sensors.base import Findings, Sensor, add, descriptor, scaled
from device_agents.sensors.files import SensorError, folder, read_label, read_number

FOLDER = supply.FOLDER
SCOPE = "battery terminal"
PHONE_NAMES = ("battery", "bms")
LAPTOP_SIGN = "sign and magnitude are the driver's; while a charger is plugged in this is not consumption"
# No file tells how often a gauge has a new current. Those of phones average over 0.1 s to several seconds and renew
# their value about once in one: a window with less than ten of these says little, and a change shows that late.
GAUGE_PERIOD_S = 1.0
CHARGE_NOTE = "the charge that is left, in the gauge's own steps; how large they are shows when it moves"

batteries = supply.batteries


def _converter(convert: Callable[[int], float]) -> Callable[[List[int]], float]:
    def combine(numbers: List[int]) -> float:
        try:
            return convert(numbers[0])
        except ValueError as error:
            raise SensorError(str(error)) from error

    return combine


class Property(NamedTuple):
    """A file of a battery and what it means; of several files with one name the first that has a value is taken."""

    file: str
    name: str
    quantity: str
    combine: Callable[[List[int]], float]
    resolution: Optional[float]
    note: str


# Current and power of a phone are not among these: they need a calibration.
PROPERTIES = (
    Property("voltage_now", "voltage", "voltage", _converter(battery_text.volts), None, "at the battery's terminals"),
    Property("charge_counter", "charge", "charge", _converter(battery_text.coulombs), None, CHARGE_NOTE),
    Property("charge_now", "charge", "charge", _converter(battery_text.coulombs), None, CHARGE_NOTE),
    Property("temp", "temperature", "temperature", _converter(battery_text.degc), 0.1, "of the battery"),
    Property("capacity", "level", "ratio", scaled(0.01), 0.01, "the charge that is left, in steps of one per cent"),
)
GIVEN = (
    Property("current_now", "current", "current", scaled(1e-6), 1e-6, LAPTOP_SIGN),
    Property("power_now", "power", "power", scaled(1e-6), 1e-6, LAPTOP_SIGN),
)


def find(root: str) -> Findings:
    """``current.BAT0`` (A), ``voltage.BAT0`` (V), ``power.BAT0`` (W), ``charge.BAT0`` (C)... of each battery, and the
    flag ``supply.external``.
    """
    findings = Findings([], [])
    phone = android.is_android(root)
    if phone and android.is_emulator(root):
        reason = "no battery sensor: an emulator's battery is made up"
        return Findings([], [descriptor("power.battery", "power", SCOPE, FOLDER, "absent", reason)])
    found = batteries(root)
    for name, path in found:
        if phone or name in PHONE_NAMES:
            _add_phone(findings, root, name, path)
        else:
            _add_laptop(findings, name, path)
    known = supply.external(root)
    if known is not None:
        findings.sensors.append(supply.ExternalSensor(root, supply.chargers(root)))
    if phone:
        battery_report.complete(findings, root)
    _compare_counters(findings)
    if not findings.sensors and not findings.missing:
        reason = "this device has no battery"
        if found:
            reason = "the battery shows neither current, voltage, charge nor temperature"
        findings.missing.append(descriptor("power.battery", "power", SCOPE, FOLDER, "absent", reason))
    return findings


def _add_properties(findings: Findings, battery: str, path: str, properties: Tuple[Property, ...]) -> Set[str]:
    """The names of the sensors that were added."""
    files, done = folder(path), set()
    failed: Dict[str, Sensor] = {}
    for item in properties:
        if item.file not in files or item.name in done:
            continue
        source = os.path.join(path, item.file)
        name = "{}.{}".format(item.name, battery)
        about = descriptor(name, item.quantity, SCOPE, source, resolution=item.resolution, note=item.note)
        sensor = Sensor(about, [source], item.combine)
        try:
            sensor.read()
        except SensorError:
            failed.setdefault(item.name, sensor)
            continue
        findings.sensors.append(sensor)
        done.add(item.name)
    for name, sensor in failed.items():
        if name not in done:
            add(findings, sensor)
    return done


def _add_laptop(findings: Findings, battery: str, path: str) -> None:
    done = _add_properties(findings, battery, path, GIVEN + PROPERTIES)
    if "power" not in done and {"current", "voltage"} <= done:
        factor = calibration.A_PER_UA
        _add_power(findings, battery, path, factor, "voltage_now times current_now; " + LAPTOP_SIGN)


def _add_phone(findings: Findings, root: str, battery: str, path: str) -> None:
    done = _add_properties(findings, battery, path, PROPERTIES)
    source = os.path.join(path, "current_now")
    if os.path.lexists(source):
        _add_current(findings, root, battery, path)
    elif not done:
        battery_report.add_uevent(findings, root, battery, path)


def _add_current(findings: Findings, root: str, battery: str, path: str) -> None:
    source = os.path.join(path, "current_now")
    current = descriptor("current." + battery, "current", SCOPE, source, period_s=GAUGE_PERIOD_S)
    power = descriptor("power." + battery, "power", SCOPE, source, period_s=GAUGE_PERIOD_S)
    try:
        raw = read_number(source)
    except SensorError as error:
        for about in (current, power):
            about.update(state="failed", reason=error.reason)
            findings.missing.append(about)
        return
    state = read_label(os.path.join(path, "status")) or supply.state_of(root)  # a "bms" has no state of its own
    meaning = battery_report.calibrate(root, [raw], None, state, supply.external(root))
    battery_report.describe(current, power, meaning)
    if meaning.factor_a is not None:
        current["resolution"] = abs(meaning.factor_a)
        add(findings, Sensor(current, [source], _current(meaning.factor_a)))
    else:
        findings.missing.append(current)
    if meaning.factor_a is not None and (meaning.signed or not _has_voltage(path)):
        _add_power(findings, battery, path, meaning.factor_a, power["note"] or "")
    else:
        findings.missing.append(power)


def _add_power(findings: Findings, battery: str, path: str, factor_a: float, note: str) -> None:
    sources = [os.path.join(path, name) for name in ("voltage_now", "current_now")]
    about = descriptor("power." + battery, "power", SCOPE, sources[1], period_s=GAUGE_PERIOD_S, note=note)

    def watts(numbers: List[int]) -> float:
        try:
            return battery_text.volts(numbers[0]) * numbers[1] * factor_a
        except ValueError as error:
            raise SensorError(str(error)) from error

    add(findings, Sensor(about, sources, watts))


def _has_voltage(path: str) -> bool:
    try:
        battery_text.volts(read_number(os.path.join(path, "voltage_now")))
    except (SensorError, ValueError):
        return False
    return True


def _current(factor_a: float) -> Callable[[List[int]], float]:
    def amperes(numbers: List[int]) -> float:
        value = numbers[0] * factor_a
        if abs(value) > calibration.HIGHEST_A:
            raise SensorError("{:g} A is no current of a battery".format(value))
        return value

    return amperes


def _compare_counters(findings: Findings) -> None:
    """Nothing; charge counters of one battery that disagree say so in their notes."""
    counters = [sensor for sensor in findings.sensors if sensor.name in ("charge.battery", "charge.bms")]
    readings = []
    for sensor in counters:
        try:
            readings.append(sensor.read())
        except SensorError:
            continue
    sentence = calibration.disagreement(readings)
    for sensor in counters if sentence else ():
        sensor.descriptor["note"] = "{}; {}".format(sensor.descriptor["note"], sentence)
