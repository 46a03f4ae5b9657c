"""Throttle counters, cumulative since boot: only differences within a run mean something.

x86: /sys/devices/system/cpu/cpu*/thermal_throttle/{core,package}_throttle_count (kernel drivers/thermal/intel/
therm_throt.c).
Jetson: hwmon ``soctherm_oc`` ocN_event_cnt: OC1 under-voltage, OC2 average and OC3 momentary over-current; OC3 sees
spikes below a millisecond that no power sensor shows.
"""

import os
import re
from typing import Dict, List, Tuple

from device_agents.sensors import hwmon
from device_agents.sensors.base import Findings, Sensor, add, descriptor
from device_agents.sensors.files import folder, read_label, under

CPU_FOLDER = "/sys/devices/system/cpu"

_CPU = re.compile(r"cpu\d+\Z", re.ASCII)
_EVENTS = re.compile(r"oc(\d+)_event_cnt\Z", re.ASCII)
_OC_SCOPES = {
    "1": "SoC under-voltage events (OC1)",
    "2": "SoC average over-current events (OC2)",
    "3": "SoC momentary over-current events (OC3)",
}


def find(root: str) -> Findings:
    """``throttle.core``, ``throttle.package-N`` on x86 and ``throttle.ocN`` on Jetson; counts since boot.

    ``events.ocN`` where the SoC counts an over-current and does nothing about it.
    """
    findings = Findings([], [])
    _add_x86(findings, root)
    for monitor in hwmon.monitors(root):
        if monitor.name == "soctherm_oc":
            _add_soctherm(findings, monitor)
    if not findings.sensors and not findings.missing:
        reason = "neither the x86 thermal_throttle counters nor Jetson's soctherm_oc exist here"
        findings.missing.append(descriptor("throttle", "count", "throttle events", CPU_FOLDER, "absent", reason))
    return findings


def _add_x86(findings: Findings, root: str) -> None:
    cores, packages = _x86_counters(under(root, CPU_FOLDER))
    if cores:
        paths = list(cores.values())
        about = descriptor(
            "throttle.core",
            "count",
            "thermal throttling of CPU cores",
            paths[0],
            resolution=1.0,
            note="sum over {} cores, since boot".format(len(paths)),
        )
        add(findings, Sensor(about, paths, total))
    for package, path in packages.items():
        about = descriptor(
            "throttle.package-" + package,
            "count",
            "thermal throttling of CPU package " + package,
            path,
            resolution=1.0,
            note="since boot",
        )
        add(findings, Sensor(about, [path], total))


def _x86_counters(base: str) -> Tuple[Dict[Tuple[str, str], str], Dict[str, str]]:
    # Siblings of one core count the same events, and so do all CPUs of one package: one file of each is enough.
    cores: Dict[Tuple[str, str], str] = {}
    packages: Dict[str, str] = {}
    for name in folder(base):
        counters = os.path.join(base, name, "thermal_throttle")
        if not _CPU.match(name) or not os.path.isdir(counters):
            continue
        topology = os.path.join(base, name, "topology")
        package = read_label(os.path.join(topology, "physical_package_id")) or "0"
        core = read_label(os.path.join(topology, "core_id")) or name
        files = folder(counters)
        if "core_throttle_count" in files:
            cores.setdefault((package, core), os.path.join(counters, "core_throttle_count"))
        if "package_throttle_count" in files:
            packages.setdefault(package, os.path.join(counters, "package_throttle_count"))
    return cores, packages


def _add_soctherm(findings: Findings, monitor: hwmon.Monitor) -> None:
    for name in monitor.files:
        match = _EVENTS.match(name)
        if match:
            number, source = match.group(1), os.path.join(monitor.path, name)
            scope = _OC_SCOPES.get(number, "SoC over-current events (OC{})".format(number))
            title, note = "throttle.oc" + number, "since boot"
            if read_label(os.path.join(monitor.path, "oc{}_throt_en".format(number))) == "0":
                title = "events.oc" + number  # no sign of throttling
                note += "; counted only: the clocks are not lowered for it (oc{}_throt_en is 0)".format(number)
            about = descriptor(title, "count", scope, source, resolution=1.0, note=note)
            add(findings, Sensor(about, [source], total))


def total(numbers: List[int]) -> float:
    """The sum of the counters."""
    return float(sum(numbers))
