"""How a test starts a board's physics, steers it, and gets the truth."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from tests.lab.personalities import personality
from tests.lab.physics.truth import Truth
from tests.lab.places import REPOSITORY
from tests.lab.process import LabError, wait_until

PLACE_PREFIX = "edgewise-board-"
_MEMORY = Path("/dev/shm")


def order(folder: Path, **words: object) -> None:
    """Nothing; the daemon of this folder does it within 20 ms (the words are in daemon.py)."""
    with (folder / "orders").open("a") as file:
        file.write(json.dumps(words) + "\n")


def command(
    root: Path,
    name: str,
    folder: Path,
    seed: int,
    profile: Sequence[tuple[float, float]] | None = None,
    period_s: float | None = None,
    groups: Sequence[Path] = (),
) -> list[str]:
    """The command line of a daemon; its folder is ready for it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orders").write_text("")
    (folder / "truth").unlink(missing_ok=True)
    argv = [sys.executable, "-m", "tests.lab.physics", str(root), name, str(folder), "--seed", str(seed)]
    if profile is not None:
        argv += ["--profile", json.dumps(list(profile))]
    if period_s is not None:
        argv += ["--period", str(period_s)]
    for group in groups:
        argv += ["--group", str(group)]
    return argv


class Physics:
    """A board with a personality, in a folder of this machine, with its physics running: use it as a context.

    The tree lies in memory where there is a place for it: on a disk, putting a file in another's place may take 40 ms,
    in which all sensors would stand still. ``root`` is what AgentSpec.root takes. Without a profile the load is the
    CPU time of the processes that `watch` was told. After the block the tree is gone, and `truth` has the whole log.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        seed: int = 1,
        profile: Sequence[tuple[float, float]] | None = None,
        period_s: float | None = None,
    ) -> None:
        self.name = name
        folder.mkdir(parents=True, exist_ok=True)
        self._place = Path(tempfile.mkdtemp(prefix=PLACE_PREFIX, dir=_MEMORY if _MEMORY.is_dir() else folder))
        self.folder = self._place / "physics"
        tree = self._place / "tree"
        tree.mkdir()
        self.root = personality(name).write(tree)
        self._whole: Truth | None = None
        self._argv = [*command(tree, name, self.folder, seed, profile, period_s), "--owner", str(os.getpid())]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Physics:
        self._process = subprocess.Popen(self._argv, cwd=REPOSITORY, stdin=subprocess.DEVNULL)
        log = self.folder / "truth"
        process = self._process

        def has_begun() -> bool:
            if process.poll() is not None:
                raise LabError(f"the physics of {self.name} ended with {process.returncode}")
            return log.exists() and log.stat().st_size > 0

        wait_until(has_begun, 20, f"the physics of {self.name} do not begin")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._process
        assert process is not None  # __enter__ began it
        order(self.folder, stop=True)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._whole = Truth(self.folder / "truth")
        shutil.rmtree(self._place)

    def inject(self, fault: str, for_s: float | None = None) -> None:
        """Nothing; the board suffers from this, for so long or until it is healed."""
        order(self.folder, inject=fault, for_s=for_s)

    def heal(self, fault: str) -> None:
        """Nothing; the fault is over."""
        order(self.folder, heal=fault)

    def load(self, profile: Sequence[tuple[float, float]], period_s: float | None = None) -> None:
        """Nothing; this written load begins now: steps of (from this second on, so many cores)."""
        order(self.folder, profile=list(profile), period_s=period_s)

    def watch(self, pid: int) -> None:
        """Nothing; the CPU time of this process and all below it is the load."""
        order(self.folder, watch=pid)

    @property
    def truth(self) -> Truth:
        """What has happened up to now (up to 0.2 s ago while it runs)."""
        return self._whole or Truth(self.folder / "truth")
