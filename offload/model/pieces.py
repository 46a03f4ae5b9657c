"""An ONNX graph as pieces to be placed and the values between them.

What only depends on constants is no piece: it is copied to whoever needs it. So is a DequantizeLinear of a value: its
readers take the integers, so that a cut there crosses as int8 and never as the float behind it. A QuantizeLinear stays
with what makes its input, and an activation with what it follows: runtimes fuse these pairs, and a cut between them
would only cost that. If, Loop and Scan are one piece each, with what their bodies take from outside as inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

# Follow what makes their input: runtimes fuse them into it, and they change no size.
FOLLOWERS = frozenset(
    ("Relu", "LeakyRelu", "PRelu", "Clip", "HardSwish", "HardSigmoid", "Sigmoid", "Tanh", "Elu", "Gelu", "Softplus")
)
FOLLOWERS |= {"BatchNormalization", "QuantizeLinear", "Identity", "Dropout"}


class GraphError(ValueError):
    """The model is not one that can be split; the message names the node or value."""


@dataclass(frozen=True)
class Piece:
    """Nodes that stay together, by their index in the graph; named after what they make."""

    name: str
    operators: tuple[str, ...]
    nodes: tuple[int, ...]
    inputs: tuple[str, ...]  # values of the model's inputs or of other pieces, each once
    outputs: tuple[str, ...]  # what others or the model's outputs take


@dataclass(frozen=True)
class PieceGraph:
    """Pieces in topological order. ``copied``: the nodes that whoever needs them has for itself.

    ``source`` says for a value that is made by copied nodes which values they take (an int8 for its float). ``inputs``
    and ``outputs`` are the model's, in order; ``producer`` has the piece of each value (none: an input of the model).
    """

    pieces: tuple[Piece, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    copied: tuple[int, ...]
    producer: Mapping[str, int] = field(repr=False)
    source: Mapping[str, tuple[str, ...]] = field(repr=False)

    def consumers(self, value: str) -> tuple[int, ...]:
        """The pieces that take a value, in order."""
        return tuple(index for index, piece in enumerate(self.pieces) if value in piece.inputs)

    @property
    def values(self) -> tuple[str, ...]:
        """The values that may cross: the model's inputs, then the outputs of each piece."""
        return self.inputs + tuple(value for piece in self.pieces for value in piece.outputs)


def pieces_of(graph: Any) -> PieceGraph:
    """The pieces of an onnx GraphProto. GraphError when it is not in order, or a value is made twice or not at all."""
    return _Builder(graph).build()


def taken(node: Any) -> Iterator[str]:
    """The values that a node takes: its inputs, and what its bodies (If, Loop, Scan) take from outside."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs) if attribute.type in (5, 10) else ():
            own = {value.name for value in body.input} | {weight.name for weight in body.initializer}
            own |= {weight.values.name for weight in body.sparse_initializer}
            for inner in body.node:
                yield from (name for name in taken(inner) if name not in own)
                own.update(inner.output)
            yield from (value.name for value in body.output if value.name not in own)


class _Builder:
    """Walks the nodes once: constants, copied nodes, groups."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._constant = {weight.name for weight in graph.initializer}
        self._constant |= {weight.values.name for weight in graph.sparse_initializer}
        self._inputs = tuple(value.name for value in graph.input if value.name not in self._constant)
        self._outputs = tuple(dict.fromkeys(value.name for value in graph.output))
        self._made: dict[str, int] = {}  # value -> group
        self._source: dict[str, tuple[str, ...]] = {}  # value of a copied node -> values behind it
        self._copied: list[int] = []
        self._groups: list[list[int]] = []
        self._takers: dict[str, list[int]] = {}
        for index, node in enumerate(graph.node):
            for name in set(taken(node)):
                self._takers.setdefault(name, []).append(index)

    def build(self) -> PieceGraph:
        """The pieces."""
        for index, node in enumerate(self._graph.node):
            self._take(index, node)
        for name in self._outputs:
            if not self._known(name):
                raise GraphError(f"the model's output {name!r} is made by no node")
            if name in self._constant:
                raise GraphError(f"the model's output {name!r} is a constant: there is nothing to place for it")
        pieces = [self._piece(group) for group in self._in_order()]
        producer = {value: index for index, piece in enumerate(pieces) for value in piece.outputs}
        return PieceGraph(tuple(pieces), self._inputs, self._outputs, tuple(self._copied), producer, dict(self._source))

    def _known(self, name: str) -> bool:
        return name in self._made or name in self._source or name in self._inputs or name in self._constant

    def _take(self, index: int, node: Any) -> None:
        needs = list(dict.fromkeys(taken(node)))
        for name in needs:
            if not self._known(name):
                raise GraphError(f"node {node.name or index} ({node.op_type}) takes {name!r} before it is made")
        for name in node.output:
            if name and self._known(name):
                raise GraphError(f"value {name!r} is made twice")
        behind = self._behind(needs)
        if not behind and _deterministic(node):
            self._copied.append(index)
            self._constant.update(name for name in node.output if name)
            return
        if node.op_type == "DequantizeLinear" and len(behind) == 1 and node.output[0] not in self._outputs:
            self._copied.append(index)
            self._source[node.output[0]] = behind
            return
        self._place(index, node, behind)

    def _behind(self, names: list[str]) -> tuple[str, ...]:
        """The values that must be there for these: without constants, and those behind copied nodes in their place."""
        found: dict[str, None] = {}
        for name in names:
            if name not in self._constant:
                found.update(dict.fromkeys(self._source.get(name, (name,))))
        return tuple(found)

    def _place(self, index: int, node: Any, behind: tuple[str, ...]) -> None:
        group = self._followed(node, behind)
        if group is None:
            group = len(self._groups)
            self._groups.append([])
        self._groups[group].append(index)
        self._made.update((name, group) for name in node.output if name)

    def _followed(self, node: Any, behind: tuple[str, ...]) -> int | None:
        """The group whose last value this node alone takes, when it belongs there."""
        if node.op_type not in FOLLOWERS or len(behind) != 1:
            return None
        value = behind[0]
        # A copied reader (DequantizeLinear) is a reader too: then the value is one that may cross.
        if value not in self._made or value in self._outputs or len(self._takers.get(value, ())) != 1:
            return None
        return self._made[value] if value in taken(node) else None

    def _in_order(self) -> list[list[int]]:
        """The groups by their first node: a follower's only input comes from its own group, so no order is broken."""
        return [sorted(group) for group in self._groups]

    def _piece(self, group: list[int]) -> Piece:
        nodes = [self._graph.node[index] for index in group]
        own = {name for node in nodes for name in node.output if name}
        inputs = [name for name in self._behind([name for node in nodes for name in taken(node)]) if name not in own]
        wanted = self._wanted(own, set(group))
        name = nodes[0].name or next(name for name in nodes[0].output if name)
        return Piece(name, tuple(node.op_type for node in nodes), tuple(group), tuple(inputs), tuple(wanted))

    def _wanted(self, own: set[str], group: set[int]) -> list[str]:
        """The values of a group that somebody outside of it takes, in the order in which they are made."""
        made = [name for index in sorted(group) for name in self._graph.node[index].output if name in own]
        return [
            name
            for name in made
            if name in self._outputs or any(index not in group for index in self._takers.get(name, ()))
        ]


def _deterministic(node: Any) -> bool:
    """False for what gives another result each time, and so must run once, in one place."""
    return node.op_type not in ("RandomNormal", "RandomUniform", "Multinomial", "Bernoulli") and not any(
        attribute.type in (5, 10) for attribute in node.attribute
    )
