"""Where to cut a model in order to measure it: spread over its time, and where little crosses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

from device_agents.split.frames import NUMPY_NAMES
from offload.costs.profile import Cut
from offload.model.pieces import PieceGraph
from offload.model.values import Observed


def possible_cuts(graph: PieceGraph, observed: Mapping[str, Observed]) -> list[Cut]:
    """Every cut between two pieces of the graph's order that a part can be made for: what crosses is known and can be
    sent, and at least one value crosses that the head makes.
    """
    last_use = {value: max(graph.consumers(value), default=-1) for value in graph.values}
    crossing: dict[str, None] = {value: None for value in graph.inputs if last_use[value] >= 0}
    found = []
    for index, piece in enumerate(graph.pieces[:-1]):
        crossing.update((value, None) for value in piece.outputs if last_use[value] > index)
        for value in [value for value in crossing if last_use[value] <= index]:
            del crossing[value]
        made = [value for value in crossing if value in graph.producer]
        if made and all(_sendable(observed.get(value)) for value in crossing):
            size = sum(observed[value].size_bytes for value in crossing)
            found.append(Cut(index + 1, tuple(crossing), size))
    return found


def _sendable(seen: Observed | None) -> bool:
    return seen is not None and seen.dtype in NUMPY_NAMES


def choose_cuts(cuts: Sequence[Cut], weights: Sequence[float], count: int) -> list[Cut]:
    """At most ``count`` of the cuts: the model's time (``weights`` of its pieces) is divided into so many bands, and of
    each the cut is taken where least crosses; of equals the one nearest to the band's middle.
    """
    if len(cuts) <= count:
        return list(cuts)
    total = sum(weights) or float(len(weights))
    share = list(weights) if sum(weights) > 0 else [1.0] * len(weights)
    passed = [0.0, *accumulate(share)]
    chosen = []
    for band in range(count):
        low, high = total * band / count, total * (band + 1) / count
        middle = (low + high) / 2
        inside = [cut for cut in cuts if low < passed[cut.cut] <= high and cut not in chosen]
        if inside:
            chosen.append(min(inside, key=lambda cut: (cut.size_bytes, abs(passed[cut.cut] - middle))))
    return chosen
