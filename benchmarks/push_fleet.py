"""One push to twelve boards at once, each on a slow cable: `python -m benchmarks.push_fleet [--quick]`.

Compared with the slowest board alone, and with one processor core of the host.
"""

from __future__ import annotations

import os
import time

from benchmarks.push_lab import Place, arguments, place, push, random_file, seconds
from benchmarks.push_ssh import random_part
from benchmarks.table import Line, show
from mobile.benchmark.models import Model
from mobile.push.deploy import deploy
from mobile.results.run import ModelRef

BOARDS = 12
RATE = "10mbit"


def main() -> None:
    """Prints the time for all boards beside the slowest alone, and the host's processor time."""
    size_bytes = 4_000_000 if arguments(__doc__).quick else 20_000_000
    names = [f"board{number}" for number in range(BOARDS)]
    with place(*(f"{name}=ssh-amd64,disk=128M" for name in names)) as there:
        source = random_file(there.folder / "model.bin", size_bytes)
        for name in names:
            there.lab.link(name, rate=RATE)
        alone_s = max(
            seconds(lambda name=name, number=number: push(there, name, random_part(source, number)))
            for number, name in enumerate(names[:3])
        )
        random_part(source, BOARDS)
        wall_s, cpu_s = together(there, names)
    what = f"{size_bytes / 1e6:.0f} MB to {BOARDS} boards at {RATE}/s"
    show(
        "Push to a fleet",
        [
            Line(f"{what}: time", f"{wall_s:.2f} s", f"{alone_s:.2f} s (one alone)", wall_s / alone_s, "<= 1.2"),
            Line(f"{what}: host", f"{cpu_s:.2f} s of processor", f"{wall_s:.2f} s", cpu_s / wall_s, "<= 1 core"),
        ],
    )


def together(there: Place, names: list[str]) -> tuple[float, float]:
    """The time and the host's processor time for all boards."""
    path = there.folder / "model.bin"
    model = Model(path=path, files=(path,), ref=ModelRef(path.name, "", "none", path.stat().st_size))
    before, start_s = os.times(), time.perf_counter()
    devices = [there.inventory.device(name) for name in names]
    ended = [step.outcome for step in deploy(devices, model, check=False) if step.outcome]
    wall_s, after = time.perf_counter() - start_s, os.times()
    failed = [outcome.error for outcome in ended if outcome.error]
    if failed:
        raise failed[0]
    return wall_s, after.user + after.system - before.user - before.system


if __name__ == "__main__":
    main()
