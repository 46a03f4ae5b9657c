"""Linux namespaces from Python: the two system calls that the standard library of 3.10 lacks."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.lab.process import LabError, ancestors, run, wait_until

NEW_MOUNTS, NEW_UTS, NEW_IPC, NEW_PIDS, NEW_NET = 0x20000, 0x4000000, 0x8000000, 0x20000000, 0x40000000
FOLDER = Path("/run/netns")

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Nothing; the calling process has namespaces of its own of the kinds in `flags`."""
    _checked(_libc.unshare(flags), "unshare")


def enter(namespace: str) -> None:
    """Nothing; the calling thread is in the named network namespace."""
    _enter_file(FOLDER / namespace)


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """A block whose thread is in the named network namespace, and back in its own afterwards.

    Sockets made, threads started and programs run in the block belong to that namespace as long as they live.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        enter(namespace)
        try:
            yield
        finally:
            _checked(_libc.setns(home, NEW_NET), "setns")
    finally:
        os.close(home)


def named() -> list[str]:
    """The names of all network namespaces of this machine that have one."""
    return sorted(path.name for path in FOLDER.iterdir()) if FOLDER.is_dir() else []


def pids(namespace: str) -> list[int]:
    """The processes in a network namespace, without this one and those above it; empty when it is gone."""
    listed = run(["ip", "netns", "pids", namespace], check=False).stdout.split()
    return sorted({int(pid) for pid in listed} - ancestors())


def end_processes(namespace: str) -> None:
    """Nothing; every process in the namespace is killed and gone. LabError when one stays for 10 s."""

    def all_gone() -> bool:
        left = pids(namespace)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left

    wait_until(all_gone, 10, lambda: f"{namespace}: processes {pids(namespace)} do not end")


def _enter_file(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise LabError(f"{path}: no such network namespace") from error
    try:
        _checked(_libc.setns(descriptor, NEW_NET), "setns")
    finally:
        os.close(descriptor)


def _checked(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise LabError(f"{call}: {os.strerror(number)}")
