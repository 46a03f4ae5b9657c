"""Checkpoints of upstream packers go into the export of a float graph as they are; what does not fit is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import exporters
from exporters.checkpoints import bind, open_checkpoint, put_reals, read_names
from exporters.checkpoints.stored import open_stored
from mobile.errors import ModelError

DATA = Path(__file__).parents[2] / "data/checkpoints"
WITH_HEAD = ("pack4_group_asym", "int8_channel", "fp8_block", "pack3_group")


def float_graph(path, name, turned=False, prefix="", names=None):
    """up and down of the checkpoint as a float graph with weights of its own; ``turned``: up is stored [K, N]."""
    rng = np.random.default_rng(0)
    entries = {**open_checkpoint(DATA / name).entries}
    (rows_a, cols_a), (rows_b, cols_b) = entries["up.weight"].shape, entries["down.weight"].shape
    called = {key: (names or {}).get(key, prefix + key) for key in ("up.weight", "down.weight", "down.bias")}
    shape = (cols_a, rows_a) if turned else (rows_a, cols_a)
    arrays = {
        called["up.weight"]: rng.standard_normal(shape), called["down.weight"]: rng.standard_normal((rows_b, cols_b)),
        called["down.bias"]: rng.standard_normal(rows_b),
    }  # fmt: skip
    turn = [] if turned else [helper.make_node("Transpose", [called["up.weight"]], ["t"], perm=[1, 0])]
    nodes = [
        *turn,
        helper.make_node("MatMul", ["a", called["up.weight"] if turned else "t"], ["y"], "/up/MatMul"),
        helper.make_node("Gemm", ["b", called["down.weight"], called["down.bias"]], ["z"], "/down/Gemm", transB=1),
    ]
    outputs = [("y", rows_a), ("z", rows_b)]
    if name in WITH_HEAD:
        arrays |= {"norm.weight": rng.standard_normal(rows_b), "norm.bias": rng.standard_normal(rows_b)}
        arrays |= {"head.weight": rng.standard_normal((5, rows_b)), "head.bias": rng.standard_normal(5)}
        nodes.append(helper.make_node("LayerNormalization", ["z", "norm.weight", "norm.bias"], ["n"]))
        nodes.append(helper.make_node("Gemm", ["n", "head.weight", "head.bias"], ["h"], transB=1))
        outputs.append(("h", 5))
    graph = helper.make_graph(
        nodes, "net",
        [helper.make_tensor_value_info(key, 1, ["m", size]) for key, size in (("a", cols_a), ("b", cols_b))],
        [helper.make_tensor_value_info(key, 1, ["m", size]) for key, size in outputs],
        [numpy_helper.from_array(array.astype(np.float32), key) for key, array in arrays.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def wanted(name, feed):
    """What the checkpoint's own values give, in float64."""
    checkpoint = open_checkpoint(DATA / name)
    up, down = (checkpoint.entries[f"{key}.weight"].load().dequantise() for key in ("up", "down"))
    bias = checkpoint.reals["down.bias"].load()
    return feed["a"].astype(np.float64) @ up.T, feed["b"].astype(np.float64) @ down.T + bias


@pytest.mark.parametrize(
    ("name", "turned"),
    [("gptq4", True), ("gptq4_asym_order", False), ("awq4", False), ("pack4_group_asym", True), ("fp8_block", False),
     ("bitnet_bitlinear", True), ("sparse24_fp8", False), ("torchao_int4_group", True)],
)  # fmt: skip
def test_an_export_computes_with_the_checkpoints_values(name, turned, tmp_path):
    source = float_graph(tmp_path / "float.onnx", name, turned)
    result = exporters.export(source, tmp_path / "out.onnx", weights=DATA / name)
    session = ort.InferenceSession(str(tmp_path / "out.onnx"), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(1)
    feed = {value.name: rng.standard_normal((3, value.shape[1])).astype(np.float32) for value in session.get_inputs()}
    for have, want in zip(session.run(None, feed), wanted(name, feed), strict=False):
        assert np.linalg.norm(have - want) / np.linalg.norm(want) < 0.02  # activations are rounded to 8 bits by some
    assert result.proof is not None
    assert result.proof.ok
    families = {entry["family"] for entry in result.manifest.quantization["tensors"]}
    assert families == {open_checkpoint(DATA / name).entries["up.weight"].load().family}
    assert (tmp_path / "out.onnx").stat().st_size < source.stat().st_size


def test_real_arrays_go_in_exactly(tmp_path):
    model = ir.load(float_graph(tmp_path / "float.onnx", "pack4_group_asym"))
    checkpoint = open_checkpoint(DATA / "pack4_group_asym")
    put_reals(model, bind(checkpoint, model).reals)
    for name in ("norm.weight", "head.weight", "down.bias"):
        stored = model.graph.initializers[name].const_value.numpy()
        np.testing.assert_array_equal(stored, checkpoint.reals[name].load())


def test_one_prefix_for_all_names_is_found(tmp_path):
    model = ir.load(float_graph(tmp_path / "float.onnx", "gptq4", prefix="model.net."))
    bound = bind(open_checkpoint(DATA / "gptq4"), model)
    assert set(bound.model.tensors) == {"model.net.up.weight", "model.net.down.weight"}
    assert set(bound.reals) == {"model.net.down.bias"}


def test_the_scope_of_a_node_names_a_weight_that_has_none(tmp_path):
    names = {"up.weight": "onnx::MatMul_17", "down.weight": "onnx::Gemm_4", "down.bias": "down.bias"}
    model = ir.load(float_graph(tmp_path / "float.onnx", "gptq4", turned=True, names=names))
    bound = bind(open_checkpoint(DATA / "gptq4"), model)
    tensor = bound.model.tensors["onnx::MatMul_17"]
    assert (tensor.shape, tensor.axis) == ((96, 64), 1)
    values = open_stored(DATA / "gptq4/expected.safetensors").floats("up.weight")
    np.testing.assert_array_equal(tensor.dequantise().astype(np.float16).T, values)


def test_names_are_mapped_by_a_file_or_left_out(tmp_path):
    names = {"up.weight": "first", "down.weight": "second", "down.bias": "third"}
    path = float_graph(tmp_path / "float.onnx", "awq4", names=names)
    (tmp_path / "names.json").write_text(json.dumps({**names, "down.bias": "-"}))
    bound = bind(open_checkpoint(DATA / "awq4"), ir.load(path), read_names(tmp_path / "names.json"))
    assert set(bound.model.tensors) == {"first", "second"}
    assert not bound.reals


@pytest.mark.parametrize(
    ("change", "message"),
    [({"up.weight": "other"}, "1 of 2 packed weights have no place in the graph: up.weight"),
     ({"down.bias": "other"}, "1 of its arrays have no initializer of that name: down.bias")],
)  # fmt: skip
def test_a_mismatch_is_one_line_with_the_first_names(change, message, tmp_path):
    names = {"up.weight": "up.weight", "down.weight": "down.weight", "down.bias": "down.bias", **change}
    path = float_graph(tmp_path / "float.onnx", "awq4", names=names)
    proto = onnx.load(path)
    for node in proto.graph.node:
        node.name = ""
    with pytest.raises(ModelError, match=message) as caught:
        bind(open_checkpoint(DATA / "awq4"), ir.serde.deserialize_model(proto))
    assert "\n" not in caught.value.message


def test_another_size_of_the_model_is_refused(tmp_path):
    model = ir.load(float_graph(tmp_path / "float.onnx", "pack4_group_sym", turned=False))
    with pytest.raises(ModelError, match=r"down.weight is \[32, 64\], the graph's 'down.weight' \[21, 64\]"):
        bind(open_checkpoint(DATA / "gptq4"), model)


def test_a_checkpoint_read_twice_is_not_kept_in_memory():
    tensors = open_checkpoint(DATA / "gptq4").entries
    first, second = tensors["up.weight"].load(), tensors["up.weight"].load()
    assert first is not second
    np.testing.assert_array_equal(first.codes, second.codes)


def test_an_adapter_is_merged_by_an_export(tmp_path):
    plain = open_stored(DATA / "lora/base.safetensors")
    merged = open_stored(DATA / "lora/expected.safetensors")
    arrays = {name: plain.floats(name) for name in plain}
    graph = helper.make_graph(
        [helper.make_node("Gather", ["embed.weight", "ids"], ["e"]),
         helper.make_node("Transpose", ["up.weight"], ["u"], perm=[1, 0]),
         helper.make_node("MatMul", ["e", "u"], ["h"]),
         helper.make_node("Gemm", ["h", "down.weight"], ["y"], transB=1),
         helper.make_node("Conv", ["image", "conv.weight"], ["z"])],
        "net",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"]),
         helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 12]),
         helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 8, 6, 6])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "f.onnx")
    exporters.export(tmp_path / "f.onnx", tmp_path / "out.onnx", weights=DATA / "lora")
    out = {value.name: numpy_helper.to_array(value) for value in onnx.load(tmp_path / "out.onnx").graph.initializer}
    for name in merged:
        found = min((np.abs(a - merged.floats(name)).max() for a in _of_shape(out, merged[name].shape)), default=9.0)
        assert found < 1e-6, name


def _of_shape(arrays, shape):
    found = [array for array in arrays.values() if array.shape == shape]
    return found + [array.T for array in arrays.values() if array.ndim == 2 and array.T.shape == shape]


def test_shards_are_read_together(tmp_path):
    from safetensors.numpy import load_file, save_file

    arrays = load_file(DATA / "gptq4/model.safetensors")
    shutil.copy(DATA / "gptq4/config.json", tmp_path)
    halves = {"a.safetensors": {}, "b.safetensors": {}}
    for place, (key, value) in enumerate(sorted(arrays.items())):
        halves["ab"[place % 2] + ".safetensors"][key] = value
    for file, part in halves.items():
        save_file(part, tmp_path / file)
    index = {"weight_map": {key: file for file, part in halves.items() for key in part}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    model = open_checkpoint(tmp_path)
    whole = open_checkpoint(DATA / "gptq4")
    np.testing.assert_array_equal(model.entries["up.weight"].load().codes, whole.entries["up.weight"].load().codes)


PROGRAM = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.up = torch.nn.Linear(96, 64, bias=False)
        self.down = torch.nn.Linear(64, 32)

    def forward(self, a):
        return self.down(torch.relu(self.up(a)))

def net():
    return Net()

def example_inputs():
    return torch.randn(2, 7, 96)
"""


def test_a_pytorch_architecture_takes_a_checkpoint(tmp_path):
    """torch transposes the weights of three-dimensional products as it converts, and forgets their names."""
    pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    (tmp_path / "program.py").write_text(PROGRAM)
    result = exporters.export(f"{tmp_path / 'program.py'}:net", tmp_path / "out.onnx", weights=DATA / "gptq4")
    names = {entry["name"]: entry["family"] for entry in result.manifest.quantization["tensors"]}
    assert names == {"up.weight": "int4", "down.weight": "int4"}
    assert result.proof.ok
    feed = np.random.default_rng(2).standard_normal((2, 7, 96)).astype(np.float32)
    checkpoint = open_checkpoint(DATA / "gptq4")
    up, down = (checkpoint.entries[f"{key}.weight"].load().dequantise() for key in ("up", "down"))
    want = np.maximum(feed @ up.T, 0) @ down.T + checkpoint.reals["down.bias"].load()
    session = ort.InferenceSession(str(tmp_path / "out.onnx"), providers=["CPUExecutionProvider"])
    (have,) = session.run(None, {session.get_inputs()[0].name: feed})
    assert np.linalg.norm(have - want) / np.linalg.norm(want) < 0.02
