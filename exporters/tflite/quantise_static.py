"""Static int8: activations at calibrated scales, weights per channel, biases int32; what has no such kernel stays.

Between both stand QUANTIZE and DEQUANTIZE. Inputs and outputs keep their types unless int8 is asked for.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np

from exporters.tflite import affine, int8_operators
from exporters.tflite.calibrate import Ranges
from exporters.tflite.edit import Editor
from exporters.tflite.int8_operators import FIXED, FREE, JOINS, MOVES, WEIGHTED, floats, shared_inputs
from exporters.tflite.ir import NO_TENSOR, Graph, Operator, Program, Quant
from exporters.tflite.quantise_weights import weights_in_bytes
from exporters.tflite.rules import Runtime

_MAX_SPREAD = 16.0  # a join of ranges further apart would cost the narrow one 4 of its 8 bits: it stays float
_REUSE = 2.0  # an input of a join whose range is narrower than this keeps its own scale and is requantised
_MAX_ELEMENTWISE_RANK = 4  # beyond it the integer kernels do not broadcast in both runtimes


@dataclass
class StaticReport:
    """What became int8 and what stayed float: operators by name. ``ways``: how weights of the latter are stored."""

    int8: Counter[str] = field(default_factory=Counter)
    float32: Counter[str] = field(default_factory=Counter)
    items: int = 0
    ways: Counter[str] = field(default_factory=Counter)


def quantise_static(
    program: Program, ranges: Ranges, runtime: Runtime, *, integer_io: bool = False
) -> tuple[Program, StaticReport]:
    """The program with an int8 main graph, and what happened to its operators.

    ``integer_io``: inputs and outputs of quantised operators are int8 themselves instead of float32.
    """
    chosen = _Choice(program.main, ranges).made()
    scales = _Scales(program.main, ranges, chosen)
    graph, stored = weights_in_bytes(_Rewrite(program.main, chosen, scales, integer_io).graph(), runtime)
    report = StaticReport(items=ranges.items, ways=stored.ways)
    for place, operator in enumerate(program.main.operators):
        (report.int8 if place in chosen else report.float32)[operator.op] += 1
    return replace(program, graphs=[graph, *program.graphs[1:]]), report


class _Choice:
    """Which operators become int8, by their place in the graph."""

    def __init__(self, graph: Graph, ranges: Ranges) -> None:
        self.graph, self.ranges = graph, ranges
        self.available = set(floats(graph, graph.inputs))  # what is int8 already, or becomes it once and for all

    def made(self) -> set[int]:
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
        if any(self.ranges.of(place) is None for place in floats(self.graph, values)):
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


class _Scales:
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


class _Rewrite:
    """The graph anew, operator by operator."""

    def __init__(self, graph: Graph, chosen: set[int], scales: _Scales, integer_io: bool) -> None:
        self._old, self._chosen, self._scales, self._integer_io = graph, chosen, scales, integer_io
        self._edit = Editor(graph)
        self._int8: dict[int, int] = {}  # the int8 form of a tensor
        self._float: set[int] = set(graph.inputs)  # those whose float form is computed

    def graph(self) -> Graph:
        """The new graph without what nothing uses any more."""
        if self._integer_io:
            self._take_integers()
        for place, operator in enumerate(self._old.operators):
            if place in self._chosen:
                self._quantised(operator)
            else:
                inputs = [self._as_float(tensor) for tensor in operator.inputs]
                self._edit.add(replace(operator, inputs=inputs))
                self._float.update(operator.outputs)
        self._edit.graph.outputs = [self._output(tensor) for tensor in self._old.outputs]
        return self._edit.finished()

    def _take_integers(self) -> None:
        used = {tensor for place in self._chosen for tensor in self._old.operators[place].inputs}
        for at, tensor in enumerate(self._old.inputs):
            if tensor in used and self._old.tensors[tensor].dtype == "float32":
                self._edit.graph.inputs[at] = self._int8[tensor] = self._tensor(tensor, self._scales.of(tensor))
                self._float.discard(tensor)

    def _output(self, tensor: int) -> int:
        if self._integer_io and tensor in self._int8:
            return self._int8[tensor]
        return self._as_float(tensor)

    def _tensor(self, tensor: int, quant: Quant, suffix: str = "_int8") -> int:
        old = self._old.tensors[tensor]
        return self._edit.tensor(replace(old, name=f"{old.name}{suffix}", dtype="int8", data=None, quant=quant))

    def _as_float(self, tensor: int) -> int:
        if tensor in self._int8 and tensor not in self._float:
            self._edit.add(Operator("DEQUANTIZE", [self._int8[tensor]], [tensor]))
            self._float.add(tensor)
        return tensor

    def _as_int8(self, tensor: int, wanted: Quant | None = None) -> int:
        """The int8 form of a computed tensor, at another scale when one is wanted."""
        own = self._scales.of(tensor)
        if tensor not in self._int8:
            self._int8[tensor] = self._tensor(tensor, own)
            self._edit.add(Operator("QUANTIZE", [tensor], [self._int8[tensor]]))
        if wanted is None or _same(own, wanted):
            return self._int8[tensor]
        again = self._tensor(tensor, wanted, f"_int8_{len(self._edit.graph.tensors)}")
        self._edit.add(Operator("QUANTIZE", [self._int8[tensor]], [again]))
        return again

    def _constant(self, tensor: int, wanted: Quant | None, symmetric: bool) -> int:
        """A constant operand at its own scale, or at the wanted one."""
        old = self._old.tensors[tensor]
        assert old.data is not None
        if symmetric:
            codes, quant = affine.weights(old.data, None)
        else:
            low, high = float(min(old.data.min(), 0.0)), float(max(old.data.max(), 0.0))
            quant = wanted or affine.activation(low, high)
            codes = affine.encode(old.data, quant)
        return self._edit.constant(old, codes, "int8", quant)

    def _quantised(self, operator: Operator) -> None:
        weighted = operator.op in WEIGHTED
        inputs = self._weighted_inputs(operator) if weighted else self._plain_inputs(operator)
        outputs = []
        for tensor in operator.outputs:
            if self._old.tensors[tensor].dtype == "float32":
                self._int8[tensor] = self._tensor(tensor, self._scales.of(tensor))
            outputs.append(self._int8.get(tensor, tensor))
        self._edit.add(replace(operator, inputs=inputs, outputs=outputs, version=None))

    def _plain_inputs(self, operator: Operator) -> list[int]:
        shared = set(shared_inputs(operator))
        output = self._scales.of(floats(self._old, operator.outputs)[0])
        inputs = []
        for at, tensor in enumerate(operator.inputs):
            if tensor == NO_TENSOR or self._old.tensors[tensor].dtype != "float32":
                inputs.append(tensor)
                continue
            wanted = output if at in shared else None
            if self._old.tensors[tensor].data is None:
                inputs.append(self._as_int8(tensor, wanted))
            else:
                inputs.append(self._constant(tensor, wanted, operator.op == "BATCH_MATMUL"))
        return inputs

    def _weighted_inputs(self, operator: Operator) -> list[int]:
        data, weight, bias, axis = WEIGHTED[operator.op]
        inputs = list(operator.inputs)
        inputs[data] = self._as_int8(inputs[data])
        old = self._old.tensors[inputs[weight]]
        assert old.data is not None
        codes, quant = affine.weights(old.data, axis)
        inputs[weight] = self._edit.constant(old, codes, "int8", quant)
        if len(inputs) > bias and inputs[bias] != NO_TENSOR:
            old = self._old.tensors[inputs[bias]]
            assert old.data is not None
            values, scales = affine.bias(old.data, self._edit.quant(inputs[data]), quant)
            inputs[bias] = self._edit.constant(old, values, "int32", scales)
        return inputs


def _same(first: Quant, second: Quant) -> bool:
    return bool(first.scales[0] == second.scales[0] and first.zero_points[0] == second.zero_points[0])
