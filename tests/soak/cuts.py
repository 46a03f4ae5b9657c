"""Cuts against brute force on random graphs, in numbers: `python -m tests.soak.cuts --count 10000`.

Each problem has 3 to 10 pieces with skips, tensors of several consumers, pins, links of any asymmetry, codecs, and is
solved in both forms (one upload; values may come back) at several bandwidths; every placement is tried. The tests do a
part of this in each run (tests/offload/test_mincut.py).
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

from offload.plan.mincut import CutSolver
from offload.plan.problem import ProblemError
from tests.offload.random_problems import cheapest, random_problem

XS = (1e-3, 0.05, 0.4, 3.0)
TOLERANCE = 1e-6  # the maximum flow works on whole numbers


def wrong(seed: int) -> str | None:
    """What is wrong with the cuts of one problem, None when they are the cheapest."""
    rng = np.random.default_rng(seed)
    problem = random_problem(rng, pieces=int(rng.integers(3, 9)))
    for bidirectional in (False, True):
        x = float(rng.choice(XS))
        expected = cheapest(problem, x, bidirectional=bidirectional)
        try:
            found = CutSolver(problem, bidirectional=bidirectional).best(x).at(x)
        except ProblemError:
            found = float("inf")
        if found != expected and not abs(found - expected) <= TOLERANCE * max(abs(expected), 1.0):
            return f"seed {seed}, {'both ways' if bidirectional else 'one upload'}, x {x}: {found} for {expected}"
    return None


def main() -> int:
    """Prints what is wrong; 1 when anything is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1_000_000)
    asked = parser.parse_args()
    began, faults = time.monotonic(), 0
    for seed in range(asked.seed, asked.seed + asked.count):
        told = wrong(seed)
        if told is not None:
            faults += 1
            print(told, flush=True)
    taken_s = time.monotonic() - began
    print(f"{asked.count} problems, both forms, every placement tried: {faults} wrong, {taken_s:.0f} s")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
