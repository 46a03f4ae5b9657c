"""Rewriting a graph: new tensors and operators beside the old ones, and at the end only what is used."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from exporters.tflite.ir import NO_TENSOR, Graph, Operator, Quant, Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Editor:
    """A graph with another's tensors, inputs and outputs, whose operators are added one after another."""

    def __init__(self, old: Graph) -> None:
        self.graph = Graph(old.name, list(old.tensors), [], list(old.inputs), list(old.outputs))

    def add(self, operator: Operator) -> None:
        """Appends an operator."""
        self.graph.operators.append(operator)

    def tensor(self, tensor: Tensor) -> int:
        """Appends a tensor: its number."""
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def constant(self, old: Tensor, values: NDArray[Any], dtype: str, quant: Quant | None) -> int:
        """A constant in place of another: its name and shape, other values. Its number."""
        return self.tensor(replace(old, dtype=dtype, data=values, quant=quant, buffer_key=None))

    def quant(self, place: int) -> Quant:
        """A tensor's quantisation, which it must have."""
        found = self.graph.tensors[place].quant
        assert found is not None
        return found

    def finished(self) -> Graph:
        """The graph without tensors that nothing uses, numbered anew."""
        graph = self.graph
        used = {place for operator in graph.operators for place in (*operator.inputs, *operator.outputs)}
        used.update(graph.inputs, graph.outputs)
        kept = [place for place in range(len(graph.tensors)) if place in used]
        number = {old: new for new, old in enumerate(kept)} | {NO_TENSOR: NO_TENSOR}
        operators = [
            replace(
                operator,
                inputs=[number[place] for place in operator.inputs],
                outputs=[number[place] for place in operator.outputs],
            )
            for operator in graph.operators
        ]
        return Graph(
            graph.name,
            [graph.tensors[place] for place in kept],
            operators,
            [number[place] for place in graph.inputs],
            [number[place] for place in graph.outputs],
        )
