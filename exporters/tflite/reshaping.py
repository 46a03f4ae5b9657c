"""Reshapes, slices and what else names dimensions, on values whose dimensions lie in any order."""

from __future__ import annotations

import math
from collections.abc import Sequence

from exporters.tflite.contents import Entry
from exporters.tflite.layout import FREE, Builder, Perm, Value, constant, identity
from exporters.tflite.prims import narrow, ordered, reshape_to, runtime, squeeze, unsqueeze


def reshape(
    build: Builder, value: Value, given: Sequence[Entry], target: Sequence[Entry], sizes: Value | None
) -> Value:
    """The value in the shape ``target``, by an operator on the tensor as it lies wherever that is possible.

    ``given`` is the value's own shape with names of free dimensions; ``sizes`` the target as a vector, needed when
    more than one size of the target is free (-1 or None in ``target`` where it has no name).
    """
    if value.data is not None and all(isinstance(size, int) for size in target):
        return constant(value.data.reshape([size for size in target if isinstance(size, int)]), value.dtype)
    value = runtime(build, value)
    units = _units_only(given, target)
    if units is not None:
        gone, come = units
        return unsqueeze(build, squeeze(build, value, gone), come)
    groups = _groups(given, target)
    perm = _regrouped(value.perm, groups)
    if perm is None:
        value = ordered(build, value, _gathered(value.perm, groups))
        perm = _regrouped(value.perm, groups)
    if perm is None:
        raise AssertionError("groups that lie together can be reshaped")
    dims = [size if isinstance(size, int) else FREE for size in (target[axis] for axis in perm)]
    if sum(size < 0 for size in dims) <= 1:
        return build.value(reshape_to(build, value.tensor, dims), perm, value.dtype)
    if sizes is None:
        raise AssertionError("a reshape to several free dimensions needs their sizes")
    vector = gather_vector(build, sizes, perm)
    made = build.emit("RESHAPE", [value.tensor, vector], dims, build.dtype_of(value.tensor), {"new_shape": []})
    return build.value(made, perm, value.dtype)


def gather_vector(build: Builder, entries: Value, perm: Perm) -> int:
    """The int32 tensor of a vector's entries in the order ``perm``."""
    if entries.data is not None:
        return build.ints([int(entries.data[axis]) for axis in perm])
    tensor = narrow(build, entries)
    if perm == identity(len(perm)):
        return tensor
    return build.emit("GATHER", [tensor, build.ints(list(perm))], [len(perm)], "int32", {"axis": 0})


def _units_only(given: Sequence[Entry], target: Sequence[Entry]) -> tuple[list[int], list[int]] | None:
    """(dimensions of size 1 that go, those that come) when nothing else changes, else None."""
    if None in given or None in target or [s for s in given if s != 1] != [s for s in target if s != 1]:
        return None
    gone, come, i, j = [], [], 0, 0
    while i < len(given) or j < len(target):
        if i < len(given) and j < len(target) and given[i] == target[j]:
            i, j = i + 1, j + 1
        elif i < len(given) and given[i] == 1:
            gone.append(i)
            i += 1
        else:
            come.append(j)
            j += 1
    return gone, come


Group = tuple[list[int], list[int]]  # dimensions before, and those that they become


def _groups(given: Sequence[Entry], target: Sequence[Entry]) -> list[Group]:
    """Runs of dimensions that become one another, as fine as the known sizes and names allow."""
    head, tail = 0, 0
    shorter = min(len(given), len(target))
    while head < shorter and _equal(given[head], target[head]):
        head += 1
    while tail < shorter - head and _equal(given[-1 - tail], target[-1 - tail]):
        tail += 1
    before, after = range(head, len(given) - tail), range(head, len(target) - tail)
    groups: list[Group] = [([axis], [axis]) for axis in range(head)]
    groups += _middle(given, target, list(before), list(after))
    groups += [([len(given) - n], [len(target) - n]) for n in range(tail, 0, -1)]
    return _with_sources(groups)


def _with_sources(groups: list[Group]) -> list[Group]:
    """A dimension that comes from nowhere has the size 1 and belongs to a neighbour."""
    kept = [group for group in groups if group[0]]
    for before, after in groups:
        if not before and kept:
            behind = [group for group in kept if group[1] and after and group[1][0] > after[-1]]
            if behind:
                behind[0][1][:0] = after
            else:
                kept[-1][1].extend(after)
    return kept


def _equal(a: Entry, b: Entry) -> bool:
    return a is not None and a != FREE and a == b


def _middle(given: Sequence[Entry], target: Sequence[Entry], before: list[int], after: list[int]) -> list[Group]:
    whole = [(before, after)] if before or after else []
    left = [given[axis] for axis in before]
    right = [target[axis] for axis in after]
    if not all(isinstance(size, int) and size > 0 for size in (*left, *right)) or not before or not after:
        return whole
    groups: list[Group] = []
    while before and after:
        a, b = [before.pop(0)], [after.pop(0)]
        while _product(given, a) != _product(target, b):
            if _product(given, a) < _product(target, b):
                if not before:
                    return whole
                a.append(before.pop(0))
            else:
                if not after:
                    return whole
                b.append(after.pop(0))
        groups.append((a, b))
    groups[-1][0].extend(before)  # what is left has the size 1
    groups[-1][1].extend(after)
    return groups


def _product(sizes: Sequence[Entry], axes: Sequence[int]) -> int:
    return math.prod(size for size in (sizes[axis] for axis in axes) if isinstance(size, int))


def _regrouped(perm: Perm, groups: Sequence[Group]) -> Perm | None:
    """The order after the reshape when each group lies together and in order, else None."""
    placed: list[tuple[int, list[int]]] = []
    for before, after in groups:
        places = [perm.index(axis) for axis in before]
        if not places or places != list(range(places[0], places[0] + len(places))):
            return None
        placed.append((places[0], after))
    return tuple(axis for _, after in sorted(placed) for axis in after)


def _gathered(perm: Perm, groups: Sequence[Group]) -> Perm:
    """An order near to ``perm`` in which each group lies together and in order: what lies innermost stays there."""
    ranked = sorted((before for before, _ in groups), key=lambda before: max(perm.index(axis) for axis in before))
    return tuple(axis for before in ranked for axis in before)
