"""The first process of a device.

    python -m tests.lab.boot LAB NODE

returns as soon as the device's first process runs, and leaves its pid in the device's folder. That process
builds the file system, starts sshd or adbd in it, and adopts and reaps whatever else the device leaves
behind.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from tests.lab import cgroups, image_phone, namespaces, rootfs
from tests.lab.devices import environment
from tests.lab.process import LabError
from tests.lab.state import Node, State, load

_DAEMONS = {"ssh": ["/usr/sbin/sshd", "-D", "-e"], "adb": ["/system/adbd/adbd"]}
_NEW = namespaces.NEW_MOUNTS | namespaces.NEW_PIDS | namespaces.NEW_UTS | namespaces.NEW_IPC


def start(state: State, node: Node) -> None:
    """Nothing, in the process that was called; its child is the device's first process and never returns."""
    cgroups.join(state.namespace(node.name), node)
    namespaces.enter(state.namespace(node.name))
    namespaces.unshare(_NEW)
    pid = os.fork()
    if pid:
        (state.device_folder(node.name) / "pid").write_text(str(pid))
        return
    status = 1
    try:
        os.setsid()
        _redirect(state.device_folder(node.name) / "console.log")
        status = _live(state, node)
    except (LabError, OSError) as error:
        print(f"{node.name}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def _live(state: State, node: Node) -> int:
    """The exit status of the device's daemon, once it has ended; its end is the device's end."""
    socket.sethostname(node.name)
    os.chroot(rootfs.mount(state, node))
    os.chdir("/")
    daemon = os.fork()
    if daemon == 0:
        _become_daemon(node)
    while True:
        pid, status = os.wait()
        if pid == daemon:
            print(f"{node.name}: the daemon ended with status {status}", file=sys.stderr, flush=True)
            return 1


def _become_daemon(node: Node) -> None:
    try:
        if node.transport == "adb":
            os.setgroups([])
            os.setgid(image_phone.SHELL_UID)
            os.setuid(image_phone.SHELL_UID)
        argv = _DAEMONS[node.transport]
        os.execve(argv[0], argv, environment(node))
    finally:
        os._exit(127)


def _redirect(console: Path) -> None:
    log = os.open(console, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    null = os.open("/dev/null", os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.closerange(3, 256)


def main(lab: str, name: str) -> None:
    """Nothing; the device is booting."""
    state = load(lab)
    if state is None:
        sys.exit(f"no lab {lab!r} is up")
    start(state, state.device(name))


if __name__ == "__main__":
    main(*sys.argv[1:])
