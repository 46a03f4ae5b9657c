"""What rounding single tensors to int8 does to a model's outputs, measured by running the float model.

The model gets one more input, a switch for each group of tensors: where it is on, the group passes through QUANTIZE and
DEQUANTIZE. So one file answers for every group, and for any set of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from exporters.tflite import flat
from exporters.tflite.edit import Editor
from exporters.tflite.int8_choice import Group
from exporters.tflite.int8_operators import MOVES
from exporters.tflite.ir import Graph, Operator, Program, Tensor
from exporters.tflite.running import Feeds, LiteSession

_SWITCHES = "edgewise_switches"


class Nearness:
    """How near outputs are to the float model's, over several feeds: sums for each floating-point output."""

    def __init__(self) -> None:
        self._sums: dict[int, NDArray[np.float64]] = {}

    def add(self, want: Sequence[NDArray[np.generic]], have: Sequence[NDArray[np.generic]]) -> None:
        """Takes one feed's outputs in; values that the float model gives as infinite are left out."""
        for at, (first, second) in enumerate(zip(want, have, strict=True)):
            if first.dtype.kind != "f":
                continue
            finite = np.isfinite(first)
            a, b = first[finite].astype(np.float64), second[finite].astype(np.float64)
            found = np.array([np.square(b - a).sum(), np.square(a).sum(), np.square(b).sum(), (a * b).sum()])
            self._sums[at] = self._sums.get(at, np.zeros(4)) + found

    def loss(self) -> float:
        """||have - want||^2 / ||want||^2 of the worst output; infinite where one is not finite, 0 without outputs."""
        return max((_ratio(sums[0], sums[1]) for sums in self._sums.values()), default=0.0)

    def cosine(self) -> float | None:
        """The cosine of the worst output; None without floating-point outputs."""
        found = [_cosine(sums) for sums in self._sums.values()]
        return min(found) if found else None


def _ratio(error: float, size: float) -> float:
    if not np.isfinite(error):
        return float("inf")
    return float(error / size) if size else float("inf") if error else 0.0


def _cosine(sums: NDArray[np.float64]) -> float:
    error, first, second, product = (float(entry) for entry in sums)
    if not np.isfinite(error):
        return -1.0
    if not first or not second:
        return 1.0 if first == second else 0.0
    return product / float(np.sqrt(first) * np.sqrt(second))


def losses(program: Program, groups: Sequence[Group], chosen: set[int], feeds: Sequence[Feeds]) -> list[float]:
    """Of each group the loss of the worst output when that group alone is rounded, over the feeds.

    ``chosen``: the operators that would compute in int8. Losses of groups that are rounded together add up nearly:
    their errors are independent of each other.
    """
    session = LiteSession(flat.to_bytes(switched(program, groups, chosen)), "the float model with rounding")
    found = [Nearness() for _ in groups]
    for feed in feeds:
        switches = np.zeros(len(groups), np.bool_)
        want = session.run({**feed, _SWITCHES: switches})
        for place, near in enumerate(found):
            switches[:] = False
            switches[place] = True
            near.add(want, session.run({**feed, _SWITCHES: switches}))
    return [near.loss() for near in found]


def switched(program: Program, groups: Sequence[Group], chosen: set[int]) -> Program:
    """The program with the switches as its last input: booleans, one for each group."""
    graph = _Switched(program.main, groups, chosen).graph()
    names = [*program.input_names, _SWITCHES] if program.input_names else []
    return replace(program, graphs=[graph, *program.graphs[1:]], input_names=names)


class _Switched:
    """The graph anew, with what rounds a tensor put behind it."""

    def __init__(self, graph: Graph, groups: Sequence[Group], chosen: set[int]) -> None:
        self._old, self._groups, self._chosen = graph, groups, chosen
        self._edit = Editor(graph)
        self._group = {tensor: at for at, group in enumerate(groups) for tensor in group.tensors}
        self._rounded: dict[int, int] = {}  # a tensor's form behind its switch
        self._integer: set[int] = set()  # those that an int8 operator computes: nobody sees them unrounded
        self._switches: list[int] = []

    def graph(self) -> Graph:
        """The new graph."""
        count = len(self._groups)
        whole = self._edit.tensor(Tensor(_SWITCHES, (count,), "bool"))
        self._switches = [self._edit.tensor(Tensor(f"{_SWITCHES}_{at}", (), "bool")) for at in range(count)]
        self._edit.graph.inputs.append(whole)
        self._edit.add(Operator("UNPACK", [whole], list(self._switches), {"num": count, "axis": 0}))
        for place, operator in enumerate(self._old.operators):
            self._operator(operator, place in self._chosen)
        self._edit.graph.outputs = [self._given(tensor, False) for tensor in self._old.outputs]
        return self._edit.finished()

    def _operator(self, operator: Operator, integer: bool) -> None:
        self._edit.add(replace(operator, inputs=[self._given(tensor, integer) for tensor in operator.inputs]))
        if not integer:
            return
        for tensor in operator.outputs:
            if tensor in self._group:
                self._integer.add(tensor)
                if operator.op in MOVES:  # it passes on what is rounded already
                    self._rounded[tensor] = tensor

    def _given(self, tensor: int, integer: bool) -> int:
        """What a reader of a tensor gets: its rounded form when it is one of integers or a tensor's only form is."""
        if tensor not in self._group or not (integer or tensor in self._integer):
            return tensor
        if tensor not in self._rounded:
            self._rounded[tensor] = self._round(tensor)
        return self._rounded[tensor]

    def _round(self, tensor: int) -> int:
        at, old = self._group[tensor], self._old.tensors[tensor]
        quant = self._groups[at].quant
        codes = self._edit.tensor(replace(old, name=f"{old.name}_codes", dtype="int8", quant=quant))
        values, chosen = (
            self._edit.tensor(replace(old, name=f"{old.name}_{what}", quant=None)) for what in ("values", "chosen")
        )
        self._edit.add(Operator("QUANTIZE", [tensor], [codes]))
        self._edit.add(Operator("DEQUANTIZE", [codes], [values]))
        self._edit.add(Operator("SELECT", [self._switches[at], values, tensor], [chosen]))
        return chosen
