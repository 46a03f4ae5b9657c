"""RAPL energy counters of x86: /sys/class/powercap/intel-rapl:N[:M...], in µJ (kernel Documentation/power/powercap).

Cumulative since boot, updated about every millisecond (Intel SDM volume 3, "Platform specific power management
support"), wrapping at max_energy_range_uj: 65532 or 262143 J on common parts, so minutes under load. A value is the raw
counter in J; ``wraps_at`` says where it starts again from 0. Whoever takes a difference adds it once when
the counter went back.
"""

import os
import re
from typing import Dict, List, Optional, Tuple

from device_agents.sensors.base import Descriptor, Findings, Sensor, add, descriptor, scaled
from device_agents.sensors.files import SensorError, folder, read_label, read_number, under

FOLDER = "/sys/class/powercap"
J_PER_UNIT = 1e-6  # powercap ABI: micro-joules
PERIOD_S = 1e-3
RESOLUTION_J = 61e-6  # the largest usual unit of MSR_RAPL_POWER_UNIT, 2^-14 J; files show µJ

# Since Linux 5.10 the counters are root's alone (CVE-2020-8694: they leak what other programs compute).
REMEDY = (
    "permission denied: the energy counters are readable by root only (CVE-2020-8694). Let one group read them: "
    "groupadd power; chgrp power and chmod 440 on energy_uj by a udev rule; add yourself to that group. "
    "Do not make them readable by everybody on a shared machine"
)

# intel-rapl-mmio counts the same package a second time and is left out.
_ZONE = re.compile(r"intel-rapl(:\d+)+\Z", re.ASCII)

_SCOPES = (
    ("package", "CPU package"),
    ("core", "CPU cores (part of the package)"),
    ("uncore", "uncore or integrated GPU (part of the package)"),
    ("dram", "DRAM (not part of the package)"),
    ("psys", "platform (psys; includes the CPU packages: do not add them)"),
)


def find(root: str) -> Findings:
    """``energy.rapl.NAME`` for each zone, inner ones as ``energy.rapl.package-0.core``: counters in J."""
    findings = Findings([], [])
    base = under(root, FOLDER)
    for path in _zones(base):
        _add_zone(findings, base, path)
    if not findings.sensors and not findings.missing:
        reason = "this system has no RAPL counters (they exist on x86 outside virtual machines)"
        about = descriptor("energy.rapl", "energy", "CPU package", FOLDER, "absent", reason)
        findings.missing.append(about)
    return findings


def _zones(base: str) -> List[str]:
    # The class folder links every zone flat; copied trees may hold inner zones only inside their parents.
    found: Dict[str, str] = {}
    waiting = [os.path.join(base, name) for name in folder(base)]
    depth = 0
    while waiting and depth < 5:
        inner: List[str] = []
        for path in waiting:
            name = os.path.basename(path)
            if name != "intel-rapl" and not _ZONE.match(name):
                continue
            if name != "intel-rapl":
                found.setdefault(name, path)
            inner += [os.path.join(path, child) for child in folder(path) if _ZONE.match(child)]
        waiting, depth = inner, depth + 1
    return [found[name] for name in sorted(found, key=_zone_key)]


def _zone_key(name: str) -> Tuple[int, ...]:
    return tuple(int(part) for part in name.split(":")[1:])


def _add_zone(findings: Findings, base: str, path: str) -> None:
    name = read_label(os.path.join(path, "name")) or os.path.basename(path)
    source = os.path.join(path, "energy_uj")
    parent = _parent_name(base, path)
    about = descriptor(
        ".".join(["energy", "rapl"] + ([parent] if parent else []) + [name]),
        "energy",
        _scope(name, parent),
        source,
        period_s=PERIOD_S,
        resolution=RESOLUTION_J,
        wraps_at=_range_j(path),
    )
    add(findings, Sensor(about, [source], scaled(J_PER_UNIT)))
    if about["reason"] == "permission denied":
        about["reason"] = REMEDY
    elif about["state"] == "present":
        _distrust_range(about, source)


def _distrust_range(about: Descriptor, source: str) -> None:
    # A Xeon was recorded at 6.03e7 J with the usual range of 2.6e5 J: such a range says nothing about the wrap.
    wraps_at = about["wraps_at"]
    if wraps_at is None:
        about["note"] = "where the counter wraps is not known: max_energy_range_uj cannot be read"
        return
    try:
        now_j = read_number(source) * J_PER_UNIT
    except SensorError:
        return
    if now_j > wraps_at:
        about["wraps_at"] = None
        about["note"] = "the counter shows {:g} J, above its stated range of {:g} J".format(now_j, wraps_at)


def _parent_name(base: str, path: str) -> Optional[str]:
    zone = os.path.basename(path)
    if zone.count(":") < 2:
        return None
    parent = zone.rsplit(":", 1)[0]
    for candidate in (os.path.join(base, parent), os.path.dirname(path)):
        if os.path.basename(candidate) == parent:
            name = read_label(os.path.join(candidate, "name"))
            if name:
                return name
    return parent


def _scope(name: str, parent: Optional[str]) -> str:
    for prefix, scope in _SCOPES:
        if name.startswith(prefix):
            return "{} of {}".format(scope, parent) if parent else scope + (" " + name if prefix == "package" else "")
    return "RAPL zone " + name


def _range_j(path: str) -> Optional[float]:
    # Unreadable for the same reason as the counter, or absent: then a wrap cannot be undone.
    try:
        range_uj = read_number(os.path.join(path, "max_energy_range_uj"))
    except SensorError:
        return None
    return range_uj * J_PER_UNIT if range_uj > 0 else None
