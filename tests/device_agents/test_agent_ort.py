"""The agent with real onnxruntime: benches, evaluates, and says what is wrong with a model or its inputs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import convert_model_to_external_data

from tests.support.agents import ROOT, run_agent
from tests.support.onnx_models import classifier, identity, model, save
from tests.support.processes import all_gone

EXAMPLE = ROOT / "mobile" / "example"


def run(path, **spec):
    return run_agent({"runner": "ort", "model_path": str(path), "threads": 1, **spec})


def test_a_bench_tells_everything_that_its_row_needs(tmp_path):
    stream = run(save(tmp_path / "m.onnx", classifier()), batch=2, min_count=20)
    loaded = stream.event("loaded")
    assert stream.records[0]["type"] == "hello"
    assert loaded["runtime"]["name"] == "onnxruntime"
    assert loaded["provider"] == "CPUExecutionProvider"
    assert loaded["provider"] in loaded["providers"]
    assert loaded["node_share"] is None
    assert loaded["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["batch", 4]}]
    assert loaded["shapes"] == {"x": [2, 4]}
    assert loaded["model_bytes"] == (tmp_path / "m.onnx").stat().st_size
    assert loaded["load_s"] > 0.0
    assert stream.event("first-done")["first_s"] == stream.durations("first")[0] / 1e9
    assert stream.event("measured")["reason"] == "minimums"
    assert len(stream.durations("measure")) == stream.done["invocations"] == 20
    memory = stream.done["memory"]
    assert 1e6 < memory["before_load"] <= memory["peak_rss"]
    assert stream.done["outcome"] == "completed"
    assert stream.exit_code == 0
    assert all_gone(stream.mark)


def test_times_lie_on_the_clock_of_the_samples(tmp_path):
    stream = run(save(tmp_path / "m.onnx", classifier()))
    starts = [start for block in stream.of("invocations") for start in block["start_ns"]]
    assert starts == sorted(starts)
    assert stream.records[0]["t_ns"] < starts[0] < starts[-1] < stream.done["t_ns"]


def test_onnxruntime_reports_nothing_home(tmp_path):
    program = tmp_path / "onnxruntime.py"
    program.write_text("import os\nraise ImportError('telemetry ' + os.environ['ORT_DISABLE_TELEMETRY'])\n")
    stream = run(
        save(tmp_path / "m.onnx", classifier()), python_path=[str(tmp_path)], env={"ORT_DISABLE_TELEMETRY": "0"}
    )
    assert stream.failure["code"] == "missing-runtime"
    assert "telemetry 1" in stream.failure["message"]


def test_a_file_in_the_working_folder_is_not_imported(tmp_path):
    (tmp_path / "numpy.py").write_text("raise RuntimeError('imported from the working folder')\n")
    spec = {"runner": "ort", "model_path": str(save(tmp_path / "m.onnx", classifier()))}
    assert run_agent(spec, cwd=tmp_path).done["outcome"] == "completed"


def bad_models(tmp_path):
    good = classifier().SerializeToString()
    weights = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    external = model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [("x", TensorProto.FLOAT, ["b", 4])],
        [("y", TensorProto.FLOAT, ["b", 4])],
        [weights],
    )
    convert_model_to_external_data(external, location="weights.bin", size_threshold=0)
    onnx.save(external, tmp_path / "external.onnx")
    (tmp_path / "weights.bin").unlink()
    unknown = model(
        [helper.make_node("Unheard", ["x"], ["y"], domain="other")],
        [("x", TensorProto.FLOAT, [1])],
        [("y", TensorProto.FLOAT, [1])],
        domains=["other"],
    )
    new_opset, new_ir = classifier(), classifier()
    new_opset.opset_import[0].version = 999
    new_ir.ir_version = 999
    (tmp_path / "folder.onnx").mkdir()
    return {
        "missing": None,
        "folder": None,
        "external": None,
        "empty": b"",
        "truncated": good[: len(good) // 2],
        "random": np.random.default_rng(0).bytes(2000),
        "unknown": unknown.SerializeToString(),
        "opset": new_opset.SerializeToString(),
        "ir": new_ir.SerializeToString(),
    }


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("missing", "bad-model", "No such file"),
        ("folder", "bad-model", "directory"),
        ("external", "bad-model", "weights.bin"),
        ("empty", "bad-model", "empty.onnx"),
        ("truncated", "bad-model", "Protobuf parsing failed"),
        ("random", "bad-model", "random.onnx"),
        ("unknown", "unsupported-model", "Unheard"),
        ("opset", "unsupported-model", "opset"),
        ("ir", "unsupported-model", "IR version"),
    ],
)
def test_a_model_that_cannot_be_loaded(tmp_path, name, code, says):
    path = tmp_path / f"{name}.onnx"
    content = bad_models(tmp_path)[name]
    if content is not None:
        path.write_bytes(content)
    stream = run(path)
    assert (stream.failure["code"], stream.failure["phase"]) == (code, "load")
    assert says in stream.failure["message"]
    assert str(path) in stream.failure["message"]
    assert "/onnxruntime_src/" not in stream.failure["message"]
    assert stream.exit_code == 1


def test_an_unknown_provider_lists_those_there(tmp_path):
    stream = run(save(tmp_path / "m.onnx", classifier()), provider="tensorrt")
    assert stream.failure["code"] == "unsupported-provider"
    assert "CPUExecutionProvider" in stream.failure["message"]


def test_a_silent_fallback_to_the_cpu_is_seen(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    if "AzureExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has no AzureExecutionProvider, which runs no node of an ordinary model")
    stream = run(save(tmp_path / "m.onnx", classifier()), provider="azure")
    loaded = stream.event("loaded")
    assert loaded["provider"] == "AzureExecutionProvider"
    assert loaded["node_share"] == {"CPUExecutionProvider": 1.0}
    assert stream.done["outcome"] == "completed"


def test_dimensions_are_bound_by_name_and_the_rest_is_told(tmp_path):
    path = save(tmp_path / "m.onnx", identity(TensorProto.FLOAT, ["batch", "height", "width", None]))
    stream = run(path, batch=2, dims={"height": 5, "x:3": 7})
    assert stream.event("loaded")["shapes"] == {"x": [2, 5, 1, 7]}
    assert stream.event("dimension-assumed") == {"input": "x", "axis": 2, "dim": "width", "value": 1}


def test_sizes_that_the_model_cannot_take(tmp_path):
    weights = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    path = save(
        tmp_path / "m.onnx",
        model(
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            [("x", TensorProto.FLOAT, ["b", "n"])],
            [("y", TensorProto.FLOAT, ["b", 4])],
            [weights],
        ),
    )
    stream = run(path, dims={"n": 3})
    assert (stream.failure["code"], stream.failure["phase"]) == ("bad-input", "first")
    assert "'x': [1, 3]" in stream.failure["message"]
    assert run(path, dims={"m": 3}).failure["code"] == "bad-input"


@pytest.mark.parametrize("dtype", ["INT64", "INT32", "INT8", "UINT8", "BOOL", "FLOAT16", "DOUBLE", "UINT16", "INT16"])
def test_every_dtype_is_fed(tmp_path, dtype):
    path = save(tmp_path / "m.onnx", identity(getattr(TensorProto, dtype), [1, 3]))
    assert run(path).done["outcome"] == "completed"


def test_strings_cannot_be_fed(tmp_path):
    stream = run(save(tmp_path / "m.onnx", identity(TensorProto.STRING, [1, 3])))
    assert stream.failure["code"] == "bad-input"
    assert "string" in stream.failure["message"]


def test_an_evaluation_gives_each_item_its_class_once(tmp_path):
    path = save(tmp_path / "m.onnx", classifier())
    classes = np.random.default_rng(1).integers(0, 3, size=23)
    np.savez(tmp_path / "data.npz", x=np.eye(4, dtype=np.float32)[classes], label=classes)
    stream = run(path, task="evaluate", batch=5, inputs={"kind": "npz", "path": str(tmp_path / "data.npz")})
    top1 = {}
    for record in stream.of("outputs"):
        top1.update(enumerate(record["top1"], start=record["first"]))
    assert [top1[item] for item in range(23)] == classes.tolist()
    assert len(top1) == sum(len(record["top1"]) for record in stream.of("outputs"))
    assert len(stream.durations("first")) == 1
    assert len(stream.durations("measure")) == 4
    assert stream.event("measured")["count"] == 5
    assert stream.event("measured")["reason"] == "all-items"
    assert stream.done["outcome"] == "completed"


def test_an_evaluation_of_a_model_with_a_fixed_batch(tmp_path):
    path = save(tmp_path / "m.onnx", classifier(batch=4))
    classes = np.arange(10) % 3
    np.savez(tmp_path / "data.npz", x=np.eye(4, dtype=np.float32)[classes])
    stream = run(path, task="evaluate", inputs={"kind": "npz", "path": str(tmp_path / "data.npz")})
    assert [value for record in stream.of("outputs") for value in record["top1"]] == classes.tolist()


def test_an_evaluation_needs_data_and_one_class_per_item(tmp_path):
    path = save(tmp_path / "m.onnx", classifier())
    assert run(path, task="evaluate").failure["code"] == "bad-spec"
    flat = save(tmp_path / "flat.onnx", identity(TensorProto.FLOAT, ["batch", 2, 3]))
    np.savez(tmp_path / "data.npz", x=np.ones((4, 2, 3), np.float32))
    stream = run(flat, task="evaluate", inputs={"kind": "npz", "path": str(tmp_path / "data.npz")})
    assert (stream.failure["code"], stream.failure["phase"]) == ("unsupported-model", "evaluate")


def test_a_bench_cycles_over_the_items(tmp_path):
    path = save(tmp_path / "m.onnx", classifier())
    np.savez(tmp_path / "data.npz", x=np.ones((7, 4), np.float32))
    stream = run(path, batch=3, min_count=10, inputs={"kind": "npz", "path": str(tmp_path / "data.npz")})
    assert len(stream.durations("measure")) == 10


@pytest.mark.skipif(not (EXAMPLE / "fashion_mnist.onnx").exists(), reason="the example model is not there")
def test_the_example_reaches_its_accuracy():
    data = EXAMPLE / "fashion_mnist_test_1000.npz"
    inputs = {"kind": "npz", "path": str(data), "scale": {"image": 1 / 255}}
    stream = run(EXAMPLE / "fashion_mnist.onnx", task="evaluate", batch=100, inputs=inputs)
    top1 = np.array([value for record in stream.of("outputs") for value in record["top1"]])
    with np.load(data) as arrays:
        assert (top1 == arrays["label"]).mean() > 0.9


MODELS = ROOT / "tests" / "data" / "models"


@pytest.mark.parametrize(
    ("name", "spec", "shapes"),
    [
        ("ch_ppocr_mobile_v2.0_cls_infer.onnx", {"dims": {"x:2": 48, "x:3": 192}}, {"x": [1, 3, 48, 192]}),
        (
            "silero_vad_16k_op15.onnx",
            {"dims": {"sequence": 576}, "batch": 2},
            {"input": [2, 576], "state": [2, 2, 128], "sr": []},
        ),
    ],
)
def test_models_that_others_published(name, spec, shapes):
    stream = run(MODELS / name, **spec)
    assert stream.event("loaded")["shapes"] == shapes
    assert stream.done["outcome"] == "completed"


def test_an_assumed_dimension_that_does_not_do_is_told():
    stream = run(MODELS / "silero_vad_16k_op15.onnx")
    assert stream.event("dimension-assumed")["dim"] == "sequence"
    assert (stream.failure["code"], stream.failure["phase"]) == ("bad-input", "first")
    assert "free dimensions" in stream.failure["hint"]
