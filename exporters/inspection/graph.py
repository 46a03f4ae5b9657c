"""A model of either format as one kind of graph: steps in order, tensors with shapes, what is constant."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from mobile.formats.dtypes import packed_bytes


class NotCounted(ValueError):
    """The multiply-accumulates of an operator cannot be counted; the message says why."""


@dataclass(frozen=True)
class Step:
    """One operator. ``macs`` is 0 for those that do none, None when unknown, and then ``why`` says so."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    macs: int | None = 0
    why: str = ""


@dataclass
class Graph:
    """Steps in execution order, and what is known of the tensors between them."""

    steps: list[Step] = field(default_factory=list)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    constants: set[str] = field(default_factory=set)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)  # only those that are known in full
    bits: dict[str, int] = field(default_factory=dict)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor. NotCounted when it is unknown."""
        if name not in self.shapes:
            raise NotCounted("the shape of a tensor is unknown")
        return self.shapes[name]

    def elements(self, name: str) -> int:
        """The number of values in a tensor. NotCounted when its shape is unknown."""
        return math.prod(self.shape(name))

    def bytes(self, name: str) -> int | None:
        """The size of a tensor in bytes, None when its shape or type is unknown."""
        if name not in self.shapes or name not in self.bits:
            return None
        return packed_bytes(math.prod(self.shapes[name]), self.bits[name])


def uncounted(steps: Sequence[Step]) -> list[dict[str, object]]:
    """The operators whose multiply-accumulates are unknown: how many of each, and why."""
    groups: dict[tuple[str, str], int] = {}
    for step in steps:
        if step.macs is None:
            groups[step.operator, step.why] = groups.get((step.operator, step.why), 0) + 1
    return [{"operator": name, "count": count, "why": why} for (name, why), count in groups.items()]
