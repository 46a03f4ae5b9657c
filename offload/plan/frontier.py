"""Two aims at once: the least of one while the other stays within a limit, and a pipeline's bottleneck.

Neither is a minimum cut. Weighted sums of both are, so the placements on the convex frontier are found exactly, and a
bound below which nothing can lie (Lagrangian duality). Between two of them there may be a better one that no weighting
shows: what is given is the best that was found, with that bound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from offload.plan.envelope import lower_envelope
from offload.plan.mincut import CutSolver
from offload.plan.problem import Line, Problem, ProblemError, Tensor, Way, way_line

LARGEST_WEIGHT = 1e6  # of the limited aim, in units of (range of the first) / (range of the second)
ROUNDS = 60


@dataclass(frozen=True)
class Best:
    """The best placement that was found; nothing can be better than ``bound`` (equal: it is the optimum).

    ``line``: the placement with its codecs (its figures are those of the weighting that found it). ``aims``: the value
    of each aim there.
    """

    line: Line
    value: float
    bound: float
    aims: tuple[float, ...]

    @property
    def is_optimal(self) -> bool:
        """Whether the bound proves it, to within a millionth."""
        return self.value <= self.bound * (1 + 1e-6) + 1e-12


def least_within(aim: Problem, limited: Problem, limit: float, x: float, *, bidirectional: bool = False) -> Best | None:
    """The placement with the least of ``aim`` that was found among those whose ``limited`` is at most ``limit``.

    Both are priced at x seconds per uplink bit. None when no placement keeps the limit.
    """
    weighing = _Weighing((aim, limited), x, bidirectional)
    tightest = weighing.best((0.0, 1.0))
    if weighing.values(tightest)[1] > limit * (1 + 1e-12):
        return None
    freest = weighing.best((1.0, 0.0))
    top = _scale(weighing.values(tightest), weighing.values(freest))

    def best(weight: float) -> Line:
        return weighing.told(weighing.best((1.0, weight)))

    found = lower_envelope(best, 0.0, top * LARGEST_WEIGHT)
    lines = [*found.lines, weighing.told(tightest)]
    kept = [line for line in lines if line.slope <= limit * (1 + 1e-12)]
    chosen = min(kept, key=lambda line: (line.fixed, line.slope))
    # The dual: for each weight, the least of aim + weight * (limited - limit) is below every placement in the limit.
    bound = max(found.at(weight).at(weight) - weight * limit for weight in found.bounds)
    return Best(chosen, chosen.fixed, min(bound, chosen.fixed), (chosen.fixed, chosen.slope))


def smallest_bottleneck(
    stages: Sequence[Problem], x: float, *, bidirectional: bool = False, rounds: int = ROUNDS
) -> Best:
    """The placement whose dearest stage is cheapest, of those found: the throughput of a pipeline is one over it.

    ``stages``: one problem for each stage (device, network, server), which prices only what that stage does. The bound
    is the largest over the weightings tried of the least weighted sum, weights adding to one (minimax is at least
    maximin). Weights follow the dearest stage (Arora, Hazan, Kale, Theory of Computing 8, 2012).
    """
    import numpy as np

    weighing = _Weighing(tuple(stages), x, bidirectional)
    weights = np.full(len(stages), 1.0 / len(stages))
    best: Best | None = None
    bound = 0.0
    for turn in range(rounds):
        line = weighing.best(tuple(weights))
        aims = np.array(weighing.values(line))
        bound = max(bound, float(weights @ aims))
        if best is None or float(aims.max()) < best.value:
            best = Best(line, float(aims.max()), 0.0, tuple(float(aim) for aim in aims))
        step = np.sqrt(np.log(len(stages) + 1) / (turn + 1))
        weights = weights * np.exp(step * aims / max(float(aims.max()), 1e-30))
        weights /= weights.sum()
    assert best is not None  # there is at least one round
    return replace(best, bound=min(bound, best.value))


class _Weighing:
    """Minimum cuts of weighted sums of problems on one graph, at one bandwidth."""

    def __init__(self, problems: Sequence[Problem], x: float, bidirectional: bool) -> None:
        shapes = {tuple((t.producer, t.consumers, len(t.up), len(t.down)) for t in p.tensors) for p in problems}
        if len(shapes) != 1 or len({p.pieces for p in problems}) != 1:
            raise ProblemError("the aims are not about one graph with one set of codecs")
        self._problems = tuple(problems)
        self._x = x
        self._bidirectional = bidirectional
        self._priced = [_priced(problem, x) for problem in problems]

    def best(self, weights: Sequence[float]) -> Line:
        """The placement and codecs with the least weighted sum."""
        return CutSolver(_combined(self._priced, weights), bidirectional=self._bidirectional).best(0.0)

    def values(self, line: Line) -> tuple[float, ...]:
        """Each aim of a placement with its codecs."""
        return tuple(_value(problem, line) for problem in self._priced)

    def told(self, line: Line) -> Line:
        """The same placement as a line over the weight of the second aim: fixed is the first aim, slope the second."""
        first, second = self.values(line)
        return replace(line, fixed=first, slope=second)


def _priced(problem: Problem, x: float) -> Problem:
    """The problem at one bandwidth: every way's cost as its fixed part."""

    def flat(ways: tuple[Way, ...], up: bool) -> tuple[Way, ...]:
        lines = [way_line(problem, way, up) for way in ways]
        return tuple(Way(way.codec, fixed + slope * x, 0.0) for way, (fixed, slope) in zip(ways, lines, strict=True))

    tensors = [replace(tensor, up=flat(tensor.up, True), down=flat(tensor.down, False)) for tensor in problem.tensors]
    return replace(problem, tensors=tuple(tensors))


def _combined(problems: Sequence[Problem], weights: Sequence[float]) -> Problem:
    def summed(get: Callable[[Tensor], tuple[Way, ...]], index: int) -> tuple[Way, ...]:
        choices = [get(problem.tensors[index]) for problem in problems]
        return tuple(
            Way(ways[0].codec, sum(w * way.fixed for w, way in zip(weights, ways, strict=True)), 0.0)
            for ways in zip(*choices, strict=True)
        )

    import numpy as np

    first = problems[0]
    tensors = [
        replace(tensor, up=summed(lambda t: t.up, index), down=summed(lambda t: t.down, index))
        for index, tensor in enumerate(first.tensors)
    ]
    return replace(
        first,
        device=np.sum([w * p.device for w, p in zip(weights, problems, strict=True)], axis=0),
        server=np.sum([w * p.server for w, p in zip(weights, problems, strict=True)], axis=0),
        request=sum(w * p.request for w, p in zip(weights, problems, strict=True)),
        tensors=tuple(tensors),
    )


def _value(problem: Problem, line: Line) -> float:
    total = float(problem.device[~line.sides].sum() + problem.server[line.sides].sum())
    total += problem.request if line.sides.any() else 0.0
    for crossing in line.crossings:
        tensor = problem.tensors[crossing.tensor]
        total += (tensor.up if crossing.up else tensor.down)[crossing.way].fixed
    return total


def _scale(one: Sequence[float], other: Sequence[float]) -> float:
    """How much of the first aim is worth one of the second, as far as two placements tell."""
    gained, lost = abs(one[0] - other[0]), abs(one[1] - other[1])
    return gained / lost if gained > 0 and lost > 0 else 1.0
