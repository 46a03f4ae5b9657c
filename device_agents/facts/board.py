"""What board this is, and what feeds it."""

import os
from typing import Any, Dict, Optional, Tuple

from device_agents.sensors import android, battery_report, battery_text, supply
from device_agents.sensors.files import read_label, read_text, under

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
    return android.getprop(root, "ro.product.model", _GETPROP_LIMIT_S)


def android_facts(root: str) -> Optional[Dict[str, Optional[str]]]:
    """{maker, release, sdk, build_type ("user", "userdebug"...)} of a phone, None where not known; None elsewhere."""
    if not android.is_android(root):
        return None
    names = {
        "maker": "ro.product.manufacturer",
        "release": "ro.build.version.release",
        "sdk": "ro.build.version.sdk",
        "build_type": "ro.build.type",
    }
    return {key: android.getprop(root, name, _GETPROP_LIMIT_S) for key, name in names.items()}


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
    name = android.getprop(root, "ro.soc.model")
    return name, None if name else "neither a device tree nor /proc/cpuinfo names the chip"


def power_supply(root: str) -> Tuple[Optional[Dict[str, Any]], Optional[str]]:
    """{source: "battery" or "external", battery: its status ("Discharging", "Full"...)} of a device with a battery.

    "external" as soon as one charger is online: then the battery's current says nothing about consumption.
    """
    found, status = supply.batteries(root), supply.state_of(root)
    external = supply.external(root)
    if external is None:
        report = _dumpsys(root)
        if report is not None:
            status = status or report.status
            external = battery_report.is_external(report)
            found = found or [("battery", "dumpsys battery")]
    if not found:
        return None, "no battery"
    return {"source": {True: "external", False: "battery", None: None}[external], "battery": status}, None


def _dumpsys(root: str) -> Optional[battery_text.Battery]:
    """A phone's report of its battery; None where there is none, or no battery in it."""
    text, _ = android.try_report(android.Dumpsys(root, ["battery"], battery_report.DUMPSYS_PERIOD_S))
    report = battery_text.parse_dumpsys(text or "")
    return report if report.values or report.status else None
