"""Powers devices on and off, and speaks to them over their console."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.lab import device_physics as physics
from tests.lab import image_ssh, images, namespaces, network, places, sysfs
from tests.lab.process import LabError, run, wait_until
from tests.lab.state import Node, State

_PATHS = {"ssh": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "adb": "/system/bin"}
_LISTENING = "0A"


def environment(node: Node) -> dict[str, str]:
    """The environment of a device's first program."""
    variables = {"PATH": _PATHS[node.transport], "HOME": "/"}
    if node.transport == "adb":
        variables["ADBD_PORT"] = str(node.port)
    if node.arch == "arm64":
        variables["QEMU_CPU"] = image_ssh.QEMU_CPU
    return variables


def create(state: State, node: Node) -> None:
    """Nothing; the device has an empty disk and, when it is an SSH board, a host key. It is not powered."""
    folder = state.device_folder(node.name)
    for name in ("root", "disk", "sys"):
        (folder / name).mkdir(parents=True)
    with (folder / "disk.img").open("wb") as disk:
        disk.truncate(node.disk_mb * 2**20)
    options = ["-m", "0", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard"]
    run(["mkfs.ext4", "-q", *options, folder / "disk.img"])
    if node.transport == "ssh":
        key = folder / "ssh_host_ed25519_key"
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", node.name, "-f", key])
        node.host_key = " ".join(key.with_suffix(".pub").read_text().split()[:2])


def power_on(state: State, node: Node) -> None:
    """Nothing, once the device's daemon listens. LabError with the end of its console when it does not."""
    if is_on(state, node):
        return
    folder = state.device_folder(node.name)
    images.remove_tree(folder / "sys")
    sysfs.write(node, folder / "sys")
    run([sys.executable, "-m", "tests.lab.boot", state.lab, node.name], cwd=places.REPOSITORY)
    wait_until(
        lambda: _listens(state, node) or not is_on(state, node),
        20,
        lambda: _complaint(state, node, "does not listen"),
    )
    if not is_on(state, node):
        raise LabError(_complaint(state, node, "died while booting"))
    physics.begin(state, node)
    network.set_carrier(state, node, up=node.link.up)


def power_off(state: State, node: Node) -> None:
    """Nothing; every process of the device is gone, and nobody was told: the cable was cut first."""
    network.set_carrier(state, node, up=False)
    namespaces.end_processes(state.namespace(node.name))
    physics.end(state, node)
    disk = state.device_folder(node.name) / "disk.img"
    wait_until(lambda: not run(["losetup", "-j", disk]).stdout.strip(), 20, f"{node.name}: the disk stays busy")


def is_on(state: State, node: Node) -> bool:
    """True while the device's first process runs."""
    return _first_pid(state, node) is not None


def console(state: State, node: Node, argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The argument list and environment of a program that runs `argv` on the device as root.

    It is not under the device's memory and processor limits.
    """
    pid = _first_pid(state, node)
    if pid is None:
        raise LabError(f"{node.name} is powered off")
    spaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd=/"]
    nsenter = shutil.which("nsenter") or "/usr/bin/nsenter"
    return [nsenter, f"--target={pid}", *spaces, "--", *argv], environment(node)


def _first_pid(state: State, node: Node) -> int | None:
    try:
        pid = int((state.device_folder(node.name) / "pid").read_text())
        inside = Path(f"/proc/{pid}/ns/net").stat().st_ino
        return pid if inside == (namespaces.FOLDER / state.namespace(node.name)).stat().st_ino else None
    except (OSError, ValueError):
        return None


def _listens(state: State, node: Node) -> bool:
    pid = _first_pid(state, node)
    try:
        tables = [Path(f"/proc/{pid}/net/{name}").read_text() for name in ("tcp", "tcp6")]
    except OSError:
        return False
    sockets = [line.split() for table in tables for line in table.splitlines()[1:]]
    return any(int(s[1].rpartition(":")[2], 16) == node.port and s[3] == _LISTENING for s in sockets)


def _complaint(state: State, node: Node, what: str) -> str:
    log = state.device_folder(node.name) / "console.log"
    text = log.read_text(errors="replace")[-1500:] if log.exists() else "(the console is empty)"
    return f"{node.name} {what}:\n{text}"
