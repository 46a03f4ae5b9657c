"""GPTQ checkpoints, versions 1 and 2: int32 words along the inputs, 2, 3, 4 or 8 bits.

``qweight`` [K * bits / 32, N], ``qzeros`` [G, N * bits / 32], ``scales`` [G, N], ``g_idx`` [K]; w = (code - zero) *
scale. Source: pack() and the CPU forward pass of auto_gptq 0.7.1 (nn_modules/qlinear/qlinear_cuda.py) and gptqmodel
7.7.0 (nn_modules/qlinear, utils/model.py). Version 1 stores zero points less one, version 2 as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
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

METHOD = "gptq"
_BITS = (2, 3, 4, 8)
_PARTS = (".qweight", ".qzeros", ".scales", ".g_idx")
# What is added to a whole word of version 1 by gptqmodel (convert_gptq_v1_to_v2_format_module).
_ONES = {2: 0x55555555, 4: 0x11111111, 8: 0x01010101}


@dataclass(frozen=True)
class _Settings:
    bits: int
    group: int  # -1: the whole row
    version: int
    carries: bool  # whether the writer subtracted from whole words, so that adding has to carry


def read(stored: Stored, config: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint. ModelError when the configuration and the arrays do not fit each other."""
    settings = _settings(stored, config)
    entries = {}
    for name in stored:
        if name.endswith(".qweight"):
            module = name.removesuffix(".qweight")
            shape = _shape(stored, module, settings)
            load = partial(_load, stored, module, shape, settings)
            entries[f"{module}.weight"] = Entry(f"{module}.weight", shape, load, width=settings.bits)
    used = {name for name in stored if name.endswith(_PARTS)}
    origin = {"method": METHOD, "version": settings.version, "bits": settings.bits, "group_size": settings.group}
    return Checkpoint(stored.path, METHOD, entries, real_entries(stored, used), origin).need_some()


def _settings(stored: Stored, config: Mapping[str, Any]) -> _Settings:
    bits, group = config.get("bits"), config.get("group_size", -1)
    if type(bits) is not int or bits not in _BITS:
        raise ModelError(f"{stored.path}: GPTQ with bits {bits!r:.20}, expected one of 2, 3, 4, 8")
    if type(group) is not int or not (group == -1 or group > 0):
        raise ModelError(f"{stored.path}: GPTQ with group_size {group!r:.20}")
    form = config.get("checkpoint_format") or config.get("format") or "gptq"
    if not isinstance(form, str) or form not in ("gptq", "gptq_v2"):
        raise ModelError(
            f"{stored.path}: GPTQ in the layout {form!r:.40}, expected gptq or gptq_v2",
            "Save it again without repacking for a GPU kernel.",
        )
    if config.get("dynamic"):
        raise ModelError(f"{stored.path}: GPTQ with settings per module (dynamic) is not supported")
    meta = config.get("meta")
    quantizer = str(meta.get("quantizer", "")) if isinstance(meta, dict) else ""
    return _Settings(bits, group, 2 if form == "gptq_v2" else 1, "gptqmodel" in quantizer)


def _shape(stored: Stored, module: str, settings: _Settings) -> tuple[int, int]:
    """[N, K] of the float weight, with the sizes of all parts compared."""
    words = stored.need(f"{module}.qweight", ("I32",), "packed codes").shape
    scales = stored.need(f"{module}.scales", FLOATS, "the scales").shape
    zeros = stored.need(f"{module}.qzeros", ("I32",), "the zero points").shape
    if len(words) != 2 or len(scales) != 2 or len(zeros) != 2:
        raise stored.wrong(module, "has parts that are no matrices")
    rows, columns = scales[1], words[0] * 32 // settings.bits
    if f"{module}.g_idx" in stored:
        index = stored.need(f"{module}.g_idx", ("I32", "I64"), "each column's group").shape
        columns = index[0] if len(index) == 1 else 0
    group = columns if settings.group == -1 else settings.group
    wanted = {
        "qweight": (words, (-(-columns * settings.bits // 32), rows)),
        "scales": (scales, (-(-columns // max(group, 1)), rows)),
        "qzeros": (zeros, (scales[0], -(-rows * settings.bits // 32))),
    }
    for part, (found, expected) in wanted.items():
        if found != expected:
            raise stored.wrong(f"{module}.{part}", f"is {list(found)}, expected {list(expected)}")
    return rows, columns


def _load(stored: Stored, module: str, shape: tuple[int, int], settings: _Settings) -> CompressedTensor:
    import numpy as np

    from exporters.compress.tensors import Affine

    rows, columns = shape
    group = columns if settings.group == -1 else settings.group
    codes = _fields(stored.read(f"{module}.qweight").T, columns, settings.bits)
    zeros = _zero_points(stored, module, rows, settings)
    scales = np.ascontiguousarray(stored.floats(f"{module}.scales").T)
    index = None
    if f"{module}.g_idx" in stored:
        found = stored.read(f"{module}.g_idx").astype(np.int32)
        if not np.array_equal(found, np.arange(columns) // group):
            index = found
    return Affine(f"{module}.weight", shape, 0, codes, scales, group, settings.bits, False, zeros, index)


def _fields(words: NDArray[Any], count: int, bits: int) -> NDArray[np.uint8]:
    """The unsigned codes [R, count] in int32 words [R, W]: one after the other, lowest bits first, across words."""
    import numpy as np

    from exporters.compress.packing import unpack

    rows = len(words)
    octets = np.ascontiguousarray(words, "<i4").view(np.uint8).reshape(rows, -1)
    codes: NDArray[np.uint8] = unpack(np.ascontiguousarray(octets[:, : -(-count * bits // 8)]), bits, count)
    return codes


def _zero_points(stored: Stored, module: str, rows: int, settings: _Settings) -> NDArray[np.uint8]:
    """The zero points [N, G], after the rule of the version.

    Where a field of version 1 is all ones, its zero point was 0. gptqmodel subtracts one from whole words, so adding
    carries into the next field; auto-gptq reads each field by itself, modulo 2**bits (and with 3 bits not modulo).
    """
    import numpy as np

    words, bits = stored.read(f"{module}.qzeros"), settings.bits
    if settings.version == 1 and settings.carries and bits in _ONES:
        words = (np.ascontiguousarray(words, "<i4").view("<u4") + np.uint32(_ONES[bits])).view("<i4")
    zeros = _fields(words, rows, bits)
    if settings.version == 1 and not (settings.carries and bits in _ONES):
        top = (1 << bits) - 1
        if bits == 3 and not settings.carries and int(zeros.max()) == top:
            raise stored.wrong(f"{module}.qzeros", "holds a zero point of 8, which 3 bits cannot be")
        zeros = (zeros + np.uint8(1)) & np.uint8(top)
    return np.ascontiguousarray(zeros.T)
