"""Ternary codes at 1.6 bits: five in a byte, looked up by bytes or pairs of bytes while a session loads.

A byte holds the digits (code + 1) of five rows: row i of each fifth of the rows, the first counting 1, then 3, 9, 27,
81. So the columns of a row stay neighbours, and a table of byte pairs gives the bytes that a kernel reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exporters.carriers.coded import Term
from exporters.carriers.tape import Tape

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir
    from numpy.typing import NDArray

DIGITS = 5  # 3**5 = 243
BITS = 8 / DIGITS
_INT32, _UINT8 = 6, 2  # of TensorProto


def pack_rows(codes: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """[ceil(N/5), columns] bytes of codes 0, 1, 2 [N, K]; what is added to rows and columns is 1, which means zero."""
    import numpy as np

    rows, have = codes.shape
    fifth = -(-rows // DIGITS)
    padded = np.ones((fifth * DIGITS, columns), np.uint8)
    padded[:rows, :have] = codes
    weights = (3 ** np.arange(DIGITS, dtype=np.uint8)).reshape(-1, 1, 1)
    packed: NDArray[np.uint8] = (padded.reshape(DIGITS, fifth, columns) * weights).sum(axis=0, dtype=np.uint8)
    return packed


def digit_table(values: NDArray[Any]) -> NDArray[Any]:
    """[256, 5] of their dtype: what a byte's digits stand for; ``values`` is by digit. Bytes from 243 do not occur."""
    import numpy as np

    digits = np.arange(256)[:, None] // 3 ** np.arange(DIGITS) % 3
    table: NDArray[Any] = values[digits]
    return table


def decoded(term: Term, values: NDArray[Any], name: str, tape: Tape, turned: bool = False) -> ir.Value:
    """[N, K] (``turned``: [K, N]) of the values' dtype: what the codes stand for."""
    packed = pack_rows(term.codes, term.columns)
    stored = tape.constant(packed, f"{name}.trits", _stated(packed))
    index = tape.op("Cast", [stored], name, to=_INT32)
    table = tape.constant(digit_table(values), f"table_trits_{values.dtype.name}")
    found = tape.op("Gather", [table, index], name)  # [fifth, K, 5]
    if not turned:
        return _rows(tape.op("Transpose", [found], name, perm=[2, 0, 1]), term, term.columns, name, tape)
    wide = len(packed) * DIGITS
    found = tape.op("Transpose", [found], name, perm=[1, 2, 0])
    found = tape.reshape(found, (term.columns, wide), name)
    if wide != term.rows:
        found = tape.op("Slice", [found, tape.ints(0), tape.ints(term.rows), tape.ints(1)], name)
    return found  # type: ignore[no-any-return]


def kernel_bytes(term: Term, values: NDArray[np.int64], width: int, name: str, tape: Tape) -> ir.Value:
    """uint8 [N, ceil(K*width/8)]: the codes as a kernel of 2 or 4 bits reads them; ``values``: its codes by digit."""
    import numpy as np

    per = 8 // width
    columns = -(-term.columns // per) * per
    packed = pack_rows(term.codes, columns)
    pairs = packed.reshape(len(packed), -1, per // 2, 2)
    total = None
    for part in range(per // 2):
        halves = np.ascontiguousarray(pairs[:, :, part]).view("<u2")[:, :, 0]
        label = f"{name}.trits" if per == 2 else f"{name}.trits{part}"
        stored = tape.constant(halves, label, _stated(halves.view(np.uint8)))
        table = _pair_table(values, width, 2 * width * part, tape)
        found = tape.op("Gather", [table, tape.op("Cast", [stored], name, to=_INT32)], name)
        total = found if total is None else tape.op("BitwiseOr", [total, found], name)
    assert total is not None
    turned = tape.op("Transpose", [total], name, perm=[2, 0, 1])
    return _rows(turned, term, columns // per, name, tape)


def _stated(packed: NDArray[np.uint8]) -> tuple[float, int]:
    """(bits, number of codes), those of filled up rows and columns too."""
    return BITS, packed.size * DIGITS


def _rows(value: Any, term: Term, columns: int, name: str, tape: Tape) -> ir.Value:
    """The first N rows of [5, fifth, columns]."""
    wide = -(-term.rows // DIGITS) * DIGITS
    found: ir.Value = tape.reshape(value, (wide, columns), name)
    if wide == term.rows:
        return found
    cut: ir.Value = tape.op("Slice", [found, tape.ints(0), tape.ints(term.rows), tape.ints(0)], name)
    return cut


def _pair_table(values: NDArray[np.int64], width: int, shift: int, tape: Tape) -> ir.Value:
    """uint8 [65536, 5]: for two bytes their five pairs of kernel codes, the first byte's lower, moved up by ``shift``.

    Made at load from 256 rows: in the file it would be 328 kB.
    """
    import numpy as np

    key = ("trit pairs", values.tobytes(), width, shift)
    known = tape.kept(key)
    if known is not None:
        return known
    one = digit_table(values.astype(np.int32)) << shift
    low = tape.constant(one.reshape(1, 256, DIGITS), "table_trits_low")
    high = tape.constant(one.reshape(256, 1, DIGITS) << width, "table_trits_high")
    both = tape.op("Cast", [tape.op("Add", [low, high], "trit_pairs")], "trit_pairs", to=_UINT8)
    return tape.keep(key, tape.reshape(both, (65536, DIGITS), "trit_pairs"))
