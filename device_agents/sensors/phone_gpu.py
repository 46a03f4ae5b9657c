"""The GPU's clock of phones that do not show it in /sys/class/devfreq: Qualcomm's kgsl and Google's mali folders.

kgsl: /sys/class/kgsl/kgsl-3d0/{gpuclk,max_gpuclk,gpu_available_frequencies} in Hz (msm kernel, kgsl_pwrctrl.c).
Pixel: /sys/devices/platform/*.mali/{cur_freq,scaling_max_freq,available_frequencies} in kHz. Most phones keep these for
root: then the reason says so.
"""

import os
from typing import Callable, List, NamedTuple, Optional

from device_agents.sensors import devfreq
from device_agents.sensors.base import Findings, Sensor, add, descriptor, scaled
from device_agents.sensors.files import folder, read_text, under

KGSL = "/sys/class/kgsl/kgsl-3d0"
PLATFORM = "/sys/devices/platform"


class Gpu(NamedTuple):
    """Where a GPU's clock is: the folder, its files, and Hz per unit."""

    path: str
    clock: str
    cap: str
    steps: str
    hz_per_unit: float


def gpu(root: str) -> Optional[Gpu]:
    """The phone's GPU; None where no such folder is."""
    path = under(root, KGSL)
    if os.path.lexists(os.path.join(path, "gpuclk")):
        return Gpu(path, "gpuclk", "max_gpuclk", "gpu_available_frequencies", 1.0)
    for name in folder(under(root, PLATFORM)):
        path = os.path.join(under(root, PLATFORM), name)
        if name.endswith(".mali") and os.path.lexists(os.path.join(path, "cur_freq")):
            return Gpu(path, "cur_freq", "scaling_max_freq", "available_frequencies", 1e3)
    return None


def find(root: str) -> Findings:
    """``frequency.gpu`` Hz and ``cap.gpu``, the highest clock allowed as a share of the highest there is."""
    findings = Findings([], [])
    found = None if devfreq.gpus(root) else gpu(root)
    if found is None:
        reason = "no GPU clock of a phone's driver is here; /sys/class/devfreq is another kind's"
        findings.missing.append(descriptor("frequency.phone-gpu", "frequency", "GPU clock", KGSL, "absent", reason))
        return findings
    source, scope = os.path.join(found.path, found.clock), "GPU clock " + os.path.basename(found.path)
    about = descriptor("frequency.gpu", "frequency", scope, source, resolution=found.hz_per_unit)
    add(findings, Sensor(about, [source], scaled(found.hz_per_unit)))
    source = os.path.join(found.path, found.cap)
    highest = devfreq.highest_step(read_text(os.path.join(found.path, found.steps)))
    if highest is not None and os.path.lexists(source):
        note = "{} as a share of the highest available frequency ({:g} Hz)".format(
            found.cap, highest * found.hz_per_unit
        )
        about = descriptor("cap.gpu", "ratio", scope, source, resolution=1.0 / highest, note=note)
        add(findings, Sensor(about, [source], _share_of(highest)))
    return findings


def _share_of(highest: int) -> Callable[[List[int]], float]:
    def share(numbers: List[int]) -> float:
        return min(1.0, numbers[0] / highest)

    return share
