"""Builds a booting device's file system, in a mount namespace of its own."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from tests.lab import image_phone, images, sysfs
from tests.lab.personalities import personality
from tests.lab.process import run
from tests.lab.state import Node, State

_DEVICES = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
}
_TTY_GROUP = 5


def mount(state: State, node: Node) -> Path:
    """The device's root folder: a fixed image under the device's own disk, with /proc, /dev and /sys."""
    folder = state.device_folder(node.name)
    root = folder / "root"
    _mount("--make-rprivate", "/")
    _mount_disk(folder, images.image(node.kind), root)
    _mount("-t", "proc", "proc", root / "proc")
    _mount_dev(root / "dev", image_phone.SHELL_UID if node.transport == "adb" else _TTY_GROUP)
    _mount("--bind", folder / "sys", root / "sys")
    own = Path("/proc/meminfo").read_text()
    for name, text in (("cpuinfo", sysfs.cpuinfo(node)), ("meminfo", sysfs.meminfo(node, own))):
        if text is not None:
            (folder / name).write_text(text)
            _mount("--bind", folder / name, root / "proc" / name)
    if node.transport == "ssh":
        _write_ssh(state, node, root)
    else:
        _mount("--bind", "-o", "ro", images.adbd_folder(), root / "system/adbd")
        shutil.copy(state.keys / "adbkey.pub", root / "adb_keys")
    if node.personality:
        personality(node.personality).write_system(root)
    return root


def _mount_disk(folder: Path, image: Path, root: Path) -> None:
    """Nothing; the disk is a file with a file system in it, so it can be full, and it outlives the power."""
    disk = folder / "disk"
    _mount("-o", "loop,noatime,nobarrier", folder / "disk.img", disk)
    for name in ("upper", "work"):
        (disk / name).mkdir(exist_ok=True)
    layers = f"lowerdir={image},upperdir={disk / 'upper'},workdir={disk / 'work'}"
    _mount("-t", "overlay", "-o", layers, "overlay", root)


def _mount_dev(dev: Path, terminal_group: int) -> None:
    _mount("-t", "tmpfs", "-o", "mode=755,size=64m", "dev", dev)
    for name, (major, minor) in _DEVICES.items():
        os.mknod(dev / name, stat.S_IFCHR, os.makedev(major, minor))
        (dev / name).chmod(0o666)
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    (dev / "shm").chmod(0o1777)
    options = f"newinstance,ptmxmode=0666,mode=620,gid={terminal_group}"
    _mount("-t", "devpts", "-o", options, "devpts", dev / "pts")
    (dev / "ptmx").symlink_to("pts/ptmx")
    (dev / "fd").symlink_to("/proc/self/fd")
    for index, name in enumerate(("stdin", "stdout", "stderr")):
        (dev / name).symlink_to(f"/proc/self/fd/{index}")


def _write_ssh(state: State, node: Node, root: Path) -> None:
    for name, mode in (("ssh_host_ed25519_key", 0o600), ("ssh_host_ed25519_key.pub", 0o644)):
        shutil.copy(state.device_folder(node.name) / name, root / "etc/ssh" / name)
        (root / "etc/ssh" / name).chmod(mode)
    (root / "etc/hostname").write_text(f"{node.name}\n")
    names = [f"{other.address} {other.name}\n" for other in state.nodes.values()]
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n" + "".join(names))
    home = root / "home/edge"
    (home / ".ssh").mkdir(exist_ok=True)
    shutil.copy(state.keys / "id_ed25519.pub", home / ".ssh/authorized_keys")
    for path in (home, home / ".ssh", home / ".ssh/authorized_keys"):
        os.chown(path, 1000, 1000)
    (home / ".ssh").chmod(0o700)


def _mount(*words: str | Path) -> None:
    run(["mount", *words])
