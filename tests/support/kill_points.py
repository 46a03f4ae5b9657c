"""Holds settings on a board and is killed at one system call after another. A script, started by tests.

    kill_points.py ROOT JOURNAL PINS [restore] [power-cut]

For each number k a child holds the settings and puts them back, and kills itself (SIGKILL) at the k-th system call that
matters: before a file is opened, after it is written, around fsync, rename, unlink and the start of a program. With
"restore" the first attempt to put back what it left is killed likewise. With "power-cut" the board then has another
boot, and its volatile settings are those of a boot. The last line on standard output is a JSON object: how many points
there were, and those after which the board was not as it was found, or the journal not empty.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from device_agents.conditions import pins as pins_module
from device_agents.conditions.journal import Journal
from device_agents.conditions.pins import Holding
from device_agents.conditions.terms import Terms
from device_agents.processes import identity
from tests.support.pinnable import Board

BEFORE = {os: ("open", "fsync", "rename", "unlink"), fcntl: ("flock",), subprocess: ("Popen",)}
AFTER = {os: ("write", "fsync", "rename", "unlink"), subprocess: ("Popen",)}


class Killer:
    """Ends this process at its k-th point."""

    def __init__(self, point: int) -> None:
        self.left = point

    def install(self) -> None:
        for module, names in BEFORE.items():
            for name in names:
                setattr(module, name, self._around(getattr(module, name), before=True))
        for module, names in AFTER.items():
            for name in names:
                setattr(module, name, self._around(getattr(module, name), before=False))

    def _around(self, function, before):
        killer = self
        if isinstance(function, type):

            class Popen(function):  # a class: its name is used in annotations
                def __init__(self, *arguments, **options):
                    if before:
                        killer.count()
                    super().__init__(*arguments, **options)
                    if not before:
                        killer.count()

            return Popen

        def call(*arguments, **options):
            if before:
                killer.count()
            result = function(*arguments, **options)
            if not before:
                killer.count()
            return result

        return call

    def count(self) -> None:
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1


def in_child(act, point: int) -> bool:
    """True when the child was killed at that point; False when it ended before."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            me = identity()
            Killer(point).install()
            act(me)
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(pid, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit("a child ended with an error")
    return os.WIFSIGNALED(status)


def main() -> None:
    root, folder, terms = sys.argv[1], sys.argv[2], Terms.of({"pins": json.loads(sys.argv[3])})
    restore, power_cut = "restore" in sys.argv, "power-cut" in sys.argv
    board, journal = Board(Path(root)), Journal(folder)
    pins_module._start_watchdog = lambda *where: None  # here nobody but the next start puts things back
    pins_module.Holding._end_watchdog = lambda self: None
    found, wrong, points = board.state(), [], 0

    def hold(me):
        holding = Holding(terms.pins, root, journal, me, lambda name, **detail: None)
        holding.hold()
        assert board.state() != found
        holding.release()

    for point in itertools.count():
        if not in_child(hold, point):
            break
        points += 1
        if power_cut:
            board.booted(f"boot-{point}")
            mode = board.state()["var/lib/nvpmodel/status"] if "var/lib/nvpmodel/status" in found else None
            board.clocks()
            if mode is not None:
                board.write("var/lib/nvpmodel/status", mode + "\n")
        for again in range(1_000) if restore else ():
            if not in_child(lambda me: journal.recover(), again * 7 + point % 7):
                break
        journal.recover()
        state, wanted = board.state(), found
        if power_cut and "var/lib/nvpmodel/status" in found:  # the rest is what a boot in that mode makes of it
            state, wanted = ({key: held[key] for key in ("var/lib/nvpmodel/status",)} for held in (state, found))
        if state != wanted or journal.books():
            wrong.append([point, board.state(), [book.entries for book in journal.books()]])
            board.clocks().nvpmodel() if "var/lib/nvpmodel/status" in found else board.clocks()
    in_child(hold, 1_000_000)
    print(json.dumps({"points": points, "wrong": wrong[:3], "count": len(wrong)}))


if __name__ == "__main__":
    main()
