"""MatMulNBits: the low-bit matrix kernels of onnxruntime (com.microsoft), with int8 activations (accuracy level 4).

Rules, each measured on onnxruntime 1.19.2, 1.23.2 and 1.32.0 with eight layers of 2048 x 2048:

- accuracy level 4 always: without it 2- and 8-bit weights run 20 times slower than float32.
- blocks of 16 to 128. A block of 256 falls off the 2-bit kernel: 100 ms instead of 0.7 at one row; one of 16, too
  (3.6 ms instead of 0.07 for 1024 x 1024): such weights take the 4-bit kernel.
- widths 2, 4 and 8 only, and only those the release has; other widths are widened by a byte table at load.
- a weight that several nodes read is named by each of them directly; through DequantizeLinear it would not be fused
  and run 50 times slower.

Levels that no available width holds are written as digits: w = d0 + d1 * 2**width, one kernel each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exporters.carriers import decode, packing, trits
from exporters.carriers.base import Carried, Use, Wishes, base_tensor, replace_output
from exporters.carriers.coded import Term, terms
from exporters.carriers.tape import MICROSOFT, Tape

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir
    from numpy.typing import NDArray

    from exporters.compress.tensors import CompressedTensor
    from exporters.targets import Target

BLOCKS = (16, 32, 64, 128)
LEAST_2_BIT_BLOCK = 32
ACCURACY_LEVEL = 4
PORTABLE_WIDTHS = (4,)  # what every release with the operator has
OR_OPSET = 18  # BitwiseOr, which joins the planes of 3, 5, 6 and 7 bits


@dataclass(frozen=True, eq=False)
class _Kernel:
    """One MatMulNBits: kernel codes minus zero points, times ``factor`` and the term's scales."""

    width: int
    table: NDArray[np.int64]  # stored code -> kernel code
    factor: int
    points: NDArray[np.int64] | None  # kernel codes of zero, [N, G] or [1, 1]; None: the width's own default
    low: int = 0  # the stored bits that it reads: from ``low``,
    span: int = 8  # so many


class NBits:
    """Matrix products with integer levels."""

    name = "MatMulNBits"

    def refusal(self, tensor: CompressedTensor, use: Use, target: Target | None, wishes: Wishes) -> str | None:
        """Why it does not fit."""
        if use.kind != "matmul" or use.place != 1:
            return "it is no matrix that multiplies rows of activations"
        if not widths(target):
            return f"{target.name if target else 'the target'} has no MatMulNBits"
        tensor = base_tensor(tensor)
        found = terms(tensor)
        if found is None:
            return f"{tensor.family} has no codes"
        for term in found:
            why = _unfit(term)
            if why is not None:
                return why
        return None

    def emit(self, tensor: CompressedTensor, use: Use, tape: Tape, target: Target | None, wishes: Wishes) -> Carried:
        """y = the sum of one MatMulNBits per digit of each term."""
        base = base_tensor(tensor)
        found = terms(base)
        assert found is not None
        used, total, block = [], None, 0
        for number, term in enumerate(found):
            name = base.name if len(found) == 1 else f"{base.name}.{number + 1}"
            block = block_size(term) or BLOCKS[-1]
            for place, kernel in enumerate(kernels(term, _usable(term, target, tape.opset))):
                operands = _operands(term, kernel, name, block, (base.name, number, place), tape)
                tape.beside(use.node)
                part = tape.op(
                    "MatMulNBits", [use.node.inputs[0], *operands], base.name, MICROSOFT, K=term.columns, N=term.rows,
                    bits=kernel.width, block_size=block, accuracy_level=ACCURACY_LEVEL,
                )  # fmt: skip
                total = part if total is None else tape.op("Add", [total, part], base.name)
                tape.beside(None)
                used.append(kernel.width)
        tape.beside(use.node)
        replace_output(use, with_bias(use, total, base.name, tape))
        tape.beside(None)
        label = " + ".join(f"b{width}" for width in used)
        return Carried(f"{self.name} {label}", f"int8 activations by blocks of {block}", block)


def widths(target: Target | None, block: int | None = None) -> tuple[int, ...]:
    """The kernel widths of the target for a block; without a target, those of every release that has the operator."""
    have = PORTABLE_WIDTHS if target is None else target.nbits
    return tuple(width for width in have if not (width == 2 and block is not None and block < LEAST_2_BIT_BLOCK))


def _usable(term: Term, target: Target | None, opset: int) -> tuple[int, ...]:
    """The widths for a term; five trits a byte become 2 bits by BitwiseOr, which older operator sets lack."""
    found = widths(target, block_size(term))
    return tuple(width for width in found if not (term.trits and width == 2 and opset < OR_OPSET))


def kernel_count(tensor: CompressedTensor, target: Target | None) -> int:
    """How many kernels the tensor would take; 0 where it cannot be carried so."""
    found = terms(base_tensor(tensor))
    if found is None or not widths(target) or any(_unfit(term) for term in found):
        return 0
    return sum(len(kernels(term, widths(target, block_size(term)))) for term in found)


def with_bias(use: Use, value: Any, name: str, tape: Tape) -> Any:
    """The product with a Gemm's C added."""
    bias = use.node.inputs[2] if use.node.op_type == "Gemm" and len(use.node.inputs) > 2 else None
    return value if bias is None else tape.op("Add", [value, bias], name)


def block_size(term: Term) -> int | None:
    """The kernel's block for the term's groups: the largest of 16 to 128 that divides a group; None: none does."""
    if term.groups == 1:
        return next((block for block in BLOCKS if block >= term.columns), BLOCKS[-1])
    return next((block for block in reversed(BLOCKS) if term.group % block == 0), None)


def _unfit(term: Term) -> str | None:
    if term.bits > 8:
        return f"its codes have {term.bits} bits"
    if not term.whole:
        return "its values are no whole multiples of a scale"
    if term.offsets is not None:
        return "it has offsets beside its scales"
    if term.group_index is not None:
        return "its groups are not in the order of the columns"
    if block_size(term) is None:
        return f"groups of {term.group} are no multiple of {BLOCKS[0]}"
    if term.zero_points is not None and not term.linear:
        return "it has zero points and a table"
    return None


def kernels(term: Term, available: tuple[int, ...]) -> list[_Kernel]:
    """The kernels whose sum is the term: one where a width holds the levels, else one per digit."""
    import numpy as np

    if term.zero_points is None:
        low, high = term.used_levels()
        plain = len(packing.SPLITS[term.bits]) == 1
        width = next((w for w in available if -(1 << (w - 1)) <= low and high < 1 << (w - 1) and w >= term.bits), None)
        symmetric = term.linear and int(term.levels[0]) == -(1 << (term.bits - 1))
        if width is not None and (plain or symmetric):
            half = 1 << (width - 1)
            values = np.clip(term.levels.astype(np.int64), -half, half - 1) + half
            return [_Kernel(width, values, 1, None)]
        if not term.linear:
            return _digits(term.levels.astype(np.int64), available[-1], term)
    points = _points(term)
    width = next((w for w in available if w >= term.bits), None)
    codes = np.arange(1 << term.bits, dtype=np.int64)
    if width is not None and points.min() >= 0 and points.max() < 1 << width:
        return [_Kernel(width, codes, 1, points)]
    return _planes(term, available[-1], points)


def _points(term: Term) -> NDArray[np.int64]:
    """The stored codes that mean zero, [N, G] or [1, 1]."""
    import numpy as np

    first = int(term.levels[0])
    if term.zero_points is None:
        return np.full((1, 1), -first, np.int64)
    return term.zero_points.astype(np.int64) - first


def _digits(levels: NDArray[np.int64], width: int, term: Term) -> list[_Kernel]:
    """Balanced digits of the levels in base 2**width."""
    import numpy as np

    base, half, factor, found = 1 << width, 1 << (width - 1), 1, []
    used = np.zeros(len(levels), bool)
    used[np.unique(term.codes)] = True
    rest = np.where(used, levels, 0)
    while rest.any():
        digit = (rest + half) % base - half
        found.append(_Kernel(width, digit + half, factor, None))
        rest, factor = (rest - digit) // base, factor * base
    return found


def _planes(term: Term, width: int, points: NDArray[np.int64]) -> list[_Kernel]:
    """Codes too wide for the widest kernel: their low and high ``width`` bits apart."""
    import numpy as np

    codes = np.arange(1 << width, dtype=np.int64)
    found = []
    for low in range(0, term.bits, width):
        last = low + width >= term.bits
        part = points >> low if last else (points >> low) & ((1 << width) - 1)
        found.append(_Kernel(width, codes, 1 << low, part, low, min(width, term.bits - low)))
    return found


def _operands(term: Term, kernel: _Kernel, name: str, block: int, key: tuple[Any, ...], tape: Tape) -> list[ir.Value]:
    """Packed weights, scales and zero points, made once for all uses of the tensor."""
    kept = [tape.kept((*key, part)) for part in ("weights", "scales", "points")]
    if kept[0] is not None:
        return [value for value in kept if value is not None]
    made = [_weights(term, kernel, name, block, tape), _scales(term, kernel, name, block, tape)]
    if kernel.points is not None:
        made.append(_zero_points(term, kernel, name, block, tape))
    for part, value in zip(("weights", "scales", "points"), made, strict=False):
        tape.keep((*key, part), value)
    return made


def _weights(term: Term, kernel: _Kernel, name: str, block: int, tape: Tape) -> ir.Value:
    """uint8 [N, blocks, block*width/8]."""
    count = -(-term.columns // block)
    shape = (term.rows, count, block * kernel.width // 8)
    if term.trits:
        rows = trits.kernel_bytes(term, kernel.table, kernel.width, name, tape)
        return tape.reshape(_filled(rows, term, kernel, count * block, name, tape), shape, name)
    if _stored_as_computed(term, kernel) and term.columns % block == 0:
        blob = packing.pack(kernel.table[term.codes], kernel.width).reshape(shape)
        return tape.constant(blob, f"{name}.packed", (kernel.width, term.codes.size))
    planes = _stored(term, kernel, name, tape)
    if term.columns % 8 == 0 and term.columns % block == 0:
        return tape.reshape(_joined(planes, kernel, name, tape), shape, name)
    parts = [_row_bytes(plane, term, kernel, name, tape) for plane in planes]
    joined = parts[0]
    for part in parts[1:]:
        joined = tape.op("BitwiseOr", [joined, part], name)
    return tape.reshape(_filled(joined, term, kernel, count * block, name, tape), shape, name)


def _filled(value: Any, term: Term, kernel: _Kernel, columns: int, name: str, tape: Tape) -> Any:
    """The bytes of rows, with zero bytes behind them up to the last block's end."""
    import numpy as np

    have, wanted = -(-term.columns * kernel.width // 8), columns * kernel.width // 8
    if have == wanted:
        return value
    zero = tape.constant(np.zeros((), np.uint8), "zero_byte")
    return tape.op("Pad", [value, tape.ints(0, 0, 0, wanted - have), zero], name)


def _joined(planes: list[_Plane], kernel: _Kernel, name: str, tape: Tape) -> ir.Value:
    """All planes looked up and joined, in any shape that holds the bytes in order.

    Every node's result stays in memory until the whole graph is folded, so there are as few as possible: the planes are
    given axes of 2 such that their lookups have one shape without a Reshape.
    """
    longest = max(8 // plane.width * kernel.width // 8 for plane in planes)
    joined: ir.Value | None = None
    for plane in planes:
        table = packing.repack_table(plane.width, plane.values, kernel.width)
        short = (longest // table.shape[1]).bit_length() - 1
        rows = len(plane.packed)
        packed = plane.packed.reshape(rows, -1, *[2] * short)
        alone = len(planes) == 1
        part = decode.byte_lookup(packed, table, plane.name, tape, plane.coded, alone)
        joined = part if joined is None else tape.op("BitwiseOr", [joined, part], name)
    assert joined is not None
    return joined


@dataclass(frozen=True, eq=False)
class _Plane:
    """A stored plane: ``values`` are the kernel's bits for each of its codes, ``coded`` (width, number of codes)."""

    width: int
    packed: NDArray[np.uint8]
    values: NDArray[np.int64]
    name: str
    coded: tuple[int, int]


def _stored_as_computed(term: Term, kernel: _Kernel) -> bool:
    """Whether the file may hold the kernel's own codes: one kernel of the stored width, each level one code."""
    return kernel.width == term.bits and kernel.low == 0 and kernel.factor == 1 and len(kernel.table) == 1 << term.bits


def _stored(term: Term, kernel: _Kernel, name: str, tape: Tape) -> list[_Plane]:
    """The stored planes that the kernel reads. 8-bit codes for 4-bit kernels are stored as two planes."""
    import numpy as np

    codes, bits = term.codes, term.bits
    if kernel.span < bits:
        codes = (codes >> np.uint8(kernel.low)) & np.uint8((1 << kernel.span) - 1)
        bits, name = kernel.span, f"{name}.high" if kernel.low else f"{name}.low"
    several = len(packing.SPLITS[bits]) > 1
    return [
        _Plane(width, packed, _plane_table(kernel, width, shift), decode.plane_name(name, several, shift),
               (width, codes.size))
        for width, shift, packed in packing.planes(codes, bits)
    ]  # fmt: skip


def _plane_table(kernel: _Kernel, width: int, shift: int) -> NDArray[np.int64]:
    """Kernel bits of each value of a plane.

    The kernel's code is code + c where c has no bits below the top plane (_Kernel of a symmetric term), so that the top
    plane carries the sum and planes join by OR; c is what code 0 becomes.
    """
    import numpy as np

    values = np.arange(1 << width, dtype=np.int64) << shift
    if len(kernel.table) <= 1 << width:
        return kernel.table[: 1 << width]
    top = len(kernel.table) == 1 << (shift + width)
    return values + int(kernel.table[0]) if top else values


def _row_bytes(plane: _Plane, term: Term, kernel: _Kernel, name: str, tape: Tape) -> ir.Value:
    """[N, ceil(K*width/8)] kernel bytes of a plane: what a row's last stored byte holds beyond K is cut off."""
    import numpy as np

    wide = tape.constant(plane.packed, f"{plane.name}.packed", plane.coded)
    if not (kernel.width == plane.width and (plane.values == np.arange(1 << plane.width)).all()):
        wide = decode.lookup(wide, packing.repack_table(plane.width, plane.values, kernel.width), name, tape)
    have = plane.packed.shape[1] * kernel.width // plane.width
    return decode.columns_of(wide, term.rows, have, -(-term.columns * kernel.width // 8), name, tape)


def _scales(term: Term, kernel: _Kernel, name: str, block: int, tape: Tape) -> ir.Value:
    """float32 [N, blocks]. One scale per row or tensor is spread at load, not in the file."""
    import numpy as np

    count = -(-term.columns // block)
    scales = np.ones((1, 1), np.float32) if term.scales is None else term.scales
    scales = scales * np.float32(kernel.factor)
    constant = tape.constant(scales, f"{name}.scales")
    if scales.shape[1] == 1:
        wide: ir.Value = tape.op("Expand", [constant, tape.ints(term.rows, count)], name)
        return wide
    repeat = term.group // block
    if repeat == 1:
        return constant
    groups = scales.shape[1]
    wide = tape.op("Expand", [tape.reshape(constant, (term.rows, groups, 1), name), tape.ints(1, 1, repeat)], name)
    return decode.columns_of(wide, term.rows, groups * repeat, count, name, tape)


def _zero_points(term: Term, kernel: _Kernel, name: str, block: int, tape: Tape) -> ir.Value:
    """uint8 [N, ceil(blocks*width/8)]; one for all is one byte in the file."""
    import numpy as np

    assert kernel.points is not None
    count = -(-term.columns // block)
    if kernel.points.size == 1:
        same = packing.pack(np.full((1, 8 // kernel.width), int(kernel.points[0, 0])), kernel.width)
        value = tape.constant(same, f"{name}.zero_points")
        found: ir.Value = tape.op("Expand", [value, tape.ints(term.rows, -(-count * kernel.width // 8))], name)
        return found
    repeat = 1 if kernel.points.shape[1] == count else max(1, term.group // block)
    points = np.broadcast_to(kernel.points, (term.rows, kernel.points.shape[1]))
    points = np.repeat(points, count if points.shape[1] == 1 else repeat, axis=1)[:, :count]
    packed = packing.group_zero_points(points, kernel.width)
    return tape.constant(packed, f"{name}.zero_points", (kernel.width, points.size))
