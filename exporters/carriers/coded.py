"""A compressed tensor as sums of coded terms: stored codes, what each code stands for, and a scale per group.

Every family that has codes becomes one or two `Term`s. A term whose levels are whole numbers can go to an integer
kernel; the others are looked up as float32. The float32 arithmetic is that of the family's ``dequantise``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from exporters.compress.tensors import CompressedTensor


NATIVE = ("fp16", "bf16")  # formats that every runtime has as an element type and casts


@dataclass(frozen=True, eq=False)
class Term:
    """(levels[code] - zero point) * scale + offset, over rows [N, K].

    ``codes`` are uint8, or uint16, below 2**bits. ``levels`` is [2**bits], or [N, L] when each row has its own table.
    ``scales``, ``zero_points`` (in the levels' unit) and ``offsets`` are [N, G], [1, 1] or None. Column k is of group
    k // group, or of ``group_index[k]``. ``trits``: the file holds the codes 0, 1, 2 five to a byte.
    """

    codes: NDArray[Any]
    bits: int
    levels: NDArray[np.float32]
    scales: NDArray[np.float32] | None
    group: int
    zero_points: NDArray[np.int16] | None = None
    offsets: NDArray[np.float32] | None = None
    group_index: NDArray[np.int32] | None = None
    trits: bool = False

    @property
    def rows(self) -> int:
        """N."""
        return int(self.codes.shape[0])

    @property
    def columns(self) -> int:
        """K."""
        return int(self.codes.shape[1])

    @property
    def groups(self) -> int:
        """How many groups a row has: 1 when one value serves the row, whatever ``group`` says."""
        return 1 if self.scales is None else max(1, int(self.scales.shape[1]))

    @property
    def whole(self) -> bool:
        """Whether the levels are whole numbers of one table: then an integer kernel can compute with them."""
        import numpy as np

        return self.levels.ndim == 1 and bool((self.levels == np.rint(self.levels)).all())

    @property
    def linear(self) -> bool:
        """Whether levels rise by one with the code, so that planes of it can be computed apart."""
        import numpy as np

        return self.levels.ndim == 1 and bool((np.diff(self.levels) == 1).all())

    def used_levels(self) -> tuple[int, int]:
        """The lowest and highest level that some code has."""
        import numpy as np

        used = self.levels[np.unique(self.codes)]
        return int(used.min()), int(used.max())


def terms(tensor: CompressedTensor) -> list[Term] | None:
    """The terms whose sum the tensor is; None for families without codes, and for those of more than 8 bits."""
    from exporters.compress import tensors as families

    if isinstance(tensor, families.Affine):
        return [_affine(tensor)]
    if isinstance(tensor, families.Binary):
        return [Term(tensor.codes, 1, _floats(-1, 1), tensor.scales, tensor.group, offsets=tensor.offsets)]
    if isinstance(tensor, families.Ternary):
        codes = (tensor.codes + 1).astype("uint8")
        return [Term(codes, 2, _floats(-1, 0, 1, 0), tensor.scales, tensor.group, trits=tensor.trits)]
    if isinstance(tensor, families.DualBinary):
        pairs = ((tensor.b1, tensor.a1), (tensor.b2, tensor.a2))
        return [Term(bits, 1, _floats(0, 1), scales, tensor.group) for bits, scales in pairs]
    if isinstance(tensor, families.PowerOfTwo):
        return [Term(tensor.codes, 4, tensor.table(), tensor.scales, tensor.group)]
    if isinstance(tensor, families.Codebook):
        return [Term(tensor.codes, tensor.width, _table(tensor.table, tensor.width), None, tensor.columns)]
    if isinstance(tensor, families.Emulated) and tensor.format not in NATIVE:
        import numpy as np

        values = np.nan_to_num(families.float_format(tensor.format).values(), posinf=0, neginf=0)
        return [Term(np.asarray(tensor.codes), tensor.width, values, tensor.scales, tensor.group)]
    return None


def single_term(tensor: CompressedTensor) -> Term:
    """The one term of a tensor that has one."""
    (found,) = terms(tensor) or []
    return found


def _affine(tensor: Any) -> Term:
    import numpy as np

    shift = 1 << (tensor.width - 1) if tensor.signed else 0
    codes = (tensor.codes.astype(np.int16) + shift).astype(np.uint8)
    levels = np.arange(1 << tensor.width, dtype=np.float32) - np.float32(shift)
    points = None if tensor.zero_points is None else tensor.zero_points.astype(np.int16)
    if points is not None and (points == points.flat[0]).all():
        levels, points = levels - np.float32(points.flat[0]), None
    return Term(codes, tensor.width, levels, tensor.scales, tensor.group, points, None, tensor.group_index)


def _floats(*values: float) -> NDArray[np.float32]:
    import numpy as np

    return np.array(values, np.float32)


def _table(table: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """The codebook filled up to 2**bits entries."""
    import numpy as np

    short = (1 << bits) - table.shape[-1]
    return np.pad(table, [(0, 0)] * (table.ndim - 1) + [(0, short)])
