"""BitNet checkpoints: ternary weights, four to a byte.

Byte row r of ``weight`` (uint8 [N / 4, K]) holds outputs r, r + N/4, r + 2N/4 and r + 3N/4 in its bits 0-1, 2-3, 4-5
and 6-7, each as weight + 1. Source: pack_weights, BitLinear and AutoBitLinear of transformers 5.24
(integrations/bitnet.py). BitLinear divides by ``weight_scale``, AutoBitLinear multiplies.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from exporters.checkpoints.entries import Checkpoint, Entry
from exporters.checkpoints.reals import real_entries
from exporters.checkpoints.stored import FLOATS, Stored

if TYPE_CHECKING:
    from exporters.compress.tensors import CompressedTensor

METHOD = "bitnet"


def read(stored: Stored, config: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint. ModelError when a packed weight has no scale."""
    multiplies = config.get("linear_class") == "autobitlinear"
    entries = {}
    for name, place in stored.items():
        if name.endswith(".weight") and place.dtype == "U8" and len(place.shape) == 2:
            shape = (4 * place.shape[0], place.shape[1])
            stored.need(f"{name}_scale", FLOATS, "the scale of the ternary weight")
            entries[name] = Entry(name, shape, partial(_load, stored, name, shape, multiplies), width=2)
    used = {*entries, *(f"{name}_scale" for name in entries)}
    origin = {"method": METHOD, "linear_class": "autobitlinear" if multiplies else "bitlinear"}
    return Checkpoint(stored.path, METHOD, entries, real_entries(stored, used), origin).need_some()


def _load(stored: Stored, name: str, shape: tuple[int, int], multiplies: bool) -> CompressedTensor:
    """The scale of BitLinear is 1 / weight_scale, rounded once to float32."""
    import numpy as np

    from exporters.compress.tensors import Ternary

    scale = stored.floats(f"{name}_scale")
    if scale.size != 1 or float(scale.reshape(-1)[0]) == 0.0:
        raise stored.wrong(f"{name}_scale", "must be one number that is not zero")
    packed = stored.read(name)
    codes = np.concatenate([(packed >> np.uint8(2 * part)) & np.uint8(3) for part in range(4)]).astype(np.int8) - 1
    value = scale.reshape(1, 1)
    if not multiplies:
        value = np.float32(1) / value
    return Ternary(name, shape, 0, codes.astype(np.int8), value.astype(np.float32), shape[1])
