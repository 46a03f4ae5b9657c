"""Static int8: activations at calibrated scales, weights per channel, biases int32; what has no such kernel stays.

Between both stand QUANTIZE and DEQUANTIZE. Inputs and outputs keep their types unless int8 is asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from dataclasses import dataclass, field, replace

from exporters.tflite import affine
from exporters.tflite.calibrate import Ranges
from exporters.tflite.edit import Editor
from exporters.tflite.int8_choice import Choice, Scales
from exporters.tflite.int8_operators import WEIGHTED, floats, shared_inputs
from exporters.tflite.ir import NO_TENSOR, Graph, Operator, Program, Quant
from exporters.tflite.quantise_weights import weights_in_bytes
from exporters.tflite.rules import Runtime


@dataclass
class StaticReport:
    """What became int8 and what stayed float: operators by name. ``ways``: how weights of the latter are stored.

    ``kept``: those of ``float32`` that have an int8 kernel, but would cost too much accuracy. ``cosine``: how near the
    worst output is to the float model's on calibration inputs, None where that was not measured; ``cosine_plain`` the
    same with all of ``kept`` in int8.
    """

    int8: Counter[str] = field(default_factory=Counter)
    float32: Counter[str] = field(default_factory=Counter)
    items: int = 0
    ways: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    cosine: float | None = None
    cosine_plain: float | None = None


def quantise_static(
    program: Program,
    ranges: Ranges,
    runtime: Runtime,
    *,
    integer_io: bool = False,
    barred: Set[int] = frozenset(),
) -> tuple[Program, StaticReport]:
    """The program with an int8 main graph, and what happened to its operators.

    ``integer_io``: inputs and outputs of quantised operators are int8 themselves instead of float32. ``barred``:
    tensors that stay float32, and with them the operators that read or write them.
    """
    chosen = Choice(program.main, ranges, barred).made()
    scales = Scales(program.main, ranges, chosen)
    graph, stored = weights_in_bytes(_Rewrite(program.main, chosen, scales, integer_io).graph(), runtime)
    report = StaticReport(items=ranges.items, ways=stored.ways)
    for place, operator in enumerate(program.main.operators):
        (report.int8 if place in chosen else report.float32)[operator.op] += 1
    return replace(program, graphs=[graph, *program.graphs[1:]]), report


class _Rewrite:
    """The graph anew, operator by operator."""

    def __init__(self, graph: Graph, chosen: set[int], scales: Scales, integer_io: bool) -> None:
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
