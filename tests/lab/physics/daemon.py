"""The process that keeps one board's files true.

    python -m tests.lab.physics ROOT PERSONALITY FOLDER [--seed N] [--profile JSON] [--group FOLDER] [--owner PID]

ROOT: the tree (a folder with `sys` in it). In FOLDER it writes the log `truth`, and reads orders from the file
`orders`: one JSON object a line, appended by whoever steers it: {"inject": FAULT, "for_s": SECONDS or null},
{"heal": FAULT}, {"watch": PID}, {"profile": [[SECOND, CORES], ...], "period_s": SECONDS or null}, {"stop": true}.

It asks for a real-time priority: a machine with more to do than processors must not stop a board's physics. Where it
gets none, `Truth.longest_pause_s` tells. A board takes 2 to 5 % of one processor. With an owner it ends when that
process, which started it, has ended.
"""

from __future__ import annotations

import json
import os
import random
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.lab.physics.boards import Board
from tests.lab.physics.instruments import Instrument, Moment
from tests.lab.physics.law import FAULTS, Body
from tests.lab.physics.load import Group, Processes, Profile
from tests.lab.physics.truth import TruthLog

Load = Profile | Group | Processes

FAST_S = 0.001
FLUSH_S = 0.2
ORDERS_S = 0.02


class Daemon:
    """Moves one board on, tick by tick."""

    def __init__(self, board: Board, root: Path, folder: Path, load: Load, seed: int, owner: int | None = None) -> None:
        self._board, self._load, self._owner = board, load, owner
        draw = random.Random(seed)
        self._instruments: list[Instrument] = board.panel(root, draw)
        self._body = Body(board.law, time.monotonic_ns())
        self._orders = folder / "orders"
        self._read_bytes = 0
        self._log = TruthLog(
            folder / "truth", list(board.parts), {"seed": seed, "total": board.total, "sums": board.sums}
        )
        self._due_ns = [0] * len(self._instruments)
        self._ailing: frozenset[str] = frozenset()
        self._stopped = False

    def run(self) -> None:
        """Nothing, once it was told to stop or its folder is gone."""
        tick_ns, fast_ns = round(self._board.tick_s * 1e9), round(FAST_S * 1e9)
        due = looked = flushed = time.monotonic_ns()
        try:
            while not self._stopped:
                now = time.monotonic_ns()
                if now >= due:
                    self._tick(now)
                    due = max(due + tick_ns, now)
                elif self._board.fast:
                    self._instruments[0].between(now)
                if now - looked >= ORDERS_S * 1e9:
                    looked = now
                    self._obey()
                if now - flushed >= FLUSH_S * 1e9:
                    flushed = now
                    self._log.flush()
                pause_ns = (
                    min(due, now + fast_ns) - time.monotonic_ns() if self._board.fast else due - time.monotonic_ns()
                )
                if pause_ns > 0:
                    time.sleep(pause_ns * 1e-9)
        finally:
            with suppress(OSError):
                self._tick(time.monotonic_ns())
            self._log.close()

    def _tick(self, now_ns: int) -> None:
        body, law = self._body, self._board.law
        body.step(now_ns, self._load.busy(now_ns))
        above_w = body.watts - law.idle_w
        watts = {name: part.idle_w + part.share * above_w for name, part in self._board.parts.items()}
        ailing = frozenset(body.faults) | ({"hot"} if body.hot else frozenset())
        moment = Moment(now_ns, watts, body.temperature_c, body.cap, ailing)
        changed = ailing != self._ailing
        self._ailing = ailing
        for number, instrument in enumerate(self._instruments):
            if changed or now_ns >= self._due_ns[number]:
                self._due_ns[number] = now_ns + instrument.every_ns
                instrument.show(moment)
        bits = sum(1 << i for i, name in enumerate((*FAULTS, "hot")) if name in ailing)
        self._log.add(now_ns, body.temperature_c, bits, list(watts.values()))

    def _obey(self) -> None:
        try:
            size = os.stat(self._orders).st_size
        except OSError:
            self._stopped = True  # the folder is gone: so is the board
            return
        if self._owner is not None and os.getppid() != self._owner:
            self._stopped = True
            return
        if size == self._read_bytes:
            return
        with self._orders.open("rb") as file:
            file.seek(self._read_bytes)
            text = file.read()
        whole, _, _ = text.rpartition(b"\n")
        self._read_bytes += len(whole) + 1 if whole else 0
        for line in whole.splitlines():
            self._take(json.loads(line))

    def _take(self, order: dict[str, Any]) -> None:
        if "inject" in order:
            for_s = order.get("for_s")
            until = None if for_s is None else time.monotonic_ns() + round(for_s * 1e9)
            self._body.inject(order["inject"], until)
        if "heal" in order:
            self._body.faults.pop(order["heal"], None)
        if "watch" in order:
            self._load = Processes(order["watch"])
        if "profile" in order:
            self._load = Profile([(since, cores) for since, cores in order["profile"]], order.get("period_s"))
        if order.get("stop"):
            self._stopped = True


def be_punctual() -> None:
    """Nothing; the kernel runs this process before others, where it lets it."""
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
