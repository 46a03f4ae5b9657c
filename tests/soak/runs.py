"""Link cuts during runs on the lab: no run may be lost. `python -m tests.soak.runs --count 100 --seed 1`

Each round starts a run on a board, attached or detached, pulls the board's cable at a random moment for 1 to 60 s, puts
it back, and collects. A run is lost when it is not stored, not valid, not whole (fewer invocations arrived than the
agent counted), stored twice, or when the board still keeps it after `edgewise attach RUN`: a cable that is pulled
between the storing and the removal leaves a run on its board, which that command removes ("stayed"). One line of JSON
for each round, a summary at the end; exit code 1 when anything was lost. ``--scale 0.05`` makes all times that much
shorter: a round then takes about five seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BOARDS = ("board86", "board64")
KINDS = ("ssh-amd64", "ssh-arm64")
LONGEST_CUT_S, SHORTEST_CUT_S = 60.0, 1.0
RUN_S = 40.0  # of measuring
LINK_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Round:
    """One round, drawn before it begins."""

    number: int
    board: str
    detached: bool
    cut_after_s: float
    cut_s: float


def draw(count: int, seed: int, scale: float) -> Iterator[Round]:
    """The rounds of a seed. Cut lengths are spread evenly over their logarithm: short ones are the frequent ones."""
    source = random.Random(seed)
    for number in range(count):
        ratio = LONGEST_CUT_S / SHORTEST_CUT_S
        cut_s = SHORTEST_CUT_S * ratio ** source.random()
        yield Round(
            number,
            BOARDS[0] if source.random() < 0.7 else BOARDS[1],
            source.random() < 0.3,
            source.uniform(0.0, RUN_S) * scale,
            cut_s * scale,
        )


@dataclass(frozen=True)
class Outcome:
    """What came of a round. ``lost`` says how the run was lost, None when it was not."""

    lost: str | None
    stayed: bool = False  # stored, and on its board until a second attach


class Soak:
    """Runs rounds in one lab."""

    def __init__(self, lab: Any, folder: Path, scale: float) -> None:
        from mobile.results.store import RunStore
        from tests.support.fleet import lab_inventory

        self._lab = lab
        self._scale = scale
        self._reconnect_s = (LONGEST_CUT_S + LINK_TIMEOUT_S) * scale + 60.0
        self._inventory = lab_inventory(lab, folder, BOARDS)
        self._store = RunStore(folder / "runs.sqlite3")
        self._shared: dict[str, Any] = {"inventory": self._inventory, "store": self._store}

    def run(self, one: Round) -> Outcome:
        """What came of this round."""
        cutter = threading.Timer(one.cut_after_s, self._cut, [one])
        before = {row["id"] for row in self._store.list()}
        with self._lab.inside("ctl"):
            try:
                result = self._collected(one, cutter)
            finally:
                cutter.cancel()
                if cutter.ident is not None:
                    cutter.join()
                self._lab.link(one.board, up=True)
            if result.failures:
                return Outcome("; ".join(failure.message for failure in result.failures))
            if len(result.runs) != 1:
                return Outcome(f"{len(result.runs)} runs")
            run_id = result.runs[0].id
            stayed = self._kept(one, run_id)
            if stayed:
                self._attached(run_id)
            return Outcome(self._check(one, before, run_id), stayed)

    def _collected(self, one: Round, cutter: threading.Timer) -> Any:
        from mobile.benchmark import BenchOptions, Manner, bench
        from tests.support.fleet import SLEEPER

        def on_progress(progress: Any) -> None:
            if progress.state == "push" and cutter.ident is None:  # the next thing is that the run is started
                cutter.start()

        options = BenchOptions(**SLEEPER, min_count=5, duration_s=max(2.0, RUN_S * self._scale))
        manner = Manner(detach=one.detached, reconnect_s=self._reconnect_s)
        result = bench([], [one.board], options, manner=manner, on_progress=on_progress, **self._shared)
        return self._attached() if one.detached and not result.failures else result

    def _attached(self, *runs: str) -> Any:
        """The collected run, by as many attempts as a user would need while the cable is out."""
        from mobile.benchmark import Collecting, attach

        end = time.monotonic() + self._reconnect_s
        while True:
            result = attach(runs, manner=Collecting(reconnect_s=self._reconnect_s), **self._shared)
            if not all(failure.exit_code == 3 for failure in result.failures) or not result.failures:
                return result
            if time.monotonic() > end:
                return result
            time.sleep(0.2)

    def _cut(self, one: Round) -> None:
        self._lab.link(one.board, up=False)
        time.sleep(one.cut_s)
        self._lab.link(one.board, up=True)

    def _check(self, one: Round, before: set[str], run_id: str) -> str | None:
        from mobile.results.figures import figures

        stored = {row["id"] for row in self._store.list()} - before
        if stored != {run_id}:
            return f"stored are {sorted(stored)}"
        row = figures(self._store.get(run_id))
        if row["verdict"] != "valid":
            return "; ".join(row["reasons"])
        return f"the board keeps {run_id}" if self._kept(one, run_id) else None

    def _kept(self, one: Round, run_id: str) -> bool:
        from mobile.benchmark.session import DeviceSession

        with DeviceSession.open(self._inventory.device(one.board)) as session:
            return any(run.id == run_id for run in session.runs([run_id]))


@contextmanager
def shorter_link_timeout(scale: float) -> Iterator[None]:
    """A block in which a dead link is noticed as much sooner as the cuts are shorter."""
    from mobile import transports
    from mobile.transports.ssh import SshTransport

    usual = transports.open_transport
    transports.open_transport = lambda device: SshTransport(device, link_timeout_s=max(1.0, LINK_TIMEOUT_S * scale))
    try:
        yield
    finally:
        transports.open_transport = usual


def soak(lab: Any, folder: Path, count: int, seed: int, scale: float, say: Any = print) -> list[str]:
    """What was lost, a line each; empty when nothing was."""
    lost = []
    with shorter_link_timeout(scale):
        harness = Soak(lab, folder, scale)
        for one in draw(count, seed, scale):
            began = time.monotonic()
            outcome = harness.run(one)
            say(json.dumps({**vars(one), **vars(outcome), "took_s": round(time.monotonic() - began, 1)}))
            if outcome.lost is not None:
                lost.append(f"round {one.number} of seed {seed}: {outcome.lost}")
    return lost


def main() -> int:
    """The exit code: 0 when no run was lost."""
    from tests.lab import missing
    from tests.lab.lab import Lab

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0, help="of all times")
    options = parser.parse_args()
    reason = missing()
    if reason:
        print(reason, file=sys.stderr)
        return 2
    specs = [f"{name}={kind}" for name, kind in zip(BOARDS, KINDS, strict=True)]
    lab = Lab.up(f"soak{os.getpid()}", specs, owned=True)
    try:
        with tempfile.TemporaryDirectory(prefix="edgewise-soak-") as folder:
            lost = soak(lab, Path(folder), options.count, options.seed, options.scale)
    finally:
        lab.down()
    print(json.dumps({"rounds": options.count, "seed": options.seed, "scale": options.scale, "lost": lost}))
    return int(bool(lost))


if __name__ == "__main__":
    sys.exit(main())
