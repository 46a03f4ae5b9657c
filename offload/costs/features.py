"""What makes a piece expensive, from the graph and one run's shapes: work, bytes in and out, bytes of weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from exporters.inspection.graph import Graph, NotCounted
from exporters.inspection.macs_onnx import count_macs
from mobile.formats.dtypes import ONNX_TYPES, packed_bytes
from offload.model.pieces import Piece, PieceGraph, taken
from offload.model.values import Observed


@dataclass(frozen=True)
class Features:
    """One piece. ``macs`` are multiply-accumulates, None where an operator's cannot be counted."""

    operators: tuple[str, ...]
    macs: int | None
    input_bytes: int
    output_bytes: int
    weight_bytes: int

    @property
    def kind(self) -> str:
        """The operator that decides about its time: the first one, which the others follow."""
        return self.operators[0]


def features_of(model: Any, graph: PieceGraph, observed: Mapping[str, Observed]) -> list[Features]:
    """The features of each piece, in order; ``observed`` has the shapes of one run."""
    reader = _Reader(model.graph, graph, observed)
    return [reader.features(piece) for piece in graph.pieces]


class _Reader:
    def __init__(self, proto: Any, graph: PieceGraph, observed: Mapping[str, Observed]) -> None:
        self._proto = proto
        self._observed = observed
        self._copied = {name: proto.node[index] for index in graph.copied for name in proto.node[index].output if name}
        self._weight_bytes: dict[str, int] = {}
        self._shapes = Graph(shapes={name: seen.shape for name, seen in observed.items()})
        for tensor in proto.initializer:
            bits = ONNX_TYPES.get(tensor.data_type, ("", 0))[1]
            self._weight_bytes[tensor.name] = packed_bytes(math.prod(tensor.dims), bits)
            self._shapes.shapes[tensor.name] = tuple(tensor.dims)
        for tensor in proto.sparse_initializer:
            bits = ONNX_TYPES.get(tensor.values.data_type, ("", 0))[1]
            self._weight_bytes[tensor.values.name] = packed_bytes(math.prod(tensor.values.dims), bits)
            self._shapes.shapes[tensor.values.name] = tuple(tensor.dims)
        self._values = {t.name: _as_shape(t) for t in proto.initializer if len(t.dims) == 1 and t.data_type == 7}
        for index in graph.copied:
            self._note_copied(proto.node[index])

    def _note_copied(self, node: Any) -> None:
        """What copied nodes make: a constant of its own, or something with the shape of its first input."""
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    bits = ONNX_TYPES.get(attribute.t.data_type, ("", 0))[1]
                    self._weight_bytes[node.output[0]] = packed_bytes(math.prod(attribute.t.dims), bits)
                    self._shapes.shapes[node.output[0]] = tuple(attribute.t.dims)
        elif node.op_type == "ConstantOfShape":
            shape = self._values.get(node.input[0])
            if shape is not None:
                self._shapes.shapes[node.output[0]] = shape
                self._weight_bytes[node.output[0]] = math.prod(shape) * _item_bytes(node)
        elif node.op_type in ("DequantizeLinear", "Identity", "Cast") and node.input[0] in self._shapes.shapes:
            self._shapes.shapes[node.output[0]] = self._shapes.shapes[node.input[0]]

    def features(self, piece: Piece) -> Features:
        """The features of one piece."""
        nodes = [self._proto.node[index] for index in piece.nodes]
        shape = next((self._observed[name].shape for name in piece.outputs if name in self._observed), None)
        if shape is not None:  # what follows inside of a piece changes no shape
            for node in nodes:
                for name in node.output[:1]:
                    self._shapes.shapes.setdefault(name, shape)
        weights = {name for node in nodes for name in self._behind(node)}
        return Features(
            operators=piece.operators,
            macs=self._macs(nodes),
            input_bytes=self._bytes(piece.inputs),
            output_bytes=self._bytes(piece.outputs),
            weight_bytes=sum(self._weight_bytes[name] for name in weights),
        )

    def _macs(self, nodes: list[Any]) -> int | None:
        total = 0
        for node in nodes:
            operator = f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
            attributes = {attribute.name: attribute.i for attribute in node.attribute if attribute.type == 2}
            try:
                if operator == "If":  # which branch runs is not known
                    return None
                total += count_macs(operator, self._shapes, tuple(node.input), tuple(node.output), attributes)
            except NotCounted:
                return None
        return total

    def _bytes(self, names: tuple[str, ...]) -> int:
        return sum(self._observed[name].size_bytes for name in names if name in self._observed)

    def _behind(self, node: Any) -> Iterator[str]:
        """The weights that a node takes, itself or through copied nodes."""
        left, seen = list(taken(node)), set()
        while left:
            name = left.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in self._weight_bytes:
                yield name
            elif name in self._copied:
                left.extend(taken(self._copied[name]))


def _as_shape(tensor: Any) -> tuple[int, ...]:
    """The numbers of an int64 vector."""
    import onnx

    return tuple(int(number) for number in onnx.numpy_helper.to_array(tensor))


def _item_bytes(node: Any) -> int:
    """Bytes of one number that a ConstantOfShape makes; float32 unless it says otherwise."""
    kinds = [attribute.t.data_type for attribute in node.attribute if attribute.name == "value"]
    return (ONNX_TYPES.get(kinds[0] if kinds else 1, ("", 32))[1] + 7) // 8
