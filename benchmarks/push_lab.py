"""What the benchmarks of push have in common: a lab, files that do not shrink, times, bytes on the cable."""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobile.benchmark.models import Model
from mobile.inventory import Inventory
from mobile.push import Pushed
from mobile.push.deploy import deploy
from mobile.results.run import ModelRef
from tests.lab import Lab, missing
from tests.support.fleet import know_the_phone, lab_inventory

LIMIT_S = 600.0
_HEADERS_BYTES = 14 + 20 + 32  # Ethernet, IP, TCP with time stamps


@dataclass(frozen=True)
class Place:
    """A lab that is up, its inventory, and a folder for files."""

    lab: Lab
    inventory: Inventory
    folder: Path


@contextlib.contextmanager
def place(*specs: str) -> Iterator[Place]:
    """A lab with these devices, the caller inside its developer's machine, with a home of its own."""
    reason = missing()
    if reason:
        sys.exit(f"this benchmark needs the lab: {reason}")
    lab = Lab.up(f"bench{os.getpid()}", specs, owned=True)
    home = os.environ.get("HOME")
    try:
        with tempfile.TemporaryDirectory(prefix="edgewise-bench-") as folder:
            os.environ["HOME"] = folder
            know_the_phone(lab, Path(folder)) if any("adb" in spec for spec in specs) else None
            inventory = lab_inventory(lab, Path(folder))
            with lab.inside("ctl"):
                yield Place(lab, inventory, Path(folder))
    finally:
        if home is not None:
            os.environ["HOME"] = home
        lab.down()


def arguments(doc: str | None) -> argparse.Namespace:
    """The command line: --quick for a look, else the figures that are kept."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller files, fewer repeats")
    return parser.parse_args()


def weights_file(path: Path, size_bytes: int) -> Path:
    """The path of a new file of float32 weights, normally distributed: what models mostly hold."""
    import numpy as np

    np.random.default_rng().standard_normal(size_bytes // 4, dtype=np.float32).tofile(path)
    return path


def random_file(path: Path, size_bytes: int) -> Path:
    """The path of a new file whose bytes nobody has seen before."""
    with path.open("wb") as stream:
        for start in range(0, size_bytes, 1 << 20):
            stream.write(os.urandom(min(1 << 20, size_bytes - start)))
    return path


def push(there: Place, device: str, path: Path) -> Pushed:
    """What a push did, from reading the file and connecting to the name in the store, as `edgewise push` does it."""
    model = Model(path=path, files=(path,), ref=ModelRef(path.name, "", "none", path.stat().st_size))
    steps = deploy([there.inventory.device(device)], model, check=False, use=False, limit_s=LIMIT_S)
    (ended,) = [step.outcome for step in steps if step.outcome]
    if ended.error:
        raise ended.error
    assert ended.pushed is not None
    return ended.pushed


def seconds(work: Callable[[], Any]) -> float:
    """How long the work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def interleaved(works: Sequence[Callable[[], Any]], repeats: int) -> list[float]:
    """The median time of each work, all of them in turn, so that what disturbs one disturbs the others."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(repeats):
        for work, taken in zip(works, times, strict=True):
            taken.append(seconds(work))
    return [statistics.median(taken) for taken in times]


def sent_bytes() -> int:
    """How many bytes TCP has sent from this thread's network, less the headers of its packets (66 bytes each)."""
    lines = Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]
    cards = [line.split(":")[1].split() for line in lines if not line.strip().startswith("lo:")]
    return sum(int(card[8]) - _HEADERS_BYTES * int(card[9]) for card in cards)
