"""The model repository for a tritonserver, held against Triton's own schema; and its server's life, with a stand-in."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from device_agents.split.package import Package
from mobile.errors import ExportError
from offload.serve import models, triton_repository
from tests.support.cli import edgewise, start_edgewise
from tests.support.onnx_models import identity, model
from tests.support.served_packages import example_package, server_package

STAND_IN = """#!{python}
import http.server, sys
print(*sys.argv[1:], file=open({log!r}, "w"))
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *words):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--http-port") + 1])), Ready).serve_forever()
"""


# In a process of its own: KServe's client has the same messages, and protobuf takes them once in a process.
PARSE = """
import json, sys
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2
told = text_format.Parse(sys.stdin.read(), model_config_pb2.ModelConfig())
print(json.dumps(json_format.MessageToDict(told, preserving_proto_field_name=True)))
"""


def parsed(text: str) -> dict[str, Any]:
    """A configuration as Triton's own schema understands it."""
    done = subprocess.run([sys.executable, "-c", PARSE], input=text, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_repository_is_as_triton_wants_it(fashion: Package, tmp_path: Path) -> None:
    found = models.load([fashion.path])
    assert triton_repository.write(tmp_path / "models", found) == []
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == sorted(found)
    for name, one in found.items():
        told = parsed((tmp_path / "models" / name / "config.pbtxt").read_text())
        assert (told["name"], told["platform"]) == (name, "onnxruntime_onnx")
        assert told.get("max_batch_size", 0) == 0
        proto = onnx.load(tmp_path / "models" / name / "1" / "model.onnx")
        assert [value["name"] for value in told["input"]] == [value.name for value in proto.graph.input]
        assert [tuple(map(int, value["dims"])) for value in told["input"]] == [value.shape for value in one.inputs]
        assert {value["name"] for value in told["output"]} <= {value.name for value in proto.graph.output}
        assert told["parameters"]["edgewise_package"] == {"string_value": fashion.id}


@pytest.mark.parametrize(
    ("dtype", "triton"),
    [(TensorProto.FLOAT, "TYPE_FP32"), (TensorProto.FLOAT16, "TYPE_FP16"), (TensorProto.DOUBLE, "TYPE_FP64"),
     (TensorProto.INT8, "TYPE_INT8"), (TensorProto.UINT64, "TYPE_UINT64"), (TensorProto.BOOL, "TYPE_BOOL")],
)  # fmt: skip
def test_types_have_triton_s_names(dtype: int, triton: str, folder: Path) -> None:
    server_package(folder, identity(dtype, [2, 3]), "own")
    told = parsed(triton_repository.config(models.load([str(folder)])["own.p1"]))
    assert told["input"][0]["data_type"] == triton


def test_a_scalar_is_reshaped_and_odd_names_are_quoted(folder: Path) -> None:
    name = 'a "b"\\c/é'
    made = model(
        [helper.make_node("Neg", [name], ["y"])], [(name, TensorProto.FLOAT, [])], [("y", TensorProto.FLOAT, [])]
    )
    server_package(folder, made, "own")
    told = parsed(triton_repository.config(models.load([str(folder)])["own.p1"]))
    found = told["input"][0]
    assert (found["name"], found["dims"], found["reshape"].get("shape", [])) == (name, ["1"], [])


def test_a_placement_with_codecs_is_named(tmp_path: Path) -> None:
    package = example_package(tmp_path / "q8.split", codec="q8+zlib")
    assert triton_repository.write(tmp_path / "models", models.load([package.path]))


def test_a_folder_with_something_in_it_is_left_alone(fashion: Package, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(ExportError, match="not empty"):
        triton_repository.write(tmp_path, models.load([fashion.path]))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_without_a_tritonserver_it_is_said_what_to_do(fashion: Package, tmp_path: Path) -> None:
    done = edgewise("serve", fashion.path, "--engine", "triton", cwd=tmp_path, PATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "no tritonserver" in done.stderr
    assert "next:" in done.stderr
    done = edgewise("serve", fashion.path, "--engine", "triton", "--port", "0", cwd=tmp_path)
    assert done.returncode == 2


def test_a_tritonserver_is_started_on_the_repository_and_ended_with_us(fashion: Package, tmp_path: Path) -> None:
    program, log = tmp_path / "tritonserver", tmp_path / "arguments"
    program.write_text(STAND_IN.format(python=sys.executable, log=str(log)))
    program.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    process = start_edgewise("serve", fashion.path, "--engine", "triton", "--port", port, cwd=tmp_path, PATH=path)
    try:
        assert process.stdout.readline().strip() == f"http://127.0.0.1:{port}"
        given = log.read_text().split()
        repository = Path(given[given.index("--model-repository") + 1])
        assert (repository / "fashion.p1" / "config.pbtxt").is_file()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert not repository.exists()
    finally:
        process.kill()
        process.communicate()


def test_the_weights_of_a_repository_are_the_package_s(rows: Package, tmp_path: Path) -> None:
    found = models.load([rows.path])
    triton_repository.write(tmp_path / "models", found)
    ours = np.fromfile(rows.file_of(found["rows.p1"].part), np.uint8)
    np.testing.assert_array_equal(np.fromfile(tmp_path / "models/rows.p1/1/model.onnx", np.uint8), ours)
