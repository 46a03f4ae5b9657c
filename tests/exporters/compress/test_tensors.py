"""What a compressed weight means: each family against a slow formula, element by element; and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from exporters.compress import tensors as ct
from mobile.errors import ModelError
from tests.exporters.compress.cases import GROUP, SHAPES, G, K, N, all_tensors, floats, whole

TENSORS = all_tensors()
f32 = np.float32


def at(values, row, column, group):
    """The group's value for an element; one for the whole tensor counts everywhere."""
    return values[0, 0] if values.shape == (1, 1) else values[row, column // group]


def slow(t, n, k):
    """The value of an element as the docstrings state it, with scalars."""
    if isinstance(t, ct.Shared):
        return slow(t.source, n, k)
    if isinstance(t, ct.Affine):
        where = (lambda v: v[n, t.group_index[k]]) if t.group_index is not None else (lambda v: at(v, n, k, t.group))
        zero = 0 if t.zero_points is None else int(where(t.zero_points))
        return f32(int(t.codes[n, k]) - zero) * where(t.scales)
    if isinstance(t, ct.Binary):
        value = at(t.scales, n, k, t.group) * f32(2 * int(t.codes[n, k]) - 1)
        return value if t.offsets is None else value + at(t.offsets, n, k, t.group)
    if isinstance(t, ct.Ternary):
        return f32(t.codes[n, k]) * at(t.scales, n, k, t.group)
    if isinstance(t, ct.DualBinary):
        return f32(t.b1[n, k]) * at(t.a1, n, k, t.group) + f32(t.b2[n, k]) * at(t.a2, n, k, t.group)
    if isinstance(t, ct.PowerOfTwo):
        code = int(t.codes[n, k])
        return f32((-1) ** (code >> 3) * 2 ** (code & 7)) * at(t.scales, n, k, t.group)
    if isinstance(t, ct.Codebook):
        return t.table[t.codes[n, k]] if t.table.ndim == 1 else t.table[n, t.codes[n, k]]
    if isinstance(t, ct.Emulated):
        value = ct.float_format(t.format).values()[t.codes[n, k]]
        return value if t.scales is None else value * at(t.scales, n, k, t.group)
    return slow_structure(t, n, k)


def slow_structure(t, n, k):
    if isinstance(t, ct.Blocks):
        (height, width), (down, across) = t.block, (n // t.block[0], k // t.block[1])
        if not t.mask[down, across]:
            return f32(0)
        number = int(t.mask.ravel()[: down * t.mask.shape[1] + across].sum())
        if isinstance(t.values, ct.Affine):
            return slow(t.values, number * height + n % height, k % width)
        return t.values[number, n % height, k % width]
    if isinstance(t, ct.Sparse):
        return t.values[int(t.mask.ravel()[: n * K + k].sum())] if t.mask[n, k] else f32(0)
    if isinstance(t, ct.Dense):
        return t.values[n, k]
    total = sum(float(t.left[n, r]) * float(t.right[r, k]) for r in range(t.rank))
    return f32(total * (t.factor if isinstance(t, ct.Adapter) else 1))


def element(shape, axis, n, k):
    """Where element (n, k) of the rows lies in the float weight."""
    rest = [size for place, size in enumerate(shape) if place != axis]
    index = list(np.unravel_index(k, rest))
    index.insert(axis, n)
    return tuple(index)


@pytest.mark.parametrize("name", TENSORS)
def test_dequantise_equals_the_formula_of_its_docstring(name):
    t = TENSORS[name]
    have = t.dequantise()
    assert have.dtype == np.float32
    assert have.shape == t.shape
    assert have.flags.c_contiguous
    exact = not isinstance(t, (ct.LowRank, ct.Adapter))  # the order of a float64 sum is left to the library
    for n in range(N):
        for k in range(K):
            got, want = have[element(t.shape, t.axis, n, k)], slow(t, n, k)
            assert got == want if exact else np.isclose(got, want, rtol=1e-6, atol=0)


def test_rows_and_their_inverse_agree_for_every_axis():
    for shape, axis in SHAPES.values():
        weight = floats(1, *shape)
        rows = ct.to_rows(weight, axis)
        assert rows.shape == (N, K) == ct.row_shape(shape, axis)
        assert np.array_equal(ct.from_rows(rows, shape, axis), weight)


def test_an_adapter_is_merged_into_its_weight():
    adapter = TENSORS["lora-scaling"]
    base = floats(9, *adapter.shape)
    want = base.T.astype(np.float64) + 0.5 * adapter.left.astype(np.float64) @ adapter.right.astype(np.float64)
    assert np.allclose(adapter.merged(base).T, want, rtol=1e-6)
    with pytest.raises(ModelError, match="the weight is"):
        adapter.merged(base.T)


def test_what_is_shared_counts_once():
    model = ct.CompressedModel({"a": TENSORS["codebook-16"], "tied": TENSORS["tied"]})
    assert model.packed_bytes == TENSORS["codebook-16"].packed_bytes


A = TENSORS["affine-4uz"]
MX = TENSORS["mxfp4"]
BAD = {
    "NaN scales": (lambda: replace(A, scales=np.full((N, G), np.nan, f32)), "scales hold NaN or infinity"),
    "infinite scales": (lambda: replace(A, scales=np.full((N, G), np.inf, f32)), "scales hold NaN or infinity"),
    "float64 scales": (lambda: replace(A, scales=np.ones((N, G))), "scales must be float32, not float64"),
    "scales of another size": (lambda: replace(A, scales=floats(1, N, G + 1)), r"scales must be \[6, 3\] or \[1, 1\]"),
    "codes of another size": (lambda: replace(A, codes=whole(1, 0, 1, (N, K + 1))), "codes must be small integers"),
    "codes beyond their width": (lambda: replace(A, codes=whole(1, 16, 16, (N, K))), r"within 0\.\.15, not 16\.\.16"),
    "signed codes": (lambda: replace(A, codes=A.codes.astype(np.int8)), "codes must be uint8, not int8"),
    "zero point beyond": (lambda: replace(A, zero_points=whole(1, 16, 16, (N, G))), r"zero points must be within"),
    "nine bits": (lambda: replace(A, width=9), r"9 bits are not within 1\.\.8"),
    "group of none": (lambda: replace(A, group=0), "group 0"),
    "an order of too many groups": (lambda: replace(A, group_index=np.full(K, 3, np.int32)), "group_index must name"),
    "axis beyond": (lambda: replace(A, axis=2), "axis 2 of shape"),
    "empty shape": (lambda: replace(A, shape=(0, 6)), "is not usable"),
    "too many weights": (lambda: replace(A, shape=(1 << 20, 1 << 20)), "are more than"),
    "ternary code 2": (lambda: replace(TENSORS["ternary"], codes=np.full((N, K), 2, np.int8)), r"within -1\.\.1"),
    "bit 2": (lambda: replace(TENSORS["dual"], b2=np.full((N, K), 2, np.uint8)), r"b2 must be within 0\.\.1"),
    "two sizes of scales": (lambda: replace(TENSORS["dual"], a2=floats(1, 1, 1)), "a1 is"),
    "code without an entry": (lambda: replace(TENSORS["codebook-16"], table=floats(1, 15)), r"within 0\.\.14"),
    "table of one row too few": (lambda: replace(TENSORS["codebook-rows"], table=floats(1, N - 1, 11)), "5 rows for 6"),
    "table of one entry": (lambda: replace(TENSORS["codebook-16"], table=floats(1, 1)), "neither"),
    "mask of another size": (lambda: replace(TENSORS["blocks"], mask=np.ones((1, 1), bool)), "the mask must be bool"),
    "no block at all": (lambda: replace(TENSORS["blocks"], mask=np.zeros((2, 6), bool)), "no block is kept"),
    "a block missing": (lambda: replace(TENSORS["blocks"], values=floats(1, 1, 4, 4)), "as the mask says"),
    "a value missing": (lambda: replace(TENSORS["sparse"], values=floats(1, 3)), "values for"),
    "three of four": (lambda: replace(TENSORS["two-of-four"], mask=np.ones((N, K), bool), values=floats(1, N * K)),
                      "more than 2 of 4"),
    "factors that do not meet": (lambda: replace(TENSORS["low-rank"], right=floats(1, 4, K)), "do not give"),
    "infinite alpha": (lambda: replace(TENSORS["lora"], alpha=float("inf")), "alpha inf is not finite"),
    "code of NaN": (lambda: replace(TENSORS["fp8e4m3"], codes=np.full((N, K), 0x7F, np.uint8)), "stand for NaN"),
    "MX without scales": (lambda: replace(MX, scales=None), "scales are missing"),
    "MX scale of 3": (lambda: replace(MX, scales=np.full((N, G), 3, f32)), "must be powers of two"),
    "shared of shared": (lambda: replace(TENSORS["tied"], source=TENSORS["tied"]), "which is shared itself"),
    "shared of another size": (lambda: replace(TENSORS["tied"], shape=(K, N)), "its source"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_an_impossible_weight_is_refused_by_name(what):
    make, words = BAD[what]
    with pytest.raises(ModelError, match=words) as caught:
        make()
    assert str(caught.value).startswith("weight '")
    assert "\n" not in str(caught.value)


def test_groups_are_the_columns_they_say():
    assert A.group == GROUP
    spread = ct.spread(np.arange(N * G).reshape(N, G), N, K, GROUP)
    assert spread.shape == (N, K)
    assert list(spread[1]) == [3] * 8 + [4] * 8 + [5] * 5
