"""Float weights to compressed ones, as a scheme says; large weights a band of rows at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.compress.families import integers, signs, structure, tables
from exporters.compress.families.source import FloatRows
from exporters.compress.layout import row_shape, to_rows
from exporters.compress.schemes import Rule, Scheme
from exporters.compress.tensors import CompressedModel, CompressedTensor, Dense, Shared
from mobile.errors import ModelError, UsageError

_BAND = 1 << 22  # weights fitted at once where rows do not depend on each other
_INTEGERS = {"int8": 8, "int4": 4, "int2": 2}


@dataclass(frozen=True)
class LeftFloat:
    """Why a weight that the scheme means stays float."""

    reason: str


def compress_all(weights: Mapping[str, tuple[NDArray[Any], str, int]], scheme: Scheme) -> CompressedModel:
    """The weights that the scheme compresses, by name; each given as (float array, kind, output axis).

    Those that would not become smaller stay out, and ``origin["left_float"]`` says why. A weight is read from the
    mapping once, and only while it is its turn. ModelError for NaN or infinity; UsageError when the scheme fits no
    weight at all.
    """
    tensors: dict[str, CompressedTensor] = {}
    left: dict[str, str] = {}
    groups: dict[str, list[tuple[FloatRows, Rule]]] = {}
    for name in weights:
        array, kind, axis = weights[name]
        rule = scheme.rule_for(name, kind)
        if rule is None:
            continue
        if rule.family == "shared":
            rows, columns = row_shape(array.shape, axis)
            groups.setdefault(f"{rule.text} [{rows}, {columns}]", []).append((float_rows(name, array, axis), rule))
            continue
        found = compress_weight(name, array, axis, rule)
        if isinstance(found, LeftFloat):
            left[name] = found.reason
        else:
            tensors[name] = found
    for members in groups.values():
        shared, alone = _share([member for member, _ in members], members[0][1])
        tensors.update(shared)
        left.update(alone)
    if not tensors:
        words = "; ".join(f"{name}: {reason}" for name, reason in list(left.items())[:3])
        raise UsageError(
            f"scheme {scheme.text!r} compresses none of {len(weights)} weights" + (f" ({words})" if words else ""),
            f"Names of weights are {', '.join(list(weights)[:5])}." if weights else None,
        )
    return CompressedModel(tensors, {"scheme": scheme.text, "made_by": "edgewise", "left_float": left})


def compress_weight(name: str, array: NDArray[Any], axis: int, rule: Rule) -> CompressedTensor | LeftFloat:
    """One weight in the rule's family, or why it stays float. ModelError for NaN or infinity."""
    weight = float_rows(name, array, axis)
    fitted = _fit(weight, rule)
    if fitted.packed_bytes >= 4 * math.prod(weight.shape):
        return LeftFloat(f"{rule.text} would need {fitted.packed_bytes} bytes, float {4 * math.prod(weight.shape)}")
    return fitted


def float_rows(name: str, array: NDArray[Any], axis: int) -> FloatRows:
    """The weight in rows, float32. ModelError for NaN, infinity, another kind of numbers or no values."""
    if array.dtype.kind in "iub" or array.size == 0 or not 0 <= axis < array.ndim:
        raise ModelError(f"weight {name!r}: {array.dtype} {list(array.shape)} is no float weight with axis {axis}")
    rows = to_rows(array, axis)
    if rows.dtype != np.float32:
        rows = rows.astype(np.float32)
    step = max(1, _BAND // max(rows.shape[1], 1))
    bad = sum(int((~np.isfinite(rows[start : start + step])).sum()) for start in range(0, len(rows), step))
    if bad:
        raise ModelError(f"weight {name!r}: {bad} of {array.size} values are NaN or infinite")
    return FloatRows(name, tuple(int(size) for size in array.shape), axis, rows)


def _fit(weight: FloatRows, rule: Rule) -> CompressedTensor:
    options, family = rule.options, rule.family
    if family in _INTEGERS or family == "nbit":
        width = _INTEGERS.get(family) or int(options["b"])
        return _in_bands(
            weight, options["g"],
            lambda part: integers.integers(part, width, options["g"], options["asym"], options["search"]),
        )  # fmt: skip
    if family == "binary":
        return _in_bands(weight, options["g"], lambda part: signs.binary(part, options["g"], options["offset"]))
    if family == "ternary":
        return _in_bands(
            weight, options["g"],
            lambda part: replace(signs.ternary(part, options["g"], options["fit"]), trits=options["trits"]),
        )  # fmt: skip
    if family == "dual-binary":
        return _in_bands(weight, options["g"], lambda part: signs.dual_binary(part, options["g"]))
    if family == "power-of-two":
        return _in_bands(weight, options["g"], lambda part: signs.power_of_two(part, options["g"], options["e"]))
    if family == "codebook":
        return tables.codebook(weight, options["b"], options["per"])
    if family == "block-pruned":
        return structure.blocks(weight, options["block"], options["zero"], options["uneven"], options["values"])
    if family == "sparse":
        return structure.sparse(weight, options["zero"])
    if family == "2:4":
        return structure.two_of_four(weight)
    if family == "low-rank":
        rank = options["r"] or max(1, round(min(weight.values.shape) * options["ratio"]))
        return structure.low_rank(weight, rank)
    return _emulated(weight, rule)


def _emulated(weight: FloatRows, rule: Rule) -> CompressedTensor:
    options = rule.options
    scale, rounding, seed = options.get("scale", "none"), options["round"], options["seed"]
    whole = "tensor" if scale == "tensor" or rounding == "stochastic" else scale  # one stream of random numbers
    return _in_bands(weight, whole, lambda part: tables.emulated(part, rule.family, scale, rounding, seed))


def _in_bands(weight: FloatRows, group: int | str, fit: Callable[[FloatRows], CompressedTensor]) -> CompressedTensor:
    """The fit of bands of rows, put together again: temporary arrays stay small. Not where all rows share a scale."""
    rows, columns = weight.values.shape
    step = max(1, _BAND // columns)
    if group == "tensor" or step >= rows:
        return fit(replace(weight, values=np.ascontiguousarray(weight.values)))
    parts = []
    for start in range(0, rows, step):
        band = np.ascontiguousarray(weight.values[start : start + step])
        parts.append(fit(FloatRows(weight.name, band.shape, 0, band)))
    joined: dict[str, Any] = {"shape": weight.shape, "axis": weight.axis}
    for item in fields(parts[0]):
        if isinstance(getattr(parts[0], item.name), np.ndarray):
            joined[item.name] = np.concatenate([getattr(part, item.name) for part in parts])
    return replace(parts[0], **joined)


def _share(members: list[FloatRows], rule: Rule) -> tuple[dict[str, CompressedTensor], dict[str, str]]:
    """The members as one weight and names for it, or those that share with none and why."""
    if rule.options["merge"] == "mean" and len(members) > 1:
        values = structure.mean_of(members)
        members = [replace(member, values=values) for member in members]
    tensors: dict[str, CompressedTensor] = {}
    alone: dict[str, str] = {}
    pending = members
    while pending:
        first, *others = pending
        same = [other for other in others if np.array_equal(other.values, first.values)]
        pending = [other for other in others if not any(other is item for item in same)]
        source = _shared_source(first, rule)
        if not same and source.family == "float":
            alone[first.name] = "no other weight of its pattern is equal"
            continue
        tensors[first.name] = source
        for other in same:
            tensors[other.name] = Shared(other.name, other.shape, other.axis, first.name, source)
    return tensors, alone


def _shared_source(weight: FloatRows, rule: Rule) -> CompressedTensor:
    from exporters.compress.schemes import parse_scheme

    inner = parse_scheme(str(rule.options["of"])).rules[0]
    if inner.family == "float":
        return Dense(weight.name, weight.shape, weight.axis, np.ascontiguousarray(weight.values))
    return _fit(weight, inner)
