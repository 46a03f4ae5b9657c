"""Which operators of a float graph become int8, and at which scales: the plan that static quantisation carries out."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

import numpy as np

from exporters.tflite import affine, int8_operators
from exporters.tflite.calibrate import Ranges
from exporters.tflite.int8_operators import FIXED, FREE, JOINS, MOVES, WEIGHTED, floats, shared_inputs
from exporters.tflite.ir import NO_TENSOR, Graph, Operator, Quant

_MAX_SPREAD = 16.0  # a join of ranges further apart would cost the narrow one 4 of its 8 bits: it stays float
_REUSE = 2.0  # an input of a join whose range is narrower than this keeps its own scale and is requantised
_MAX_ELEMENTWISE_RANK = 4  # beyond it the integer kernels do not broadcast in both runtimes


@dataclass(frozen=True)
class Group:
    """Tensors that hold values at one scale, since operators between them only pass values on."""

    quant: Quant
    tensors: frozenset[int]


class Choice:
    """Which operators become int8, by their place in the graph; none that reads or writes a ``barred`` tensor."""

    def __init__(self, graph: Graph, ranges: Ranges, barred: Set[int] = frozenset()) -> None:
        self.graph, self.ranges, self._barred = graph, ranges, barred
        self.available = set(floats(graph, graph.inputs))  # what is int8 already, or becomes it once and for all

    def made(self) -> set[int]:
        """The places of the operators."""
        chosen = set()
        for place, operator in enumerate(self.graph.operators):
            if self._fits(operator):
                chosen.add(place)
                self.available.update(floats(self.graph, operator.outputs))
        return chosen - self._idle(chosen)

    def _fits(self, operator: Operator) -> bool:
        if not int8_operators.known(operator) or not floats(self.graph, operator.outputs):
            return False
        values = [*self._variables(operator), *operator.outputs]
        if any(place in self._barred or self.ranges.of(place) is None for place in floats(self.graph, values)):
            return False
        if operator.op in WEIGHTED:
            return self._weighted(operator)
        variables = floats(self.graph, self._variables(operator))
        if not variables or not self.available.issuperset(variables):
            return False
        if operator.op in JOINS:
            return self._joins(variables)
        if operator.op in FREE and len(operator.inputs) > 1 and operator.op not in ("MEAN", "BATCH_MATMUL"):
            return max(self.graph.tensors[place].rank for place in operator.inputs) <= _MAX_ELEMENTWISE_RANK
        # As the model's answer 1/256 would be too coarse a step of a probability.
        return operator.op not in FIXED or not set(operator.outputs) & set(self.graph.outputs)

    def _variables(self, operator: Operator) -> list[int]:
        return [place for place in operator.inputs if place >= 0 and self.graph.tensors[place].data is None]

    def _weighted(self, operator: Operator) -> bool:
        data, weight, bias, _ = WEIGHTED[operator.op]
        tensors = self.graph.tensors
        found = tensors[operator.inputs[weight]]
        constant = found.data is not None and found.dtype == "float32"
        given = operator.inputs[bias] if len(operator.inputs) > bias else NO_TENSOR
        fits = given == NO_TENSOR or tensors[given].data is not None
        return constant and fits and tensors[operator.inputs[data]].data is None

    def _joins(self, variables: list[int]) -> bool:
        bounds = [self.ranges.of(place) or (0.0, 0.0) for place in variables]
        widths = [high - low for low, high in bounds]
        return max(widths) <= _MAX_SPREAD * max(min(widths), float(np.finfo(np.float32).tiny))

    def _idle(self, chosen: set[int]) -> set[int]:
        """Chosen moves of values that neither come from an int8 computation nor go to one."""
        operators = self.graph.operators
        moves = {place for place in chosen if operators[place].op in MOVES or operators[place].op in JOINS}
        active: set[int] = set()
        for order in (sorted(chosen), sorted(chosen, reverse=True)):
            forward = order[:1] <= order[-1:]
            reached: set[int] = set()
            for place in order:
                operator = operators[place]
                near, far = (operator.inputs, operator.outputs) if forward else (operator.outputs, operator.inputs)
                if place not in moves or reached.intersection(near):
                    reached.update(far)
                    active.add(place)
        return moves - active


class Scales:
    """The int8 quantisation of each tensor; tensors that must share one form a group."""

    def __init__(self, graph: Graph, ranges: Ranges, chosen: set[int]) -> None:
        self._graph, self._ranges = graph, ranges
        self._parent: dict[int, int] = {}
        self._fixed: dict[int, Quant] = {}
        for place in sorted(chosen):
            self._bind(graph.operators[place])
        self._bounds: dict[int, tuple[float, float]] = {}
        for tensor in list(self._parent):
            root, found = self._root(tensor), ranges.of(tensor)
            low, high = self._bounds.get(root, (0.0, 0.0))
            if found is not None:
                self._bounds[root] = min(low, found[0]), max(high, found[1])

    def of(self, tensor: int) -> Quant:
        """The tensor's scale and zero point."""
        root = self._root(tensor)
        if root in self._fixed:
            return self._fixed[root]
        return affine.activation(*(self._bounds.get(root) or self._ranges.of(tensor) or (0.0, 0.0)))

    def groups(self, chosen: set[int]) -> list[Group]:
        """What the chosen operators read and write, by common scale."""
        members: dict[int, set[int]] = {}
        for place in sorted(chosen):
            operator = self._graph.operators[place]
            for tensor in floats(self._graph, [*operator.inputs, *operator.outputs]):
                if self._graph.tensors[tensor].data is None:
                    members.setdefault(self._root(tensor), set()).add(tensor)
        return [Group(self.of(root), frozenset(found)) for root, found in members.items()]

    def _root(self, tensor: int) -> int:
        self._parent.setdefault(tensor, tensor)
        while self._parent[tensor] != tensor:
            self._parent[tensor] = tensor = self._parent[self._parent[tensor]]
        return tensor

    def _bind(self, operator: Operator) -> None:
        outputs = floats(self._graph, operator.outputs)
        if operator.op in FIXED:
            self._fixed[self._root(outputs[0])] = affine.fixed(*FIXED[operator.op])
            return
        places = [operator.inputs[at] for at in shared_inputs(operator)]
        sources = [place for place in floats(self._graph, places) if self._graph.tensors[place].data is None]
        if len(sources) > 1:
            sources = [
                place for place in sources if self._root(place) not in self._fixed and self._wide(place, outputs)
            ]
        for source in sources:
            for output in outputs:
                self._parent[self._root(output)] = self._root(source)

    def _wide(self, place: int, outputs: list[int]) -> bool:
        own, whole = self._ranges.of(place), self._ranges.of(outputs[0])
        return own is None or whole is None or _REUSE * (own[1] - own[0]) >= whole[1] - whole[0]
