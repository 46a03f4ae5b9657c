"""Memory and processor limits of a device, with control groups of version 1 or 2."""

from __future__ import annotations

from pathlib import Path

from tests.lab.process import LabError, wait_until
from tests.lab.state import Node

ROOT = Path("/sys/fs/cgroup")

_PERIOD_US = 100_000


def join(name: str, node: Node) -> None:
    """Nothing; the calling process and its children live in the groups `name`, under the node's limits.

    A device with a personality is in a group also without a limit: its physics go by the CPU time of the group.
    """
    try:
        if node.personality:
            accounts = _parent("cpuacct") if (ROOT / "cpuacct").exists() else ROOT
            (accounts / name).mkdir(exist_ok=True)
            (accounts / name / "cgroup.procs").write_text("0")
        for controller, files in _wanted(node).items():
            group = _parent(controller) / name
            group.mkdir(exist_ok=True)
            for file, value in files.items():
                if (group / file).exists():
                    (group / file).write_text(value)
            if not any((group / file).exists() for file in files):
                raise LabError(f"{node.name}: this kernel has no {controller} limit")
            (group / "cgroup.procs").write_text("0")
    except OSError as error:
        raise LabError(f"{node.name}: the limit could not be set: {error}") from error


def remove(start: str) -> None:
    """Nothing; the groups whose names begin with `start` are gone. Their processes must have ended."""
    for group in existing(start):
        _remove(group)


def existing(start: str) -> list[Path]:
    """The groups whose names begin with `start`."""
    return sorted({*ROOT.glob(f"{start}*"), *ROOT.glob(f"*/{start}*")})


def accounts(name: str) -> list[Path]:
    """The folders in which the CPU time of the groups `name` may be told, best first."""
    return [folder for folder in (ROOT / "cpuacct" / name, ROOT / name) if folder.exists()]


def _wanted(node: Node) -> dict[str, dict[str, str]]:
    """Per controller, the files of version 1 and of version 2 with what goes into them."""
    wanted = {}
    if node.mem_mb:
        size = str(node.mem_mb * 2**20)
        wanted["memory"] = {"memory.limit_in_bytes": size, "memory.max": size, "memory.swap.max": "0"}
    if node.cpu_percent:
        quota = node.cpu_percent * _PERIOD_US // 100
        wanted["cpu"] = {"cpu.cfs_quota_us": str(quota), "cpu.max": f"{quota} {_PERIOD_US}"}
    return wanted


def _parent(controller: str) -> Path:
    """The folder in which a group of this controller is made."""
    if (ROOT / controller / "cgroup.procs").exists():
        return ROOT / controller
    control = ROOT / "cgroup.subtree_control"
    if controller not in control.read_text().split():
        control.write_text(f"+{controller}")
    return ROOT


def _remove(group: Path) -> None:
    def removed() -> bool:
        try:
            group.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    wait_until(removed, 10, f"{group}: the group stays busy")
