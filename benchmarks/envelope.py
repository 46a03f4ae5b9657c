"""Planning: `python -m benchmarks.envelope`.

The whole envelope of a graph with 5,000 nodes (every best placement from 10 kbit/s to 10 Gbit/s), and a look-up in the
table that a device gets. Costs are made up; the graph is a chain of blocks with skips and branches, as networks are,
and activations that shrink with depth. Whether cuts are right is `python -m tests.soak.cuts`.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from benchmarks.policy_tables import MODELS, table
from benchmarks.table import Line, show
from offload.plan.envelope import envelope
from offload.plan.problem import DEVICE, Problem, Tensor, Way

NODES, ROUNDS, LOOKUPS = 5000, 5, 20_000
ENVELOPE_S, LOOKUP_S = 1.0, 10e-6
RANGE_BPS = (1e4, 1e10)


def network(nodes: int, seed: int = 0) -> Problem:
    """A placement problem of that many pieces, the server ten times as fast, four codecs for each value."""
    rng = np.random.default_rng(seed)
    device_s = rng.gamma(2.0, 1.0, nodes) * 0.5 / nodes
    tensors = [_value("input", DEVICE, [0], 600_000.0)]
    for piece in range(nodes):
        near = [piece + 1] if piece + 1 < nodes else []
        if piece % 5 == 0 and piece + 4 < nodes:
            near.append(piece + 4)  # around a block
        if piece % 50 == 7 and piece + 30 < nodes:
            near.append(piece + 30)  # a branch that comes back later
        size = 1.2e7 * np.exp(-6.0 * piece / nodes) * rng.uniform(0.4, 1.6)
        tensors.append(_value(f"t{piece}", piece, near, float(size)))
    return Problem(
        device=device_s,
        server=device_s / 10.0,
        tensors=tuple(tensors),
        on_device=frozenset(),
        on_server=frozenset(),
        down_s_per_bit=1e-8,
        request=0.005,
    )


def _value(name: str, producer: int, consumers: list[int], bits: float) -> Tensor:
    ways = tuple(
        Way(codec, bits * 1e-10 * cost, bits / ratio)
        for codec, ratio, cost in (("raw", 1.0, 0.0), ("fp16", 2.0, 1.0), ("q8+zlib", 6.0, 8.0), ("q4+zlib", 16.0, 6.0))
    )
    return Tensor(name, producer, tuple(consumers), ways, ways[:1], needed_on_device=not consumers)


def main() -> None:
    """Prints the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=NODES)
    asked = parser.parse_args()
    lines = []
    for bidirectional in (False, True):
        times = []
        for seed in range(ROUNDS):
            problem = network(asked.nodes, seed)
            began = time.perf_counter()
            found = envelope(problem, *RANGE_BPS, bidirectional=bidirectional)
            times.append(time.perf_counter() - began)
        form = "values may come back" if bidirectional else "one upload"
        what = f"envelope, {asked.nodes} nodes, {form}: {len(found.lines)} placements, {found.solved} cuts"
        for title, taken in (("median", statistics.median(times)), ("longest", max(times))):
            ratio = taken / ENVELOPE_S
            lines.append(Line(f"{what}, {title}", f"{taken:.2f} s", f"{ENVELOPE_S:g} s (limit)", ratio, "<= 1"))
    for name in MODELS:
        made, rates = table(name), np.geomspace(*RANGE_BPS, LOOKUPS).tolist()
        began = time.perf_counter()
        for rate in rates:
            made.choose(rate, 1.5)
        taken = (time.perf_counter() - began) / LOOKUPS
        what = f"look-up, {name} ({len(made.placements)} placements)"
        lines.append(Line(what, f"{taken * 1e6:.2f} us", f"{LOOKUP_S * 1e6:g} us (limit)", taken / LOOKUP_S, "<= 1"))
    show("Planning", lines)


if __name__ == "__main__":
    main()
