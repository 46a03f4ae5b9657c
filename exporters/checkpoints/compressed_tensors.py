"""Checkpoints in the formats of the package compressed-tensors (vLLM, llm-compressor).

Read: int-quantized, float-quantized and naive-quantized (codes beside their scales), pack-quantized (int32 words), and
the bitmask formats of sparse values, plain or with codes inside. Source of the layouts: compressed_tensors/compressors
of releases 0.12.2 and 0.20.1 (Apache-2.0); the arithmetic of all is w = (code - zero point) * scale.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from exporters.checkpoints.entries import Checkpoint, Entry
from exporters.checkpoints.reals import real_entries
from exporters.checkpoints.stored import FLOATS, Stored
from mobile.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from exporters.compress.tensors import CompressedTensor

METHOD = "compressed-tensors"
_PARTS = (
    ".weight_packed", ".weight_scale", ".weight_zero_point", ".weight_shape", ".weight_g_idx", ".compressed",
    ".bitmask", ".shape", ".row_offsets",
)  # fmt: skip
_ACTIVATIONS = re.compile(r"\.(input|output|[qkv])_(scale|zero_point|global_scale)$")


@dataclass(frozen=True)
class _Scheme:
    """What the configuration says of a module's weight; ``block`` is (rows, columns) of a scale."""

    bits: int
    kind: str  # "int" or "float"
    strategy: str
    group: int | None
    block: tuple[int, int] | None


def read(stored: Stored, config: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint. ModelError when the configuration and the arrays do not fit each other."""
    schemes = _Schemes(stored, config)
    entries = {}
    for name in stored:
        module, part = _module(name)
        load: Callable[[], CompressedTensor]
        scheme = None
        if part == "weight_packed":
            shape, scheme = _shape(stored, f"{module}.weight_shape"), schemes.of(module)
            load = partial(_packed, stored, module, shape, scheme)
        elif part == "bitmask":
            shape = _shape(stored, f"{module}.shape")
            scheme = schemes.of(module) if f"{module}.weight_scale" in stored else None
            load = partial(_sparse, stored, module, shape, scheme)
        elif part == "weight" and f"{module}.weight_scale" in stored:
            shape, scheme = stored[name].shape, schemes.of(module)
            load = partial(_plain, stored, module, shape, scheme)
        else:
            continue
        if len(shape) != 2:
            raise stored.wrong(name, f"is of shape {list(shape)}, expected a matrix")
        entries[f"{module}.weight"] = Entry(f"{module}.weight", shape, load, width=scheme.bits if scheme else 0)
    used = {name for name in stored if name in entries or name.endswith(_PARTS) or _ACTIVATIONS.search(name)}
    origin = {"method": METHOD, "format": config.get("format"), "version": config.get("version")}
    skipped = sum(_ACTIVATIONS.search(name) is not None for name in stored)
    if skipped:
        origin["activation_parameters_not_carried"] = skipped
    return Checkpoint(stored.path, METHOD, entries, real_entries(stored, used), origin).need_some()


def _module(name: str) -> tuple[str, str]:
    module, _, part = name.rpartition(".")
    return module, part


def _shape(stored: Stored, name: str) -> tuple[int, ...]:
    """The weight's shape, which the checkpoint stores as an array of two numbers."""
    place = stored.need(name, ("I64", "I32"), "the shape of the packed weight")
    if math.prod(place.shape) != 2:
        raise stored.wrong(name, f"holds {math.prod(place.shape)} numbers, expected 2")
    shape = tuple(int(size) for size in stored.read(name).reshape(-1))
    if min(shape) < 1:
        raise stored.wrong(name, f"says {list(shape)}")
    return shape


class _Schemes:
    """Which configuration group a module belongs to."""

    def __init__(self, stored: Stored, config: Mapping[str, Any]) -> None:
        self._stored = stored
        groups = config.get("config_groups")
        found = groups.values() if isinstance(groups, dict) else ()
        self._groups = [one for one in found if isinstance(one, dict) and isinstance(one.get("weights"), dict)]

    def of(self, module: str) -> _Scheme:
        """The scheme of a module: of the group that names it or matches it, else of the only one left."""
        named = [group for group in self._groups if _targets(group, module)]
        others = [group for group in self._groups if not any(map(_by_name, _listed(group)))]
        chosen = named or others
        schemes = {self._scheme(group["weights"]) for group in chosen}
        if len(schemes) != 1:
            raise ModelError(
                f"{self._stored.path}: {module}: {len(schemes)} configuration groups may be meant",
                "Groups must name modules, not classes, where there are several.",
            )
        return schemes.pop()

    def _scheme(self, weights: Mapping[str, Any]) -> _Scheme:
        bits, strategy = weights.get("num_bits"), weights.get("strategy") or "tensor"
        if type(bits) is not int or not 1 <= bits <= 8:
            raise ModelError(f"{self._stored.path}: weights of num_bits {bits!r:.20}, expected 1 to 8")
        if not isinstance(strategy, str) or strategy not in ("tensor", "channel", "group", "block"):
            raise ModelError(f"{self._stored.path}: weight strategy {strategy!r:.40} is not supported")
        group, block = weights.get("group_size"), weights.get("block_structure")
        if strategy == "group" and (type(group) is not int or group < 1):
            raise ModelError(f"{self._stored.path}: strategy group with group_size {group!r:.20}")
        pair = tuple(block) if isinstance(block, list) and [type(size) for size in block] == [int, int] else None
        if strategy == "block" and (pair is None or min(pair) < 1):
            raise ModelError(f"{self._stored.path}: strategy block with block_structure {block!r:.40}")
        return _Scheme(bits, str(weights.get("type", "int")), strategy, group, pair if pair is None else pair[:2])


def _listed(group: Mapping[str, Any]) -> list[str]:
    """The targets of a group as text."""
    targets = group.get("targets")
    return [str(target) for target in targets] if isinstance(targets, list) else []


def _by_name(target: str) -> bool:
    """Whether a target is a pattern or a module's name; a class name has no dot."""
    return target.startswith("re:") or "." in target


def _targets(group: Mapping[str, Any], module: str) -> bool:
    for target in _listed(group):
        try:
            if target.startswith("re:") and re.match(target[3:], module):
                return True
        except re.error:
            continue
        if target == module:
            return True
    return False


def _grid(stored: Stored, name: str, shape: tuple[int, ...], scheme: _Scheme) -> tuple[NDArray[np.float32], int]:
    """The scales as [N, G] or [1, 1], and the group along K."""
    import numpy as np

    rows, columns = shape
    stored.need(name, FLOATS, "the weight's scale")
    scales = stored.floats(name)
    if scales.size == 1:
        return scales.reshape(1, 1), columns
    if scheme.strategy == "block" and scheme.block is not None:
        height, width = scheme.block
        if scales.shape != (-(-rows // height), -(-columns // width)):
            raise stored.wrong(name, f"is {list(scales.shape)} for blocks {[height, width]} of {list(shape)}")
        return np.repeat(scales, height, axis=0)[:rows], width
    group = columns if scheme.group is None or scheme.strategy != "group" else scheme.group
    if scales.size == rows and group >= columns:
        return scales.reshape(rows, 1), columns
    if scales.shape != (rows, -(-columns // group)):
        raise stored.wrong(name, f"is {list(scales.shape)} for groups of {group} of {list(shape)}")
    return scales, group


def _plain(stored: Stored, module: str, shape: tuple[int, ...], scheme: _Scheme) -> CompressedTensor:
    """int-quantized, float-quantized: one code a byte."""
    codes = stored.read(f"{module}.weight")
    return _coded(stored, module, shape, scheme, codes, stored[f"{module}.weight"].dtype)


def _coded(
    stored: Stored, module: str, shape: tuple[int, ...], scheme: _Scheme, codes: NDArray[Any], dtype: str
) -> CompressedTensor:
    """Codes of int8 or of an 8-bit floating-point format, with their scales and zero points."""
    from exporters.compress.tensors import Affine, Emulated

    name = f"{module}.weight"
    scales, group = _grid(stored, f"{module}.weight_scale", shape, scheme)
    if dtype in ("F8_E4M3", "F8_E5M2"):
        form = "fp8e4m3" if dtype == "F8_E4M3" else "fp8e5m2"
        return Emulated(name, shape, 0, codes, form, scales, group)
    if dtype != "I8":
        raise stored.wrong(name, f"is {dtype}, expected I8 or F8_E4M3")
    zeros = None
    if f"{module}.weight_zero_point" in stored:
        stored.need(f"{module}.weight_zero_point", ("I8",), "the weight's zero points")
        zeros = stored.read(f"{module}.weight_zero_point").reshape(scales.shape)
    return Affine(name, shape, 0, codes, scales, group, scheme.bits, True, zeros)


def _packed(stored: Stored, module: str, shape: tuple[int, ...], scheme: _Scheme) -> CompressedTensor:
    """pack-quantized: codes plus 2**(bits - 1), in int32 words along the columns."""
    import numpy as np

    from exporters.compress.tensors import Affine

    rows, columns = shape
    bits = scheme.bits
    packed = f"{module}.weight_packed"
    stored.need(packed, ("I32",), "packed codes")
    words = stored.read(packed)
    dense = _is_dense(stored, packed, words.shape, shape, bits)
    codes = _unpacked(words, columns, bits, dense)
    scales, group = _grid(stored, f"{module}.weight_scale", shape, scheme)
    zeros, name = None, f"{module}.weight_zero_point"
    if name in stored:
        place = stored.need(name, ("I32", "I8"), "the weight's zero points")
        values = stored.read(name)
        if place.dtype == "I32":  # packed along the rows, as the codes are along the columns
            needed = -(-rows * bits // 32) if dense else -(-rows // (32 // bits))
            if values.shape != (needed, scales.shape[1]):
                raise stored.wrong(name, f"is {list(values.shape)}, expected {[needed, scales.shape[1]]}")
            values = _unpacked(values.T, rows, bits, dense).T
        if values.size != scales.size:
            raise stored.wrong(name, f"holds {values.size} zero points for {scales.size} scales")
        zeros = np.ascontiguousarray(values.reshape(scales.shape)).astype(np.int8)
    index, where = None, f"{module}.weight_g_idx"
    if where in stored:
        stored.need(where, ("I32", "I64"), "each column's group")
        index = stored.read(where).astype(np.int32)
    return Affine(f"{module}.weight", shape, 0, codes, scales, group, bits, True, zeros, index)


def _is_dense(stored: Stored, name: str, words: tuple[int, ...], shape: tuple[int, ...], bits: int) -> bool:
    """Whether the words are dense, in which codes cross words (0.20), or hold 32 // bits codes each (older releases).

    They are one where the bits divide 32; elsewhere the number of words tells them apart.
    """
    rows, columns = shape
    each = 32 // bits
    dense, loose = -(-columns * bits // 32), -(-columns // each)
    if words not in ((rows, dense), (rows, loose)):
        raise stored.wrong(name, f"is {list(words)}; {rows} rows of {columns} codes need {dense} words each")
    if dense == loose and 32 % bits and columns > each:
        raise stored.wrong(name, f"could be packed in two ways: {columns} codes of {bits} bits in {dense} words")
    return words[1] == dense


def _unpacked(words: NDArray[Any], columns: int, bits: int, dense: bool) -> NDArray[np.int8]:
    """The signed codes [R, columns] in int32 words [R, W]."""
    import numpy as np

    from exporters.compress.packing import unpack

    rows, each = len(words), 32 // bits
    whole = np.ascontiguousarray(words, "<i4")
    if dense:
        octets = whole.view(np.uint8).reshape(rows, -1)[:, : -(-columns * bits // 8)]
        unsigned = unpack(np.ascontiguousarray(octets), bits, columns)
    else:
        shifts = np.arange(each, dtype=np.uint32) * np.uint32(bits)
        fields = (whole.view("<u4")[:, :, None] >> shifts) & np.uint32((1 << bits) - 1)
        unsigned = fields.reshape(rows, -1)[:, :columns].astype(np.uint8)
    return (unsigned.astype(np.int16) - (1 << (bits - 1))).astype(np.int8)


def _sparse(stored: Stored, module: str, shape: tuple[int, ...], scheme: _Scheme | None) -> CompressedTensor:
    """sparse-24-bitmask and sparse-bitmask: a bit a weight, lowest first, and the kept values row by row."""
    import numpy as np

    from exporters.compress.tensors import Sparse

    rows, columns = shape
    stored.need(f"{module}.bitmask", ("U8",), "which weights are kept")
    packed = stored.read(f"{module}.bitmask")
    if packed.shape != (rows, -(-columns // 8)):
        raise stored.wrong(f"{module}.bitmask", f"is {list(packed.shape)} for a weight {list(shape)}")
    mask = np.unpackbits(packed, axis=1, count=columns, bitorder="little").astype(bool)
    values = f"{module}.compressed"
    place = stored.need(values, (*FLOATS, "I8", "F8_E4M3", "F8_E5M2"), "the kept values")
    if math.prod(place.shape) != int(mask.sum()):
        raise stored.wrong(values, f"holds {math.prod(place.shape)} values, the bitmask keeps {int(mask.sum())}")
    if scheme is None:
        pattern = (2, 4) if len(place.shape) == 2 else None
        return Sparse(f"{module}.weight", shape, 0, mask, stored.floats(values).reshape(-1), pattern)
    kept = stored.read(values).reshape(-1)
    codes = np.zeros(shape, kept.dtype)
    codes[mask] = kept
    return _coded(stored, module, shape, scheme, codes, place.dtype)
