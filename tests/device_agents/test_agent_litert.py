"""The agent with real LiteRT, the current package. The older one is in tests/test_tflite_runtime.py."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.agents import ROOT, run_agent
from tests.support.processes import all_gone

MODELS = ROOT / "tests" / "data" / "models"
FLOAT = MODELS / "face_detection_short_range.tflite"
INT8 = MODELS / "alexa.tflite"


def run(path, **spec):
    return run_agent({"runner": "litert", "model_path": str(path), "threads": 1, **spec})


def test_a_float_model():
    stream = run(FLOAT)
    loaded = stream.event("loaded")
    assert loaded["runtime"]["name"] == "ai-edge-litert"
    assert loaded["provider"] == "cpu"
    assert loaded["inputs"][0]["dtype"] == "float32"
    assert loaded["shapes"] == {loaded["inputs"][0]["name"]: [1, 128, 128, 3]}
    assert loaded["model_bytes"] == FLOAT.stat().st_size
    assert len(stream.durations("measure")) == 5
    assert stream.done["outcome"] == "completed"
    assert all_gone(stream.mark)


def test_an_int8_model_says_its_quantisation():
    stream = run(INT8)
    (tensor,) = stream.event("loaded")["inputs"]
    assert tensor["dtype"] == "int8"
    assert tensor["quantization"][0] > 0.0
    assert stream.done["outcome"] == "completed"


def test_an_evaluation_of_an_int8_model(tmp_path):
    name = run(INT8).event("loaded")["inputs"][0]["name"]
    np.savez(tmp_path / "d.npz", **{name: np.zeros((4, 3, 40), np.int8)})
    stream = run(INT8, task="evaluate", inputs={"kind": "npz", "path": str(tmp_path / "d.npz")})
    assert [value for record in stream.of("outputs") for value in record["top1"]] == [0, 0, 0, 0]


def test_a_free_first_dimension_is_resized(tmp_path):
    path = tmp_path / "dynamic.tflite"
    path.write_bytes(add_model(batch_signature=-1))
    stream = run(path, batch=6)
    assert stream.event("loaded")["inputs"][0]["shape"] == [None, 4]
    assert stream.event("loaded")["shapes"] == {"x": [6, 4]}
    assert stream.done["outcome"] == "completed"


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        (lambda: b"", "bad-model", "m.tflite"),
        (lambda: FLOAT.read_bytes()[:1000], "bad-model", "not a valid Flatbuffer"),
        (lambda: np.random.default_rng(0).bytes(4000), "bad-model", "not a valid Flatbuffer"),
        (lambda: b"\x1c\0\0\0TFL3" + np.random.default_rng(0).bytes(4000), "bad-model", "not a valid Flatbuffer"),
        (lambda: add_model(custom="Unheard"), "unsupported-model", "Unheard"),
    ],
)
def test_a_model_that_cannot_be_loaded(tmp_path, content, code, says):
    path = tmp_path / "m.tflite"
    path.write_bytes(content())
    stream = run(path)
    assert (stream.failure["code"], stream.failure["phase"]) == (code, "load")
    assert says in stream.failure["message"]


def test_a_missing_model_and_a_provider_that_is_not_there(tmp_path):
    assert run(tmp_path / "none.tflite").failure["code"] == "bad-model"
    stream = run(FLOAT, provider="gpu")
    assert stream.failure["code"] == "unsupported-provider"
    assert "cpu" in stream.failure["message"]


def test_no_runtime_at_all(tmp_path):
    for name in ("ai_edge_litert", "tflite_runtime"):  # packages of these names without an interpreter
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    stream = run(FLOAT, python_path=[str(tmp_path)])
    assert stream.failure["code"] == "missing-runtime"
    assert "ai-edge-litert" in stream.failure["message"]
    assert "tflite-runtime" in stream.failure["message"]


def add_model(batch_signature: int | None = None, custom: str | None = None) -> bytes:
    """A .tflite that adds x [1, 4] to itself, or has one custom operator instead."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def tensor(name):
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, [1, 4], schema.TensorType.FLOAT32, 0
        if batch_signature is not None:
            made.shapeSignature = [batch_signature, 4]
        return made

    code = schema.OperatorCodeT()
    code.builtinCode = schema.BuiltinOperator.CUSTOM if custom else schema.BuiltinOperator.ADD
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.customCode = custom
    operator = schema.OperatorT()
    operator.inputs, operator.outputs, operator.opcodeIndex = [0, 0], [1], 0
    if not custom:
        operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [tensor("x"), tensor("y")], [0], [1], [operator]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
