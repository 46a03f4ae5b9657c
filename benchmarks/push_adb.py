"""Push over ADB beside the real `adb push`, on the lab: `python -m benchmarks.push_adb [--quick]`.

Ours hashes the file, connects, verifies it on the phone by SHA-256 and flushes it to the storage; adb copies.
"""

from __future__ import annotations

import itertools
import os
import subprocess
from pathlib import Path

from benchmarks.push_lab import LIMIT_S, Place, arguments, interleaved, place, push, random_file, weights_file
from benchmarks.push_ssh import random_part
from benchmarks.table import Line, show

_SERVER_PORT = "5099"  # another adb server of this machine is left alone


def main() -> None:
    """Prints our time beside adb's at 100 Mbit/s."""
    quick = arguments(__doc__).quick
    size_bytes, repeats = (20_000_000, 1) if quick else (100_000_000, 3)
    lines = []
    for kind, what, make in (
        ("adb-amd64", "weights", weights_file),
        ("adb-amd64", "noise", random_file),
        ("adb-arm64", "noise", random_file),
    ):
        with place(f"phone={kind},disk=2G") as there:
            ours_s, adb_s = compared(there, make(there.folder / "model", size_bytes), repeats)
        text = [f"{size_bytes * 8e-6 / taken_s:.1f} Mbit/s" for taken_s in (ours_s, adb_s)]
        what = f"{size_bytes / 1e6:.0f} MB of {what}, 100 Mbit/s, {kind.partition('-')[2]} phone: push, adb push"
        lines.append(Line(what, *text, adb_s / ours_s, ">= 1" if kind == "adb-amd64" else ">= 1 (qemu hashes)"))
    show("Push over ADB", lines)


def compared(there: Place, source: Path, repeats: int) -> list[float]:
    """Our time, and adb's, whose server is connected before."""
    there.lab.link("phone", rate="100mbit")
    phone = there.lab.devices["phone"]
    env = {**os.environ, "ADB_VENDOR_KEYS": str(there.lab.adb_key_path)}

    def adb(*words: str) -> None:
        argv = ["adb", "-P", _SERVER_PORT, *words]
        subprocess.run(argv, env=env, check=True, timeout=LIMIT_S, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    numbers = itertools.count()
    try:
        adb("connect", f"{phone.address}:{phone.port}")
        return interleaved(
            [
                lambda: push(there, "phone", random_part(source, next(numbers))),
                lambda: adb("push", str(random_part(source, next(numbers))), "/data/local/tmp/model"),
            ],
            repeats,
        )
    finally:
        adb("kill-server")


if __name__ == "__main__":
    main()
