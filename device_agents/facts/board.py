"""What board this is, and what feeds it."""

import os
from typing import Any, Dict, Optional, Tuple

from device_agents.sensors import battery
from device_agents.sensors.files import SensorError, folder, read_label, read_text, under
from device_agents.sensors.programs import find_program, run_program

_DEVICE_TREES = ("/proc/device-tree", "/sys/firmware/devicetree/base")
_DMI = "/sys/class/dmi/id"
_GETPROP_LIMIT_S = 5.0

# What board makers leave in the DMI fields that they did not fill.
_PLACEHOLDERS = ("system product name", "to be filled by o.e.m.", "default string", "none", "o.e.m.")


def model(root: str) -> Tuple[Optional[str], Optional[str]]:
    """The board's name: Android's own, the device tree's, or DMI's maker and product (never a serial number)."""
    name = _android_model(root)
    if name:
        return name, None
    for tree in _DEVICE_TREES:
        name = read_label(under(root, os.path.join(tree, "model")))
        if name:
            return name, None
    maker, product = _dmi(root, "sys_vendor"), _dmi(root, "product_name")
    if product is None:
        maker, product = _dmi(root, "board_vendor"), _dmi(root, "board_name")
    if product is None:
        return None, "neither a device tree nor DMI names the board (usual in virtual machines and containers)"
    if maker is None or product.lower().startswith(maker.lower()):
        return product, None
    return "{} {}".format(maker, product), None


def _android_model(root: str) -> Optional[str]:
    """What a phone calls itself; its device tree names the chip's reference board, and may not be read by all."""
    getprop = find_program(root, "getprop")
    if getprop is None:
        return None
    try:
        output = run_program([getprop, "ro.product.model"], _GETPROP_LIMIT_S)
    except SensorError:
        return None
    return " ".join(output.text.split())[:64] or None


def _dmi(root: str, name: str) -> Optional[str]:
    value = read_label(under(root, os.path.join(_DMI, name)))
    return None if value is None or value.lower() in _PLACEHOLDERS else value


def soc(root: str) -> Tuple[Optional[str], Optional[str]]:
    """The chip: the device tree's last compatible name ("brcm,bcm2712"), else what /proc/cpuinfo calls the CPU."""
    for tree in _DEVICE_TREES:
        # NUL-separated from the most special to the most general; the last one is the SoC by convention.
        names = read_text(under(root, os.path.join(tree, "compatible")))
        if names:
            return names.split()[-1], None
    cpuinfo = read_text(under(root, "/proc/cpuinfo")) or ""
    for wanted in ("Hardware", "model name", "cpu model", "uarch"):
        for line in cpuinfo.splitlines():
            key, colon, value = line.partition(":")
            if colon and key.strip() == wanted and value.strip():
                return " ".join(value.split())[:64], None
    return None, "neither a device tree nor /proc/cpuinfo names the chip"


def power_supply(root: str) -> Tuple[Optional[Dict[str, Any]], Optional[str]]:
    """{source: "battery" or "external", battery: its status ("Discharging", "Full"...)} of a device with a battery.

    "external" as soon as one charger is online: then the battery's current says nothing about consumption.
    """
    found = battery.batteries(root)
    base = under(root, battery.FOLDER)
    online = [name for name in folder(base) if read_label(os.path.join(base, name, "online")) == "1"]
    if not found:
        return None, "no battery"
    status = read_label(os.path.join(found[0][1], "status"))
    if online or status in ("Charging", "Full", "Not charging"):
        source: Optional[str] = "external"
    else:
        source = "battery" if status == "Discharging" else None
    return {"source": source, "battery": status}, None
