"""MatMulInteger with activations quantised as they come: the fastest carrier from 16 rows on (9 times float32 at 128).

The weight is int8 in memory, one scale per output; in the file it has its own width. DynamicQuantizeLinear takes one
scale for the whole activation tensor, so it is coarser than MatMulNBits' blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exporters.carriers import decode, packing, trits
from exporters.carriers.base import ASSUMED_ROWS, Carried, Use, Wishes, base_tensor, replace_output
from exporters.carriers.coded import Term, single_term, terms
from exporters.carriers.nbits import with_bias
from exporters.carriers.tape import Tape

if TYPE_CHECKING:
    import onnx_ir as ir

    from exporters.compress.tensors import CompressedTensor
    from exporters.targets import Target

MANY_ROWS = 16  # from here on it is faster than MatMulNBits (measured: 0.20 against 0.69 ms at 16 rows of 2048 x 2048)
OPSET = 11  # DynamicQuantizeLinear
SATURATION = "its sums may saturate on x86 processors without VNNI: int8 weights beyond 6 bits with uint8 activations"
_FLOAT = 1


class Integer:
    """Matrix products by int8."""

    name = "MatMulInteger"

    def refusal(self, tensor: CompressedTensor, use: Use, target: Target | None, wishes: Wishes) -> str | None:
        """Why it does not fit."""
        if use.kind != "matmul" or use.place != 1:
            return "it is no matrix that multiplies rows of activations"
        found = terms(base_tensor(tensor))
        if found is None:
            return f"{tensor.family} has no codes"
        if len(found) > 1:
            return f"{tensor.family} needs more than one multiplication"
        return _unfit(found[0])

    def emit(self, tensor: CompressedTensor, use: Use, tape: Tape, target: Target | None, wishes: Wishes) -> Carried:
        """DynamicQuantizeLinear, MatMulInteger, and both scales."""
        base = base_tensor(tensor)
        term = single_term(base)
        key = ("integer", base.name)
        weight = tape.kept(key) or tape.keep(key, _weight(term, base.name, tape))
        scales = _one_scale(term)
        tape.beside(use.node)
        data, scale, zero = tape.op("DynamicQuantizeLinear", [use.node.inputs[0]], base.name, outputs=3)
        total = tape.op("MatMulInteger", [data, weight, zero], base.name)
        total = tape.op("Cast", [total], base.name, to=_FLOAT)
        both = tape.op("Mul", [scale, tape.constant(scales, f"{base.name}.scales")], base.name)
        total = tape.op("Mul", [total, both], base.name)
        replace_output(use, with_bias(use, total, base.name, tape))
        tape.beside(None)
        low, high = term.used_levels()
        notes = (SATURATION,) if max(-low, high) > 64 else ()
        return Carried(self.name, "uint8 activations by tensor", -1, notes)


def preferred(use: Use, wishes: Wishes) -> bool:
    """Whether as many rows are expected as make it the fastest."""
    rows = use.rows_m if use.rows_m is not None else wishes.rows_m
    return wishes.dynamic or (rows if rows is not None else ASSUMED_ROWS) >= MANY_ROWS


def _unfit(term: Term) -> str | None:
    if term.bits > 8:
        return f"its codes have {term.bits} bits"
    if not term.whole:
        return "its values are no whole multiples of a scale"
    if term.offsets is not None or term.zero_points is not None:
        return "it has offsets or zero points"
    if term.groups > 1:
        return "it has several scales a row"
    low, high = term.used_levels()
    if low < -128 or high > 127:
        return f"its levels {low}..{high} do not fit int8"
    return None


def _one_scale(term: Term) -> Any:
    import numpy as np

    if term.scales is None:
        return np.ones(1, np.float32)
    return term.scales.reshape(-1)


def _weight(term: Term, name: str, tape: Tape) -> ir.Value:
    """int8 [K, N]."""
    import numpy as np

    levels = np.clip(term.levels, -128, 127).astype(np.int8)
    if term.trits:
        return trits.decoded(term, levels, name, tape, turned=True)
    if term.bits == 8:
        return tape.constant(np.ascontiguousarray(levels[term.codes].T), f"{name}.int8")
    turned = Term(np.ascontiguousarray(term.codes.T), term.bits, term.levels, None, term.rows)
    if len(packing.SPLITS[term.bits]) > 1:
        index = decode.codes(turned, name, tape)
        found: ir.Value = tape.op("Gather", [tape.constant(levels, f"{name}.levels"), index], name)
        return found
    ((width, _, packed),) = decode.plane_values(turned, name, tape)
    part = decode.lookup(packed, packing.byte_table(width, levels), name, tape)
    return decode.columns_of(
        part, turned.rows, -(-turned.columns * width // 8) * (8 // width), turned.columns, name, tape
    )
