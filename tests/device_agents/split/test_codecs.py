"""Codecs of activations: what comes back, how far off, and what a hostile frame does."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from device_agents.split.codecs import Range, available, decode, encode, measure, parse
from device_agents.split.frames import DTYPES, NUMPY_NAMES, CodecError, pack, unpack

LOSSY = ["q8", "q4", "q2", "q8.c", "q4.c", "q8+zlib", "q4+zlib", "q2+zlib", "q8+zstd", "q4+lz4", "q4.c+zstd"]
ALL = ["raw", "raw+zlib", "raw+zstd", "raw+lz4", "fp16", "fp16+zlib", *LOSSY]
BITS = {"q8": 8, "q4": 4, "q2": 2}


def activations(seed: int = 0, shape: tuple[int, ...] = (2, 5, 9, 7)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    scale = rng.uniform(0.1, 10, (1, shape[1], *([1] * (len(shape) - 2)))) if len(shape) > 1 else 1.0
    return np.maximum(rng.normal(size=shape) * scale, -0.3).astype(np.float32)


@pytest.mark.parametrize("name", LOSSY)
def test_the_error_is_at_most_half_a_step_of_the_range(name: str) -> None:
    array = activations()
    codec = parse(name)
    found = measure(array, codec.per_channel)
    back = decode(encode(array, name, found))
    assert (back.shape, back.dtype) == (array.shape, array.dtype)
    steps = (np.array(found.high) - np.array(found.low)) / (2 ** BITS[codec.base] - 1)
    allowed = steps.reshape((1, -1, 1, 1)) / 2 * 1.0001 + 1e-6
    assert (np.abs(back - array) <= allowed).all()


@pytest.mark.parametrize("dtype", NUMPY_NAMES)
@pytest.mark.parametrize("name", ["raw", "raw+zlib", "raw+zstd", "raw+lz4"])
def test_raw_gives_every_type_back_bit_for_bit(name: str, dtype: str) -> None:
    array = np.frombuffer(np.random.default_rng(1).bytes(192), np.dtype(dtype) if dtype != "bool" else np.uint8)
    array = (array % 2).astype(bool) if dtype == "bool" else array
    back = decode(encode(array.reshape(2, -1), name))
    assert back.tobytes() == array.tobytes()
    assert back.dtype == array.dtype


def test_float16_rounds_once_and_overflows_to_infinity() -> None:
    array = np.array([1.0009766, 1e5, -1e5, 6e-8], np.float32)
    with np.errstate(over="ignore"):
        want = array.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(decode(encode(array, "fp16")), want)
    assert np.isinf(want[1])


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3,), (2, 0, 4), (1, 1), (2, 3, 1, 1, 5)])
def test_any_shape_comes_back(name: str, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
    assert decode(encode(array, name)).shape == shape


def test_values_outside_of_the_calibrated_range_are_clipped_and_no_number_is_the_lowest() -> None:
    array = np.array([-5.0, 0.0, 1.0, 9.0, np.inf, -np.inf, np.nan], np.float32)
    back = decode(encode(array, "q8", Range((0.0,), (1.0,))))
    np.testing.assert_allclose(back, [0, 0, 1, 1, 1, 0, 0], atol=1e-6)


def test_a_range_is_measured_over_the_finite_values_and_per_channel() -> None:
    array = np.array([[[np.nan, 1.0], [2.0, np.inf]]], np.float32)
    assert measure(array) == Range((1.0,), (2.0,))
    assert measure(array, per_channel=True) == Range((1.0, 2.0), (1.0, 2.0))
    assert measure(np.full((1, 2), np.nan, np.float32)) == Range((0.0,), (0.0,))
    back = decode(encode(np.full((2, 3), 7.5, np.float32), "q4"))  # a constant has no width
    np.testing.assert_array_equal(back, np.full((2, 3), 7.5))


def test_codes_of_less_than_a_byte_are_packed() -> None:
    array = activations(shape=(1, 4, 64, 64))
    sizes = {name: len(encode(array, name)) for name in ("raw", "q8", "q4", "q2")}
    payload = array.nbytes
    assert sizes["raw"] < payload + 64
    assert [round(payload / sizes[name]) for name in ("q8", "q4", "q2")] == [4, 8, 16]


def test_a_frame_is_the_same_wherever_it_is_made() -> None:
    """The bytes of one frame, spelt out: another implementation can be checked against it."""
    frame = encode(np.array([0, 1, 2, 3, 0], np.float32), "q2")
    body = b"EWC1" + bytes([1, 4, 0, 2, 0, 1, 0, 0]) + struct.pack("<IIQff", 5, 2, 2, 0.0, 3.0) + bytes([0b11100100, 0])
    assert frame == body + struct.pack("<I", zlib.crc32(body))


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float32, hnp.array_shapes(max_dims=4, max_side=6), elements=st.floats(width=32)), st.sampled_from(ALL)
)
def test_any_tensor_is_coded_and_comes_back_in_its_shape(array: np.ndarray, name: str) -> None:
    back = decode(encode(array, name))
    assert back.shape == array.shape
    if name.startswith("raw"):
        assert back.tobytes() == array.tobytes()


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(ALL), st.data())
def test_a_damaged_frame_is_refused(name: str, data: st.DataObject) -> None:
    frame = bytearray(encode(activations(shape=(1, 3, 4)), name))
    at = data.draw(st.integers(0, len(frame) - 1))
    frame[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CodecError):
        decode(bytes(frame))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_foreign_bytes_are_refused(data: bytes, dressed: bool) -> None:
    """Also with our head and a right check sum, so that what lies behind those is reached."""
    if dressed:
        data = b"EWC1\x01" + data
        data += struct.pack("<I", zlib.crc32(data))
    try:
        array = decode(data, limit_bytes=1 << 16)
    except CodecError:
        return
    assert array.nbytes <= 1 << 16


def test_a_frame_that_decodes_to_more_than_the_limit_allocates_nothing() -> None:
    frame = encode(np.zeros((1, 1 << 20), np.float32), "raw+zlib")
    assert len(frame) < 20_000
    with pytest.raises(CodecError, match=r"\[1, 1048576\] is larger than the limit of 1000 bytes"):
        decode(frame, limit_bytes=1000)


@pytest.mark.parametrize("entropy", ["zlib", "zstd", "lz4"])
def test_a_payload_that_unpacks_to_more_or_less_than_its_shape_is_refused(entropy: str) -> None:
    for size in (10, 10_000_000):
        made = unpack(encode(np.zeros(size, np.uint8), "raw+" + entropy), 1 << 30)
        with pytest.raises(CodecError):
            decode(pack(made._replace(dims=(1000,))))


@pytest.mark.parametrize(
    ("array", "name", "words"),
    [
        (np.zeros(3, np.int32), "q8", "codec q8 is for floating point, the tensor is INT32"),
        (np.zeros(3, np.complex64), "raw", "tensors of complex64 cannot be sent"),
        (np.zeros(3, np.float32), "q3", "no codec is called 'q3'"),
        (np.zeros(3, np.float32), "raw.c", "no codec is called 'raw.c'"),
        (np.zeros(3, np.float32), "q8+brotli", "no codec is called"),
    ],
)
def test_what_cannot_be_coded_is_said(array: np.ndarray, name: str, words: str) -> None:
    with pytest.raises(CodecError, match=words):
        encode(array, name)


def test_a_range_for_other_channels_is_refused() -> None:
    with pytest.raises(CodecError, match="wants 5 ranges"):
        encode(activations(), "q8.c", Range((0.0,), (1.0,)))
    for document in ({"low": [1]}, {"low": [2], "high": [1]}, {"low": [], "high": []}, [], None):
        with pytest.raises(CodecError):
            Range.from_json(document)
    assert Range.from_json(Range((0.0,), (1.5,)).to_json()) == Range((0.0,), (1.5,))


def test_an_entropy_coder_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert available("q8+zstd") is None
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    assert available("q8+zstd") == "zstd is not installed here"
    assert available("q8+zlib") is None
    assert len(DTYPES) == len(NUMPY_NAMES)


def test_a_tensor_of_nothing_with_a_dimension_that_no_array_has_is_refused() -> None:
    """Found by tests.soak.wire: 0 times whatever is no bytes, and numpy refuses the shape all the same."""
    frame = unpack(encode(np.zeros((1, 0, 2, 2), np.float32), "q8"), 1 << 20)
    with pytest.raises(CodecError, match="larger than the limit"):
        decode(pack(frame._replace(dims=(2**31, 0, 2**31, 2**31))), 1 << 20)
