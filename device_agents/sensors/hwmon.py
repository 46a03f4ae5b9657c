"""Hardware monitors: /sys/class/hwmon/hwmon*/ (kernel Documentation/hwmon/sysfs-interface).

temp*_input m°C, power*_input or power*_average µW, in*_input mV, curr*_input mA; devices are found by their ``name``,
inputs by their label. ina3221, ina238 and soctherm_oc have modules of their own.
"""

import os
import re
from typing import Dict, List, NamedTuple, Optional, Set

from device_agents.sensors import thermal
from device_agents.sensors.base import Findings, Sensor, add, descriptor, scaled
from device_agents.sensors.files import folder, natural, read_label, under

FOLDER = "/sys/class/hwmon"
DEGC_PER_UNIT, W_PER_UNIT, V_PER_UNIT, A_PER_UNIT = 1e-3, 1e-6, 1e-3, 1e-3  # hwmon ABI: m°C, µW, mV, mA

# Drives: every read asks the drive itself, and may wake it. Radios: not what is measured here.
_LEFT_OUT = {
    "nvme": "each read asks the drive for its health log",
    "drivetemp": "each read asks the drive, and may wake it",
    "iwlwifi": "the Wi-Fi card is not part of what is measured",
}
_ELSEWHERE = ("ina3221", "ina238", "soctherm_oc")
_INPUT = re.compile(r"(temp|power|in|curr)(\d+)_(input|average)\Z", re.ASCII)


class Monitor(NamedTuple):
    """One hwmon device: where it is, what its driver calls it, and its files."""

    path: str
    name: str
    files: List[str]


def monitors(root: str) -> List[Monitor]:
    """All hwmon devices, ordered by name and then by the device behind them, not by hwmon's numbers."""
    base = under(root, FOLDER)
    found = []
    for entry in folder(base):
        path = os.path.join(base, entry)
        name = read_label(os.path.join(path, "name"))
        if name is None and os.path.isdir(os.path.join(path, "device")):
            path = os.path.join(path, "device")  # drivers older than Linux 3.15 keep their files there
            name = read_label(os.path.join(path, "name"))
        if name is not None:
            found.append(Monitor(path, name, folder(path)))
    return sorted(found, key=lambda monitor: (natural(monitor.name), natural(_device_of(monitor.path))))


def _device_of(path: str) -> str:
    link = os.path.join(path, "device")
    return os.path.basename(os.path.realpath(link)) if os.path.islink(link) else os.path.basename(path)


def find(root: str) -> Findings:
    """``temperature.NAME.LABEL``, ``power.NAME.LABEL``... for every input that says something about the load."""
    findings = Findings([], [])
    mirrored = _mirrored(root)
    for monitor in monitors(root):
        if monitor.name in mirrored or monitor.name in _ELSEWHERE:
            continue
        why = next((why for start, why in _LEFT_OUT.items() if monitor.name.startswith(start)), None)
        if why is None:
            _add_monitor(findings, monitor)
        else:
            about = descriptor(
                "temperature." + monitor.name,
                "temperature",
                "hwmon " + monitor.name,
                monitor.path,
                "absent",
                "not sampled: " + why,
            )
            findings.missing.append(about)
    if not findings.sensors and not findings.missing:
        reason = "this system has no hardware monitor besides thermal zones, batteries and power rails"
        findings.missing.append(descriptor("temperature.hwmon", "temperature", "hwmon", FOLDER, "absent", reason))
    return findings


def _mirrored(root: str) -> Set[str]:
    # The kernel shows every thermal zone (drivers/thermal/thermal_hwmon.c, "-" becomes "_") and every power supply
    # (power_supply_hwmon.c) a second time as hwmon.
    kinds = [read_label(os.path.join(path, "type")) for path in thermal.zones(root)]
    names = {kind.replace("-", "_") for kind in kinds if kind}
    supplies = folder(under(root, "/sys/class/power_supply"))
    return names | {name.replace("-", "_") for name in supplies}


def _add_monitor(findings: Findings, monitor: Monitor) -> None:
    inputs = _inputs(monitor.files)
    labels = {stem: read_label(os.path.join(monitor.path, stem + "_label")) for stem in inputs}
    # The package is the hottest of its cores (Intel SDM volume 3, "Package level thermal management"): one file.
    has_package = any((label or "").startswith("Package id") for label in labels.values())
    loaded = any(stem.startswith(("curr", "power")) for stem in inputs)
    for stem, name in inputs.items():
        label = labels[stem]
        if has_package and (label or "").startswith("Core "):
            continue
        if stem.startswith("in") and not loaded and label is None:
            continue  # an unlabelled voltage of a board monitor says nothing about the load
        _add_input(findings, monitor, stem, name, label)


def _inputs(files: List[str]) -> Dict[str, str]:
    # power1_input is the momentary value; power1_average stands in where there is no other.
    inputs: Dict[str, str] = {}
    for name in files:
        match = _INPUT.match(name)
        if match and (match.group(3) == "input" or match.group(1) == "power"):
            stem = match.group(1) + match.group(2)
            if stem not in inputs or match.group(3) == "input":
                inputs[stem] = name
    return inputs


def _add_input(findings: Findings, monitor: Monitor, stem: str, name: str, label: Optional[str]) -> None:
    source = os.path.join(monitor.path, name)
    title = "{}.{}".format(monitor.name, label or stem)
    scope = "hwmon {} {}".format(monitor.name, label or stem)
    if stem.startswith("temp"):
        about = descriptor("temperature." + title, "temperature", scope, source, resolution=DEGC_PER_UNIT)
        add(findings, Sensor(about, [source], thermal.degc), tolerate=True)
        return
    quantity, factor = {
        "power": ("power", W_PER_UNIT),
        "in": ("voltage", V_PER_UNIT),
        "curr": ("current", A_PER_UNIT),
    }[stem.rstrip("0123456789")]
    about = descriptor("{}.{}".format(quantity, title), quantity, scope, source, resolution=factor)
    if name.endswith("_average"):
        about["note"] = "an average over the driver's own interval"
    add(findings, Sensor(about, [source], scaled(factor)))
