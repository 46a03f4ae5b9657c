"""Which wheels run on a device: platform tags (PEP 600, PEP 425) and wheels' file names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mobile.provision.probe import DeviceProbe, PythonFound

# The older names of three glibc levels (PEP 600), and the oldest level of each machine.
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_OLDEST = {"aarch64": 17, "x86_64": 5, "armv7l": 17, "i686": 5, "riscv64": 31}
_X86_ONLY = ("manylinux2010", "manylinux1")
_NAME = re.compile(
    r"(?P<name>[^-]+)-(?P<version>[^-]+)(-\d[^-]*)?-(?P<python>[^-]+)-(?P<abi>[^-]+)-(?P<platform>[^-]+)\.whl"
)


def platform_tags(machine: str, glibc: tuple[int, int] | None) -> list[str]:
    """Every manylinux tag that a device takes, best first; empty without glibc, for which the registries have nothing.

    >>> platform_tags("aarch64", (2, 18))
    ['manylinux_2_18_aarch64', 'manylinux_2_17_aarch64', 'manylinux2014_aarch64']
    """
    if glibc is None or glibc[0] != 2 or machine not in _OLDEST:
        return []
    tags = []
    for minor in range(glibc[1], _OLDEST[machine] - 1, -1):
        tags.append(f"manylinux_2_{minor}_{machine}")
        legacy = _LEGACY.get(minor)
        if legacy is not None and (legacy not in _X86_ONLY or machine in ("x86_64", "i686")):
            tags.append(f"{legacy}_{machine}")
    return tags


@dataclass(frozen=True)
class Wheel:
    """A wheel's file name, taken apart."""

    distribution: str  # normalized: lower case, "-"
    version: str
    pythons: frozenset[str]
    abis: frozenset[str]
    platforms: frozenset[str]


def wheel(file_name: str) -> Wheel | None:
    """The parts of a wheel's file name, None when it is none.

    >>> wheel("onnxruntime_gpu-1.18.0-cp310-cp310-linux_aarch64.whl").distribution
    'onnxruntime-gpu'
    """
    match = _NAME.fullmatch(file_name)
    if match is None:
        return None
    parts = [frozenset(match[key].split(".")) for key in ("python", "abi", "platform")]
    return Wheel(re.sub(r"[-_.]+", "-", match["name"]).lower(), match["version"], *parts)


def fits(found: Wheel, python: tuple[int, int], platforms: Sequence[str]) -> bool:
    """Whether a wheel is for this Python (major, minor) and one of these platforms.

    >>> fits(wheel("protobuf-7.0-cp310-abi3-manylinux2014_aarch64.whl"), (3, 11), ["manylinux2014_aarch64"])
    True
    """
    if not found.platforms & {*platforms, "any"}:
        return False
    major, minor = python
    if f"cp{major}{minor}" in found.pythons and found.abis & {f"cp{major}{minor}", "abi3", "none"}:
        return True
    older = {f"cp{major}{n}" for n in range(2, minor + 1)}
    if "abi3" in found.abis and found.pythons & older:
        return True
    plain = {f"py{major}", *(f"py{major}{n}" for n in range(minor + 1))}
    return "none" in found.abis and bool(found.pythons & plain)


@dataclass(frozen=True)
class Target:
    """What wheels are resolved for."""

    python: str  # "3.11"
    machine: str
    platforms: tuple[str, ...]

    @property
    def label(self) -> str:
        """A short name: "cp311-aarch64"."""
        return f"cp{self.python.replace('.', '')}-{self.machine}"


def target_of(probe: DeviceProbe, python: PythonFound) -> Target:
    """What wheels an interpreter of the device takes. A 32-bit one on a 64-bit device takes 32-bit wheels."""
    machine = {"aarch64": "armv7l", "x86_64": "i686"}.get(probe.machine, probe.machine)
    machine = probe.machine if python.bits == 64 else machine
    return Target(python.short, machine, tuple(platform_tags(machine, probe.glibc)))
