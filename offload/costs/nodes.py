"""The nodes that a runtime made of a model, back to the pieces that they are made from.

onnxruntime names a fused node after one that went into it, with something before or behind ("fused conv1",
"mm/MatMulAddFusion"), and one for another memory layout after the value that it makes ("relu1_nchwc"). So every node
has a name before the model is profiled, and the longest name of a node or value that a runtime's name begins with tells
the piece. What tells none (a change of layout, a copied constant) runs for the sake of what comes before or after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from offload.model.pieces import PieceGraph

PREFIXES = ("", "fused ", "Fused ")
MARK = "edgewise_node_"


@dataclass(frozen=True)
class NodeTimes:
    """Seconds of each piece by the runtime's profile; None for one without a node of its own (it was fused into
    another, or it costs nothing). ``lost_s``: of nodes that lead to no piece, and were counted with their neighbour.
    """

    seconds: tuple[float | None, ...]
    lost_s: float

    @property
    def total_s(self) -> float:
        """The sum of all nodes."""
        return sum(time for time in self.seconds if time is not None)


def named(model: Any) -> Any:
    """The model itself where every node has a name of its own, else a copy in which it has."""
    import onnx

    names = [node.name for node in model.graph.node]
    if all(names) and len(set(names)) == len(names):
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    seen: set[str] = set()
    for index, node in enumerate(copy.graph.node):
        if not node.name or node.name in seen:
            node.name = f"{MARK}{index}_"
        seen.add(node.name)
    return copy


def times_of(model: Any, graph: PieceGraph, told: Iterable[Sequence[Any]]) -> NodeTimes:
    """The pieces' times. ``told``: [name, operator, provider, seconds, ...] of each node in the order of running, of
    the model that ``named`` gave. Entries that are none are passed over.
    """
    places = _places(named(model).graph, graph)
    seconds: list[float | None] = [None] * len(graph.pieces)
    lost_s, waiting_s, last = 0.0, 0.0, None
    for name, time_s in _entries(told):
        place = piece_of(name, places)
        if place is None:
            lost_s += time_s
            if last is None:
                waiting_s += time_s
            else:
                seconds[last] = (seconds[last] or 0.0) + time_s
            continue
        seconds[place] = (seconds[place] or 0.0) + time_s + waiting_s
        waiting_s, last = 0.0, place
    return NodeTimes(tuple(seconds), lost_s)


def _entries(told: Iterable[Sequence[Any]]) -> Iterable[tuple[str, float]]:
    for entry in told:
        if isinstance(entry, (list, tuple)) and len(entry) >= 4 and isinstance(entry[0], str):
            time = entry[3]
            if isinstance(time, (int, float)) and not isinstance(time, bool) and 0 <= time < 1e6:
                yield entry[0], float(time)


def _places(proto: Any, graph: PieceGraph) -> dict[str, int]:
    """The piece of each node's name and of each value that a node makes."""
    places: dict[str, int] = {}
    for number, piece in enumerate(graph.pieces):
        for index in piece.nodes:
            node = proto.node[index]
            for name in (*node.output, node.name):
                if name:
                    places.setdefault(name, number)
    return places


def piece_of(name: str, places: Mapping[str, int]) -> int | None:
    """The piece of a runtime's node: that of the longest known name that it begins with; None when there is none.

    >>> piece_of("relu1_nchwc", {"relu1": 0, "relu": 7}), piece_of("fused mm/MatMulAddFusion", {"mm": 2})
    (0, 2)
    >>> piece_of("ReorderOutput", {"Reorder": 1}) is None
    True
    """
    for prefix in PREFIXES:
        if not name.startswith(prefix):
            continue
        rest = name[len(prefix) :]
        for end in range(len(rest), 0, -1):
            whole_word = end == len(rest) or not rest[end].isalnum() or rest[end - 1] == "_"
            if whole_word and rest[:end] in places:
                return places[rest[:end]]
    return None
