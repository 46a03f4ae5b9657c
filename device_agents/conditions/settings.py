"""The settings that decide how fast a device is, before and after a run: what somebody changed in between is told."""

import os
from typing import Dict, List, Tuple

from device_agents.facts import power_mode
from device_agents.sensors import cpufreq
from device_agents.sensors.files import read_label


def settings(root: str) -> Dict[str, str]:
    """What can be read of: the governor of each cpufreq policy, nvpmodel's power mode."""
    found: Dict[str, str] = {}
    for policy in cpufreq.policies(root):
        governor = read_label(os.path.join(policy, "scaling_governor"))
        if governor is not None:
            found["governor of " + os.path.basename(policy)] = governor
    mode, _ = power_mode.power_mode(root)
    if mode is not None:
        found["power mode"] = "{} ({})".format(mode["id"], mode["name"])
    return found


def changes(before: Dict[str, str], after: Dict[str, str]) -> List[Tuple[str, str, str]]:
    """(what, before, after) of the settings that were read both times and differ."""
    return [
        (what, before[what], after[what]) for what in sorted(before) if what in after and after[what] != before[what]
    ]
