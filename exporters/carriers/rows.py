"""Embeddings: the packed rows are gathered, and only those that were asked for are decoded.

Gather has no 4- or 2-bit data on the CPU, and quantising an embedding to 8 bits with the runtime's tool is refused; the
codes packed in bytes are gathered as bytes, so the table stays packed in memory, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exporters.carriers import decode, packing
from exporters.carriers.base import Carried, Use, Wishes, base_tensor, replace_output
from exporters.carriers.coded import Term, terms
from exporters.carriers.tape import Tape

if TYPE_CHECKING:
    from exporters.compress.tensors import CompressedTensor
    from exporters.targets import Target


class Rows:
    """Gather along the rows."""

    name = "packed rows"

    def refusal(self, tensor: CompressedTensor, use: Use, target: Target | None, wishes: Wishes) -> str | None:
        """Why it does not fit."""
        if use.kind != "gather" or tensor.axis != 0:
            return "it is no embedding"
        found = terms(base_tensor(tensor))
        if found is None:
            return f"{tensor.family} has no codes"
        for term in found:
            if term.levels.ndim == 2 or term.group_index is not None:
                return "each of its rows has a table of its own, or its groups are not in order"
            if term.groups > 1 and term.columns % term.group:
                return f"{term.columns} columns are no multiple of its groups of {term.group}"
        return None

    def emit(self, tensor: CompressedTensor, use: Use, tape: Tape, target: Target | None, wishes: Wishes) -> Carried:
        """Gathers bytes, looks them up and scales them, for each term."""
        base = base_tensor(tensor)
        found = terms(base)
        assert found is not None
        total = None
        for number, term in enumerate(found):
            name = base.name if len(found) == 1 else f"{base.name}.{number + 1}"
            part = _gathered(term, name, use, tape)
            total = part if total is None else tape.op("Add", [total, part], base.name)
        replace_output(use, total)
        tape.beside(None)
        notes = ("an embedding has its trits at 2 bits",) if any(term.trits for term in found) else ()
        return Carried(self.name, "float32", notes=notes)


def _gathered(term: Term, name: str, use: Use, tape: Tape) -> Any:
    import numpy as np

    stored = decode.plane_values(term, name, tape)
    tape.beside(use.node)
    ids = use.node.inputs[1]
    assert ids is not None
    shape = tape.op("Shape", [ids], name)
    several = len(stored) > 1
    total = None
    for width, shift, packed in stored:
        values = (np.arange(1 << width, dtype=np.int32) << shift) if several else term.levels
        rows = tape.op("Gather", [packed, ids], name)
        part = decode.lookup(rows, packing.byte_table(width, values), name, tape)
        part = _columns(part, shape, term.columns, -(-term.columns * width // 8) * (8 // width), name, tape)
        total = part if total is None else tape.op("Add", [total, part], name)
    if several:
        total = tape.op("Gather", [tape.constant(term.levels, f"{name}.levels"), total], name)
    return _scaled(term, total, ids, shape, name, tape)


def _columns(value: Any, shape: Any, want: int, have: int, name: str, tape: Tape) -> Any:
    """[ids..., bytes, r] as [ids..., K]."""
    value = tape.op("Reshape", [value, tape.op("Concat", [shape, tape.ints(have)], name, axis=0)], name)
    if have == want:
        return value
    return tape.op("Slice", [value, tape.ints(0), tape.ints(want), tape.ints(-1)], name)


def _scaled(term: Term, value: Any, ids: Any, shape: Any, name: str, tape: Tape) -> Any:
    import numpy as np

    parts = [("Sub", term.zero_points, "zero_points"), ("Mul", term.scales, "scales"), ("Add", term.offsets, "offsets")]
    parts = [part for part in parts if part[1] is not None]
    groups = max((part[1].shape[1] for part in parts if part[1] is not None), default=1)
    if groups > 1:
        split = tape.op("Concat", [shape, tape.ints(groups, term.group)], name, axis=0)
        value = tape.op("Reshape", [value, split], name)
    for kind, array, label in parts:
        assert array is not None
        constant = tape.constant(array.astype(np.float32), f"{name}.{label}")
        one = array.shape == (1, 1)
        mine = tape.reshape(constant, (1,), name) if one else tape.op("Gather", [constant, ids], name)
        if groups > 1 and not one:
            mine = tape.op("Unsqueeze", [mine, tape.ints(-1)], name)
        value = tape.op(kind, [value, mine], name)
    if groups > 1:
        whole = tape.op("Concat", [shape, tape.ints(term.columns)], name, axis=0)
        value = tape.op("Reshape", [value, whole], name)
    return value
