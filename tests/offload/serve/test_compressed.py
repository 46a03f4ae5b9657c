"""Compressed bodies: understood as Triton's client sends them, opened no further than a body may be long."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agents.split.package import Package
from offload.serve.app import Limits
from offload.serve.compressed import opened
from offload.serve.messages import Refused
from tests.support.serving import error_of, exchange, post, serving

PACK = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstandard.ZstdCompressor().compress}


def body_of(array: np.ndarray) -> tuple[bytes, str]:
    tensor = {"name": "x", "datatype": "FP32", "shape": list(array.shape)}
    tensor["parameters"] = {"binary_data_size": array.nbytes}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return head + array.tobytes(), f"Inference-Header-Content-Length: {len(head)}"


def sent(served: Any, body: bytes, *headers: str) -> tuple[int, bytes]:
    status, _, found = exchange(served, post("/v2/models/echo.p1/infer", body, *headers))
    return status, found


@pytest.mark.parametrize("coding", PACK)
def test_a_compressed_request_is_answered(coding: str, echo: Package) -> None:
    array = np.linspace(0, 1, 3000, dtype=np.float32)
    body, length = body_of(array)
    listed = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2]}]}).encode()
    with serving(echo.path) as served:
        status, found = sent(served, PACK[coding](body), length, f"Content-Encoding: {coding}")
        assert (status, found[-array.nbytes :]) == (200, array.tobytes())
        status, found = sent(served, PACK[coding](listed), f"Content-Encoding: {coding.upper()}")
        assert (status, json.loads(found)["outputs"][0]["data"]) == (200, [1.0, 2.0])


def test_the_client_of_triton_may_compress(echo: Package) -> None:
    import tritonclient.http as triton

    array = np.zeros(5000, np.float32)
    with serving(echo.path) as served:
        client = triton.InferenceServerClient(served.url.split("//")[1])
        try:
            given = triton.InferInput("x", [5000], "FP32")
            given.set_data_from_numpy(array)
            for coding in ("gzip", "deflate"):
                found = client.infer("echo.p1", [given], request_compression_algorithm=coding)
                np.testing.assert_array_equal(found.as_numpy("y"), array)
        finally:
            client.close()
        assert served.metric("received_bytes_total") < array.nbytes


@pytest.mark.parametrize("coding", PACK)
def test_a_bomb_is_opened_no_further_than_a_body_may_be_long(coding: str, echo: Package) -> None:
    bomb = PACK[coding](bytes(200 << 20))
    with serving(echo.path, limits=Limits(max_body=1 << 20)) as served:
        status, found = sent(served, bomb, "Inference-Header-Content-Length: 10", f"Content-Encoding: {coding}")
        assert (status, "1048576 bytes" in error_of(found)) == (413, True)
    tracemalloc.start()
    try:
        with pytest.raises(Refused, match="bytes when it is opened"):
            opened(memoryview(bomb), coding, 1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_other_codings_and_damaged_bodies_are_refused(echo: Package) -> None:
    body, length = body_of(np.ones(4, np.float32))
    with serving(echo.path) as served:
        for coding in ("br", "gzip, gzip", "compress"):
            assert sent(served, body, length, f"Content-Encoding: {coding}")[0] == 415
        for coding, pack in PACK.items():
            for damaged in (body, pack(body)[:-20], pack(body) + b"more" if coding != "zstd" else b"more"):
                assert sent(served, damaged, length, f"Content-Encoding: {coding}")[0] == 400


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(sorted(PACK)))
def test_any_bytes_are_opened_or_refused(data: bytes, coding: str) -> None:
    assert bytes(opened(memoryview(PACK[coding](data)), coding, 300)) == data
    try:
        assert len(opened(memoryview(data), coding, 300)) <= 300
    except Refused as error:
        assert error.status in (400, 413)
