"""The same models over gRPC: with Triton's own client, and what is refused before or after it was received."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agents.split.codecs import decode, encode
from device_agents.split.package import Package
from offload.serve import grpc_messages, grpc_server
from offload.serve.app import Limits
from offload.serve.messages import Refused
from tests.support.certificates import self_signed
from tests.support.cli import environment, start_edgewise
from tests.support.serving import serving

INFER = f"/{grpc_messages.SERVICE}/ModelInfer"
MESSAGES = grpc_messages.classes()

# In a process of its own: KServe's client has the same messages, and protobuf takes them once in a process.
CLIENT = """
import json, sys
import numpy as np
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2
sys.path.insert(0, sys.argv[3])
from offload.serve.grpc_messages import MESSAGES, classes

address, token = sys.argv[1:3]
headers = {"authorization": "Bearer " + token}
client = triton.InferenceServerClient(address)
assert client.is_server_live() and client.is_server_ready()
assert client.get_server_metadata(headers=headers).name == "edgewise"
assert client.is_model_ready("rows.p1", headers=headers)
told = client.get_model_metadata("rows.p1", headers=headers)
assert [(one.name, one.datatype, list(one.shape)) for one in told.inputs] == [("x", "FP32", [-1, 4])]
given = triton.InferInput("x", [2, 4], "FP32")
given.set_data_from_numpy(np.arange(8, dtype=np.float32).reshape(2, 4))
wanted = triton.InferRequestedOutput("logits")
found = client.infer("rows.p1", [given], outputs=[wanted], request_id="seven", headers=headers, client_timeout=30)
assert found.get_response().id == "seven"
try:
    client.infer("rows.p1", [given])
    raise SystemExit("no token was needed")
except triton.InferenceServerException as error:
    assert error.status() == "StatusCode.UNAUTHENTICATED", error
for name, ours in classes().items():  # the table of messages against Triton's own
    theirs = service_pb2
    for part in name.split("."):
        theirs = getattr(theirs, part)
    same = {field.name: field for field in theirs.DESCRIPTOR.fields}
    assert all((f.number, f.type) == (same[f.name].number, same[f.name].type) for f in ours.DESCRIPTOR.fields), name
print(json.dumps(found.as_numpy("logits").tolist()))
"""


def served_grpc(*packages: Any, **options: Any) -> Any:
    return serving(*packages, grpc_port=0, **options)


def address(served: Any) -> str:
    return served.server.grpc_url.partition("//")[2]


def call(served: Any, message: Any, timeout_s: float = 30.0, **metadata: str) -> Any:
    """The response to a ModelInferRequest, or to bytes."""
    with grpc.insecure_channel(address(served)) as channel:
        data = message if isinstance(message, bytes) else message.SerializeToString()
        infer = channel.unary_unary(INFER, bytes, MESSAGES["ModelInferResponse"].FromString)
        return infer(data, timeout=timeout_s, metadata=list(metadata.items()))


def request(array: np.ndarray, model: str = "echo.p1", codec: str = "", raw: bool = True) -> Any:
    made = MESSAGES["ModelInferRequest"](model_name=model)
    data = encode(array, codec) if codec else array.tobytes()
    shape, datatype = ([len(data)], "UINT8") if codec else (array.shape, "FP32")
    tensor = made.inputs.add(name="x", datatype=datatype, shape=shape)
    if codec:
        tensor.parameters["edgewise_codec"].string_param = codec
    if raw:
        made.raw_input_contents.append(data)
    else:
        tensor.contents.fp32_contents.extend(array.reshape(-1).tolist())
    return made


def refused(served: Any, message: Any, **more: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as error:
        call(served, message, **more)
    return error.value.code().name, error.value.details()


def test_the_client_of_triton_speaks_with_it_and_has_the_same_messages(rows: Package) -> None:
    root = str(Path(__file__).resolve().parents[3])
    with served_grpc(rows.path, token="s3cret") as served:
        command = [sys.executable, "-c", CLIENT, address(served), "s3cret", root]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[0.0, 1.0, 2.0], [4.0, 5.0, 6.0]]


def test_numbers_and_coded_tensors_come_and_go(echo: Package) -> None:
    array = np.linspace(0, 1, 50, dtype=np.float32)
    with served_grpc(echo.path) as served:
        plain = call(served, request(array))
        assert np.frombuffer(plain.raw_output_contents[0], np.float32).tolist() == array.tolist()
        assert plain.parameters["edgewise_package"].string_param == echo.id
        assert plain.parameters["service_ns"].int64_param > 0
        listed = call(served, request(array, raw=False))
        assert listed.raw_output_contents[0] == plain.raw_output_contents[0]
        asked = request(array, codec="q8+zlib")
        asked.outputs.add(name="y").parameters["edgewise_codec"].string_param = "q8"
        coded = call(served, asked)
        assert coded.outputs[0].parameters["edgewise_codec"].string_param == "q8"
        np.testing.assert_allclose(decode(coded.raw_output_contents[0]), array, atol=0.01)
        assert served.metric("requests_total", model="echo.p1", status="200") == 3


def test_an_id_is_computed_once_and_each_protocol_has_its_own_answer(echo: Package) -> None:
    from tests.support.serving import ask

    array = np.ones(3, np.float32)
    with served_grpc(echo.path) as served:
        asked = request(array)
        asked.id = "a"
        asked.parameters["edgewise_package"].string_param = echo.id
        first, second = call(served, asked), call(served, asked)
        assert first == second
        assert served.metric("answered_again_total") == 1
        ask(served.url, "echo.p1", {"x": array}, ["y"], parameters={"edgewise_package": echo.id}, request_id="a")
        assert served.metric("answered_again_total") == 1


def test_what_is_wrong_is_refused_in_words(echo: Package) -> None:
    array = np.ones(4, np.float32)
    foreign, short, unknown, late = request(array), request(array), request(array), request(array)
    foreign.parameters["edgewise_package"].string_param = "0" * 64
    short.raw_input_contents[0] = b"123"
    unknown.model_name = "nothing"
    late.parameters["edgewise_deadline_ms"].double_param = -1.0
    with served_grpc(echo.path, limits=Limits(max_body=1 << 16)) as served:
        assert refused(served, foreign)[0] == "FAILED_PRECONDITION"
        code, words = refused(served, short)
        assert code == "INVALID_ARGUMENT"
        assert "takes 16 bytes" in words
        assert refused(served, unknown)[0] == "NOT_FOUND"
        assert refused(served, late)[0] == "DEADLINE_EXCEEDED"
        assert refused(served, request(np.zeros(1 << 15, np.float32)))[0] == "RESOURCE_EXHAUSTED"
        assert refused(served, b"\xff" * 40)[0] in ("INTERNAL", "UNKNOWN", "INVALID_ARGUMENT")
        assert call(served, request(array)).outputs[0].name == "y"


def test_compressed_messages_are_not_taken(echo: Package) -> None:
    bomb = request(np.zeros(1 << 20, np.float32)).SerializeToString()
    with served_grpc(echo.path) as served:
        with grpc.insecure_channel(address(served), compression=grpc.Compression.Gzip) as channel:
            infer = channel.unary_unary(INFER, bytes, bytes)
            with pytest.raises(grpc.RpcError) as error:
                infer(bomb, timeout=30)
        assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_without_the_token_nothing_is_answered_but_health(echo: Package) -> None:
    asked = request(np.ones(1, np.float32))
    with served_grpc(echo.path, token="s3cret") as served:
        for shown in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic s3cret"}):
            assert refused(served, asked, **shown) == (
                "UNAUTHENTICATED", "a bearer token is needed, and this is not it"
            )  # fmt: skip
        assert call(served, asked, authorization="Bearer s3cret").outputs[0].name == "y"
        assert not any("s3cret" in str(line) for line in served.log)


def test_it_is_on_the_same_certificate_as_http(echo: Package, tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path)
    with served_grpc(echo.path, cert=cert, key=key) as served:
        assert served.server.grpc_url.startswith("grpcs://127.0.0.1:")
        trust = grpc.ssl_channel_credentials(cert.read_bytes())
        with grpc.secure_channel(address(served), trust) as channel:
            infer = channel.unary_unary(INFER, bytes, MESSAGES["ModelInferResponse"].FromString)
            assert infer(request(np.ones(1, np.float32)).SerializeToString(), timeout=30).outputs[0].name == "y"


def test_the_command_prints_both_addresses(echo: Package, tmp_path: Path) -> None:
    process = start_edgewise("serve", echo.path, "--port", "0", "--grpc", "0", cwd=tmp_path)
    try:
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        assert process.stdout.readline().startswith("grpc://127.0.0.1:")
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_message_is_a_request_or_refused(data: bytes) -> None:
    asked = MESSAGES["ModelInferRequest"]()
    try:
        asked.ParseFromString(data)
    except Exception as error:  # noqa: BLE001 - protobuf's own, which has no public name
        assert type(error).__name__ == "DecodeError"
        return
    try:
        grpc_server.request_of(asked, 1.0)
    except Refused as error:
        assert error.status == 400
