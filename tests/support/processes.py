"""Which processes a command has left behind: they are found by a mark in their environment."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

MARK = "EDGEWISE_TEST_MARK"


def new_mark() -> str:
    """A value for MARK that no other process has."""
    return uuid.uuid4().hex


def marked(mark: str) -> list[int]:
    """The live processes (no zombies) with that mark in their environment."""
    found = []
    wanted = f"{MARK}={mark}".encode()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            if (
                wanted in (folder / "environ").read_bytes().split(b"\0")
                and b") Z " not in (folder / "stat").read_bytes()
            ):
                found.append(int(folder.name))
        except OSError:
            continue  # it ended while it was looked at, or is not ours
    return found


def all_gone(mark: str, within_s: float = 10.0) -> bool:
    """True once no process has the mark; False when there still is one after ``within_s``."""
    end = time.monotonic() + within_s
    while marked(mark):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
