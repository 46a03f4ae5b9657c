"""Codes at their true width come back as they were, and lie where the documentation says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from exporters.compress import packing

SIZES = st.tuples(st.integers(1, 5), st.integers(1, 40))


@st.composite
def codes(draw, widths):
    width = draw(widths)
    kind = np.uint8 if width <= 8 else np.uint16
    return width, draw(hnp.arrays(kind, draw(SIZES), elements=st.integers(0, (1 << width) - 1)))


@given(codes(st.integers(1, 16)))
@settings(max_examples=150, deadline=None)
def test_unsigned_codes_of_every_width_come_back(case):
    width, array = case
    packed = packing.pack(array, width)
    assert packed.shape == (len(array), -(-array.shape[1] * width // 8))
    back = packing.unpack(packed, width, array.shape[1])
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)


@given(codes(st.integers(1, 8)))
@settings(max_examples=100, deadline=None)
def test_signed_codes_of_every_width_come_back(case):
    width, unsigned = case
    array = (unsigned.astype(int) - (1 << (width - 1))).astype(np.int8)
    back = packing.unpack(packing.pack(array, width), width, array.shape[1], signed=True)
    assert back.dtype == np.int8
    assert np.array_equal(back, array)


@given(codes(st.integers(1, 16)))
@settings(max_examples=60, deadline=None)
def test_each_bit_lies_where_the_documentation_says(case):
    width, array = case
    packed = packing.pack(array, width)
    for row in range(len(array)):
        for column in range(array.shape[1]):
            place = [column * width + bit for bit in range(width)]
            code = sum((int(packed[row, at // 8]) >> at % 8 & 1) << bit for bit, at in enumerate(place))
            assert code == array[row, column]


@given(SIZES.flatmap(lambda size: hnp.arrays(np.int8, size, elements=st.integers(-1, 1))))
@settings(max_examples=60, deadline=None)
def test_five_ternary_digits_fit_a_byte_and_come_back(array):
    packed = packing.pack_trits(array)
    assert packed.shape == (len(array), -(-array.shape[1] // 5))
    assert np.array_equal(packing.unpack_trits(packed, array.shape[1]), array)


def test_large_arrays_are_packed_in_bands_with_the_same_result(monkeypatch):
    array = np.random.default_rng(0).integers(0, 32, (64, 33)).astype(np.uint8)
    whole = packing.pack(array, 5)
    monkeypatch.setattr(packing, "_CHUNK", 100)
    assert np.array_equal(packing.pack(array, 5), whole)
    assert np.array_equal(packing.unpack(whole, 5, 33), array)


def test_bytes_that_cannot_be_ternary_digits_are_refused():
    with pytest.raises(ValueError, match="byte 243 is no five ternary digits"):
        packing.unpack_trits(np.full((1, 1), 243, np.uint8), 3)


def test_bytes_of_another_size_are_refused():
    with pytest.raises(ValueError, match="do not hold 9 columns of 3 bits"):
        packing.unpack(np.zeros((2, 3), np.uint8), 3, 9)
    with pytest.raises(ValueError, match="do not hold 9 ternary columns"):
        packing.unpack_trits(np.zeros((2, 3), np.uint8), 9)
