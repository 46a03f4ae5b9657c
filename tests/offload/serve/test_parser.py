"""Any bytes at all are a request or a refusal in words."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agents.split.frames import DTYPES, ITEM_BYTES, NUMPY_NAMES, count
from offload.serve import oip
from offload.serve.bodies import SMALL_BYTES, Chunks, Kept
from offload.serve.messages import Refused, parse_head

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(
    ["name", "datatype", "shape", "data", "parameters", "binary_data_size", "edgewise_codec", "inputs", "outputs", "id"]
)
LIKELY = st.dictionaries(KEYS, JSON | st.sampled_from(["FP32", "x", "q8", [1], [2, 2], 4, {"binary_data_size": 4}]))


def understood(body: bytes, header_length: int | None) -> oip.InferRequest | None:
    try:
        request = oip.parse_request(memoryview(body), header_length)
        for tensor in request.inputs:
            if not tensor.codec:
                array = oip.array_of(tensor)
                assert array.shape == tensor.shape
                assert oip.datatype_of(array) == tensor.datatype
        return request
    except Refused as error:
        assert error.status in (400, 413)
        assert error.message.isprintable()
        assert len(error.message) < 300
        return None


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200), st.none() | st.integers(0, 250))
def test_bytes_are_a_request_or_refused(body: bytes, header_length: int | None) -> None:
    understood(body, header_length)


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(KEYS, JSON | st.lists(LIKELY, max_size=3)) | LIKELY, st.binary(max_size=24))
def test_json_of_any_shape_is_a_request_or_refused(document: Any, data: bytes) -> None:
    head = json.dumps(document).encode()
    understood(head, None)
    understood(head + data, len(head))


ARRAYS = st.tuples(st.sampled_from(NUMPY_NAMES), st.lists(st.integers(0, 4), max_size=4), st.integers(0, 2**32 - 1))


@settings(max_examples=300, deadline=None)
@given(st.lists(ARRAYS, max_size=4), st.text(max_size=20), st.integers(0, 70))
def test_tensors_come_out_as_they_went_in_wherever_they_lie_in_memory(
    made: list[tuple[str, list[int], int]], request_id: str, offset: int
) -> None:
    arrays = []
    for name, shape, seed in made:
        raw = np.random.default_rng(seed).integers(0, 2 if name == "bool" else 100, shape)
        arrays.append(raw.astype(name))
    inputs = [
        {
            "name": f"t{index}",
            "datatype": DTYPES[NUMPY_NAMES.index(array.dtype.name)],
            "shape": list(array.shape),
            "parameters": {"binary_data_size": array.nbytes},
        }
        for index, array in enumerate(arrays)
    ]
    head = json.dumps({"inputs": inputs, "id": request_id}).encode()
    body = head + b"".join(array.tobytes() for array in arrays)
    request = oip.parse_request(memoryview(bytes(offset) + body)[offset:], len(head))
    assert request.id == request_id
    for tensor, array in zip(request.inputs, arrays, strict=True):
        found = oip.array_of(tensor)
        assert found.flags.aligned
        np.testing.assert_array_equal(found, array)
        assert found.nbytes == count(tensor.shape) * ITEM_BYTES[DTYPES.index(tensor.datatype)]


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=300))
def test_any_head_is_understood_or_refused(data: bytes) -> None:
    try:
        parse_head(data + b"\r\n\r\n")
    except Refused as error:
        assert error.status in (400, 431, 501, 505)


HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["Content-Length", "Transfer-Encoding", "Host", "Expect", "Connection", "Authorization", "X"]),
        st.sampled_from(["0", "12", "-1", "chunked", "gzip, chunked", "100-continue", "close", "x", "", "9" * 14]),
    ),
    max_size=5,
)


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(["GET", "POST", "PUT", "get"]), st.text(max_size=12), HEADERS, st.sampled_from(["1.0", "1.1", "2"])
)
def test_a_head_never_has_two_ends_of_its_body(method: str, path: str, headers: Any, version: str) -> None:
    lines = [f"{method} /{path} HTTP/{version}", *(f"{name}: {value}" for name, value in headers)]
    try:
        head = parse_head("\r\n".join(lines).encode() + b"\r\n\r\n")
    except Refused:
        return
    assert (head.length is None) == (b"transfer-encoding" in head.headers)
    assert not {b"transfer-encoding", b"content-length"} <= set(head.headers)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=50), max_size=6), st.integers(1, 40))
def test_chunks_come_together_however_they_are_cut(parts: list[bytes], step: int) -> None:
    data = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    chunks = Chunks(1000, keep=True)
    for at in range(0, len(data), step):
        piece = data[at : at + step]
        chunks.room()[: len(piece)] = piece
        chunks.took(len(piece))
    assert chunks.complete
    assert bytes(chunks.body()) == b"".join(parts)


@given(st.integers(0, 5000), st.integers(0, 300))
def test_the_first_tensor_of_a_body_is_aligned(length: int, header_length: int) -> None:
    length += SMALL_BYTES + 1
    kept = Kept(length + header_length, header_length)
    tensor = np.frombuffer(kept.body()[header_length:], np.uint8)
    assert tensor.__array_interface__["data"][0] % 64 == 0


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**64, 10**400])
def test_a_number_beyond_its_type_is_refused(number: int) -> None:
    tensor = {"name": "x", "datatype": "INT64", "shape": [1], "data": [number]}
    assert understood(json.dumps({"inputs": [tensor]}).encode(), None) is None
