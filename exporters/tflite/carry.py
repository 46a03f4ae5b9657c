"""Compressed weights of a research family in a TFLite file, code for code: nothing is rounded anew.

The graph is converted with the exact dequantised weights; each is found again by its values, however the conversion
laid it out, and replaced by its codes. TFLite knows integers of 8, 4 and 2 bits with scales, float16 and sparse blocks:
tables (codebooks), sums of two scales and shifts beyond int8 have no form there and stay float32.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np

from exporters.tflite.edit import Editor
from exporters.tflite.families import Codes, codes_of
from exporters.tflite.ir import Graph, Operator, Program, Quant
from exporters.tflite.quantise_weights import weight_places
from exporters.tflite.rules import Runtime
from exporters.tflite.sparse import KERNEL_BLOCK, sparse_bytes, sparse_matrix, sparse_rows
from exporters.tflite.stored import Stored, StoredReport, operand
from mobile.errors import ExportError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from exporters.compress.base import CompressedTensor


@dataclass
class CarryReport(StoredReport):
    """How weights are stored; ``float32`` are the names of those that TFLite has no form for, with the reason."""

    float32: dict[str, str] = field(default_factory=dict)


def carry(
    program: Program, compressed: Mapping[str, CompressedTensor], runtime: Runtime
) -> tuple[Program, CarryReport]:
    """The program with the compressed weights' own codes, and how they are stored.

    ``program`` must come from the graph with `dequantise()` of each weight in place. ExportError names weights that are
    not in it any more, since the conversion folded something into them.
    """
    report = CarryReport()
    wanted = {_digest(layout.values): layout for tensor in compressed.values() for layout in _layouts(tensor, report)}
    edit, met = Editor(program.main), set(report.float32)
    for operator in program.main.operators:
        edit.add(_carried(edit, program.main, operator, wanted, runtime, report, met))
    lost = sorted(set(compressed) - met)
    if lost:
        raise ExportError(
            f"{len(lost)} compressed weights are not in the converted graph as they were: {', '.join(lost[:5])}",
            "The conversion folded a factor into them; leave them out of the scheme.",
        )
    return replace(program, graphs=[edit.finished(), *program.graphs[1:]]), report


def _carried(
    edit: Editor, graph: Graph, operator: Operator, wanted: dict[str, _Layout], runtime: Runtime, report: CarryReport,
    met: set[str],
) -> Operator:  # fmt: skip
    for place in weight_places(graph, operator):
        values = graph.tensors[operator.inputs[place]].data
        assert values is not None
        layout = wanted.get(_digest(values))
        if layout is None:
            continue
        met.add(layout.name)
        stored = layout.stored(operator.op)
        if isinstance(stored, str):
            report.float32[layout.name] = stored
        else:
            operator = operand(edit, operator, place, stored, runtime, report)
    return operator


def _digest(values: NDArray[Any]) -> str:
    data = np.ascontiguousarray(values, np.float32) + np.float32(0)  # -0 is 0
    return f"{values.shape} {hashlib.sha256(data.data).hexdigest()}"


@dataclass
class _Layout:
    """A compressed weight in one arrangement of its dimensions; ``axis`` is where its output rows went."""

    name: str
    values: NDArray[np.float32]
    codes: NDArray[Any]
    axis: int
    source: Codes

    def stored(self, op: str) -> Stored | str:
        """As the operand of an operator, or why it cannot be said there."""
        scales, dtype = self.source.scales, self.source.dtype
        if self.source.sparse:
            return self._sparse(op)
        if scales is None:
            return Stored(self.codes, dtype, None)
        if scales.shape[1] == 1:
            each = scales.reshape(-1)
            return Stored(self.codes, dtype, Quant(each, np.zeros(len(each), np.int64), self.axis))
        last = self.values.ndim == 2 and self.axis == 0
        if not last or self.values.shape[1] != scales.shape[1] * self.source.group:
            return "its groups do not divide this operator's layout"
        return Stored(self.codes, dtype, Quant(scales, np.zeros(scales.shape, np.int64), 0, self.source.group))

    def _sparse(self, op: str) -> Stored | str:
        """Blocks that a kernel takes, or single values, whichever is smaller; nothing that is no smaller than dense."""
        ways = [sparse_rows(self.values)]
        if op == "FULLY_CONNECTED" and self.values.shape[-1] % KERNEL_BLOCK[1] == 0:
            ways.append(sparse_matrix(self.values, KERNEL_BLOCK))
        values, sparsity = min(ways, key=lambda way: sparse_bytes(*way))
        if sparse_bytes(values, sparsity) >= self.values.nbytes:
            return "too few of its values are zero: sparse, it would be larger"
        return Stored(values, self.source.dtype, None, sparsity)


def _layouts(tensor: CompressedTensor, report: CarryReport) -> list[_Layout]:
    """Every arrangement of the weight's dimensions that a conversion may choose."""
    source = codes_of(tensor)
    if isinstance(source, str):
        report.float32[tensor.name] = source
        return []
    sizes = (tensor.rows, *(size for place, size in enumerate(tensor.shape) if place != tensor.axis))
    values = tensor.dequantise_rows().reshape(sizes)
    codes = source.codes.reshape(sizes)
    found = []
    for order in permutations(range(len(sizes))):
        turned, moved = values.transpose(order), codes.transpose(order)
        found += [_Layout(tensor.name, *pair, source) for pair in _shapes(turned, moved, order.index(0))]
    return found


def _shapes(values: NDArray[Any], codes: NDArray[Any], axis: int) -> list[tuple[NDArray[Any], NDArray[Any], int]]:
    """The arrangement itself, as a kernel [out, 1, width, in] or [out, height, 1, in], and without dimensions of 1."""
    shapes = [(values.shape, axis)]
    if values.ndim == 3:
        first, second, third = values.shape
        shapes += [((first, 1, second, third), axis + (axis > 0)), ((first, second, 1, third), axis + (axis > 1))]
    if values.ndim == 4 and 1 in values.shape:
        kept = [place for place, size in enumerate(values.shape) if size != 1 or place == axis]
        shapes.append((tuple(values.shape[place] for place in kept), kept.index(axis)))
    return [(values.reshape(shape), codes.reshape(shape), at) for shape, at in shapes]
