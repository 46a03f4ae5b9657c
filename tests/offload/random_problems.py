"""Random placement problems small enough to try every placement, and the trying."""

from __future__ import annotations

import itertools

import numpy as np

from offload.plan.problem import DEVICE, Problem, Tensor, Way, is_monotone, line_of


def random_problem(rng: np.random.Generator, *, pieces: int, pins: bool = True, codecs: int = 3) -> Problem:
    """A DAG with skip connections, tensors of several consumers, several inputs and outputs, and costs at random.

    Half of the problems have a server that is faster everywhere, the others costs that know nothing of each other.
    """
    device = rng.gamma(1.0, 1.0, pieces) * 10
    server = device / rng.uniform(2, 20) if rng.random() < 0.5 else rng.gamma(1.0, 1.0, pieces) * 5
    tensors = [_tensor(rng, f"in{i}", DEVICE, pieces, codecs) for i in range(int(rng.integers(1, 3)))]
    tensors += [_tensor(rng, f"t{piece}", piece, pieces, codecs) for piece in range(pieces)]
    pinned = rng.permutation(pieces)
    count = int(rng.integers(0, 3)) if pins else 0
    return Problem(
        device=device,
        server=server,
        tensors=tuple(tensors),
        on_device=frozenset(int(p) for p in pinned[:count]),
        on_server=frozenset(int(p) for p in pinned[count : count + (1 if pins and rng.random() < 0.1 else 0)]),
        down_ratio=float(rng.choice([0.0, 0.3, 1.0, 4.0])),
        down_s_per_bit=float(rng.choice([0.0, 0.5])),
        request=float(rng.choice([0.0, 1.0, 20.0])),
    )


def _tensor(rng: np.random.Generator, name: str, producer: int, pieces: int, codecs: int) -> Tensor:
    later = np.arange(producer + 1, pieces)
    near = [int(c) for c in later[:3] if rng.random() < 0.6] + [int(c) for c in later[3:] if rng.random() < 0.1]
    ways = [
        Way(f"c{i}", fixed=float(rng.gamma(1.0, 0.3)) * i, bits=float(rng.gamma(1.0, 8.0)) / (1 + i))
        for i in range(int(rng.integers(1, codecs + 1)))
    ]
    needed = producer != DEVICE and (not near or rng.random() < 0.15)
    return Tensor(name, producer, tuple(near), up=tuple(ways), down=tuple(ways[:1]), needed_on_device=needed)


def every_placement(problem: Problem) -> list[np.ndarray]:
    """All placements that keep the pins."""
    found = []
    for bits in itertools.product((False, True), repeat=problem.pieces):
        sides = np.array(bits)
        if not sides[list(problem.on_device)].any() and sides[list(problem.on_server)].all():
            found.append(sides)
    return found


def cheapest(problem: Problem, x: float, *, bidirectional: bool) -> float:
    """The least cost over every placement of the form, at x; infinity when there is none."""
    best = float("inf")
    for sides in every_placement(problem):
        if bidirectional or is_monotone(problem, sides):
            line = line_of(problem, sides, x)
            if line is not None:
                best = min(best, line.at(x))
    return best
