"""Clocks outside the CPUs: the GPU's and the memory's from /sys/class/devfreq, and the GPU's load.

Files: cur_freq, max_freq, min_freq, available_frequencies in Hz (kernel Documentation/ABI/testing/sysfs-class-devfreq);
``load`` of NVIDIA's GPU driver in per mille (a recorded 999 is 99.9 %). The GPU is found by its name: ``57000000.gpu``,
``17000000.gp10b``, ``17000000.gv11b``, ``17000000.ga10b``, ``17000000.gpu``, ``gpu-gpc-0`` on Thor; Mali and Adreno
GPUs of other boards are named in the same manner. The memory's clock (EMC) is in debugfs, which only root may enter,
except on Thor (devfreq ``bwmgr``). Paths: NVIDIA's jetson_clocks script.
"""

import os
import re
from typing import Callable, List, Optional, Tuple

from device_agents.sensors import jetson
from device_agents.sensors.base import Findings, Sensor, add, descriptor, scaled
from device_agents.sensors.files import SensorError, folder, read_number, read_text, under

FOLDER = "/sys/class/devfreq"
LOADS = ("/sys/devices/platform/gpu.0/load", "/sys/devices/gpu.0/load")
EMC_CLOCKS = (
    "/sys/kernel/debug/bpmp/debug/clk/emc/rate",  # TX2, Xavier, Orin
    "/sys/kernel/debug/clk/override.emc/clk_rate",  # Nano, TX1
    "/sys/kernel/debug/clk/emc/clk_rate",
)
HIGHEST_LOAD = 1000  # per mille
MAX_STEPS = 4096

# The part with the shaders comes first: Thor has a clock for it (gpc) and one for its video engines (nvd).
_GPU = (re.compile(r"gpc"), re.compile(r"(?:\A|[.,_-])(?:gpu|g[a-z]\d\d[a-z])(?:\Z|[.,_-])|mali|kgsl-3d|adreno"))
_MEMORY = re.compile(r"\A(?:bwmgr|.*[.-]emc|emc)\Z")


def gpus(root: str) -> List[str]:
    """The devfreq folders of the GPU's clocks, that of its shaders first."""
    base = under(root, FOLDER)
    names = folder(base)
    found = [name for pattern in _GPU for name in names if pattern.search(name.lower())]
    return [os.path.join(base, name) for name in dict.fromkeys(found)]


def find(root: str) -> Findings:
    """``frequency.gpu`` Hz, ``cap.gpu`` (share of its highest step), ``load.gpu`` (share), ``frequency.emc`` Hz.

    Further clocks of the GPU are named after their folder.
    """
    findings = Findings([], [])
    found = gpus(root)
    for path in found:
        title = "gpu" if path == found[0] else os.path.basename(path)
        _add_clock(findings, os.path.join(path, "cur_freq"), title, "GPU clock " + os.path.basename(path))
        _add_cap(findings, path, title)
    if found:
        _add_load(findings, root, found[0])
        _add_memory(findings, root)
    else:
        reason = "the kernel shows no clock of a GPU in /sys/class/devfreq"
        findings.missing.append(descriptor("frequency.gpu", "frequency", "GPU clock", FOLDER, "absent", reason))
    return findings


def highest_step(text: Optional[str]) -> Optional[int]:
    """The highest of the frequencies in a list ("114750000 216750000"); None when it holds no positive number.

    >>> highest_step("114750000 216750000 ")
    216750000
    """
    words = (text or "").split()[:MAX_STEPS]
    return max((int(word) for word in words if word.isascii() and word.isdigit() and len(word) < 16), default=0) or None


def _add_clock(findings: Findings, source: str, title: str, scope: str) -> None:
    about = descriptor("frequency." + title, "frequency", scope, source, resolution=1.0)
    add(findings, Sensor(about, [source], scaled(1.0)), tolerate=True)  # a gated GPU may refuse for a while


def _add_cap(findings: Findings, path: str, title: str) -> None:
    source = os.path.join(path, "max_freq")
    about = descriptor("cap." + title, "ratio", "GPU clock " + os.path.basename(path), source)
    highest_hz = highest_step(read_text(os.path.join(path, "available_frequencies")))
    if highest_hz is None:
        about.update(state="absent", reason="the GPU's highest clock is not known: no available_frequencies")
        findings.missing.append(about)
        return
    about["resolution"] = 1.0 / highest_hz
    about["note"] = "max_freq as a share of the highest available frequency ({:g} Hz)".format(highest_hz)
    add(findings, Sensor(about, [source], _share_of(highest_hz)))


def _share_of(highest_hz: int) -> Callable[[List[int]], float]:
    def share(numbers: List[int]) -> float:
        return min(1.0, numbers[0] / highest_hz)  # "no limit" is a number above all steps

    return share


def _add_load(findings: Findings, root: str, gpu: str) -> None:
    paths = [under(root, path) for path in LOADS] + [os.path.join(gpu, "device", "load")]
    source = next((path for path in paths if os.path.lexists(path)), None)
    about = descriptor("load.gpu", "ratio", "GPU", source or paths[-1], resolution=1.0 / HIGHEST_LOAD)
    if source is None:
        about.update(state="absent", reason="the GPU driver shows no load (there is none on Thor)")
        findings.missing.append(about)
        return
    add(findings, Sensor(about, [source], load), tolerate=True)


def load(numbers: List[int]) -> float:
    """The share of time that the GPU was busy, of a number in per mille."""
    if not 0 <= numbers[0] <= HIGHEST_LOAD:
        raise SensorError("the driver shows a load of {} per mille".format(numbers[0]))
    return numbers[0] / HIGHEST_LOAD


def _add_memory(findings: Findings, root: str) -> None:
    base = under(root, FOLDER)
    paths = [os.path.join(base, name, "cur_freq") for name in folder(base) if _MEMORY.match(name.lower())]
    paths += [under(root, path) for path in EMC_CLOCKS]
    source, reason = _first_readable(paths)
    if source is not None:
        _add_clock(findings, source, "emc", "memory clock (EMC)")
    elif "tegra" in jetson.words(root):
        about = descriptor("frequency.emc", "frequency", "memory clock (EMC)", EMC_CLOCKS[0], "absent", reason)
        findings.missing.append(about)


def _first_readable(paths: List[str]) -> Tuple[Optional[str], str]:
    for path in paths:
        try:
            read_number(path)
        except SensorError:
            continue
        return path, ""
    return None, "the memory's clock is in debugfs, which only root may read"
