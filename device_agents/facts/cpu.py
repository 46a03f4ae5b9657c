"""The CPUs: how many are online, which are alike, and who sets their clock."""

import os
import re
from typing import Any, Dict, List, Optional, Set, Tuple

from device_agents.sensors import cpufreq
from device_agents.sensors.files import SensorError, folder, read_label, read_number, under

_FOLDER = "/sys/devices/system/cpu"
_CPU = re.compile(r"cpu(\d+)\Z", re.ASCII)
_MAX_CPUS = 4096


def cpu_list(text: str) -> List[int]:
    """The CPUs of a kernel list ("0-3,5" or "0 1 2"), ascending; what is no number is left out.

    >>> cpu_list("0-3,5")
    [0, 1, 2, 3, 5]
    """
    cpus: Set[int] = set()
    for part in re.split(r"[,\s]+", text):
        match = re.match(r"(\d{1,5})(?:-(\d{1,5}))?\Z", part, re.ASCII)
        if match:
            first, last = int(match.group(1)), int(match.group(2) or match.group(1))
            cpus.update(range(first, min(last, first + _MAX_CPUS) + 1))
    return sorted(cpus)


def cores(root: str) -> Tuple[Optional[int], Optional[str]]:
    """The number of CPUs that are online."""
    online = cpu_list(read_label(under(root, os.path.join(_FOLDER, "online"))) or "")
    if online:
        return len(online), None
    count = os.cpu_count() if root == "/" else None
    return count, None if count else "/sys/devices/system/cpu/online cannot be read"


def clusters(root: str) -> Tuple[Optional[List[Dict[str, Any]]], Optional[str]]:
    """Groups of CPUs with the same highest clock and capacity: [{cpus, max_hz, capacity}], null where unknown."""
    found: Dict[Tuple[Optional[float], Optional[int]], List[int]] = {}
    for cpu, max_hz in sorted(_cpus(root).items()):
        capacity = _number(under(root, "{}/cpu{}/cpu_capacity".format(_FOLDER, cpu)))
        if max_hz is not None or capacity is not None:
            found.setdefault((max_hz, capacity), []).append(cpu)
    if not found:
        return None, "the kernel shows neither cpufreq policies nor cpu_capacity"
    return [{"cpus": cpus, "max_hz": key[0], "capacity": key[1]} for key, cpus in found.items()], None


def _cpus(root: str) -> Dict[int, Optional[float]]:
    highest: Dict[int, Optional[float]] = {}
    for name in folder(under(root, _FOLDER)):
        match = _CPU.match(name)
        if match:
            highest[int(match.group(1))] = None
    for path in cpufreq.policies(root):
        khz = _number(os.path.join(path, "cpuinfo_max_freq"))
        for cpu in _members(path):
            highest[cpu] = khz * cpufreq.HZ_PER_UNIT if khz else None
    return highest


def _members(policy: str) -> List[int]:
    for name in ("related_cpus", "affected_cpus"):
        cpus = cpu_list(read_label(os.path.join(policy, name)) or "")
        if cpus:
            return cpus
    return cpu_list(os.path.basename(policy)[len("policy") :])


def governor(root: str) -> Tuple[Optional[str], Optional[str]]:
    """The cpufreq governor; several different ones joined by commas, in the order of their policies."""
    names: List[str] = []
    for path in cpufreq.policies(root):
        name = read_label(os.path.join(path, "scaling_governor"))
        if name and name not in names:
            names.append(name)
    if not names:
        return None, "the kernel shows no cpufreq governor (usual in virtual machines)"
    return ",".join(names), None


def _number(path: str) -> Optional[int]:
    try:
        return read_number(path)
    except SensorError:
        return None
