"""What is known of the integers that a graph computes shapes with: sizes, and names of sizes that are free."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from exporters.tflite.fold import constant

Entry = int | str | None  # a size, the name of a free one, or nothing known
_MAX_ENTRIES = 64
_INTEGERS = (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL)


def sizes(value: ir.Value | None) -> list[Entry] | None:
    """A value's inferred shape: sizes, names of free dimensions, None where nothing is known. None: rank unknown."""
    if value is None or value.shape is None:
        return None
    entries = [size if isinstance(size, int) else size.value for size in value.shape]
    return [None if isinstance(size, int) and size < 0 else size for size in entries]  # some tools write -1 for free


class Contents:
    """The entries of small integer scalars and vectors, for a whole graph."""

    def __init__(self, graph: ir.Graph) -> None:
        self._entries: dict[ir.Value, list[Entry]] = {}
        self._scalars: set[ir.Value] = set()
        for node in graph:
            rule = _RULES.get(node.op_type)
            if rule is None or not node.outputs or node.domain not in ("", "ai.onnx"):
                continue
            found = rule(self, node)
            if found is not None and len(found[0]) <= _MAX_ENTRIES:
                self._entries[node.outputs[0]] = found[0]
                if found[1]:
                    self._scalars.add(node.outputs[0])

    def get(self, value: ir.Value | None) -> list[Entry] | None:
        """The entries of a scalar or vector of integers, None when it is none or nothing is known."""
        if value is None:
            return None
        if value in self._entries:
            return self._entries[value]
        array = constant(value)
        if array is None or array.ndim > 1 or array.size > _MAX_ENTRIES or array.dtype.kind not in "iub":
            return None
        return [int(entry) for entry in array.reshape(-1)]

    def is_scalar(self, value: ir.Value | None) -> bool:
        """Whether the value has rank 0."""
        array = constant(value)
        return value in self._scalars if array is None else array.ndim == 0

    def refine(self, node: ir.Node) -> bool:
        """Whether the shape of the node's output became better known through the entries of its shape input."""
        target: list[Entry] | None = None
        if node.op_type == "Reshape":
            target = self.reshaped(node)
        elif node.op_type == "ConstantOfShape":
            target = self.get(node.inputs[0])
        elif node.op_type == "Expand":
            target = self._expanded(node)
        return target is not None and _improve(node.outputs[0], target)

    def reshaped(self, node: ir.Node) -> list[Entry] | None:
        """The shape that a Reshape gives: 0 copied, -1 computed where it can be. None when its rank is unknown."""
        if len(node.inputs) < 2:
            return None
        target, given = self.get(node.inputs[1]), sizes(node.inputs[0])
        if target is None:
            return None
        copies = not _attribute(node, "allowzero", 0)
        result: list[Entry] = []
        for axis, entry in enumerate(target):
            known = given[axis] if given is not None and axis < len(given) else None
            result.append(known if entry == 0 and copies else entry)
        if -1 in result:
            result[result.index(-1)] = _rest(given, [entry for entry in result if entry != -1])
        return result

    def _expanded(self, node: ir.Node) -> list[Entry] | None:
        target, given = self.get(node.inputs[1]), sizes(node.inputs[0])
        if target is None or given is None:
            return None
        rank = max(len(target), len(given))
        left = [1] * (rank - len(given)) + given
        right = [1] * (rank - len(target)) + target
        return [_broadcast(a, b) for a, b in zip(left, right, strict=True)]


def _broadcast(a: Entry, b: Entry) -> Entry:
    if a == 1:
        return b
    if b == 1 or a == b:
        return a
    known = [entry for entry in (a, b) if isinstance(entry, int)]
    return known[0] if known else None


def _rest(given: list[Entry] | None, others: list[Entry]) -> Entry:
    """What -1 stands for: the elements that are left, when both sides have the same free dimensions."""
    if given is None:
        return None
    free = [entry for entry in given if not isinstance(entry, int)]
    known = math.prod(entry for entry in given if isinstance(entry, int))
    divisor = math.prod(entry for entry in others if isinstance(entry, int))
    for entry in others:
        if not isinstance(entry, int):
            if entry is None or entry not in free:
                return None
            free.remove(entry)
    if not free and divisor:
        return known // divisor
    return free[0] if len(free) == 1 and known == divisor else None


def _improve(value: ir.Value, target: list[Entry]) -> bool:
    """Whether a shape was merged into the value's."""
    before = sizes(value)
    if before is not None and len(before) == len(target):
        target = [old if isinstance(old, int) or new is None else new for old, new in zip(before, target, strict=True)]
    if any(isinstance(entry, int) and entry < 0 for entry in target):
        return False
    better = before is None or sum(isinstance(entry, int) for entry in target) > sum(
        isinstance(entry, int) for entry in before
    )
    if better:
        value.shape = ir.Shape(target)
    return better


def _attribute(node: ir.Node, name: str, default: int) -> int:
    found = node.attributes.get(name)
    return int(found.value) if found is not None else default


Found = tuple[list[Entry], bool] | None  # the entries, and whether it is a scalar


def _shape(_: Contents, node: ir.Node) -> Found:
    given = sizes(node.inputs[0])
    if given is None:
        return None
    start, end = _attribute(node, "start", 0), _attribute(node, "end", len(given))
    return given[start:end], False


def _size(_: Contents, node: ir.Node) -> Found:
    given = sizes(node.inputs[0])
    if given is None or not all(isinstance(entry, int) for entry in given):
        return None
    return [math.prod(entry for entry in given if isinstance(entry, int))], True


def _gather(known: Contents, node: ir.Node) -> Found:
    entries, places = known.get(node.inputs[0]), known.get(node.inputs[1])
    if entries is None or places is None or known.is_scalar(node.inputs[0]):
        return None
    picked: list[Entry] = []
    for place in places:
        if not isinstance(place, int) or not -len(entries) <= place < len(entries):
            return None
        picked.append(entries[place])
    return picked, known.is_scalar(node.inputs[1])


def _slice(known: Contents, node: ir.Node) -> Found:
    entries = known.get(node.inputs[0])
    bounds = [known.get(value) for value in node.inputs[1:]]
    if entries is None or len(bounds) < 2 or known.is_scalar(node.inputs[0]):
        return None
    start, end = bounds[0], bounds[1]
    step = bounds[3] if len(bounds) > 3 else [1]
    first, last, stride = (part[0] if part and len(part) == 1 else None for part in (start, end, step))
    if not isinstance(first, int) or not isinstance(last, int) or not isinstance(stride, int) or not stride:
        return None
    return entries[first:last:stride], False


def _concat(known: Contents, node: ir.Node) -> Found:
    joined: list[Entry] = []
    for value in node.inputs:
        part = known.get(value)
        if part is None:
            given = sizes(value)
            if given is None or len(given) != 1 or not isinstance(given[0], int) or not _is_integer(value):
                return None
            part = [None] * given[0]
        joined += part
    return joined, False


def _is_integer(value: ir.Value | None) -> bool:
    return value is not None and value.dtype in _INTEGERS


def _same(known: Contents, node: ir.Node) -> Found:
    entries = known.get(node.inputs[0])
    return None if entries is None else (list(entries), known.is_scalar(node.inputs[0]))


def _cast(known: Contents, node: ir.Node) -> Found:
    kept = node.attributes["to"].value in (ir.DataType.INT64, ir.DataType.INT32)
    return _same(known, node) if kept else None


def _unsqueeze(known: Contents, node: ir.Node) -> Found:
    entries = known.get(node.inputs[0])
    return (list(entries), False) if entries is not None and known.is_scalar(node.inputs[0]) else None


def _squeeze(known: Contents, node: ir.Node) -> Found:
    entries = known.get(node.inputs[0])
    return (list(entries), True) if entries is not None and len(entries) == 1 else None


def _reshape(known: Contents, node: ir.Node) -> Found:
    entries, target = known.get(node.inputs[0]), known.get(node.inputs[1])
    if entries is None or target is None or len(target) > 1:
        return None
    return list(entries), not target


def _elementwise(combine: Callable[[Entry, Entry], Entry]) -> Callable[[Contents, ir.Node], Found]:
    def rule(known: Contents, node: ir.Node) -> Found:
        parts = [known.get(value) for value in node.inputs]
        scalar = all(known.is_scalar(value) for value in node.inputs)
        if len(parts) == 2 and parts[0] is not None and parts[1] is not None:
            pairs = _paired([parts[0], parts[1]])
            return None if pairs is None else ([combine(a, b) for a, b in pairs], scalar)
        return None

    return rule


def _paired(parts: Sequence[list[Entry]]) -> list[tuple[Entry, ...]] | None:
    length = max(len(part) for part in parts)
    if any(len(part) not in (1, length) for part in parts):
        return None
    return list(zip(*(part * length if len(part) == 1 else part for part in parts), strict=True))


def _add(a: Entry, b: Entry) -> Entry:
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    return b if a == 0 else a if b == 0 else None


def _sub(a: Entry, b: Entry) -> Entry:
    if isinstance(a, int) and isinstance(b, int):
        return a - b
    return a if b == 0 else None


def _mul(a: Entry, b: Entry) -> Entry:
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    return b if a == 1 else a if b == 1 else None


def _div(a: Entry, b: Entry) -> Entry:
    if isinstance(a, int) and isinstance(b, int) and b:
        return int(np.trunc(a / b)) if abs(a) < 1 << 50 else None
    return a if b == 1 else None


def _equal(a: Entry, b: Entry) -> Entry:
    if isinstance(a, int) and isinstance(b, int):
        return int(a == b)
    if isinstance(a, str) and a == b:
        return 1
    negative = [entry for entry in (a, b) if isinstance(entry, int) and entry < 0]
    named = [entry for entry in (a, b) if isinstance(entry, str)]
    return 0 if negative and named else None  # a size is never negative


def _where(known: Contents, node: ir.Node) -> Found:
    parts = [known.get(value) for value in node.inputs]
    present = [part for part in parts if part is not None]
    if len(present) != 3:
        return None
    pairs = _paired(present)
    if pairs is None:
        return None
    scalar = all(known.is_scalar(value) for value in node.inputs)
    return [None if test is None else (a if test else b) for test, a, b in pairs], scalar


def _filled(known: Contents, node: ir.Node) -> Found:
    entries = known.get(node.inputs[0])
    if entries is None or len(entries) != 1 or not isinstance(entries[0], int) or entries[0] > _MAX_ENTRIES:
        return None
    fill = node.attributes.get("value")
    if fill is None:
        return None
    number = fill.as_tensor().numpy().reshape(-1)[0]
    return ([int(number)] * entries[0], False) if number.dtype.kind in "iu" else None


def _product(known: Contents, node: ir.Node) -> Found:
    entries = known.get(node.inputs[0])
    if entries is None or not all(isinstance(entry, int) for entry in entries):
        return None
    return [math.prod(entry for entry in entries if isinstance(entry, int))], not _attribute(node, "keepdims", 1)


_RULES: dict[str, Callable[[Contents, ir.Node], Found]] = {
    "Shape": _shape, "Size": _size, "Gather": _gather, "Slice": _slice, "Concat": _concat, "Identity": _same,
    "Cast": _cast, "Unsqueeze": _unsqueeze, "Squeeze": _squeeze, "Reshape": _reshape, "Add": _elementwise(_add),
    "Sub": _elementwise(_sub), "Mul": _elementwise(_mul), "Div": _elementwise(_div), "Equal": _elementwise(_equal),
    "Where": _where, "ConstantOfShape": _filled, "ReduceProd": _product,
}  # fmt: skip
