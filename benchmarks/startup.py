"""How long `edgewise --help` takes: `python -m benchmarks.startup`. CPU time of the process, the goal's measure."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

from benchmarks.table import Line, show

LAUNCHES = 15
GOAL_S = 0.25


def cpu_s(code: str) -> float:
    """Median CPU seconds of a Python process that runs ``code``."""
    times = []
    for _ in range(LAUNCHES):
        before = os.times()
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        times.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return statistics.median(times)


def main() -> None:
    """Prints the help's time beside that of an interpreter that does nothing, and of click alone."""
    ours = cpu_s("from mobile.cli.main import run; run(['--help'])")
    bare = cpu_s("pass")
    click = cpu_s("import click")
    show(
        "Start-up, CPU time",
        [
            Line("edgewise --help", f"{ours:.3f} s", f"{GOAL_S} s (limit)", ours / GOAL_S, "<= 1"),
            Line("the same, against `import click`", f"{ours:.3f} s", f"{click:.3f} s", ours / click, "shown"),
            Line("the same, against a bare interpreter", f"{ours:.3f} s", f"{bare:.3f} s", ours / bare, "shown"),
        ],
    )


if __name__ == "__main__":
    main()
