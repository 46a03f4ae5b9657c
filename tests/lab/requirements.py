"""What the lab needs of the machine: which packages, and whether it can run here at all."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path

from tests.lab import binfmt
from tests.lab.process import LabError, run

PACKAGES = (
    *(
        "mmdebstrap",
        "qemu-user-static",
        "iproute2",
        "util-linux",
        "mount",
        "e2fsprogs",
        "openssh-client",
        "adb",
    ),
    *("patchelf", "dpkg-dev", "clang", "lld", "libcap-dev", "android-libboringssl-dev"),
)

_TOOLS = (
    *(
        "ip",
        "tc",
        "unshare",
        "nsenter",
        "mount",
        "losetup",
        "mkfs.ext4",
        "ssh",
        "ssh-keygen",
        "adb",
        "mmdebstrap",
    ),
    *("patchelf", "clang++", "ld.lld", "dpkg-source", "qemu-aarch64-static"),
)
_INSTALL = "run: python -m tests.lab install"


def missing() -> str | None:
    """Why the lab cannot run on this machine, in one line with the next step; None when it can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"the lab needs Linux on x86_64, this is {sys.platform} on {platform.machine()}"
    if os.geteuid() != 0:
        return "the lab needs root (network namespaces, mounts)"
    absent = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if absent:
        return f"the lab needs {', '.join(absent)}; {_INSTALL}"
    for path in ("/dev/net/tun", "/dev/loop-control"):
        if not Path(path).exists():
            return f"the lab needs {path}, which this machine does not have"
    if "overlay" not in Path("/proc/filesystems").read_text().split():
        return "the lab needs overlayfs in the kernel"
    return _not_permitted()


def _not_permitted() -> str | None:
    try:
        run(["unshare", "--net", "--mount", "--pid", "--fork", "true"])
    except LabError as error:
        return f"the lab may not make namespaces here ({error})"
    try:
        binfmt.register()
    except LabError as error:
        return f"the lab cannot run aarch64 programs here ({error})"
    return None


def absent_packages() -> list[str]:
    """Those of the needed Debian packages that are not installed."""
    listed = run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *PACKAGES], check=False).stdout
    present = {line.split()[0] for line in listed.splitlines() if line.endswith(" installed")}
    return [name for name in PACKAGES if name not in present]


def install() -> list[str]:
    """The Debian packages that were installed: those needed and not there yet."""
    if shutil.which("apt-get") is None:
        raise LabError("no apt-get on this machine: the lab's packages can be installed on Debian only")
    wanted = absent_packages()
    if wanted:
        apt = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run([*apt, "update"], timeout_s=300, env=env)
        run([*apt, "install", "--yes", "--no-install-recommends", *wanted], timeout_s=900, env=env)
    return wanted
