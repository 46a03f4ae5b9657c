"""The device's end of the wire, against a server of a few lines that answers as each test says."""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agents.split import wire
from device_agents.split.wire import Endpoint, Wire, WireError, array_of, coded, plain
from tests.support.wire_server import answer, reply, server


def infer(url: str, respond_within_s: float = 10.0, **options: Any) -> wire.Answer:
    one = Wire(
        Endpoint(url, options.pop("token", None), options.pop("ca_file", None)), options.pop("limit_bytes", 1 << 20)
    )
    try:
        return one.infer("net.p1", [plain("x", np.arange(3, dtype=np.float32))], ["y"], respond_within_s, **options)
    finally:
        one.close()


def test_tensors_go_and_come_as_the_protocol_has_them() -> None:
    given = answer([("y", np.array([[1.5, 2.5]], np.float32)), ("n", np.array([7], np.int64))], queue_ns=5)
    with server(lambda head, body: given) as (url, asked):
        one = Wire(Endpoint(url, token="s3cret"))
        frame = coded("q", b"EWC1...", "q8+zlib")
        found = one.infer("net.p1", [plain("x", np.arange(3, dtype=np.int8)), frame], ["y"], 10.0, {"a": 1}, "id-7")
        again = one.infer("net.p1", [], ["n"], 10.0)
        one.close()
    np.testing.assert_array_equal(array_of(found.tensors["y"]), [[1.5, 2.5]])
    assert array_of(again.tensors["n"]).tolist() == [7]
    assert found.parameters == {"queue_ns": 5}
    coded_as = {"binary_data_size": 7, "edgewise_codec": "q8+zlib"}
    head, body = asked[0]
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /v2/models/net.p1/infer HTTP/1.1"
    assert "Authorization: Bearer s3cret" in lines
    length = next(int(line.split(":")[1]) for line in lines if line.startswith("Inference-Header-Content-Length"))
    document = json.loads(body[:length])
    assert body[length:] == bytes([0, 1, 2]) + b"EWC1..."
    assert document == {
        "id": "id-7",
        "parameters": {"a": 1},
        "inputs": [
            {"name": "x", "datatype": "INT8", "shape": [3], "parameters": {"binary_data_size": 3}},
            {"name": "q", "datatype": "UINT8", "shape": [7], "parameters": coded_as},
        ],
        "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
    }  # fmt: skip
    assert (found.sent_bytes, found.received_bytes) == (len(body), len(given.partition(b"\r\n\r\n")[2]))


def test_a_server_without_the_binary_extension_is_understood() -> None:
    document = {"outputs": [{"name": "y", "datatype": "FP32", "shape": [2, 1], "data": [[1], [2]]}]}
    with server(lambda head, body: reply(json.dumps(document).encode())) as (url, _):
        assert array_of(infer(url).tensors["y"]).tolist() == [[1.0], [2.0]]


def test_a_kept_connection_that_the_server_closed_is_opened_once_more() -> None:
    given = answer([("y", np.zeros(1, np.float32))])
    turns = iter([given, None, given, None, None])
    with server(lambda head, body: next(turns)) as (url, asked):
        one = Wire(Endpoint(url))
        for _ in range(2):
            one.infer("m", [], ["y"], 10.0, request_id="same")
        with pytest.raises(WireError) as caught:
            one.infer("m", [], ["y"], 10.0)
        one.close()
    assert caught.value.kind == "unreachable"
    assert len(asked) == 5


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        (reply(b'{"error": "no such model"}', "404 Not Found"), "unknown-model", "answers 404: no such model"),
        (reply(b"", "401 Unauthorized"), "unauthorized", "answers 401"),
        (reply(b"[]", "409 Conflict"), "foreign", "answers 409"),
        (reply(b"{", "503 Busy"), "busy", "answers 503"),
        (reply(b"", "504 Late"), "late", "answers 504"),
        (reply(b"", "413 Too large"), "too-large", "answers 413"),
        (reply(b"", "500 Oops"), "refused", "answers 500"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "garbage", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "too-large", "unknown bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "too-large", "answers with 99999999999 bytes"),
        (reply(b"not json"), "garbage", "the answer is damaged"),
        (reply(b'{"outputs": []}'), "garbage", "the answer lacks y"),
        (reply(b'{"outputs": []}x', head_length=15), "garbage", "what is behind the last tensor"),
        (reply(b'{"outputs": []}', head_length=400), "garbage", "the header's length"),
        (reply(b'{"outputs": []}', head_length=-1), "garbage", "the header's length"),
    ],
)  # fmt: skip
def test_what_a_server_does_wrong_is_one_error_with_its_kind(given: bytes, kind: str, words: str) -> None:
    with server(lambda head, body: given) as (url, _), pytest.raises(WireError, match=words) as caught:
        infer(url)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    "output",
    [
        {"name": "y", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 4}},
        {"name": "y", "datatype": "FP32", "shape": [-1, -1], "parameters": {"binary_data_size": 4}},
        {"name": "y", "datatype": "FP32", "shape": [1 << 40], "parameters": {"binary_data_size": 1 << 42}},
        {"name": "y", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 4}},
        {"name": "y", "datatype": "FP32", "shape": ["a"], "parameters": {"binary_data_size": 4}},
        {"name": "y", "datatype": "FP32", "shape": [3], "data": [1, 2]},
        {"name": "y", "datatype": "FP32", "shape": [1], "data": ["a"]},
        {"name": "y", "datatype": "FP32", "shape": [1]},
        "y",
    ],
)
def test_a_tensor_whose_sizes_are_not_true_is_refused(output: Any) -> None:
    head = json.dumps({"outputs": [output]}).encode()
    given = reply(head + bytes(4), head_length=len(head))
    with server(lambda h, b: given) as (url, _), pytest.raises(WireError) as caught:
        infer(url)
    assert caught.value.kind == "garbage"


def test_nothing_waits_longer_than_its_deadline() -> None:
    release = threading.Event()

    def hang(head: bytes, body: bytes) -> None:
        release.wait(30)

    began = time.monotonic()
    with server(hang) as (url, _):
        with pytest.raises(WireError) as caught:
            infer(url, 0.3)
        release.set()
    assert (caught.value.kind, caught.value.sent) == ("late", True)
    assert time.monotonic() - began < 20


def test_a_body_that_drips_ends_at_the_deadline_too() -> None:
    whole = answer([("y", np.zeros(64, np.float32))])
    with server(lambda head, body: whole[:-40]) as (url, _), pytest.raises(WireError) as caught:
        infer(url, 0.3)
    assert caught.value.kind == "late"


def test_a_request_can_be_given_up_from_another_thread() -> None:
    release = threading.Event()
    with server(lambda head, body: (release.wait(30), None)[1]) as (url, asked):
        one = Wire(Endpoint(url))
        caught: list[WireError] = []

        def ask() -> None:
            try:
                one.infer("m", [], ["y"], 30.0)
            except WireError as error:
                caught.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        while not asked:
            time.sleep(0.01)
        one.abort()
        thread.join(20)
        release.set()
        assert not thread.is_alive()
    assert caught[0].kind == "unreachable"


def test_nobody_there_is_unreachable_and_the_token_is_in_no_message() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(WireError) as caught:
        infer(f"http://127.0.0.1:{port}", token="s3cret")
    assert caught.value.kind == "unreachable"
    assert str(port) in str(caught.value)
    assert "s3cret" not in repr(caught.value)


@pytest.mark.parametrize("url", ["ftp://a", "http://", "http://u:p@host", "http://host/?q=1", "host:80"])
def test_an_address_that_is_none_is_refused_without_its_content(url: str) -> None:
    with pytest.raises(WireError, match="the server's address is http://HOST:PORT"):
        Wire(Endpoint(url))


def test_a_named_certificate_is_trusted_and_no_other(tmp_path: Path, self_signed: tuple[Path, Path]) -> None:
    certificate, key = self_signed
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    given = answer([("y", np.zeros(1, np.float32))])
    with server(lambda head, body: given, context) as (url, _):
        assert infer(url, ca_file=str(certificate)).tensors["y"].shape == (1,)
        wire = Wire(Endpoint(url, certificates=certificate.read_text()))
        assert wire.request("POST", "/", b"", 10.0)[0]
        wire.close()
        with pytest.raises(WireError) as caught:
            infer(url)
    assert caught.value.kind == "unreachable"


def test_where_python_has_no_tls_the_wire_is_there_and_https_is_refused_in_words(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "ssl", None)  # as in a CPython without OpenSSL
    with pytest.raises(WireError, match="no TLS") as caught:
        infer("https://127.0.0.1:9")
    assert caught.value.kind == "refused"


@pytest.fixture
def self_signed(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edge")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, private = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, private


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=120), st.one_of(st.none(), st.integers(-2, 130).map(str), st.text(max_size=5)))
def test_any_bytes_in_an_answer_are_an_error_or_tensors(body: bytes, length: str | None) -> None:
    try:
        _, found = wire._parse(body, length)
    except WireError as error:
        assert error.kind == "garbage"
    else:
        assert sum(len(tensor.data) for tensor in found.values()) <= len(body) * 8


KEYS = st.sampled_from(["outputs", "name", "datatype", "shape", "data", "parameters", "binary_data_size"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.just("outputs"), st.lists(JSON, max_size=3), min_size=1) | JSON)
def test_any_document_in_an_answer_is_an_error_or_tensors(document: Any) -> None:
    head = json.dumps(document).encode()
    try:
        wire._parse(head + bytes(64), str(len(head)))
    except WireError as error:
        assert error.kind == "garbage"
