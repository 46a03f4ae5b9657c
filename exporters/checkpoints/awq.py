"""AWQ checkpoints, version GEMM: 4 bits, int32 words along the outputs in an order of their own.

``qweight`` [K, N / 8], ``qzeros`` [G, N / 8], ``scales`` [G, N]; w = (code - zero) * scale. The i-th field of a word
is output 8 * word + ORDER[i]. Source: WQLinear_GEMM.from_linear and dequantize_gemm of autoawq 0.2.9.
"""

from __future__ import annotations

from collections.abc import Mapping
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

METHOD = "awq"
ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
_PARTS = (".qweight", ".qzeros", ".scales")


def read(stored: Stored, config: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint. ModelError when the configuration and the arrays do not fit each other."""
    bits, group = config.get("bits", config.get("w_bit")), config.get("group_size", config.get("q_group_size", 128))
    version = str(config.get("version", "gemm")).lower()
    if type(bits) is not int or bits != 4 or version != "gemm":
        raise ModelError(
            f"{stored.path}: AWQ of version {version:.20} with {bits!r:.20} bits, expected gemm with 4",
            "Save it in the version GEMM.",
        )
    if type(group) is not int or not (group == -1 or group > 0):
        raise ModelError(f"{stored.path}: AWQ with group_size {group!r:.20}")
    entries = {}
    for name in stored:
        if name.endswith(".qweight"):
            module = name.removesuffix(".qweight")
            shape = _shape(stored, module, group)
            load = partial(_load, stored, module, shape, shape[1] if group == -1 else group)
            entries[f"{module}.weight"] = Entry(f"{module}.weight", shape, load, width=bits)
    used = {name for name in stored if name.endswith(_PARTS)}
    origin = {"method": METHOD, "version": version, "bits": bits, "group_size": group}
    return Checkpoint(stored.path, METHOD, entries, real_entries(stored, used), origin).need_some()


def _shape(stored: Stored, module: str, group: int) -> tuple[int, int]:
    """[N, K] of the float weight, with the sizes of all parts compared."""
    words = stored.need(f"{module}.qweight", ("I32",), "packed codes").shape
    scales = stored.need(f"{module}.scales", FLOATS, "the scales").shape
    zeros = stored.need(f"{module}.qzeros", ("I32",), "the zero points").shape
    columns, each = (words[0], words[1]) if len(words) == 2 else (0, 0)
    groups = 1 if group == -1 else -(-columns // group)
    for part, found, expected in (("scales", scales, (groups, 8 * each)), ("qzeros", zeros, (groups, each))):
        if found != expected:
            raise stored.wrong(f"{module}.{part}", f"is {list(found)}, expected {list(expected)}")
    return 8 * each, columns


def _load(stored: Stored, module: str, shape: tuple[int, int], group: int) -> CompressedTensor:
    import numpy as np

    from exporters.compress.tensors import Affine

    codes = _fields(stored.read(f"{module}.qweight"))
    zeros = _fields(stored.read(f"{module}.qzeros"))
    scales = np.ascontiguousarray(stored.floats(f"{module}.scales").T)
    return Affine(f"{module}.weight", shape, 0, codes, scales, group, 4, False, zeros)


def _fields(words: NDArray[Any]) -> NDArray[np.uint8]:
    """The codes [N, R] in words [R, N / 8], outputs in their own order."""
    import numpy as np

    fields = np.empty((len(words), words.shape[1], 8), np.uint8)
    unsigned = np.ascontiguousarray(words, "<i4").view("<u4")
    for place, output in enumerate(ORDER):
        fields[:, :, output] = (unsigned >> np.uint32(4 * place)) & np.uint32(15)
    return np.ascontiguousarray(fields.reshape(len(words), -1).T)
