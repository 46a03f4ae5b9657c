"""A problem as arrays, so that thousands of pieces are priced at once: the same figures as `problem.line_of`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from offload.plan.problem import DEVICE, Crossing, Line, Problem, Tensor, Way, way_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Sides = NDArray[np.bool_]


class Compiled:
    """Arrays of one problem. Rows are tensors; ``up`` and ``down`` are tables of their ways."""

    def __init__(self, problem: Problem) -> None:
        import numpy as np

        self.problem = problem
        tensors = problem.tensors
        self.up = _Ways(problem, [tensor.up for tensor in tensors], up=True)
        self.down = _Ways(problem, [tensor.down for tensor in tensors], up=False)
        self._producer: Ints = np.array([tensor.producer for tensor in tensors], dtype=np.int64)
        self._needed = np.array([tensor.needed_on_device for tensor in tensors], dtype=bool)
        self._edges = _edges(tensors)

    def line(self, sides: Sides, x: float) -> Line | None:
        """What `problem.line_of` gives."""
        import numpy as np

        problem = self.problem
        on_server, on_device = self._consumed(sides)
        made_there = np.where(self._producer == DEVICE, False, sides[self._producer]) if len(self._producer) else None
        if made_there is None:
            up = down = np.zeros(0, dtype=np.int64)
        else:
            up = np.flatnonzero(~made_there & on_server)
            down = np.flatnonzero(made_there & (on_device | self._needed))
        fixed = float(problem.device[~sides].sum() + problem.server[sides].sum())
        fixed += problem.request if sides.any() else 0.0
        slope, crossings = 0.0, []
        for table, rows, is_up in ((self.up, up, True), (self.down, down, False)):
            chosen = table.choice(rows, x)
            if (chosen < 0).any():
                return None
            fixed += float(table.fixed[rows, chosen].sum())
            slope += float(table.slope[rows, chosen].sum())
            crossings += [Crossing(int(row), is_up, int(way)) for row, way in zip(rows, chosen, strict=True)]
        return Line(fixed, slope, sides.copy(), tuple(crossings))

    def _consumed(self, sides: Sides) -> tuple[Sides, Sides]:
        """For each tensor: whether a consumer is on the server, and whether one is on the device."""
        import numpy as np

        tensor_of, consumer_of = self._edges
        there = sides[consumer_of]
        on_server = np.zeros(len(self._producer), dtype=bool)
        on_device = np.zeros(len(self._producer), dtype=bool)
        on_server[tensor_of[there]] = True
        on_device[tensor_of[~there]] = True
        return on_server, on_device


class _Ways:
    """The ways of all tensors in one direction, padded with infinitely dear ones."""

    def __init__(self, problem: Problem, ways: list[tuple[Way, ...]], *, up: bool) -> None:
        import numpy as np

        most = max((len(some) for some in ways), default=0) or 1
        self.fixed: Floats = np.full((len(ways), most), np.inf)
        self.slope: Floats = np.zeros((len(ways), most))
        for row, some in enumerate(ways):
            for column, way in enumerate(some):
                self.fixed[row, column], self.slope[row, column] = way_line(problem, way, up)

    def cheapest(self, x: float) -> Floats:
        """The cost of each tensor's crossing at x; infinity where it has no way."""
        costs: Floats = (self.fixed + self.slope * x).min(axis=1)
        return costs

    def choice(self, rows: Ints, x: float) -> Ints:
        """The way that is cheapest at x, for some of the tensors; -1 where there is none."""
        import numpy as np

        costs = self.fixed[rows] + self.slope[rows] * x
        chosen: Ints = costs.argmin(axis=1) if len(rows) else np.zeros(0, dtype=np.int64)
        return np.where(np.isfinite(costs.min(axis=1, initial=np.inf)), chosen, -1)


def _edges(tensors: tuple[Tensor, ...]) -> tuple[Ints, Ints]:
    import numpy as np

    pairs = [(index, consumer) for index, tensor in enumerate(tensors) for consumer in tensor.consumers]
    table: Ints = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]
