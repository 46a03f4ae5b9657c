"""The carrier that fits everywhere: packed in the file, float32 in memory, at the speed of float32.

The weight is decoded by nodes over initialisers, which onnxruntime folds when it loads. Conv has no low-bit kernel: its
weights through DequantizeLinear would be decoded at every call (29 to 32 ms instead of 8.4 for EfficientNet-Lite0), so
they go this way too. fp8 by DequantizeLinear is not folded either (7 ms instead of 0.6), by a table it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exporters.carriers import decode, packing
from exporters.carriers.base import Carried, Use, Wishes, base_tensor
from exporters.carriers.coded import terms
from exporters.carriers.tape import Tape

if TYPE_CHECKING:
    import onnx_ir as ir

    from exporters.compress.tensors import CompressedTensor, Emulated, Sparse
    from exporters.targets import Target

_FLOAT = 1  # TensorProto.FLOAT
_INT32 = 6


class Folded:
    """Any weight of any node."""

    name = "folded float32"

    def refusal(self, tensor: CompressedTensor, use: Use, target: Target | None, wishes: Wishes) -> str | None:
        """Why it does not fit."""
        base = base_tensor(tensor)
        if base.family in ("low-rank", "lora", "block-pruned"):
            return f"{base.family} has a carrier of its own"
        return None

    def emit(self, tensor: CompressedTensor, use: Use, tape: Tape, target: Target | None, wishes: Wishes) -> Carried:
        """Gives the node the decoded weight; a Transpose between the two is folded like the rest."""
        key = ("float", base_tensor(tensor).name, tensor.shape, tensor.axis)
        value = tape.kept(key) or tape.keep(key, float_weight(tensor, tape))
        owner, place = (use.through, 0) if use.through is not None else (use.node, use.place)
        owner.replace_input_with(place, value)
        return Carried(self.name, "float32", 0, _notes(base_tensor(tensor)), value.name or "")


def _notes(base: Any) -> tuple[str, ...]:
    if _is_sparse(base):
        return ("smaller in the file only: it is dense in memory and as fast as float32",)
    return ()


def _is_sparse(tensor: Any) -> bool:
    return hasattr(tensor, "pattern")


def float_weight(tensor: CompressedTensor, tape: Tape) -> ir.Value:
    """float32 of the tensor's shape, equal to its ``dequantise()`` bit for bit."""
    return shaped(_rows(base_tensor(tensor), tape), tensor, tape)


def shaped(rows: ir.Value, tensor: CompressedTensor, tape: Tape) -> ir.Value:
    """Rows [N, K] in the tensor's own shape."""
    moved = [tensor.shape[tensor.axis], *(size for place, size in enumerate(tensor.shape) if place != tensor.axis)]
    if len(moved) != 2:
        rows = tape.reshape(rows, moved, tensor.name)
    if tensor.axis == 0:
        return rows
    order = [*range(1, tensor.axis + 1), 0, *range(tensor.axis + 1, len(moved))]
    found: ir.Value = tape.op("Transpose", [rows], tensor.name, perm=order)
    return found


def _rows(base: Any, tape: Tape) -> ir.Value:
    if base.family == "float":
        return tape.constant(base.values, f"{base.name}.float")
    found = terms(base)
    if found is None:
        return _sparse(base, tape) if _is_sparse(base) else _half(base, tape)
    total = None
    for number, term in enumerate(found):
        name = base.name if len(found) == 1 else f"{base.name}.{number + 1}"
        part = decode.float_rows(term, name, tape)
        total = part if total is None else tape.op("Add", [total, part], base.name)
    assert total is not None
    return total


def _half(base: Emulated, tape: Tape) -> ir.Value:
    """fp16 and bf16 as their own element types."""
    import ml_dtypes
    import numpy as np

    dtype = np.dtype(np.float16) if base.format == "fp16" else np.dtype(ml_dtypes.bfloat16)
    stored = np.ascontiguousarray(base.codes).view(dtype)
    value: ir.Value = tape.op("Cast", [tape.constant(stored, f"{base.name}.{base.format}")], base.name, to=_FLOAT)
    if base.scales is None:
        return value
    from exporters.carriers.coded import Term

    term = Term(np.zeros(base.codes.shape, np.uint8), 8, np.zeros(256, np.float32), base.scales, base.group)
    scaled: ir.Value = tape.op(
        "Mul", [value, decode.by_column(base.scales, term, f"{base.name}.scales", tape)], base.name
    )
    return scaled


def _sparse(base: Sparse, tape: Tape) -> ir.Value:
    """One bit a weight and the kept values.

    Patterns such as 2:4 keep at most so many values a byte of the mask: each byte has its own, and a table says which
    weight takes which. That takes about 20 bytes a weight in memory at load, counting them 50. Without a pattern the
    k-th set bit takes the k-th value.
    """
    columns = base.mask.shape[1]
    if base.pattern is not None and 8 % base.pattern[1] == 0 and columns % 8 == 0:
        return _sparse_bytes(base, base.pattern[0] * 8 // base.pattern[1], tape)
    return _sparse_counted(base, tape)


def _sparse_bytes(base: Sparse, slots: int, tape: Tape) -> ir.Value:
    import numpy as np

    rows, columns = base.mask.shape
    mask = base.mask.reshape(-1, 8)
    order = np.cumsum(mask, 1) - 1
    values = np.zeros((len(mask), slots), np.float32)
    values[np.nonzero(mask)[0], order[mask]] = base.values
    bits = packing.byte_codes(1).astype(np.int32)
    table = np.where(bits > 0, np.cumsum(bits, 1) - 1, slots).astype(np.int32)
    packed = tape.constant(packing.pack(base.mask, 1).reshape(-1), f"{base.name}.mask", (1, base.mask.size))
    stored = tape.constant(values, f"{base.name}.values")
    padded = tape.op("Pad", [stored, tape.ints(0, 0, 0, 1)], base.name)
    places = decode.lookup(packed, np.minimum(table, slots), base.name, tape)
    return tape.reshape(tape.op("GatherElements", [padded, places], base.name, axis=1), (rows, columns), base.name)


def _sparse_counted(base: Sparse, tape: Tape) -> ir.Value:
    import numpy as np

    rows, columns = base.mask.shape
    packed = tape.constant(packing.pack(base.mask, 1), f"{base.name}.mask", (1, base.mask.size))
    table = packing.byte_table(1, np.array([0, 1], np.int32))
    bits = decode.lookup(packed, table, base.name, tape)
    width = -(-columns // 8) * 8
    flat = tape.reshape(decode.columns_of(bits, rows, width, columns, base.name, tape), (-1,), base.name)
    count = tape.op("CumSum", [flat, tape.constant(np.zeros((), np.int64), "axis_0")], base.name)
    place = tape.op("Mul", [count, flat], base.name)  # 0 where nothing is kept
    values = np.concatenate([np.zeros(1, np.float32), base.values.astype(np.float32)])
    dense = tape.op("Gather", [tape.constant(values, f"{base.name}.values"), place], base.name)
    return tape.reshape(dense, (rows, columns), base.name)
