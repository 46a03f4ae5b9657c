"""The server speaks the Open Inference Protocol: with the device's wire, Triton's and KServe's clients, by hand."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from device_agents.split.codecs import decode, encode
from device_agents.split.package import Package
from device_agents.split.wire import Endpoint, Wire, array_of, coded, plain
from exporters.runtime import onnxruntime
from tests.support.onnx_models import identity, model
from tests.support.served_packages import EXAMPLE, server_package
from tests.support.serving import ask, error_of, exchange, get, post, serving

INFER = "/v2/models/{}/infer"


def whole(feeds: dict[str, np.ndarray], wanted: str) -> np.ndarray:
    session = onnxruntime().InferenceSession(str(EXAMPLE), providers=["CPUExecutionProvider"])
    return session.run([wanted], feeds)[0]


def image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((1, 1, 28, 28)).astype(np.float32)


def document(status_body: tuple[int, Any, bytes]) -> Any:
    status, _, body = status_body
    assert status == 200, body
    return json.loads(body)


def test_a_tail_behind_its_head_gives_what_the_whole_model_gives(fashion: Package) -> None:
    source = fashion.inputs[0].name
    ort = onnxruntime()
    with serving(fashion.path) as served:
        for placement in ("p1", "p2", "p3"):
            known = {source: image()}
            for part in fashion.placements[placement].parts:
                feeds = {name: known[name] for name in part.inputs}
                if part.place == "device":
                    head = ort.InferenceSession(fashion.file_of(part), providers=["CPUExecutionProvider"])
                    known.update(zip(part.outputs, head.run(list(part.outputs), feeds), strict=True))
                    continue
                name = fashion.model_name(fashion.placements[placement], part)
                answer = ask(served.url, name, feeds, part.outputs)
                known.update({key: array_of(tensor) for key, tensor in answer.tensors.items()})
            wanted = fashion.outputs[0].name
            np.testing.assert_allclose(known[wanted], whole({source: image()}, wanted), rtol=1e-4, atol=1e-5)


def test_the_server_and_its_models_describe_themselves(fashion: Package) -> None:
    with serving(fashion.path) as served:
        about = document(exchange(served, get("/v2")))
        assert about["name"] == "edgewise"
        assert "binary_tensor_data" in about["extensions"]
        assert document(exchange(served, get("/v2/health/live"))) == {"live": True}
        assert document(exchange(served, get("/v2/health/ready"))) == {"ready": True}
        found = document(exchange(served, get("/v2/models/fashion.p3")))
        assert document(exchange(served, get("/v2/models/fashion.p3/versions/1"))) == found
        assert (found["name"], found["versions"]) == ("fashion.p3", ["1"])
        assert found["inputs"] == [{"name": fashion.inputs[0].name, "datatype": "FP32", "shape": [-1, 1, 28, 28]}]
        assert found["parameters"]["edgewise_package"] == fashion.id
        assert document(exchange(served, get("/v2/models/fashion.p3/ready")))["ready"] is True
        names = [one["name"] for one in document(exchange(served, post("/v2/repository/index", b"{}")))]
        assert names == ["fashion.p1", "fashion.p2", "fashion.p3"]


def test_numbers_may_come_and_go_as_json(rows: Package) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 4], "data": [[1, 2, 3, 4], [5, 6, 7, 8]]}
    body = json.dumps({"id": "seven", "inputs": [tensor]}).encode()
    with serving(rows.path) as served:
        status, headers, answer = exchange(served, post(INFER.format("rows.p1"), body))
    assert (status, headers["content-type"]) == (200, "application/json")
    assert "inference-header-content-length" not in headers
    found = json.loads(answer)
    assert (found["model_name"], found["model_version"], found["id"]) == ("rows.p1", "1", "seven")
    assert found["outputs"] == [
        {"name": "logits", "datatype": "FP32", "shape": [2, 3], "data": [1.0, 2.0, 3.0, 5.0, 6.0, 7.0]}
    ]


@pytest.mark.parametrize(
    ("options", "output", "binary"),
    [({}, None, False), ({"binary_data_output": True}, None, True), ({}, {"binary_data": True}, True),
     ({"binary_data_output": True}, {"binary_data": False}, False), ({"binary_data_output": True}, {}, True)],
)  # fmt: skip
def test_binary_output_is_as_the_extension_says(
    rows: Package, options: dict[str, Any], output: dict[str, Any] | None, binary: bool
) -> None:
    request: dict[str, Any] = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "parameters": {"binary_data_size": 16}}],
        "parameters": options,
    }
    if output is not None:
        request["outputs"] = [{"name": "logits", "parameters": output}]
    head = json.dumps(request).encode()
    data = np.arange(4, dtype="<f4").tobytes()
    length = f"Inference-Header-Content-Length: {len(head)}"
    with serving(rows.path) as served:
        status, headers, body = exchange(served, post(INFER.format("rows.p1/versions/1"), head + data, length))
    assert status == 200
    if binary:
        at = int(headers["inference-header-content-length"])
        assert json.loads(body[:at])["outputs"][0]["parameters"] == {"binary_data_size": 12}
        assert np.frombuffer(body[at:], "<f4").tolist() == [0, 1, 2]
    else:
        assert json.loads(body)["outputs"][0]["data"] == [0.0, 1.0, 2.0]


TYPES = {
    "FP32": TensorProto.FLOAT, "FP16": TensorProto.FLOAT16, "FP64": TensorProto.DOUBLE, "INT8": TensorProto.INT8,
    "UINT8": TensorProto.UINT8, "INT16": TensorProto.INT16, "UINT16": TensorProto.UINT16, "INT32": TensorProto.INT32,
    "UINT32": TensorProto.UINT32, "INT64": TensorProto.INT64, "UINT64": TensorProto.UINT64, "BOOL": TensorProto.BOOL,
}  # fmt: skip


@pytest.mark.parametrize("datatype", TYPES)
def test_every_type_travels_as_bytes_and_as_json(datatype: str, folder: Any) -> None:
    server_package(folder, identity(TYPES[datatype], [3]), "own")
    values = np.array([1, 0, 1]).astype(helper.tensor_dtype_to_np_dtype(TYPES[datatype]))
    body = {"inputs": [{"name": "x", "datatype": datatype, "shape": [3], "data": values.tolist()}]}
    with serving(folder) as served:
        found = ask(served.url, "own.p1", {"x": values}, ["y"]).tensors["y"]
        assert (found.datatype, array_of(found).tolist()) == (datatype, values.tolist())
        told = document(exchange(served, post(INFER.format("own.p1"), json.dumps(body).encode())))
    assert told["outputs"] == [{"name": "y", "datatype": datatype, "shape": [3], "data": values.tolist()}]


def test_a_frame_is_decoded_and_an_output_coded_when_it_asks(echo: Package) -> None:
    values = np.linspace(-3, 5, 4096, dtype=np.float32)
    with serving(echo.path) as served:
        wire = Wire(Endpoint(served.url))
        frame = coded("x", encode(values, "q8+zlib"), "q8+zlib")
        back = wire.infer("echo.p1", [frame], ["y"], 30.0, {"edgewise_package": echo.id})
        wire.close()
        request = {
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [4096], "parameters": {"binary_data_size": 16384}}],
            "outputs": [{"name": "y", "parameters": {"edgewise_codec": "q4+zlib"}}],
        }
        head = json.dumps(request).encode()
        length = f"Inference-Header-Content-Length: {len(head)}"
        status, headers, body = exchange(served, post(INFER.format("echo.p1"), head + values.tobytes(), length))
    step = 8 / 255
    assert np.abs(array_of(back.tensors["y"]) - values).max() <= 0.51 * step
    at = int(headers["inference-header-content-length"])
    output = json.loads(body[:at])["outputs"][0]
    assert output["datatype"] == "UINT8"
    assert output["parameters"] == {"binary_data_size": len(body) - at, "edgewise_codec": "q4+zlib"}
    assert status == 200
    assert np.abs(decode(body[at:]) - values).max() <= 0.51 * 8 / 15


def test_an_output_is_coded_within_the_calibrated_range_of_the_package(folder: Any) -> None:
    server_package(folder, identity(TensorProto.FLOAT, [3]), "own", ranges={"y": {"low": [0.0], "high": [1.0]}})
    request = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [3], "data": [-5.0, 0.5, 7.0]}],
        "outputs": [{"name": "y", "parameters": {"edgewise_codec": "q8"}}],
    }
    with serving(folder) as served:
        _, headers, body = exchange(served, post(INFER.format("own.p1"), json.dumps(request).encode()))
    found = decode(body[int(headers["inference-header-content-length"]) :])
    np.testing.assert_allclose(found, [0.0, 0.5, 1.0], atol=0.003)


def test_the_answer_tells_where_the_time_went_and_whose_package_it_is(echo: Package) -> None:
    with serving(echo.path) as served:
        for _ in range(2):
            told = ask(served.url, "echo.p1", {"x": np.zeros(9, np.float32)}, ["y"]).parameters
        assert served.metric("stage_seconds_count", stage="inference") == 2
    assert told["edgewise_package"] == echo.id
    assert told["load"] == 1
    stages = [told[f"{stage}_ns"] for stage in ("queue", "decode", "inference", "encode")]
    assert all(isinstance(found, int) and found >= 0 for found in stages)
    assert told["service_ns"] >= max(stages)
    assert "loading_ns" not in told


def test_a_placement_with_two_server_parts_has_a_model_for_each(tmp_path: Any) -> None:
    from tests.support.served_packages import write_package

    names = [("x", TensorProto.FLOAT, [2])]
    nodes = [helper.make_node("Neg", ["x"], ["a"]), helper.make_node("Abs", ["a"], ["b"]),
             helper.make_node("Exp", ["b"], ["y"])]  # fmt: skip
    made = model(nodes, names, [("y", TensorProto.FLOAT, [2])])
    package = write_package(tmp_path / "hops.split", made, {"p0": [False] * 3, "p1": [True, False, True]}, "hops")
    with serving(package.path) as served:
        assert array_of(ask(served.url, "hops.p1", {"x": np.ones(2, np.float32)}, ["a"]).tensors["a"]).tolist() == [
            -1,
            -1,
        ]
        found = ask(served.url, "hops.p1.3", {"b": np.zeros(2, np.float32)}, ["y"]).tensors["y"]
    assert array_of(found).tolist() == [1, 1]


def test_the_link_can_be_measured(echo: Package) -> None:
    with serving(echo.path) as served:
        status, headers, body = exchange(served, post("/edgewise/link?down=3000000", bytes(1_000_000)))
        assert (status, len(body)) == (200, 3_000_000)
        assert headers["edgewise-received-bytes"] == "1000000"
        assert int(headers["edgewise-service-ns"]) >= 0
        for wrong in ("-1", "x", str(1 << 40), "9" * 5000):
            assert exchange(served, post(f"/edgewise/link?down={wrong}", b""))[0] == 400


def test_prometheus_can_read_the_metrics(echo: Package) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    with serving(echo.path) as served:
        ask(served.url, "echo.p1", {"x": np.zeros(9, np.float32)}, ["y"])
        status, headers, body = exchange(served, get("/metrics"))
    assert status == 200
    assert headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    assert {"edgewise_serve_requests", "edgewise_serve_stage_seconds", "edgewise_serve_load"} <= set(families)
    counted = [one for one in families["edgewise_serve_requests"].samples if one.labels.get("model") == "echo.p1"]
    assert [(one.labels["status"], one.value) for one in counted if one.name.endswith("_total")] == [("200", 1.0)]


def test_the_client_of_triton_speaks_with_the_server(fashion: Package) -> None:
    triton = pytest.importorskip("tritonclient.http")
    source, wanted = fashion.inputs[0].name, fashion.outputs[0].name
    with serving(fashion.path) as served:
        client = triton.InferenceServerClient(served.url.split("//")[1])
        try:
            assert client.is_server_live()
            assert client.is_server_ready()
            assert client.is_model_ready("fashion.p3")
            assert not client.is_model_ready("nothing")
            assert client.get_server_metadata()["name"] == "edgewise"
            assert client.get_model_metadata("fashion.p3")["name"] == "fashion.p3"
            assert len(client.get_model_repository_index()) == 3
            given = triton.InferInput(source, [1, 1, 28, 28], "FP32")
            for binary_in, binary_out in ((True, True), (True, False), (False, True), (False, False)):
                given.set_data_from_numpy(image(), binary_data=binary_in)
                outputs = [triton.InferRequestedOutput(wanted, binary_data=binary_out)]
                found = client.infer("fashion.p3", [given], outputs=outputs, request_id="1")
                np.testing.assert_allclose(found.as_numpy(wanted), whole({source: image()}, wanted), rtol=1e-4)
                assert found.get_response()["id"] == "1"
            found = client.infer("fashion.p3", [given], model_version="1")
            assert found.as_numpy(wanted).shape == (1, 10)
            with pytest.raises(triton.InferenceServerException, match="no such model"):
                client.infer("nothing", [given])
        finally:
            client.close()


def test_the_client_of_kserve_speaks_with_the_server(fashion: Package) -> None:
    kserve = pytest.importorskip("kserve")
    import asyncio

    source, wanted = fashion.inputs[0].name, fashion.outputs[0].name

    async def talk(url: str, binary: bool) -> Any:
        client = kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2"))
        try:
            assert await client.is_server_live(url)
            assert await client.is_server_ready(url)
            assert await client.is_model_ready(url, "fashion.p3")
            given = kserve.InferInput(source, [1, 1, 28, 28], "FP32")
            given.set_data_from_numpy(image(), binary_data=binary)
            request = kserve.InferRequest("fashion.p3", [given], parameters={"binary_data_output": binary})
            return await client.infer(url, request, model_name="fashion.p3")
        finally:
            await client.close()

    with serving(fashion.path) as served:
        for binary in (False, True):
            found = asyncio.run(talk(served.url, binary)).outputs[0]
            assert found.name == wanted
            np.testing.assert_allclose(found.as_numpy(), whole({source: image()}, wanted), rtol=1e-4, atol=1e-5)


def test_what_is_asked_for_and_not_there_is_refused_in_words(rows: Package) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
    request: dict[str, Any] = {"inputs": [tensor]}
    cases = [
        ("/v2/models/nothing/infer", request, 404, "no such model"),
        ("/v2/models/rows.p1/versions/2/infer", request, 404, "version 1"),
        ("/v2/models/rows.p1/explain", request, 404, "no such path"),
        (INFER.format("rows.p1"), {"inputs": [{**tensor, "name": "z"}]}, 400, "no input 'z'"),
        (INFER.format("rows.p1"), {"inputs": []}, 400, "'x' is missing"),
        (INFER.format("rows.p1"), {"inputs": [tensor, tensor]}, 400, "named twice"),
        (INFER.format("rows.p1"), {"inputs": [{**tensor, "datatype": "FP64"}]}, 400, "is FP32, not FP64"),
        (INFER.format("rows.p1"), {"inputs": [{**tensor, "datatype": "BYTES"}]}, 400, "not supported"),
        (INFER.format("rows.p1"), {"inputs": [{**tensor, "shape": [4]}]}, 400, "not [4]"),
        (INFER.format("rows.p1"), {"inputs": [{**tensor, "shape": [2, 4]}]}, 400, "not 8 numbers"),
        (INFER.format("rows.p1"), {"inputs": [{**tensor, "shape": [-1, 4]}]}, 400, "whole numbers"),
        (INFER.format("rows.p1"), {"inputs": [{**tensor, "data": ["1", "2", "3", "4"]}]}, 400, "not 4 numbers"),
        (INFER.format("rows.p1"), {"inputs": [{**tensor, "data": [1, [2, 3], 4]}]}, 400, "not 4 numbers"),
        (INFER.format("rows.p1"), {"inputs": [tensor], "outputs": [{"name": "z"}]}, 400, "no output 'z'"),
        (INFER.format("rows.p1"), {"inputs": [tensor], "id": 7}, 400, "id"),
        (INFER.format("rows.p1"), {"inputs": [tensor], "parameters": []}, 400, "an object"),
        (INFER.format("rows.p1"), [], 400, "JSON object"),
    ]
    with serving(rows.path) as served:
        for path, asked, status, words in cases:
            found, _, body = exchange(served, post(path, json.dumps(asked).encode()))
            assert (found, words in error_of(body)) == (status, True), (asked, body)
        assert exchange(served, get(INFER.format("rows.p1")))[0] == 405
        assert exchange(served, get("/nothing"))[0] == 404
        brotli = exchange(served, post(INFER.format("rows.p1"), b"x", "Content-Encoding: br"))
        assert brotli[0] == 415


def test_an_int8_input_does_not_take_what_is_no_int8(folder: Any) -> None:
    server_package(folder, identity(TensorProto.INT8, [2]), "own")
    with serving(folder) as served:
        for data, status in (
            ([1, -128], 200),
            ([1, 128], 400),
            ([1, 1.5], 400),
            ([True, False], 400),
            ([1, None], 400),
        ):
            tensor = {"name": "x", "datatype": "INT8", "shape": [2], "data": data}
            found, _, body = exchange(served, post(INFER.format("own.p1"), json.dumps({"inputs": [tensor]}).encode()))
            assert found == status, body


def test_what_json_cannot_say_is_refused_as_json_and_given_as_bytes(echo: Package) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}}
    head = json.dumps({"inputs": [tensor]}).encode()
    bad = np.array([np.nan], np.float32)
    length = f"Inference-Header-Content-Length: {len(head)}"
    with serving(echo.path) as served:
        status, _, body = exchange(served, post(INFER.format("echo.p1"), head + bad.tobytes(), length))
        assert (status, "binary" in error_of(body)) == (400, True)
        assert np.isnan(array_of(ask(served.url, "echo.p1", {"x": bad}, ["y"]).tensors["y"])).all()


def test_an_empty_tensor_of_a_shape_that_no_array_has_is_refused(echo: Package) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [0, 2**39, 2**39], "parameters": {"binary_data_size": 0}}
    head = json.dumps({"inputs": [tensor]}).encode()
    with serving(echo.path) as served:
        length = f"Inference-Header-Content-Length: {len(head)}"
        status, _, body = exchange(served, post(INFER.format("echo.p1"), head, length))
    assert status == 400
    assert "no tensor has the shape" in error_of(body)


def test_a_scalar_and_an_empty_tensor_are_tensors_too(folder: Any, echo: Package) -> None:
    server_package(folder, identity(TensorProto.FLOAT, []), "own")
    with serving(folder, echo.path) as served:
        found = ask(served.url, "own.p1", {"x": np.float32(4.0)}, ["y"]).tensors["y"]
        assert (found.shape, float(array_of(found))) == ((), 4.0)
        empty = ask(served.url, "echo.p1", {"x": np.zeros(0, np.float32)}, ["y"]).tensors["y"]
        assert empty.shape == (0,)


def test_a_coded_input_needs_the_declared_type_and_shape(fashion: Package) -> None:
    wrong = [encode(np.zeros((1, 1, 28, 28), np.float64), "raw"), encode(np.zeros((1, 28, 28), np.float32), "raw")]
    with serving(fashion.path) as served:
        for frame in wrong:
            wire = Wire(Endpoint(served.url))
            with pytest.raises(Exception, match="400"):
                wire.infer("fashion.p3", [coded(fashion.inputs[0].name, frame, "raw")], [], 30.0)
            wire.close()
        assert plain("x", image()).datatype == "FP32"


def test_the_parts_are_onnx_models_that_the_checker_passes(fashion: Package) -> None:
    for part in fashion.placements["p1"].parts:
        onnx.checker.check_model(onnx.load(fashion.file_of(part)))
