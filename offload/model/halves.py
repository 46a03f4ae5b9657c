"""The parts that a placement makes of a model: head on the device, tail on the server, and more for return hops.

Parts are numbered in the order of their running: even ones are the device's, odd ones the server's. A part takes model
inputs and values of earlier parts, and gives what later parts or the user take.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from offload.model.pieces import GraphError, PieceGraph, taken

DEVICE, SERVER = "device", "server"


@dataclass(frozen=True)
class Part:
    """One part: where it runs, its pieces, the values it takes and gives. ``number`` is its turn."""

    number: int
    place: str
    pieces: tuple[int, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def parts_of(graph: PieceGraph, on_server: Sequence[bool]) -> tuple[Part, ...]:
    """The parts of a placement, in the order of their running; empty parts are left out.

    A piece runs in the earliest part that its inputs allow, so the number of hops is the least. GraphError when the
    placement is for another graph.
    """
    if len(on_server) != len(graph.pieces):
        raise GraphError(f"the placement has {len(on_server)} pieces, the model {len(graph.pieces)}")
    turn: list[int] = []
    for piece, there in zip(graph.pieces, on_server, strict=True):
        earliest = 1 if there else 0
        for value in piece.inputs:
            if value in graph.producer:
                made = turn[graph.producer[value]]
                earliest = max(earliest, made if made % 2 == int(there) else made + 1)
        turn.append(earliest)
    return tuple(_part(graph, turn, number) for number in sorted(set(turn)))


def _part(graph: PieceGraph, turn: list[int], number: int) -> Part:
    pieces = [index for index, when in enumerate(turn) if when == number]
    own = {value for index in pieces for value in graph.pieces[index].outputs}
    inputs = dict.fromkeys(value for index in pieces for value in graph.pieces[index].inputs if value not in own)
    elsewhere = {value for index, piece in enumerate(graph.pieces) if turn[index] != number for value in piece.inputs}
    wanted = elsewhere | {source for name in graph.outputs for source in graph.source.get(name, (name,))}
    outputs = [value for index in pieces for value in graph.pieces[index].outputs if value in wanted]
    return Part(number, SERVER if number % 2 else DEVICE, tuple(pieces), tuple(inputs), tuple(outputs))


def part_model(model: Any, graph: PieceGraph, part: Part, values: Mapping[str, Any]) -> Any:
    """The onnx ModelProto of a part; ``values`` has the ValueInfoProto of each value that crosses.

    Nodes keep their names and order; what is copied comes along as far as it is needed, and so do weights, bodies,
    local functions and operator sets. GraphError when a crossing value's type is not known.
    """
    import onnx

    nodes = _needed(model.graph, graph, part)
    names = {name for node in nodes for name in taken(node)}
    weights = [weight for weight in model.graph.initializer if weight.name in names]
    sparse = [weight for weight in model.graph.sparse_initializer if weight.values.name in names]
    made = onnx.GraphProto()
    made.name = f"{model.graph.name or 'model'}.part{part.number}"
    made.node.extend(nodes)
    made.initializer.extend(weights)
    made.sparse_initializer.extend(sparse)
    made.input.extend(_info(values, name) for name in part.inputs)
    made.output.extend(_info(values, name) for name in part.outputs)
    part_proto = onnx.ModelProto()
    part_proto.CopyFrom(_without_graph(model))
    part_proto.graph.CopyFrom(made)
    part_proto.ir_version = max(part_proto.ir_version, 4)  # before, every weight had to be an input as well
    return part_proto


def _needed(proto: Any, graph: PieceGraph, part: Part) -> list[Any]:
    """The part's nodes and the copied nodes that they need, in the graph's order."""
    chosen = {node for index in part.pieces for node in graph.pieces[index].nodes}
    maker = {name: index for index in graph.copied for name in proto.node[index].output if name}
    left = list(chosen)
    while left:
        for name in taken(proto.node[left.pop()]):
            index = maker.get(name)
            if index is not None and index not in chosen:
                chosen.add(index)
                left.append(index)
    return [proto.node[index] for index in sorted(chosen)]


def _info(values: Mapping[str, Any], name: str) -> Any:
    if name not in values:
        raise GraphError(f"the type of {name!r} is not known, so it cannot cross")
    return values[name]


def _without_graph(model: Any) -> Any:
    import onnx

    bare = onnx.ModelProto()
    for field, value in model.ListFields():
        if field.name == "graph":
            continue
        if field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED:
            getattr(bare, field.name).extend(value)
        else:
            setattr(bare, field.name, value)
    return bare
