"""Thermal zones: /sys/class/thermal/thermal_zone*/{type,temp}, in m°C (kernel driver-api/thermal/sysfs-api.rst).

Zones are named by their ``type``; their numbers change between boots and releases. What a zone covers that is not
simply the chip, or is no measurement, is in SCOPES: data, from recorded zones.
"""

import os
import re
from typing import List, Optional

from device_agents.sensors.base import Findings, Sensor, add, descriptor
from device_agents.sensors.files import SensorError, folder, read_label, read_number, under

FOLDER = "/sys/class/thermal"
DEGC_PER_UNIT = 1e-3  # thermal sysfs ABI: millidegree Celsius

# NVIDIA's BPMP gives -256 °C for a sensor in a power-gated block (tegrastats prints `cv0@-256C`); the kernel's own
# "invalid" is -274 °C (THERMAL_TEMP_INVALID in include/linux/thermal.h). No silicon works outside this range.
LOWEST_DEGC, HIGHEST_DEGC = -100.0, 300.0

# Tegra's PMIC zone has no sensor: it shows one of these constants (tegrastats `PMIC@100C`, on other releases `50C`).
PMIC = "PMIC"
PMIC_DUMMIES_MC = (50000, 100000)

# What a zone covers, by its type: the first pattern that fits.
SCOPES = (
    (re.compile(r"thermal-fan-est|\Athermal\Z", re.IGNORECASE), "estimated: a weighted mean of other zones"),
    (re.compile(r"iwlwifi|wlan|wifi", re.IGNORECASE), "Wi-Fi card, not the SoC"),
    (re.compile(r"\Atj\b", re.IGNORECASE), "highest of the SoC's sensors"),
    (re.compile(r"\ATboard|\ATdiode", re.IGNORECASE), "the module's board, not the SoC"),
)


def zones(root: str) -> List[str]:
    """The folders of all thermal zones, in natural order."""
    base = under(root, FOLDER)
    return [os.path.join(base, name) for name in folder(base) if name.startswith("thermal_zone")]


def degc(numbers: List[int]) -> float:
    """The temperature in °C of a number in m°C. SensorError when the number is a driver's word for "no value"."""
    value = numbers[0] * DEGC_PER_UNIT
    if not LOWEST_DEGC <= value <= HIGHEST_DEGC:
        if round(value) == -256:
            raise SensorError("the sensor is switched off (it shows -256 °C)")
        raise SensorError("the driver shows {:g} °C, which is no temperature".format(value))
    return value


def scope(kind: str) -> str:
    """What a zone of this type covers, in words."""
    known = next((words for pattern, words in SCOPES if pattern.search(kind)), None)
    return "thermal zone " + kind + (" ({})".format(known) if known else "")


def is_dummy(kind: str, number: int) -> bool:
    """True for the zone of a power chip that shows one of the constants (m°C) of one without a sensor."""
    return kind.upper().startswith(PMIC) and number in PMIC_DUMMIES_MC


def dummy_reason(degc: float) -> str:
    """Why a dummy is no sensor."""
    return "a constant {:g} °C, not a measurement".format(degc)


def find(root: str) -> Findings:
    """A temperature sensor for each zone, °C, scope "thermal zone TYPE"."""
    findings = Findings([], [])
    for path in zones(root):
        _add_zone(findings, path)
    if not findings.sensors and not findings.missing:
        about = descriptor(
            "temperature", "temperature", "thermal zones", FOLDER, "absent", "this system has no thermal zones"
        )
        findings.missing.append(about)
    return findings


def _add_zone(findings: Findings, path: str) -> None:
    kind = read_label(os.path.join(path, "type")) or "unnamed"
    source = os.path.join(path, "temp")
    about = descriptor("temperature." + kind, "temperature", scope(kind), source, resolution=DEGC_PER_UNIT)
    absent = _why_absent(kind, source)
    if absent is not None:
        about.update(state="absent", reason=absent)
        findings.missing.append(about)
        return
    # Sensors of gated blocks (Jetson gpu-thermal, cv) come back when the block is used: keep sampling them.
    add(findings, Sensor(about, [source], degc), tolerate=True)


def _why_absent(kind: str, source: str) -> Optional[str]:
    if not os.path.lexists(source):
        return "the zone has no temperature file"
    if not kind.upper().startswith(PMIC):
        return None
    try:
        number = read_number(source)
    except SensorError:
        return None
    return dummy_reason(number * DEGC_PER_UNIT) if is_dummy(kind, number) else None
