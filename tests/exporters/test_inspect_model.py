"""Inspection: figures against hand counts and published ones, unknown is None with a reason, nothing is loaded."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import exporters
from exporters.inspection.skeleton import skeleton
from mobile.errors import ModelError, UsageError
from mobile.example import model_path
from tests.support.onnx_text import SMALL, saved

DATA = Path(__file__).resolve().parents[1] / "data" / "models"
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def _inspect(tmp_path, body, ends, weights="", opset=17, **options):
    text = f'<ir_version: 8, opset_import: ["" : {opset}, "com.microsoft" : 1]> g {ends} {weights} {{ {body} }}'
    return exporters.inspect_model(saved(tmp_path / "m.onnx", text), **options)


@pytest.mark.parametrize(
    ("body", "ends", "weights", "macs"),
    [
        ("y = Conv (x, w)", "(float[1,3,8,8] x) => (float[1,4,6,6] y)", "<float[4,3,3,3] w>", 4 * 36 * 27),
        (
            "y = Conv <group = 4> (x, w)",
            "(float[1,4,8,8] x) => (float[1,4,6,6] y)",
            "<float[4,1,3,3] w>",
            4 * 36 * 9,
        ),
        ("y = ConvTranspose (x, w)", "(float[1,3,4,4] x) => (float[1,5,5,5] y)", "<float[3,5,2,2] w>", 48 * 20),
        ("y = Gemm (x, w)", "(float[6,3] x) => (float[6,5] y)", "<float[3,5] w>", 6 * 3 * 5),
        ("y = Gemm <transA = 1> (x, w)", "(float[3,6] x) => (float[6,5] y)", "<float[3,5] w>", 6 * 3 * 5),
        ("y = MatMul (x, w)", "(float[2,7,3] x) => (float[2,7,5] y)", "<float[3,5] w>", 14 * 3 * 5),
        ("y = MatMulInteger (x, w)", "(uint8[7,3] x) => (int32[7,5] y)", "<uint8[3,5] w>", 7 * 3 * 5),
        (
            "y, h, c = LSTM <hidden_size = 4> (x, w, r)",
            "(float[5,2,3] x) => (float[5,1,2,4] y)",
            "<float[1,16,3] w, float[1,16,4] r>",
            5 * 2 * 16 * 7,
        ),
        ("y = Relu (x)", "(float[9] x) => (float[9] y)", "", 0),
    ],
)
def test_macs_by_hand(tmp_path, body, ends, weights, macs):
    found = _inspect(tmp_path, body, ends, weights)
    assert found.macs == macs and found.macs_detail.why is None


def test_macs_follow_batch_and_dimensions(tmp_path):
    path = saved(tmp_path / "small.onnx", SMALL)
    one, four = exporters.inspect_model(path), exporters.inspect_model(path, batch=4)
    assert one.macs == 4 * 64 * 27 + 4 * 5 and four.macs == 4 * one.macs
    assert exporters.inspect_model(path, dims={"batch": 4}).macs == four.macs
    assert four.memory.activations_peak == 4 * one.memory.activations_peak


def test_quantised_forms_count_like_their_float_forms(tmp_path):
    source = saved(tmp_path / "small.onnx", SMALL)
    quantised = exporters.export(source, tmp_path / "q.onnx", scheme="int8").path
    before, after = exporters.inspect_model(source), exporters.inspect_model(quantised)
    assert after.macs == before.macs and after.memory.weights < before.memory.weights
    assert set(after.weight_bytes_by_bits) >= {8, 32}


def test_packed_weights_are_counted_at_their_own_width(tmp_path):
    nodes = [
        helper.make_node(
            "MatMulNBits", ["x", "b", "s"], ["y"], domain="com.microsoft", K=64, N=32, bits=4, block_size=32
        )
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 32])],
        [
            helper.make_tensor("b", TensorProto.UINT8, [32, 2, 16], bytes(1024), raw=True),
            helper.make_tensor("s", TensorProto.FLOAT, [32, 2], np.ones(64, np.float32).tobytes(), raw=True),
        ],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), tmp_path / "m.onnx")
    found = exporters.inspect_model(tmp_path / "m.onnx", batch=3)
    assert found.macs == 3 * 64 * 32 and found.parameters == 64 * 32 + 64
    assert found.weight_bytes_by_bits == {32: 256, 4: 1024}
    assert any("MatMulNBits with 4 bits" in note for note in found.compatibility.notes)


@pytest.mark.parametrize(
    ("name", "published_gmacs"),
    [("resnet50", 4.1), ("squeezenet", 0.35), ("densenet121", 2.85), ("vgg19", 19.6)],
)
def test_real_networks_count_as_published(name, published_gmacs):
    found = exporters.inspect_model(LIGHT / f"light_{name}.onnx")
    assert found.macs == pytest.approx(published_gmacs * 1e9, rel=0.02)


def test_the_example():
    found = exporters.inspect_model(model_path())
    assert found.parameters == 223_146 and found.macs == 19_193_600
    assert found.compatibility.runtime == "onnxruntime 1.18"


def test_unknown_shapes_are_none_with_the_reason_and_the_number_of_nodes(tmp_path):
    path = saved(
        tmp_path / "m.onnx",
        """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[a, b] x, float[c, d] z) => (float[e, f] y) { m = MatMul (x, z)  y = MatMul (m, z) }
    """,
    )
    found = exporters.inspect_model(path)
    assert found.macs is None and found.macs_detail.not_counted_nodes == 2
    assert "2 nodes not counted" in found.macs_detail.why and found.memory.total is None and found.memory.why
    assert any("free dimensions" in note and "b" in note for note in found.notes)
    document = found.to_json()
    assert document["macs"] is None and document["memory_predicted"]["peak_bytes"] is None
    assert exporters.inspect_model(path, dims={"a": 2, "b": 3, "c": 3, "d": 3}).macs == 2 * 9 * 2


def test_operators_whose_work_is_not_known_are_told(tmp_path):
    found = _inspect(tmp_path, 'y = Einsum <equation = "ij,jk"> (x, x)', "(float[3,3] x) => (float[3,3] y)")
    assert found.macs is None and "Einsum" in found.macs_detail.why


def test_shapes_that_depend_on_shapes_are_found_out(tmp_path):
    """Range over a computed size: onnx cannot tell it, onnxruntime folds it."""
    body = """
        s = Shape (x)  n = Gather (s, one)  r = Range (zero, n, step)  f = Cast <to = 1> (r)
        u = Unsqueeze (f, first)  t = MatMul (x, w)  y = Mul (t, u)
    """
    weights = "<int64 one = {1}, int64 zero = {0}, int64 step = {1}, int64[1] first = {0}, float[4,4] w>"
    found = _inspect(tmp_path, body, "(float[n,4] x) => (float[n,4] y)", weights)
    assert found.macs == 16 and found.memory.total is not None


def test_peak_memory_by_hand(tmp_path):
    """1000 floats in and out; c is written over a, which nobody reads later; b and c live together at Concat."""
    body = (
        "a = Softmax (x)  b = Softmax (a)  c = Relu (a)  d = Concat <axis = 0> (b, c)  y = ReduceSum <keepdims = 0> (d)"
    )
    found = _inspect(tmp_path, body, "(float[1000] x) => (float y)", "")
    # At Concat: x (an input lives throughout), b, c in a's memory, d of twice the size.
    assert found.memory.activations_peak == 4000 * (1 + 1 + 1 + 2) and found.memory.peak_at == "Concat"
    assert found.to_json()["memory_predicted"]["kind"] == "predicted"


def test_views_take_no_memory(tmp_path):
    body = "a = Softmax (x)  b = Reshape (a, s)  y = Softmax (b)"
    found = _inspect(tmp_path, body, "(float[1000] x) => (float[10,100] y)", "<int64[2] s = {10, 100}>")
    assert found.memory.activations_peak == 4000 * 3


def test_a_branch_counts_as_the_larger_one(tmp_path):
    text = """
    <ir_version: 8, opset_import: ["" : 16]>
    g (bool f, float[2, 3] x) => (float[2, 3] y) <float[3, 3] w> {
        y = If (f) <then_branch = t () => (float[2, 3] u) { u = MatMul (x, w) },
                    else_branch = e () => (float[2, 3] v) { v = Relu (x) }>
    }
    """
    assert exporters.inspect_model(saved(tmp_path / "if.onnx", text)).macs == 2 * 3 * 3


def test_shared_weights_are_counted_once_and_told(tmp_path):
    found = _inspect(
        tmp_path, "a = MatMul (x, w)  y = MatMul (a, w)", "(float[1,4] x) => (float[1,4] y)", "<float[4,4] w>"
    )
    assert (found.weight_bytes, found.shared.tensors, found.shared.saved_bytes) == (64, 1, 64)


def test_functions_are_looked_into(tmp_path):
    text = """
    <ir_version: 8, opset_import: ["" : 17, "local" : 1]>
    g (float[2, 3] x) => (float[2, 5] y) <float[3, 5] w> { y = local.linear (x, w) }
    <domain: "local", opset_import: ["" : 17]>
    linear (a, b) => (c) { c = MatMul (a, b) }
    """
    assert exporters.inspect_model(saved(tmp_path / "fn.onnx", text)).macs == 30


def test_real_tflite_models():
    face = exporters.inspect_model(DATA / "face_detection_short_range.tflite")
    assert face.macs == 30_760_960 and face.weight_bytes_by_bits[16] > 200_000 and face.memory.total > 40e6
    wake = exporters.inspect_model(DATA / "alexa.tflite")
    assert wake.compatibility.runtime == "TensorFlow Lite 2.6.0" and wake.macs > 0
    assert wake.weight_bytes_by_bits[8] > 20_000


@pytest.mark.parametrize(
    "path", sorted([*DATA.glob("*.onnx"), *DATA.glob("*.tflite"), model_path()]), ids=lambda p: p.name
)
def test_every_real_model_gives_json_and_tables(path):
    found = exporters.inspect_model(path)
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["sha256"] == found.index.sha256
    for title, headers, rows in found.tables():
        assert title and rows and all(len(row) == len(headers) and all(isinstance(c, str) for c in row) for row in rows)


def test_a_large_model_is_inspected_without_its_weights(tmp_path):
    """Two sparse files: 200 MB inside the model and 300 MB beside it; Python never holds more than a little."""
    inside = TensorProto(name="w", data_type=1, dims=[7000, 7000])
    inside.raw_data = bytes(196_000_000)
    outside = TensorProto(name="v", data_type=1, dims=[7000, 11_000], data_location=1)
    for key, value in (("location", "v.data"), ("length", str(7000 * 11_000 * 4))):
        outside.external_data.add(key=key, value=value)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("MatMul", ["a", "v"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 7000])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 11_000])],
        [inside, outside],
    )
    path = tmp_path / "big.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    del graph, inside
    with (tmp_path / "v.data").open("wb") as stream:
        stream.truncate(7000 * 11_000 * 4)
    tracemalloc.start()
    found = exporters.inspect_model(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.macs == 7000 * 7000 + 7000 * 11_000 and found.index.external_files == ("v.data",)
    assert peak < 20_000_000


def test_skeleton_is_the_same_graph_without_its_large_values(tmp_path):
    model = onnx.load(saved(tmp_path / "m.onnx", SMALL.replace("float[4, 3, 3, 3]", "float[400, 3, 3, 3]")))
    content = model.SerializeToString()
    slim = onnx.ModelProto.FromString(skeleton(content, len(content)))
    assert len(slim.SerializeToString()) < 2000 < len(content)
    assert [node.op_type for node in slim.graph.node] == [node.op_type for node in model.graph.node]
    assert {t.name: list(t.dims) for t in slim.graph.initializer} == {
        t.name: list(t.dims) for t in model.graph.initializer
    }


def test_bad_files_and_sizes(tmp_path):
    path = tmp_path / "bad.onnx"
    for content in (b"", b"\x08\x08", bytes(range(200))):
        path.write_bytes(content)
        with pytest.raises(ModelError):
            exporters.inspect_model(path)
    with pytest.raises(UsageError, match="at least 1"):
        exporters.inspect_model(model_path(), batch=0)


def test_paddles_way_to_leave_dimensions_free(tmp_path):
    """-1 for the batch and "?" for every other one, here and in the middle of the graph, where it means another
    size.
    """
    path = saved(
        tmp_path / "m.onnx",
        """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[b, 3, h, k] x) => (float[b, 4, m, n] y) <float[4, 3, 3, 3] w> { c = Conv (x, w)  y = Relu (c) }
    """,
    )
    model = onnx.load(path)
    for value in (model.graph.input[0], model.graph.output[0]):
        dims = value.type.tensor_type.shape.dim
        dims[0].dim_value, dims[2].dim_param, dims[3].dim_param = -1, "?", "?"
    onnx.save(model, path)
    assert exporters.inspect_model(path).macs is None
    assert exporters.inspect_model(path, batch=2, dims={"?": 8}).macs == 2 * 4 * 36 * 27
