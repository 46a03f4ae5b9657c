"""Batteries: /sys/class/power_supply/*, µA, µV, µW, µAh, 0.1 °C (kernel Documentation/ABI/testing/sysfs-class-power).

Values are as the driver gives them, converted to SI. Two things differ by vendor and are not guessed here: the sign of
the current (AOSP and Samsung: positive into the battery; Xiaomi, Sony and some OnePlus: the reverse; ACPI laptops: no
sign), and on some phones the unit (mA instead of µA). While a charger is plugged in, none of them is consumption.
"""

import os
from typing import List, NamedTuple, Set, Tuple

from device_agents.sensors.base import Findings, Sensor, add, descriptor, scaled
from device_agents.sensors.files import SensorError, folder, natural, read_label, under

FOLDER = "/sys/class/power_supply"
C_PER_UAH = 3.6e-3  # 1 µAh = 3.6 mC
DEGC_PER_UNIT = 0.1  # power supply ABI: tenths of a degree

_SIGN = "sign and, on some phones, unit are the vendor's; while a charger is plugged in this is not consumption"


class Property(NamedTuple):
    """A file of a battery and what it means; of several files with one name the first that exists is taken."""

    file: str
    name: str
    quantity: str
    factor: float
    note: str


PROPERTIES = (
    Property("current_now", "current", "current", 1e-6, _SIGN),
    Property("voltage_now", "voltage", "voltage", 1e-6, "at the battery's terminals"),
    Property("power_now", "power", "power", 1e-6, _SIGN),
    Property("charge_counter", "charge", "charge", C_PER_UAH, "the charge that is left, in the gauge's own steps"),
    Property("charge_now", "charge", "charge", C_PER_UAH, "the charge that is left, in the gauge's own steps"),
    Property("temp", "temperature", "temperature", DEGC_PER_UNIT, "of the battery"),
    Property("capacity", "level", "ratio", 0.01, "the share of charge that is left, in steps of one per cent"),
)


def batteries(root: str) -> List[Tuple[str, str]]:
    """(name, folder) of each battery that feeds the system; those of a mouse or keyboard (scope "Device") are not."""
    base = under(root, FOLDER)
    found = []
    for name in sorted(folder(base), key=natural):
        path = os.path.join(base, name)
        kind = read_label(os.path.join(path, "type"))
        if kind in ("Battery", "BMS") and read_label(os.path.join(path, "scope")) != "Device":
            found.append((name, path))
    return found


def find(root: str) -> Findings:
    """``current.BAT0`` (A), ``voltage.BAT0`` (V), ``power.BAT0`` (W), ``charge.BAT0`` (C)... of each battery."""
    findings = Findings([], [])
    found = batteries(root)
    for name, path in found:
        _add_battery(findings, name, path)
    if not found:
        reason = "this device has no battery"
        findings.missing.append(descriptor("power.battery", "power", "battery terminal", FOLDER, "absent", reason))
    elif not findings.sensors and not findings.missing:
        reason = "the battery shows neither current, voltage, charge nor temperature"
        findings.missing.append(descriptor("power.battery", "power", "battery terminal", FOLDER, "absent", reason))
    return findings


def _add_battery(findings: Findings, battery: str, path: str) -> None:
    files = folder(path)
    done: Set[str] = set()
    for item in PROPERTIES:
        if item.file not in files or item.name in done:
            continue
        done.add(item.name)
        source = os.path.join(path, item.file)
        about = descriptor(
            "{}.{}".format(item.name, battery),
            item.quantity,
            "battery terminal",
            source,
            resolution=item.factor,
            note=item.note,
        )
        add(findings, Sensor(about, [source], scaled(item.factor)))
    if "power" not in done and {"current", "voltage"} <= done:
        _add_product(findings, battery, path)


def _add_product(findings: Findings, battery: str, path: str) -> None:
    sources = [os.path.join(path, name) for name in ("voltage_now", "current_now")]
    about = descriptor(
        "power." + battery, "power", "battery terminal", sources[1], note="voltage_now times current_now; " + _SIGN
    )
    add(findings, Sensor(about, sources, watts))


def watts(numbers: List[int]) -> float:
    """P = V * I in W of [µV, µA], with the current's sign. SensorError at 0 V, which emulated batteries show."""
    if numbers[0] == 0:
        raise SensorError("the battery shows 0 V: it is not a real one")
    return numbers[0] * 1e-6 * numbers[1] * 1e-6
