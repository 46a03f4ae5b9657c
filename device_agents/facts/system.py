"""The system around the agent: memory, operating system, kernel."""

import os
import re
from typing import Optional, Tuple

from device_agents.sensors.files import read_label, read_text, under

BYTES_PER_KIB = 1024  # /proc/meminfo says kB and means KiB (kernel Documentation/filesystems/proc.rst)


def arch(root: str) -> Tuple[Optional[str], Optional[str]]:
    """The kernel's machine name ("aarch64", "x86_64")."""
    return os.uname().machine, None


def memory(root: str) -> Tuple[Optional[int], Optional[str]]:
    """The memory that the kernel manages, bytes."""
    return _meminfo(root, "MemTotal")


def memory_available(root: str) -> Tuple[Optional[int], Optional[str]]:
    """What can be had without swapping, bytes, by the kernel's estimate."""
    return _meminfo(root, "MemAvailable")


def _meminfo(root: str, key: str) -> Tuple[Optional[int], Optional[str]]:
    text = read_text(under(root, "/proc/meminfo")) or ""
    match = re.search(r"^{}:\s*(\d{{1,18}}) kB".format(key), text, re.MULTILINE | re.ASCII)
    if match is None:
        return None, "/proc/meminfo has no {}".format(key)
    return int(match.group(1)) * BYTES_PER_KIB, None


def os_name(root: str) -> Tuple[Optional[str], Optional[str]]:
    """The distribution's own name for itself (PRETTY_NAME)."""
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        for line in (read_text(under(root, path)) or "").splitlines():
            key, _, value = line.partition("=")
            value = "".join(char for char in value.strip().strip("\"'") if char.isprintable())
            if key.strip() == "PRETTY_NAME" and value:
                return value[:64], None
    return None, "/etc/os-release names no system"


def kernel(root: str) -> Tuple[Optional[str], Optional[str]]:
    """The kernel's release ("6.1.21-v8+"), without the name of the machine that built it."""
    release = read_label(under(root, "/proc/sys/kernel/osrelease"))
    if release is None and root == "/":
        release = os.uname().release
    return release, None if release else "/proc/sys/kernel/osrelease cannot be read"
