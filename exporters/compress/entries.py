"""A compressed weight to its JSON entry and arrays, and back; docs/compressed.md is the description for others."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.compress.fields import Fields
from exporters.compress.floats import MX_GROUP, float_format
from exporters.compress.packing import pack, pack_trits
from exporters.compress.tensors import (
    Adapter,
    Affine,
    Binary,
    Blocks,
    Codebook,
    CompressedTensor,
    Dense,
    DualBinary,
    Emulated,
    LowRank,
    PowerOfTwo,
    Shared,
    Sparse,
    Ternary,
)
from mobile.errors import UsageError

Entry = dict[str, Any]
Arrays = dict[str, NDArray[Any]]
_WIDTHS = {"int8": 8, "int4": 4, "int2": 2}
_PATTERN = re.compile(r"(\d{1,2}):(\d{1,2})")


def describe(tensor: CompressedTensor, trits: bool = False) -> tuple[Entry, Arrays]:
    """The entry and the arrays of a weight. ``trits`` stores ternary codes at 1.6 bits instead of 2."""
    entry: Entry = {"family": tensor.family, "shape": list(tensor.shape), "axis": tensor.axis}
    if isinstance(tensor, Ternary) and (trits or tensor.trits):
        fields = {"group": tensor.group, "packing": "trits"}
        return {**entry, **fields}, {"codes": pack_trits(tensor.codes), "scales": tensor.scales}
    fields, arrays = _WRITERS[type(tensor)](tensor)
    return {**entry, **fields}, {part: array for part, array in arrays.items() if array is not None}


def restore(fields: Fields) -> CompressedTensor:
    """The weight of an entry that is not "shared". ModelError says what is missing, unknown or does not fit."""
    family = fields.text("family")
    reader = _READERS.get(family)
    if reader is not None:
        return reader(fields)
    if _PATTERN.fullmatch(family):
        return _read_sparse(fields)
    try:
        float_format(family)
    except UsageError as error:
        known = ", ".join([*_READERS, "shared", "2:4"])
        raise fields.wrong(f"family {family!r:.60} is not known; known are {known} and number formats") from error
    return _read_emulated(fields)


def restore_shared(fields: Fields, source: CompressedTensor) -> Shared:
    """The weight of a "shared" entry."""
    return Shared(fields.name, fields.shape, fields.axis, fields.text("group", source.name), source)


def _write_affine(tensor: Affine) -> tuple[Entry, Arrays]:
    zeros, index = tensor.zero_points, tensor.group_index
    entry = {"group": tensor.group, "width": tensor.width, "signed": tensor.signed}
    arrays: dict[str, Any] = {
        "codes": pack(tensor.codes, tensor.width), "scales": tensor.scales,
        "zero_points": None if zeros is None else pack(zeros, tensor.width),
        "group_index": None if index is None else index.astype(np.int32),
    }  # fmt: skip
    return entry, arrays


def _read_affine(fields: Fields) -> Affine:
    width = fields.integer("width", 1, 8, _WIDTHS.get(fields.text("family")))
    signed, group = fields.flag("signed"), fields.group
    columns = fields.row_shape[1]
    zeros = index = None
    if fields.has("zero_points"):
        size = fields.group_shape("scales", group)
        zeros = fields.codes("zero_points", width, signed, size)
    if fields.has("group_index"):
        index = fields.array("group_index", ("I32",), (columns,))
    return Affine(
        fields.name, fields.shape, fields.axis, fields.codes("codes", width, signed), fields.per_group("scales", group),
        group, width, signed, zeros, index,
    )  # fmt: skip


def _write_binary(tensor: Binary) -> tuple[Entry, Arrays]:
    arrays: dict[str, Any] = {"codes": pack(tensor.codes, 1), "scales": tensor.scales, "offsets": tensor.offsets}
    return {"group": tensor.group}, arrays


def _read_binary(fields: Fields) -> Binary:
    offsets = fields.per_group("offsets", fields.group) if fields.has("offsets") else None
    scales = fields.per_group("scales", fields.group)
    return Binary(fields.name, fields.shape, fields.axis, fields.codes("codes", 1), scales, fields.group, offsets)


def _write_ternary(tensor: Ternary) -> tuple[Entry, Arrays]:
    return {"group": tensor.group}, {"codes": pack(tensor.codes, 2), "scales": tensor.scales}


def _read_ternary(fields: Fields) -> Ternary:
    codes, scales = fields.codes("codes", 2, signed=True), fields.per_group("scales", fields.group)
    trits = fields.text("packing", "bits") == "trits"
    return Ternary(fields.name, fields.shape, fields.axis, codes, scales, fields.group, trits)


def _write_dual(tensor: DualBinary) -> tuple[Entry, Arrays]:
    arrays: Arrays = {"b1": pack(tensor.b1, 1), "b2": pack(tensor.b2, 1), "a1": tensor.a1, "a2": tensor.a2}
    return {"group": tensor.group}, arrays


def _read_dual(fields: Fields) -> DualBinary:
    return DualBinary(
        fields.name, fields.shape, fields.axis, fields.codes("b1", 1), fields.codes("b2", 1),
        fields.per_group("a1", fields.group), fields.per_group("a2", fields.group), fields.group,
    )  # fmt: skip


def _write_power(tensor: PowerOfTwo) -> tuple[Entry, Arrays]:
    return {"group": tensor.group}, {"codes": pack(tensor.codes, 4), "scales": tensor.scales}


def _read_power(fields: Fields) -> PowerOfTwo:
    codes, scales = fields.codes("codes", 4), fields.per_group("scales", fields.group)
    return PowerOfTwo(fields.name, fields.shape, fields.axis, codes, scales, fields.group)


def _write_codebook(tensor: Codebook) -> tuple[Entry, Arrays]:
    arrays: Arrays = {"codes": pack(tensor.codes, tensor.width), "table": tensor.table}
    return {}, arrays


def _read_codebook(fields: Fields) -> Codebook:
    shape = fields.stored.get(f"{fields.prefix}.table", ("", (0,)))[1]
    table = fields.floats("table", (fields.row_shape[0], None) if len(shape) == 2 else (None,))
    width = 4 if table.shape[-1] <= 16 else 8
    return Codebook(fields.name, fields.shape, fields.axis, fields.codes("codes", width), table)


def _write_blocks(tensor: Blocks) -> tuple[Entry, Arrays]:
    entry: Entry = {"block": list(tensor.block)}
    arrays: Arrays = {"mask": pack(tensor.mask.view(np.uint8), 1)}
    if isinstance(tensor.values, np.ndarray):
        return entry, {**arrays, "values": tensor.values}
    inner, parts = describe(tensor.values)
    entry["values"] = inner
    return entry, {**arrays, **{f"values.{part}": array for part, array in parts.items()}}


def _read_blocks(fields: Fields) -> Blocks:
    height, width = fields.sizes("block", 2)
    rows, columns = fields.row_shape
    mask = fields.mask((-(-rows // height), -(-columns // width)))
    kept = int(mask.sum())
    if "values" not in fields.entry:
        values: Any = fields.floats("values", (kept, height, width))
    else:
        inner = fields.entry["values"]
        if not isinstance(inner, dict) or inner.get("family") not in (*_WIDTHS, "nbit"):
            raise fields.wrong("values must be the entry of an integer family")
        values = _read_affine(replace(fields, entry=inner, prefix=f"{fields.prefix}.values"))
    return Blocks(fields.name, fields.shape, fields.axis, (height, width), mask, values)


def _write_sparse(tensor: Sparse) -> tuple[Entry, Arrays]:
    return {}, {"mask": pack(tensor.mask.view(np.uint8), 1), "values": tensor.values}


def _read_sparse(fields: Fields) -> Sparse:
    found = _PATTERN.fullmatch(fields.text("family"))
    mask = fields.mask(fields.row_shape)
    values = fields.floats("values", (int(mask.sum()),))
    pattern = (int(found[1]), int(found[2])) if found else None
    return Sparse(fields.name, fields.shape, fields.axis, mask, values, pattern)


def _write_factors(tensor: LowRank | Adapter) -> tuple[Entry, Arrays]:
    entry: Entry = {}
    if isinstance(tensor, Adapter):
        entry = {"alpha": tensor.alpha} | ({} if tensor.scaling is None else {"scaling": tensor.scaling})
    return entry, {"left": tensor.left, "right": tensor.right}


def _read_low_rank(fields: Fields) -> LowRank:
    left, right = _factors(fields)
    return LowRank(fields.name, fields.shape, fields.axis, left, right)


def _read_adapter(fields: Fields) -> Adapter:
    left, right = _factors(fields)
    scaling = fields.number("scaling") if "scaling" in fields.entry else None
    return Adapter(fields.name, fields.shape, fields.axis, left, right, fields.number("alpha"), scaling)


def _factors(fields: Fields) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rows, columns = fields.row_shape
    left = fields.floats("left", (rows, None))
    return left, fields.floats("right", (left.shape[1], columns))


def _write_dense(tensor: Dense) -> tuple[Entry, Arrays]:
    return {}, {"values": tensor.values}


def _read_dense(fields: Fields) -> Dense:
    return Dense(fields.name, fields.shape, fields.axis, fields.floats("values", fields.row_shape))


def _write_emulated(tensor: Emulated) -> tuple[Entry, Arrays]:
    arrays: Arrays = {"codes": pack(tensor.codes, tensor.width)}
    if tensor.scales is None:
        return {}, arrays
    if not tensor.format.startswith("mx"):
        return {"group": tensor.group}, {**arrays, "scales": tensor.scales}
    exponents = (np.frexp(tensor.scales)[1] - 1 + 127).astype(np.uint8)
    return {"group": tensor.group}, {**arrays, "scale_exponents": exponents}


def _read_emulated(fields: Fields) -> Emulated:
    form = fields.text("family")
    group, scales = fields.group, None
    if fields.has("scale_exponents"):
        exponents = fields.array("scale_exponents", ("U8",), fields.group_shape("scale_exponents", group))
        if int(exponents.max()) == 255:
            raise fields.wrong("scale_exponents hold NaN (255)")
        scales = np.ldexp(np.float32(1), exponents.astype(np.int32) - 127).astype(np.float32)
    elif fields.has("scales"):
        scales = fields.per_group("scales", group)
    else:
        group = MX_GROUP  # the class's default; it means nothing without scales
    codes = fields.codes("codes", float_format(form).width)
    return Emulated(fields.name, fields.shape, fields.axis, codes, form, scales, group)


_WRITERS: dict[type[CompressedTensor], Callable[[Any], tuple[Entry, Arrays]]] = {
    Affine: _write_affine, Binary: _write_binary, Ternary: _write_ternary, DualBinary: _write_dual,
    PowerOfTwo: _write_power, Codebook: _write_codebook, Blocks: _write_blocks, Sparse: _write_sparse,
    LowRank: _write_factors, Adapter: _write_factors, Dense: _write_dense, Emulated: _write_emulated,
}  # fmt: skip
_READERS: dict[str, Callable[[Fields], CompressedTensor]] = {
    "int8": _read_affine, "int4": _read_affine, "int2": _read_affine, "nbit": _read_affine, "binary": _read_binary,
    "ternary": _read_ternary, "dual-binary": _read_dual, "power-of-two": _read_power, "codebook": _read_codebook,
    "block-pruned": _read_blocks, "sparse": _read_sparse, "low-rank": _read_low_rank, "lora": _read_adapter,
    "float": _read_dense,
}  # fmt: skip
