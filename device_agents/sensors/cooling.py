"""What slows the device down to cool it: /sys/class/thermal/cooling_device*/{type,cur_state,max_state}.

Source: kernel Documentation/driver-api/thermal/sysfs-api.rst: a cooling device at state 0 does nothing; each step more
takes more away, up to max_state. Fans cool without slowing anything, displays, chargers and radios are not what is
measured: they are left out. Jetson's ``cpu-throttle-alert`` and its like are devices that only tell, 0 to 2.
"""

import os
import re
from typing import Callable, Dict, List, Optional

from device_agents.sensors.base import Findings, Sensor, add, descriptor
from device_agents.sensors.files import SensorError, folder, read_label, read_number, under

FOLDER = "/sys/class/thermal"
MAX_FILES = 32  # a server has one for each of its CPUs: reading all would cost more than it tells

# Types are the drivers' own words. "fcc", "usbin", "dcin", "icl", "wlc": the charger's current limits of phones. "TCC
# Offset" is a setting of Intel CPUs, not a state.
_NOT_SLOWING = re.compile(
    r"fan|lcd|backlight|display|panel|\bled|charg|\bchg|fcc|usbin|dcin|_icl|\bwlc|battery|usbc|wifi|wlan|modem"
    r"|tcc offset",
    re.IGNORECASE,
)
_IDLE_STATES = {"intel_powerclamp": -1}  # Documentation/admin-guide/thermal/intel_powerclamp.rst: -1 is "not active"


def find(root: str) -> Findings:
    """``throttle.cooling.TYPE`` for each type of cooling device that slows something: its devices' highest state."""
    findings = Findings([], [])
    base = under(root, FOLDER)
    by_type: Dict[str, List[str]] = {}
    names = [name for name in folder(base) if name.startswith("cooling_device")]
    for name in names:
        kind = read_label(os.path.join(base, name, "type"))
        if kind is not None and not _NOT_SLOWING.search(kind):
            by_type.setdefault(kind, []).append(os.path.join(base, name))
    left = MAX_FILES
    for kind, paths in by_type.items():
        _add_type(findings, kind, paths, paths[:left])
        left -= len(paths[:left])
    if not by_type:
        reason = "no cooling device slows anything here" if names else "this system has no cooling devices"
        about = descriptor("throttle.cooling", "level", "thermal throttling", FOLDER, "absent", reason)
        findings.missing.append(about)
    return findings


def _add_type(findings: Findings, kind: str, every: List[str], paths: List[str]) -> None:
    scope = "thermal throttling by " + kind
    about = descriptor("throttle.cooling." + kind, "level", scope, every[0] + "/cur_state", resolution=1.0)
    if not paths:
        reason = "not sampled: only the first {} cooling devices are".format(MAX_FILES)
        about.update(state="absent", reason=reason)
        findings.missing.append(about)
        return
    steps = [_number(os.path.join(path, "max_state")) for path in paths]
    highest = "0 to {}".format(max(steps)) if min(steps) >= 0 else "its highest state is not known"
    about["note"] = highest + (", the highest of {} of {} devices".format(len(paths), len(every)) if every[1:] else "")
    add(
        findings,
        Sensor(about, [path + "/cur_state" for path in paths], _highest(_IDLE_STATES.get(kind))),
        tolerate=True,
    )


def _highest(idle: Optional[int]) -> Callable[[List[int]], float]:
    # ``idle``: the driver's own number for "not active".
    def highest(states: List[int]) -> float:
        known = [0 if state == idle else state for state in states]
        if min(known) < 0:
            raise SensorError("the driver shows state {}, which is none".format(min(known)))
        return float(max(known))

    return highest


def _number(path: str) -> int:
    try:
        return read_number(path)
    except SensorError:
        return -1
