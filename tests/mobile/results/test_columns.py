"""Columns survive the round trip bit by bit, are small, and a damaged one is refused before it fills memory."""

import math
import struct
import zlib
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobile.results.columns import MAX_VALUES, ColumnError, decode_floats, decode_ints, encode_floats, encode_ints

INT64 = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(INT64))
def test_ints_round_trip(values: list[int]) -> None:
    column = array("q", values)
    assert decode_ints(encode_ints(column)) == column


@given(st.lists(st.integers(-(2**31), 2**31 - 1)))
def test_classes_round_trip(values: list[int]) -> None:
    column = array("i", values)
    assert decode_ints(encode_ints(column), "i") == column


@given(st.lists(st.none() | st.floats(allow_nan=False)))
def test_floats_round_trip(values: list[float | None]) -> None:
    back = decode_floats(encode_floats(values))
    assert [(v is None, v is not None and math.copysign(1, v)) for v in back] == [
        (v is None, v is not None and math.copysign(1, v)) for v in values
    ]
    assert back == values


def test_even_times_shrink_to_a_fraction() -> None:
    column = array("q", range(10**15, 10**15 + 10**10, 10**5))
    assert len(encode_ints(column)) < 8 * len(column) / 50


def _blob(coding: bytes, typecode: bytes, count: int, data: bytes) -> bytes:
    return struct.pack("<ccQ", coding, typecode, count) + data


@pytest.mark.parametrize(
    ("blob", "words"),
    [
        (b"", "a column of 0 bytes"),
        (_blob(b"d", b"q", 1, b"not zlib"), "damaged column"),
        (_blob(b"x", b"q", 0, zlib.compress(b"")), "coded b'x'"),
        (_blob(b"p", b"d", 0, zlib.compress(b"")), "expected type 'q'"),
        (_blob(b"p", b"q", 2, zlib.compress(bytes(8))), "expected 16"),
        (_blob(b"p", b"q", 1, zlib.compress(bytes(16))), "expected 8"),
        (_blob(b"p", b"q", 1, zlib.compress(bytes(8))[:-5]), "expected 8"),
        (_blob(b"p", b"q", MAX_VALUES + 1, zlib.compress(b"")), "the limit is"),
        (_blob(b"p", b"q", 2**64 - 1, zlib.compress(b"")), "the limit is"),
        (_blob(b"d", b"q", 2, zlib.compress(struct.pack("<qq", 2**63 - 1, 1))), "overflow"),
        (_blob(b"p", b"q", 1, zlib.compress(bytes(2**28))), "expected 8"),
    ],
)
def test_a_damaged_column_is_refused(blob: bytes, words: str) -> None:
    with pytest.raises(ColumnError, match=words):
        decode_ints(blob)


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    try:
        column = decode_ints(data)
    except ColumnError:
        return
    assert decode_ints(encode_ints(column)) == column
