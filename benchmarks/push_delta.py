"""A second variant of a model, one of 60 tensors changed, beside rsync: `python -m benchmarks.push_delta [--quick]`.

Counted is all that TCP carries from the host to the board, hand-shakes and questions with it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.push_lab import LIMIT_S, Place, arguments, place, push, seconds, sent_bytes
from benchmarks.table import Line, show
from tests.support.weights import random_weights, save_weights

TENSORS = 60
_REMOTE = "/tmp/rsync"


def main() -> None:
    """Prints what crosses the cable, ours, rsync's and the changed bytes, and how long it takes."""
    quick = arguments(__doc__).quick
    values = 100_000 if quick else 416_667  # 100 MB in all
    weights = random_weights((values,) * TENSORS)
    changed_bytes = weights[17].nbytes
    with place("board=ssh-amd64,disk=2G") as there:
        there.lab.link("board", rate="100mbit", delay="5ms")
        paths = []
        for name in ("old", "new"):
            (there.folder / name).mkdir()
            paths.append(save_weights(there.folder / name / "model.onnx", weights))
            weights[17] = weights[17] + 1
        size_bytes = paths[0].stat().st_size
        push(there, "board", paths[0])
        ours = measured(lambda: push(there, "board", paths[1]))
        peer = rsync(there, paths)
    what = f"{size_bytes / 1e6:.0f} MB, one of {TENSORS} tensors changed"
    lines = [
        Line(f"{what}: bytes sent", _mb(ours[0]), f"{_mb(changed_bytes)} changed", ours[0] / changed_bytes, "<= 1.05")
    ]
    if peer:
        lines += [
            Line(f"{what}: bytes sent, rsync", _mb(ours[0]), _mb(peer[0]), ours[0] / peer[0], "shown"),
            Line(f"{what}: time, rsync", f"{ours[1]:.2f} s", f"{peer[1]:.2f} s", peer[1] / ours[1], "shown"),
        ]
    show("Push of a variant, 100 Mbit/s and 10 ms", lines)
    if not peer:
        print("rsync is not installed here: no comparison with it")


def measured(work: Callable[[], Any]) -> tuple[int, float]:
    """The bytes that left the host, and the time."""
    before = sent_bytes()
    taken_s = seconds(work)
    return sent_bytes() - before, taken_s


def rsync(there: Place, paths: list[Path]) -> tuple[int, float] | None:
    """The same for rsync, which needs its program on the board: this machine's is put there, with its libraries."""
    program = shutil.which("rsync")
    if program is None:
        return None
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, timeout=60, check=True).stdout
    needed = [program, *re.findall(r"=> (/\S+)", listed)]
    for path in needed:
        with Path(path).open("rb") as stream:
            words, env = there.lab.program(
                "board", ["sh", "-c", 'mkdir -p "${1%/*}" && cat >"$1"', "sh", f"{_REMOTE}/{Path(path).name}"]
            )
            subprocess.run(words, env=env, stdin=stream, check=True, timeout=60)
    there.lab.run_in("board", ["chmod", "-R", "755", _REMOTE], check=True)

    def run(path: Path) -> None:
        subprocess.run(
            [
                "rsync", "--inplace", "-e", f"ssh -F {there.lab.ssh_config_path}",
                f"--rsync-path=env LD_LIBRARY_PATH={_REMOTE} {_REMOTE}/rsync", str(path), "board:rsynced.onnx",
            ],
            check=True,
            timeout=LIMIT_S,
        )  # fmt: skip

    run(paths[0])
    return measured(lambda: run(paths[1]))


def _mb(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:.3f} MB"


if __name__ == "__main__":
    main()
