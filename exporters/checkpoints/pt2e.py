"""Programs quantised by PT2E (torch.ao or torchao) and saved with torch.export.save.

Every ``quantized_decomposed.dequantize_per_channel`` or ``_per_tensor`` of a stored integer is a weight: its name is
the module of the node that uses it (conversion forgets the parameter's own), its arithmetic (q - zero_point) * scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters.checkpoints.entries import Checkpoint, Entry, RealEntry
from exporters.torch_source import load_exported
from mobile.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from exporters.compress.tensors import CompressedTensor

METHOD = "pt2e"
_USERS = ("linear", "addmm", "mm", "matmul", "conv", "embedding")


@dataclass(frozen=True)
class _Found:
    """A dequantisation: the integers, their scales and zero points, the channel axis (None: per tensor)."""

    codes: NDArray[Any]
    scales: NDArray[Any]
    zeros: NDArray[Any]
    axis: int | None
    low: int
    high: int

    @property
    def width(self) -> int:
        """Bits of a code."""
        return max(1, (self.high - self.low).bit_length())


def read(path: Path) -> Checkpoint:
    """The checkpoint: integers as they are. ModelError when the program has no quantised weight. Needs torch.

    Unlike the other formats the program is loaded whole, as torch does it.
    """
    import importlib

    # Registers the operators that such a program is made of.
    importlib.import_module("torch.ao.quantization.fx._decomposed")
    program = load_exported(path)
    entries: dict[str, Entry] = {}
    for name, found in _weights(path, program):
        if name in entries:
            raise ModelError(f"{path}: two quantised weights are in the module {name.removesuffix('.weight')}")
        entries[name] = Entry(name, tuple(found.codes.shape), partial(_load, path, name, found), width=found.width)
    reals = {
        name: RealEntry(tuple(value.shape), partial(_real, value))
        for name, value in program.state_dict.items()
        if name not in entries and value.is_floating_point() and not name.rpartition(".")[2].startswith("_")
    }
    return Checkpoint(path, METHOD, entries, reals, {"method": METHOD}).need_some()


def _real(value: Any) -> NDArray[np.float32]:
    array: NDArray[np.float32] = value.detach().cpu().float().numpy()
    return array


def _weights(path: Path, program: Any) -> Iterator[tuple[str, _Found]]:
    stored = {**program.state_dict, **program.constants}
    targets = {
        spec.arg.name: spec.target
        for spec in program.graph_signature.input_specs
        if spec.target is not None and hasattr(spec.arg, "name")
    }
    for node in program.graph.nodes:
        kind = str(node.target)
        if node.op != "call_function" or "quantized_decomposed.dequantize_per_" not in kind:
            continue
        values = [stored.get(targets.get(getattr(item, "name", ""), ""), item) for item in node.args]
        if not hasattr(values[0], "numpy") or values[0].is_floating_point():
            continue  # an activation, not a stored weight
        user = next((user for user in node.users if any(part in str(user.target) for part in _USERS)), None)
        if user is None:
            raise ModelError(f"{path}: {node.name} is used by no linear, convolution or embedding node")
        yield f"{_module(user)}.weight", _found(values, "per_channel" in kind)


def _module(node: Any) -> str:
    """The path of the module that the node was traced in, "linear_1" for a node without one."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack and stack[-1][0] else str(node.name)


def _found(values: list[Any], per_channel: bool) -> _Found:
    import numpy as np

    arrays = [np.atleast_1d(item.detach().cpu().numpy() if hasattr(item, "numpy") else item) for item in values[:3]]
    rest = values[3:]
    axis = int(rest.pop(0)) if per_channel else None
    return _Found(arrays[0], arrays[1], arrays[2], axis, int(rest[0]), int(rest[1]))


def _load(path: Path, name: str, found: _Found) -> CompressedTensor:
    import numpy as np

    from exporters.compress.layout import to_rows
    from exporters.compress.tensors import Affine

    width, signed = found.width, found.low < 0
    if width > 8 or found.axis not in (None, 0):
        raise ModelError(f"{path}: {name} has {width} bits and scales along axis {found.axis}, expected 1 to 8 along 0")
    dtype = np.int8 if signed else np.uint8
    codes = to_rows(found.codes, 0).astype(dtype)
    shape = (1, 1) if found.axis is None else (len(codes), 1)
    scales = found.scales.astype(np.float32).reshape(shape)
    zeros = found.zeros.astype(dtype).reshape(shape) if found.zeros.any() else None
    return Affine(name, tuple(found.codes.shape), 0, codes, scales, math.prod(codes.shape[1:]), width, signed, zeros)
