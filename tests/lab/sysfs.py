"""What a device shows in /sys and /proc/cpuinfo: plain files, which tests may change from outside."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tests.lab.personalities import personality
from tests.lab.state import Node

_ARM_CORES = 4
_ARM_CORE = """\
processor\t: {index}
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

"""
_MODELS = {
    "ssh-arm64": ("Raspberry Pi 4 Model B Rev 1.4", "raspberrypi,4-model-b\0brcm,bcm2711\0"),
    "adb-arm64": ("Virtual Phone", "edgewise,vphone\0"),
}


def write(node: Node, root: Path) -> None:
    """Nothing; `root` holds the device's /sys as it is just after booting."""
    root.mkdir(parents=True, exist_ok=True)
    if node.personality:
        personality(node.personality).write_sys(root)
        return
    for name, text in tree(node).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def tree(node: Node) -> dict[str, str]:
    """Every file of the device's /sys with its content."""
    cores = _ARM_CORES if node.arch == "arm64" else os.cpu_count() or 1
    files = _cores(cores)
    zone = "class/thermal/thermal_zone0"
    files |= {f"{zone}/type": "cpu-thermal\n", f"{zone}/temp": "48312\n"}
    if node.kind in _MODELS:
        model, compatible = _MODELS[node.kind]
        base = "firmware/devicetree/base"
        files |= {f"{base}/model": f"{model}\0", f"{base}/compatible": compatible}
    else:
        files |= {"class/dmi/id/product_name": "Virtual x86 board\n", "class/dmi/id/sys_vendor": "edgewise\n"}
    return files | (_battery() if node.transport == "adb" else {})


def cpuinfo(node: Node) -> str | None:
    """The text of the device's /proc/cpuinfo; None where the machine's own is right.

    Under qemu the machine's own makes the processor probe of onnxruntime crash.
    """
    if node.arch != "arm64":
        return None
    count = personality(node.personality).cores if node.personality else _ARM_CORES
    cores = "".join(_ARM_CORE.format(index=index) for index in range(count))
    return f"{cores}Hardware\t: BCM2835\nRevision\t: c03114\nModel\t\t: {_MODELS['ssh-arm64'][0]}\n"


def meminfo(node: Node, own: str) -> str | None:
    """The text of the device's /proc/meminfo, made from the machine's `own`; None without a memory limit."""
    if not node.mem_mb:
        return None
    shares = {"MemTotal": 1.0, "MemFree": 0.6, "MemAvailable": 0.8, "SwapTotal": 0.0, "SwapFree": 0.0}
    for key, share in shares.items():
        own = re.sub(rf"(?m)^{key}:.*$", f"{key}: {round(node.mem_mb * 1024 * share):14d} kB", own)
    return own


def _cores(count: int) -> dict[str, str]:
    cpus = "devices/system/cpu"
    files = {f"{cpus}/{name}": f"0-{count - 1}\n" for name in ("possible", "present", "online")}
    for index in range(count):
        core = f"{cpus}/cpu{index}"
        for name in ("scaling_cur_freq", "scaling_max_freq", "cpuinfo_max_freq"):
            files[f"{core}/cpufreq/{name}"] = "1500000\n"
        files |= {
            f"{core}/cpufreq/scaling_min_freq": "600000\n",
            f"{core}/cpufreq/cpuinfo_min_freq": "600000\n",
            f"{core}/cpufreq/scaling_governor": "ondemand\n",
            f"{core}/cpufreq/scaling_available_governors": "ondemand performance powersave\n",
            f"{core}/topology/physical_package_id": "0\n",
            f"{core}/topology/core_id": f"{index}\n",
        }
    return files


def _battery() -> dict[str, str]:
    battery = "class/power_supply/battery"
    values = {"type": "Battery", "status": "Discharging", "capacity": "87", "temp": "312"}
    values |= {"voltage_now": "3987000", "current_now": "-412000"}
    return {f"{battery}/{name}": f"{value}\n" for name, value in values.items()}
