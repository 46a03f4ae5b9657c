"""The cheapest placement at one bandwidth, as a minimum s-t cut. The maximum flow is OR-tools'.

The device is the source's side, the server the sink's. For each piece v: source -> v costs its time on the server, v ->
sink its time on the device. For each tensor an auxiliary vertex u: producer -> u costs its crossing, u -> each consumer
is infinite, so that a tensor with several consumers is paid for once (DADS, Hu et al., INFOCOM 2019). Two forms:

* monotone (nothing comes back but outputs): consumer -> producer is infinite. Without these edges the cut may lead
  from the server to the device for nothing, which is wrong wherever a piece is faster on the device than on the server.
* bidirectional: a second vertex d per tensor, d -> producer costs its way down, each consumer -> d is infinite.

An output that the device needs costs its way down whenever its producer is on the server: in the monotone form that is
a part of the piece's cost there; in the other the device itself is one more consumer, so that it is paid for once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from offload.plan.compiled import Compiled
from offload.plan.problem import DEVICE, Line, Problem, ProblemError, Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

# All finite capacities together are scaled to this: exact in the 53 bits of a float and, with the infinite ones, far
# within the 64 bits of OR-tools.
_TOTAL = float(2**52)


class CutSolver:
    """Cheapest placements of one problem. The network is built once; ``best`` only sets capacities."""

    def __init__(self, problem: Problem, *, bidirectional: bool = False) -> None:
        self._problem = problem
        self._compiled = Compiled(problem)
        self._bidirectional = bidirectional
        self._tails: list[int] = []
        self._heads: list[int] = []
        self._source = problem.pieces
        self._sink = problem.pieces + 1
        self._vertices = problem.pieces + 2
        self._infinite: list[int] = []
        self._up: list[tuple[int, int]] = []  # arc, tensor
        self._down: list[tuple[int, int]] = []  # arc, tensor
        self._output: list[tuple[int, int]] = []  # piece, tensor: an output that costs its way down there
        self._add_pieces()
        for index, tensor in enumerate(problem.tensors):
            self._add_tensor(index, tensor)
        self._flow = self._build()

    def best(self, x: float) -> Line:
        """The cheapest placement at x seconds per uplink bit; ProblemError when the pins leave none.

        The cost of a request is added as soon as a piece is on the server, after the cut: it does not depend on
        which. Everything on the device is taken instead where that is no dearer.
        """
        import numpy as np

        problem = self._problem
        sides = self._cut(self._capacities(x))
        line = self._compiled.line(sides, x)
        if line is None:
            raise ProblemError("no placement keeps every pin: a tensor would have to cross that must not")
        if problem.request and sides.any() and not problem.on_server:
            local = self._compiled.line(np.zeros(problem.pieces, dtype=bool), x)
            if local is not None and local.at(x) <= line.at(x):
                return local
        return line

    def _arc(self, tail: int, head: int) -> int:
        self._tails.append(tail)
        self._heads.append(head)
        return len(self._tails) - 1

    def _infinite_arc(self, tail: int, head: int) -> None:
        self._infinite.append(self._arc(tail, head))

    def _vertex(self) -> int:
        self._vertices += 1
        return self._vertices - 1

    def _add_pieces(self) -> None:
        # Arcs 2 v and 2 v + 1: the costs of piece v on the server and on the device.
        for piece in range(self._problem.pieces):
            self._arc(self._source, piece)
            self._arc(piece, self._sink)
        for piece in self._problem.on_device:
            self._infinite_arc(self._source, piece)
        for piece in self._problem.on_server:
            self._infinite_arc(piece, self._sink)

    def _add_tensor(self, index: int, tensor: Tensor) -> None:
        producer = self._source if tensor.producer == DEVICE else tensor.producer
        if tensor.consumers:
            up = self._vertex()
            self._up.append((self._arc(producer, up), index))
            for consumer in tensor.consumers:
                self._infinite_arc(up, consumer)
        if tensor.producer == DEVICE:
            return
        if not self._bidirectional:
            for consumer in tensor.consumers:
                self._infinite_arc(consumer, tensor.producer)
            if tensor.needed_on_device:
                self._output.append((2 * tensor.producer, index))
            return
        if tensor.consumers or tensor.needed_on_device:
            down = self._vertex()
            self._down.append((self._arc(down, tensor.producer), index))
            for consumer in tensor.consumers:
                self._infinite_arc(consumer, down)
            if tensor.needed_on_device:
                self._infinite_arc(self._source, down)

    def _build(self) -> Any:
        import numpy as np

        try:
            from ortools.graph.python import max_flow
        except ImportError as error:
            raise ProblemError("planning needs OR-tools: pip install 'edgewise[split]'") from error

        flow = max_flow.SimpleMaxFlow()
        tails, heads = (np.array(ends, dtype=np.int32) for ends in (self._tails, self._heads))
        # Turned round, from the sink to the source: the cut is the same one, and found ten times as fast in graphs of
        # thousands of pieces, where what the server saves has to travel far otherwise.
        self._arcs = flow.add_arcs_with_capacity(heads, tails, np.zeros(len(tails), dtype=np.int64))
        return flow

    def _capacities(self, x: float) -> Floats:
        """The cost of every arc at x, infinity where it is infinite."""
        import numpy as np

        problem = self._problem
        costs: Floats = np.zeros(len(self._tails))
        costs[0 : 2 * problem.pieces : 2] = problem.server
        costs[1 : 2 * problem.pieces : 2] = problem.device
        up, down = self._compiled.up.cheapest(x), self._compiled.down.cheapest(x)
        for pairs, prices in ((self._up, up), (self._down, down), (self._output, down)):
            if pairs:
                arcs, tensors = np.array(pairs).T
                np.add.at(costs, arcs, prices[tensors])
        costs[self._infinite] = np.inf
        return costs

    def _cut(self, costs: Floats) -> NDArray[np.bool_]:
        import numpy as np

        finite = np.isfinite(costs)
        total = float(costs[finite].sum())
        scale = _TOTAL / total if total > 0 else 1.0
        capacities: Ints = np.full(len(costs), int(_TOTAL) * 2, dtype=np.int64)
        capacities[finite] = np.rint(costs[finite] * scale).astype(np.int64)
        return self._solve(capacities)

    def _solve(self, capacities: Ints) -> NDArray[np.bool_]:
        import numpy as np

        flow = self._flow
        flow.set_arcs_capacity(self._arcs, capacities)
        status = flow.solve(self._sink, self._source)
        if status != flow.OPTIMAL:
            raise ProblemError(f"the maximum flow was not found: {status}")
        if flow.optimal_flow() > int(_TOTAL) + len(capacities):
            raise ProblemError("no placement keeps every pin: a tensor would have to cross that must not")
        sides = np.ones(self._vertices, dtype=bool)
        # The largest set on the device among the cheapest: the complement of what reaches the sink.
        sink_side = flow.get_source_side_min_cut()
        sides[:] = False
        sides[sink_side] = True
        return sides[: self._problem.pieces]
