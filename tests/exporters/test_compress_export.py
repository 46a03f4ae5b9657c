"""Exports with compressed weights: the artifact, its evidence, its refusals; from a scheme and from a spec file."""

import hashlib
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import exporters
from exporters.compress.schemes import compress, parse_scheme
from exporters.compress.spec import write_spec
from exporters.compress.weights import find_weights
from exporters.device_target import release_of, target_text
from exporters.loading import measure_loading
from exporters.lowering import METADATA
from exporters.sources import load_ir
from mobile.errors import ExportError, InputError, ModelError, UsageError
from mobile.example import INPUT_SCALE, calibration_path, evaluation_path, model_path
from mobile.inventory import Inventory
from tests.support import families
from tests.support.cli import edgewise, edgewise_json
from tests.support.onnx_text import listing, saved


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "families.onnx"
    path.write_bytes(families.graph().SerializeToString())
    return path


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "small.onnx"


def evidence(result, kind):
    (found,) = [entry for entry in result.manifest.evidence if entry["kind"] == kind]
    return found


def test_an_artifact_has_every_proof(source, out):
    before = hashlib.sha256(source.read_bytes()).hexdigest()
    result = exporters.export(source, out, scheme="w=ternary,g=int4:g=16,@conv=codebook,*=binary", target="ort:1.32")
    assert hashlib.sha256(source.read_bytes()).hexdigest() == before
    assert evidence(result, "parity")["ok"] and evidence(result, "weights")["ok"] and evidence(result, "packing")["ok"]
    assert evidence(result, "loading")["load_s"] > 0
    (figures, *_) = evidence(result, "reference-error")["tensors"]
    assert figures["relative_error"] < 0.03 < evidence(result, "quantization-error")["tensors"][0]["relative_error"]
    tensors = {entry["name"]: entry for entry in result.manifest.quantization["tensors"]}
    assert {name: entry["family"] for name, entry in tensors.items()} == {
        "w": "ternary", "g": "int4", "cw": "codebook", "emb": "binary", "t": "binary",
    }  # fmt: skip
    assert tensors["w"]["carriers"] == ["MatMulNBits b2"] and tensors["emb"]["carriers"] == ["packed rows"]
    assert {"1", "2"} <= set(result.manifest.sizes["weight_bytes_by_bits"])
    lines = "\n".join(result.lines())
    assert "each equals its dequantised reference" in lines and "from the dequantised reference" in lines
    assert json.loads(json.dumps(result.to_json()))["weights_proof"]["ok"]


@pytest.mark.parametrize("scheme", ["ternary", "int3:g=32", "codebook", "block-pruned:block=8", "dual-binary:g=32"])
def test_a_spec_gives_the_graph_that_its_scheme_gives(source, out, tmp_path, scheme):
    weights = find_weights(load_ir(source))
    made = compress({w.name: (w.array(), w.kind, w.axis) for w in weights}, parse_scheme(scheme))
    write_spec(made, tmp_path / "weights.safetensors")
    exporters.export(source, out, weights=tmp_path / "weights.safetensors")
    from_spec = sorted(tensor.raw_data for tensor in onnx.load(out).graph.initializer)
    exporters.export(source, out, scheme=scheme)
    assert sorted(tensor.raw_data for tensor in onnx.load(out).graph.initializer) == from_spec


def test_a_spec_of_another_model_is_refused(source, out, tmp_path):
    other = compress({"elsewhere": (np.ones((64, 64), np.float32), "matmul", 1)}, parse_scheme("ternary"))
    write_spec(other, tmp_path / "weights.safetensors")
    with pytest.raises(ModelError, match="'elsewhere' is not in the graph"):
        exporters.export(source, out, weights=tmp_path / "weights.safetensors")
    turned = compress({"w": (np.ones((80, 96), np.float32), "matmul", 1)}, parse_scheme("ternary"))
    write_spec(turned, tmp_path / "weights.safetensors")
    with pytest.raises(ModelError, match=r"\[80, 96\], the graph's is \[96, 80\]"):
        exporters.export(source, out, weights=tmp_path / "weights.safetensors")
    assert listing(out.parent) == []


def test_weights_that_are_no_numbers_are_refused(tmp_path, out):
    model = onnx.ModelProto()
    model.CopyFrom(families.graph())
    for stored in model.graph.initializer:
        if stored.name == "w":
            values = numpy_helper.to_array(stored).copy()
            values[3, 5] = np.nan
            stored.CopyFrom(numpy_helper.from_array(values, "w"))
    (tmp_path / "nan.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"'w'.*NaN"):
        exporters.export(tmp_path / "nan.onnx", out, scheme="int4:g=32", verify=False)
    assert listing(out.parent) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scheme": "terniary"}, "not a family"),
        ({"scheme": "ternary", "target": "litert:2.3"}, "runs tflite files"),
        ({"scheme": "ternary", "calibration": "x.npz"}, "without a scheme that uses it"),
        ({"scheme": "int8", "weights": "w.safetensors"}, "takes no compressed weights"),
        ({"scheme": "ternary", "adapter": "beside"}, "adapter 'beside'"),
        ({"scheme": "ternary", "labels": "label"}, "labels are looked for"),
        ({"scheme": "w8a16", "format": "tflite"}, "for ONNX"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(source, out, options, said):
    with pytest.raises(UsageError, match=said):
        exporters.export(source, out, **options)
    assert listing(out.parent) == []


def test_old_opsets_are_raised_as_carriers_need(tmp_path, out):
    text = """
    <ir_version: 7, opset_import: ["" : 11]>
    g (float[n, 64] x) => (float[n, 64] y) <float[64, 64] w> { y = MatMul (x, w) }
    """
    for scheme, opset in (("ternary", 13), ("int5", 18)):
        result = exporters.export(saved(tmp_path / "old.onnx", text), out, scheme=scheme, target="ort:1.32")
        assert result.manifest.opsets[""] == opset and result.proof.ok


def test_weights_in_an_if_are_carried(tmp_path, out):
    text = """
    <ir_version: 8, opset_import: ["" : 18]>
    g (float[n, 64] x, bool c) => (float[n, 32] y) <float[64, 32] w, float[64, 32] v> {
        y = If (c) <then_branch = a () => (float[n, 32] p) { p = MatMul (x, w) },
                    else_branch = b () => (float[n, 32] q) { q = MatMul (x, v) }>
    }
    """
    result = exporters.export(saved(tmp_path / "if.onnx", text), out, scheme="binary", target="ort:1.32")
    assert {use.why for use in result.proof.uses} == {"inside a subgraph: compared by the outputs alone"}
    assert result.reference.tensors[0].relative_error < 0.03
    assert len([1 for tensor in onnx.load(out).graph.initializer if tensor.name.endswith(".packed")]) == 2


def test_a_shared_weight_is_stored_once(tmp_path, out):
    text = """
    <ir_version: 8, opset_import: ["" : 18]>
    g (float[n, 64] x) => (float[n, 64] y) { h = MatMul (x, a)  y = MatMul (h, b) }
    """
    proto = onnx.parser.parse_model(text)
    values = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    other = values + np.float32(0.001)
    proto.graph.initializer.extend([numpy_helper.from_array(values, "a"), numpy_helper.from_array(other, "b")])
    (tmp_path / "two.onnx").write_bytes(proto.SerializeToString())
    result = exporters.export(tmp_path / "two.onnx", out, scheme="shared:merge=mean:of=int4", target="ort:1.32")
    nodes = [node for node in onnx.load(out).graph.node if node.op_type == "MatMulNBits"]
    assert len(nodes) == 2 and nodes[0].input[1] == nodes[1].input[1] and nodes[0].input[2] == nodes[1].input[2]
    assert result.proof.ok


def test_static_and_dynamic_int8_keep_the_examples_answers(out):
    data = {"inputs": evaluation_path(), "scale": INPUT_SCALE, "labels": "label"}
    for scheme, calibration in (("w8a16", calibration_path()), ("int8-dynamic", None)):
        result = exporters.export(model_path(), out, scheme=scheme, calibration=calibration, **data)
        assert result.accuracy.artifact.accuracy > 0.93 and result.accuracy.difference.low > -0.02
        assert result.manifest.size_bytes < 0.3 * model_path().stat().st_size
        assert "of 1000 items" in "\n".join(result.lines())


def test_labels_must_be_there_and_fit(source, out, tmp_path):
    np.savez(tmp_path / "data.npz", **families.feeds(), label=np.array([1.5]), few=np.array([1]))
    for name, said in (("none", "no labels"), ("label", "float64"), ("few", "1 labels 'few' for 6 answers")):
        with pytest.raises(InputError, match=said):
            exporters.export(source, out, scheme="*=int8", inputs=tmp_path / "data.npz", labels=name)
    assert listing(out.parent) == []


SHORTCUT = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 3, 8, 8] x) => (float[n, 4, 8, 8] y) <float[4, 5, 3, 3] w, float[4] b, float[2, 3, 1, 1] s> {
    a = Conv (x, s)
    big = Mul (a, k)
    c = Concat <axis = 1> (x, big)
    y = Conv <pads = [1, 1, 1, 1]> (c, w, b)
}
"""


def test_branches_of_a_shortcut_are_quantised_apart(tmp_path, out):
    """The second branch is 100 times as large: apart, the first keeps its resolution."""
    proto = onnx.parser.parse_model(SHORTCUT)
    random = np.random.default_rng(0)
    shapes = {"w": (4, 5, 3, 3), "b": (4,), "s": (2, 3, 1, 1)}
    del proto.graph.value_info[:]
    for name, shape in shapes.items():
        values = random.standard_normal(shape).astype(np.float32)
        if name == "w":
            values[:, 3:] /= 100
        proto.graph.initializer.append(numpy_helper.from_array(values, name))
    proto.graph.initializer.append(numpy_helper.from_array(np.array(100, np.float32), "k"))
    (tmp_path / "shortcut.onnx").write_bytes(proto.SerializeToString())
    np.savez(tmp_path / "data.npz", x=random.standard_normal((32, 3, 8, 8)).astype(np.float32))
    errors = {}
    for split in (False, True):
        result = exporters.export(
            tmp_path / "shortcut.onnx", out, scheme="int8", calibration=tmp_path / "data.npz", split_shortcuts=split
        )
        errors[split] = result.quantization.tensors[0].relative_error
    assert errors[True] < 0.3 * errors[False]
    assert any("split" in note for note in result.manifest.notes)


def test_tflite_holds_codes_and_refuses_what_it_has_no_form_for(tmp_path):
    out = tmp_path / "example.tflite"
    plain = exporters.export(model_path(), out, format="tflite", inputs=evaluation_path(), scale=INPUT_SCALE)
    assert plain.parity.ok and out.read_bytes()[4:8] == b"TFL3"
    small = exporters.export(model_path(), out, format="tflite", scheme="*=int8", target="litert:2.3")
    assert small.reference.tensors[0].relative_error < 0.02 and out.stat().st_size < 0.3 * plain.manifest.size_bytes
    with pytest.raises(ExportError, match="no form"):
        exporters.export(model_path(), tmp_path / "no.tflite", format="tflite", scheme="codebook")
    assert not (tmp_path / "no.tflite").exists()


def test_inspect_counts_packed_weights_at_their_width(source, out):
    exporters.export(source, out, scheme="binary", target="ort:1.19")
    found = exporters.inspect_model(out)
    packed = sum(-(-size // 8) for size in (50 * 96, 96 * 80, 64 * 80, 72 * 64)) + 8 * -(-27 // 8)
    assert found.weight_bytes_by_bits[1] == packed
    verdicts = {verdict.target: verdict.runs for verdict in found.compatibility.targets}
    assert verdicts["onnxruntime 1.19"] and verdicts["LiteRT 2.3"] is False
    exporters.export(source, out, scheme="ternary", target="ort:1.32")
    verdicts = {verdict.target: verdict for verdict in exporters.inspect_model(out).compatibility.targets}
    assert not verdicts["onnxruntime 1.23"].runs and "2 bits" in verdicts["onnxruntime 1.23"].why
    assert verdicts["onnxruntime 1.32"].runs


def test_widths_that_the_bytes_contradict_are_not_believed(tmp_path):
    stored = helper.make_tensor("w", TensorProto.UINT8, [4, 4], bytes(16), raw=True)
    ends = [helper.make_tensor_value_info(name, TensorProto.UINT8, [4, 4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("BitwiseOr", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [stored])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    for text in ('{"w": [1, 9999]}', '{"w": [1, "many"]}', '["w"]', "{", '{"w": [0, 0]}'):
        del model.metadata_props[:]
        helper.set_model_props(model, {METADATA: text})
        onnx.save(model, tmp_path / "lying.onnx")
        assert exporters.inspect_model(tmp_path / "lying.onnx").weight_bytes_by_bits == {8: 16}


def test_a_device_is_a_target_by_the_runtime_that_it_has():
    inventory = Inventory.builtin()
    assert target_text("ort:1.19", "onnx", inventory) == "ort:1.19"
    runtimes = [{"name": "numpy", "version": "2.1"}, {"name": "onnxruntime", "version": "1.23.2"}]
    assert release_of("pi", "onnx", runtimes) == "onnxruntime==1.23.2"
    assert release_of("pi", "tflite", [{"name": "tflite_runtime", "version": "2.14.0"}]) == "tflite==2.14.0"
    with pytest.raises(ExportError, match="no runtime for tflite files"):
        release_of("pi", "tflite", runtimes)
    with pytest.raises(UsageError, match=r"nor is it a device of the inventory \(local\)"):
        target_text("pi", "onnx", inventory)


def test_loading_that_fails_is_told(tmp_path):
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[n] x) => (float[n] y) { y = NoSuchOperator (x) }"""
    with pytest.raises(ExportError, match="cannot be loaded"):
        measure_loading(saved(tmp_path / "no.onnx", text))


def test_the_command_line_compresses_and_refuses_in_one_line(tmp_path):
    made = edgewise_json(
        "export",
        model_path(),
        "-o",
        "small.onnx",
        "--scheme",
        "@conv=int8,ternary",
        "--target",
        "ort:1.23",
        cwd=tmp_path,
    )
    assert made["weights_proof"]["ok"] and made["manifest"]["target"] == "onnxruntime 1.23"
    assert {entry["family"] for entry in made["manifest"]["quantization"]["tensors"]} == {"int8", "ternary"}
    done = edgewise("export", model_path(), "-o", "no.onnx", "--scheme", "terniary", cwd=tmp_path)
    assert done.returncode == 2 and "not a family" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "no.onnx").exists()
