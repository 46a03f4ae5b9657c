"""Where the lab keeps its files."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.process import LabError

REPOSITORY = Path(__file__).resolve().parents[2]


def cache_dir() -> Path:
    """The folder for images, the built adbd and running labs; it exists and is writable.

    `EDGEWISE_LAB_CACHE`, else /var/cache/edgewise-lab, else a folder in the user's cache.
    """
    named = os.environ.get("EDGEWISE_LAB_CACHE")
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    for path in [Path(named)] if named else [Path("/var/cache/edgewise-lab"), user / "edgewise-lab"]:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(path, os.W_OK):
            return path.resolve()
    raise LabError("no writable folder for the lab's cache; set EDGEWISE_LAB_CACHE to one")


def labs_dir() -> Path:
    """The folder with one sub-folder for each lab that is up (or crashed)."""
    path = cache_dir() / "labs"
    path.mkdir(exist_ok=True)
    return path


def prefix() -> str:
    """What every namespace and cgroup made from this cache folder starts with: two caches never meet."""
    return "ewlab" + hashlib.sha256(str(labs_dir()).encode()).hexdigest()[:4]


@contextmanager
def locked(name: str, timeout_s: float) -> Iterator[None]:
    """A block that only one process on this machine is in; others wait, LabError after `timeout_s`."""
    path = cache_dir() / f"{name}.lock"
    end = time.monotonic() + timeout_s
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise LabError(f"{path}: held by another process for {timeout_s:g} s") from None
                time.sleep(0.05)
        yield
