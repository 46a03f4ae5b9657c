"""State dicts of torchao, flattened to safetensors by torchao's own support (as transformers saves them).

The metadata has ``tensor_names`` and, per tensor, its class and attributes; MODULE._PARAMETER_qdata and the like hold
its arrays. Source: torchao 0.18.0, prototype/safetensors and quantization/quantize_/workflows; w = (qdata -
zero_point) * scale, with scales per block [1, G], per row or for the whole tensor.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from exporters.checkpoints.entries import Checkpoint, Entry
from exporters.checkpoints.reals import real_entries
from exporters.checkpoints.stored import FLOATS, Stored
from mobile.errors import ModelError

if TYPE_CHECKING:
    from exporters.compress.tensors import CompressedTensor

METHOD = "torchao"
_CLASSES = ("Int8Tensor", "IntxUnpackedToInt8Tensor", "Float8Tensor")
_FLOAT8 = {"F8_E4M3": "fp8e4m3", "F8_E5M2": "fp8e5m2"}


@dataclass(frozen=True)
class _Tensor:
    """A subclass tensor's attributes: what its arrays are called, its width, its block."""

    name: str
    stem: str
    width: int
    block: tuple[int, ...]


def is_torchao(stored: Stored) -> bool:
    """Whether the file's metadata is torchao's."""
    return "tensor_names" in stored.metadata


def read(stored: Stored) -> Checkpoint:
    """The checkpoint. ModelError for a class of tensor that holds something else than integers or 8-bit floats."""
    entries, used, dynamic = {}, set(), 0
    for name in _document(stored, "tensor_names", list):
        about = _document(stored, str(name), dict)
        kind = about.get("_type")
        if kind in ("Tensor", "torch.Tensor"):
            continue
        if not isinstance(kind, str) or kind not in _CLASSES:
            raise stored.wrong(str(name), f"is a {kind!r:.60}, expected one of {', '.join(_CLASSES)}")
        tensor = _tensor(stored, str(name), about)
        shape = stored.need(f"{tensor.stem}qdata", ("I8", *_FLOAT8), "codes").shape
        if len(shape) < 2 or len(tensor.block) != len(shape):
            raise stored.wrong(tensor.name, f"is {list(shape)} with blocks {list(tensor.block)}")
        if f"{tensor.stem}act_pre_scale" in stored:
            raise stored.wrong(str(name), "scales its inputs first (act_pre_scale), which is not supported")
        entries[tensor.name] = Entry(tensor.name, shape, partial(_load, stored, tensor, shape), width=tensor.width)
        used |= {key for key in stored if key.startswith(tensor.stem)}
        dynamic += bool(_fields(about).get("act_quant_kwargs"))
    origin: dict[str, Any] = {"method": METHOD}
    if dynamic:
        origin["activation_parameters_not_carried"] = dynamic
    return Checkpoint(stored.path, METHOD, entries, real_entries(stored, used), origin).need_some()


def _document(stored: Stored, key: str, kind: type) -> Any:
    try:
        found = json.loads(stored.metadata.get(key, ""))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{stored.path}: metadata {key!r:.80} is no JSON") from error
    if not isinstance(found, kind):
        raise ModelError(f"{stored.path}: metadata {key!r:.80} is no {kind.__name__}")
    return found


def _fields(about: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of a subclass tensor."""
    data = about.get("_data")
    return data if isinstance(data, dict) else {}


def _tensor(stored: Stored, name: str, about: Mapping[str, Any]) -> _Tensor:
    module, _, parameter = name.rpartition(".")
    stem = f"{module}._{parameter}_"
    fields = _fields(about)
    block = fields.get("block_size")
    if not isinstance(block, list) or any(type(size) is not int or size < 1 for size in block):
        raise stored.wrong(name, f"has the block_size {block!r:.60}")
    target = fields.get("target_dtype")
    text = str(target.get("_data", "")) if isinstance(target, dict) else "int8"
    width = int(text[3:]) if text.startswith("int") and text[3:].isdigit() else 0
    return _Tensor(name, stem, width, tuple(block))


def _load(stored: Stored, tensor: _Tensor, shape: tuple[int, ...]) -> CompressedTensor:
    from exporters.compress.tensors import Affine, Emulated

    rows, columns = shape[0], math.prod(shape[1:])
    stored.need(f"{tensor.stem}scale", FLOATS, "the weight's scale")
    scales = stored.floats(f"{tensor.stem}scale")
    whole = tensor.block == shape
    group = columns if whole or len(shape) != 2 else tensor.block[1]
    if not (whole or tensor.block[0] == 1 or scales.size == 1):
        raise stored.wrong(tensor.name, f"has scales for blocks of {list(tensor.block)}, expected one row each")
    wanted = (1, 1) if scales.size == 1 else (rows, -(-columns // group))
    if scales.size != math.prod(wanted):
        raise stored.wrong(f"{tensor.stem}scale", f"is {list(scales.shape)}, expected {list(wanted)}")
    scales = scales.reshape(wanted)
    codes = stored.read(f"{tensor.stem}qdata").reshape(rows, columns)
    dtype = stored[f"{tensor.stem}qdata"].dtype
    if dtype in _FLOAT8:
        return Emulated(tensor.name, shape, 0, codes, _FLOAT8[dtype], scales, group)
    zeros = None
    if f"{tensor.stem}zero_point" in stored:
        stored.need(f"{tensor.stem}zero_point", ("I8",), "zero points that are no integers are not supported")
        found = stored.read(f"{tensor.stem}zero_point")
        zeros = found.reshape(wanted) if found.any() else None
    return Affine(tensor.name, shape, 0, codes, scales, group, tensor.width, True, zeros)
