"""Energy and throttling of the real agent on the lab's boards with physics, whose truth is known. SIMULATED boards.

The agent runs on the boards' files as on a device (tests/soak/energy.py). The throttle matrix has every fault of every
board, held for one second in the middle of a run, against the short runs, on which nothing was wrong.
`python -m benchmarks.energy_boards [RUNS]`: short runs, 200. About a quarter of an hour; the machine should do nothing
else, because a board that gets no processor time is no board.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.table import Line, show
from tests.soak.energy import FAULTS, Outcome, Round, soak, throttles

SEED = 1
VERDICTS = ("yes", "no", "unknown")


def energy(found: Sequence[tuple[Round, Outcome]]) -> list[Line]:
    """How often the interval holds what really flowed, and how wide it is."""
    measured = [outcome for _, outcome in found if outcome.true_j]
    held = sum(abs(one.stated_j - one.true_j) <= one.uncertainty_j for one in measured)
    share = held / len(found)
    width = median(one.uncertainty_j / one.true_j for one in measured)
    error = median(abs(one.stated_j - one.true_j) / one.true_j for one in measured)
    words = (
        f"{len(found)} short runs on {len({one.board for one, _ in found})} boards: interval holds what really flowed"
    )
    return [
        Line(words, f"{share:.1%} ({held})", "95 % (stated)", share / 0.95, ">= 1"),
        Line("the same: runs with a figure", f"{len(measured)}", f"{len(found)}", len(measured) / len(found), "shown"),
        Line("the same: error, median", f"{error:.2%}", f"{width:.2%} (stated)", error / width, "<= 1"),
    ]


def throttling(found: Sequence[tuple[Round, Outcome]], faults: dict[tuple[str, str], str]) -> list[Line]:
    """The matrix: what was injected against what was called."""
    lines = []
    steady = Counter(outcome.throttled for _, outcome in found)
    injected = Counter(faults.values())
    for truth, counts, right in (("a fault for one second", injected, "yes"), ("nothing", steady, "no")):
        total = sum(counts.values())
        for verdict in VERDICTS:
            count = counts[verdict]
            goal = "1" if verdict == right else "0"
            words = f"throttling: {truth} in the run, called {verdict!r}"
            lines.append(Line(words, f"{count}", f"{total} runs", count / total, goal))
    return lines


def main() -> None:
    """Prints both tables."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory(prefix="edgewise-energy-") as name:
        found = soak(Path(name), runs, SEED, say=lambda line: print(line, file=sys.stderr))
        faults = throttles(Path(name), FAULTS)
    for (board, fault), verdict in faults.items():
        print(f"{board} {fault}: {verdict}", file=sys.stderr)
    show("Energy on boards of known truth, SIMULATED", energy(found))
    show("Throttling on boards of known truth, SIMULATED", throttling(found, faults))


if __name__ == "__main__":
    main()
