"""Decoding subgraphs: packed codes into float32, int8 or a kernel's own form. All of it is folded at load time.

The file keeps the packed bytes; onnxruntime evaluates these nodes once, when a session is made. What stays in memory is
the result. Tables of whole bytes are used, not one node per bit: bit planes cost 1.2 to 1.7 GB of memory at load for
eight layers of 2048 x 2048, a byte table 40 to 60 MB (measured).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exporters.carriers import packing, trits
from exporters.carriers.coded import Term
from exporters.carriers.tape import Tape

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir
    from numpy.typing import NDArray

_INT32 = 6  # TensorProto.INT32
PAIRS_FROM = 1 << 18  # packed bytes of a tensor from which the table of byte pairs (256 kB or more at load) pays


def plane_values(term: Term, name: str, tape: Tape) -> list[tuple[int, int, ir.Value]]:
    """(width, shift, packed uint8 [N, bytes]) of each plane of a term, as initialisers."""
    found = []
    several = len(packing.SPLITS[term.bits]) > 1
    for width, shift, packed in packing.planes(term.codes, term.bits):
        value = tape.constant(packed, f"{plane_name(name, several, shift)}.packed", (width, term.codes.size))
        found.append((width, shift, value))
    return found


def plane_name(name: str, several: bool, shift: int) -> str:
    """What the plane that begins at bit ``shift`` is called."""
    return f"{name}.bits{shift}" if several else name


def byte_lookup(
    packed: NDArray[np.uint8], table: NDArray[np.uint8], name: str, tape: Tape, coded: tuple[int, int], pairs: bool
) -> ir.Value:
    """uint8 [*packed.shape, 2, 2, ...]: table[packed] for a table [256, r] with r a power of two.

    ``pairs`` (the result's shape does not matter): large tensors are looked up two bytes at a time, since indices are
    four bytes each and stay in memory while the graph is folded. The table of pairs is made at load.
    """
    import numpy as np

    length = int(table.shape[1])
    if (table == np.arange(256)[:, None]).all():
        return tape.constant(packed, f"{name}.packed", coded)
    if not pairs or packed.size < PAIRS_FROM or packed.shape[-1] % 2:
        shaped = table.reshape(256, *[2] * (length.bit_length() - 1))
        return lookup(tape.constant(packed, f"{name}.packed", coded), shaped, name, tape)
    stored = tape.constant(packed.view("<u2"), f"{name}.packed", coded)
    index = tape.op("Cast", [stored], name, to=_INT32)
    found: ir.Value = tape.op("Gather", [_pair_table(table, tape), index], name)
    return found


def _pair_table(table: NDArray[np.uint8], tape: Tape) -> ir.Value:
    """[65536, 2r]: what the two bytes of a little-endian number stand for."""
    key = ("pairs", table.tobytes())
    known = tape.kept(key)
    if known is not None:
        return known
    length = int(table.shape[1])
    one = tape.constant(table, _table_name(table))
    whole = tape.ints(256, 256, length)
    low = tape.op("Expand", [tape.reshape(one, (1, 256, length), "pairs"), whole], "pairs")
    high = tape.op("Expand", [tape.reshape(one, (256, 1, length), "pairs"), whole], "pairs")
    both = tape.op("Concat", [low, high], "pairs", axis=2)
    return tape.keep(key, tape.reshape(both, (65536, 2 * length), "pairs"))


def lookup(packed: ir.Value, table: NDArray[Any], hint: str, tape: Tape) -> ir.Value:
    """table[packed]: the bytes of ``packed`` [..., n] as [..., n, r] for a table [256, r]."""
    index = tape.op("Cast", [packed], hint, to=_INT32)
    found: ir.Value = tape.op("Gather", [tape.constant(table, _table_name(table)), index], hint)
    return found


def _table_name(table: NDArray[Any]) -> str:
    return f"table_{table.dtype.name}_" + "x".join(map(str, table.shape))


def columns_of(value: ir.Value, rows: int, have: int, want: int, hint: str, tape: Tape) -> ir.Value:
    """The first ``want`` columns of a value that is [rows, have] when flattened."""
    value = tape.reshape(value, (rows, have), hint)
    if have == want:
        return value
    found: ir.Value = tape.op("Slice", [value, tape.ints(0), tape.ints(want), tape.ints(1)], hint)
    return found


def codes(term: Term, name: str, tape: Tape) -> ir.Value:
    """int32 [N, K]: the codes of a term whose width is split into planes."""
    import numpy as np

    total = None
    for width, shift, packed in plane_values(term, name, tape):
        values = np.arange(1 << width, dtype=np.int32) << shift
        part = lookup(packed, packing.byte_table(width, values), name, tape)
        flat = columns_of(part, term.rows, _bytes(packed) * (8 // width), term.columns, name, tape)
        total = flat if total is None else tape.op("Add", [total, flat], name)
    assert total is not None
    return total


def _bytes(packed: ir.Value) -> int:
    assert packed.shape is not None
    return int(packed.shape[-1])  # type: ignore[arg-type]


def levels(term: Term, name: str, tape: Tape) -> ir.Value:
    """float32 [N, K]: what the codes stand for, without scale."""
    if term.levels.ndim == 2:
        table = tape.constant(term.levels, f"{name}.table")
        found: ir.Value = tape.op("GatherElements", [table, codes(term, name, tape)], name, axis=1)
        return found
    if term.trits:
        return trits.decoded(term, term.levels, name, tape)
    if len(packing.SPLITS[term.bits]) > 1:
        table = tape.constant(term.levels, f"{name}.levels")
        return tape.op("Gather", [table, codes(term, name, tape)], name)  # type: ignore[no-any-return]
    ((width, _, packed),) = plane_values(term, name, tape)
    part = lookup(packed, packing.byte_table(width, term.levels), name, tape)
    return columns_of(part, term.rows, _bytes(packed) * (8 // width), term.columns, name, tape)


def by_column(values: NDArray[Any], term: Term, hint: str, tape: Tape) -> ir.Value:
    """Values per group, [N, G] or [1, 1], as something that broadcasts against [N, K]."""
    import numpy as np

    constant = tape.constant(values, hint)
    if values.shape[1] == 1:
        return constant
    if term.group_index is not None:
        index = tape.constant(np.asarray(term.group_index, np.int32), f"{hint}.index")
        found: ir.Value = tape.op("Gather", [constant, index], hint, axis=1)
        return found
    count = values.shape[1]
    wide = tape.op("Expand", [tape.reshape(constant, (len(values), count, 1), hint), tape.ints(1, 1, term.group)], hint)
    return columns_of(wide, len(values), count * term.group, term.columns, hint, tape)


def float_rows(term: Term, name: str, tape: Tape) -> ir.Value:
    """float32 [N, K]: the term's values, by the arithmetic of ``Term``."""
    import numpy as np

    value = levels(term, name, tape)
    if term.zero_points is not None:
        points = by_column(term.zero_points.astype(np.float32), term, f"{name}.zero_points", tape)
        value = tape.op("Sub", [value, points], name)
    if term.scales is not None:
        value = tape.op("Mul", [value, by_column(term.scales, term, f"{name}.scales", tape)], name)
    if term.offsets is not None:
        value = tape.op("Add", [value, by_column(term.offsets, term, f"{name}.offsets", tape)], name)
    return value
