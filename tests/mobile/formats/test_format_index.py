"""The index agrees with onnx's own reading of a model, and refuses every bad file with a ModelError."""

import os
import random
import struct
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from mobile.errors import ModelError
from mobile.formats import content_sha256, file_sha256, index, sniff

FACE_SHAPE = ("batch", 3, 8, 8)


def _model(extra_nodes=(), initializers=(), opset=17):
    weight = numpy_helper.from_array(np.arange(81, dtype=np.float32).reshape(3, 3, 3, 3), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["y"]),
        *extra_nodes,
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, FACE_SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3, None, None])],
        [weight, *initializers],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8, producer_name="tester")
    helper.set_model_props(model, {"author": "nobody"})
    return model


def _saved(tmp_path, model=None, name="m.onnx", **options):
    path = tmp_path / name
    onnx.save(model or _model(), path, **options)
    return path


def test_reads_what_onnx_reads(tmp_path):
    path = _saved(tmp_path)
    found = index(path)
    assert sniff(path) == found.format == "onnx"
    assert [(v.name, v.dtype, v.shape) for v in found.inputs] == [("x", "float32", FACE_SHAPE)]
    assert [(v.name, v.shape) for v in found.outputs] == [("y", ("batch", 3, None, None))]
    assert found.operators == {"Conv": 1, "Relu": 1}
    assert (found.opsets, found.ir_version, found.producer) == ({"": 17, "com.microsoft": 1}, 8, "tester")
    assert found.metadata == {"author": "nobody"}
    assert found.sha256 == file_sha256(path) and found.size_bytes == path.stat().st_size
    assert found.external_files == ()


def test_byte_range_of_a_weight_is_its_values(tmp_path):
    path = _saved(tmp_path)
    (weight,) = index(path).tensors
    raw = path.read_bytes()[weight.offset : weight.offset + weight.length]
    assert (weight.name, weight.dtype, weight.shape, weight.bits) == ("w", "float32", (3, 3, 3, 3), 32)
    assert np.array_equal(np.frombuffer(raw, "<f4"), np.arange(81))


def test_packed_float_data_has_a_byte_range_too_and_varints_have_none(tmp_path):
    floats = helper.make_tensor("f", TensorProto.FLOAT, [2], [1.5, 2.5])
    whole = helper.make_tensor("i", TensorProto.INT64, [2], [300, -1])
    path = _saved(tmp_path, _model(initializers=[floats, whole]))
    by_name = {tensor.name: tensor for tensor in index(path).tensors}
    start = by_name["f"].offset
    assert struct.unpack("<2f", path.read_bytes()[start : start + 8]) == (1.5, 2.5)
    assert (by_name["i"].offset, by_name["i"].stored, by_name["i"].length) == (None, "typed", 16)


def test_sub_byte_weights_are_counted_packed(tmp_path):
    small = helper.make_tensor("q", TensorProto.INT4, [3], [1, -2, 3])
    path = _saved(tmp_path, _model(initializers=[small], opset=21))
    (tensor,) = [tensor for tensor in index(path).tensors if tensor.name == "q"]
    assert (tensor.dtype, tensor.bits, tensor.length) == ("int4", 4, 2)


def test_subgraphs_constants_and_foreign_domains_are_counted(tmp_path):
    value = numpy_helper.from_array(np.zeros(4, np.float32))
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["k"], value=value)],
        "inner",
        [],
        [helper.make_tensor_value_info("k", TensorProto.FLOAT, [4])],
    )
    nodes = [
        helper.make_node("If", ["flag"], ["z"], then_branch=inner, else_branch=inner),
        helper.make_node("FusedThing", ["x"], ["q"], domain="com.microsoft"),
    ]
    found = index(_saved(tmp_path, _model(nodes)))
    assert found.operators["Constant"] == 2
    assert found.operators["com.microsoft.FusedThing"] == 1
    constants = [tensor for tensor in found.tensors if tensor.role == "constant"]
    assert [(tensor.name, tensor.length) for tensor in constants] == [("k", 16), ("k", 16)]


def test_weights_listed_as_inputs_are_not_inputs(tmp_path):
    model = _model()
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [3, 3, 3, 3]))
    assert [value.name for value in index(_saved(tmp_path, model)).inputs] == ["x"]


def test_question_mark_and_minus_one_are_unknown_dimensions(tmp_path):
    model = _model()
    dims = model.graph.input[0].type.tensor_type.shape.dim
    dims[2].dim_param, dims[3].dim_value = "?", -1
    assert index(_saved(tmp_path, model)).inputs[0].shape == ("batch", 3, None, None)


def test_sequence_inputs_say_so(tmp_path):
    model = _model()
    sequence = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, [2])
    model.graph.input.append(sequence)
    found = index(_saved(tmp_path, model)).inputs[1]
    assert (found.dtype, found.shape) == ("sequence(float32)", None)


def _external(tmp_path):
    path = _saved(tmp_path, save_as_external_data=True, location="m.data", size_threshold=0)
    return path, tmp_path / "m.data"


def test_external_data_is_located_checked_and_hashed(tmp_path):
    path, data = _external(tmp_path)
    found = index(path)
    (weight,) = found.tensors
    assert (weight.file, weight.stored, weight.length) == ("m.data", "external", 324)
    assert found.external_files == ("m.data",)
    assert found.size_bytes == path.stat().st_size + data.stat().st_size
    assert found.sha256 == content_sha256(found.files) != file_sha256(path)


def test_content_hash_survives_a_new_name_and_notices_changed_weights(tmp_path):
    path, data = _external(tmp_path)
    before = index(path).sha256
    renamed = path.rename(tmp_path / "other.onnx")
    assert index(renamed).sha256 == before
    data.write_bytes(bytes(data.stat().st_size))
    assert index(renamed).sha256 != before


def test_external_data_missing_or_short(tmp_path):
    path, data = _external(tmp_path)
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"ends at byte 324 of .m\.data., which has 323"):
        index(path)
    data.unlink()
    with pytest.raises(ModelError, match=r"'m\.data' is missing") as caught:
        index(path)
    assert caught.value.hint


@pytest.mark.parametrize(
    "location",
    ["../m.data", "/etc/passwd", "a/../../m.data", "C:\\m.data", "..\\m.data", "a\\b", "", ".", "m\0"],
)
def test_external_data_outside_the_folder_is_refused(tmp_path, location):
    folder = tmp_path / "inside"
    folder.mkdir()
    path, data = _external(folder)
    data.rename(tmp_path / "m.data")
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].external_data[0].value = location
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError):
        index(path)


def test_external_data_through_a_link_out_of_the_folder_is_refused(tmp_path):
    folder = tmp_path / "inside"
    folder.mkdir()
    path, data = _external(folder)
    data.rename(tmp_path / "secret")
    data.symlink_to(tmp_path / "secret")
    with pytest.raises(ModelError, match="outside the model's folder"):
        index(path)


def test_external_data_that_is_a_pipe_is_refused_and_not_waited_for(tmp_path):
    path, data = _external(tmp_path)
    data.unlink()
    os.mkfifo(data)
    with pytest.raises(ModelError, match="not a regular file"):
        index(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"PK\x03\x04rest", "zip archive"),
        (b"\x80\x02}q\x00.", "pickle"),
        (b"<!DOCTYPE html>", "HTML"),
        (b"\x08\x07", "no graph"),
        (b"not a model at all, just a text", "neither"),
        (bytes(100), "neither"),
        (b"\x1c\x00\x00\x00ORTM" + bytes(60), "ONNX Runtime's own format"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(60), "damaged TFLite"),
        (b"TFL3TFL3", "damaged TFLite"),
    ],
)
def test_other_files_are_named_for_what_they_are(tmp_path, content, said):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=said) as caught:
        index(path)
    assert str(path) in caught.value.message and caught.value.hint


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        index(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="folder"):
        sniff(tmp_path)
    with pytest.raises(ModelError):
        sniff("a\0b")


def test_every_truncation_is_refused(tmp_path):
    whole = _saved(tmp_path).read_bytes()
    path = tmp_path / "cut.onnx"
    # Behind the first operator set come only more of them and metadata: a cut between those is still a model.
    graph_end = whole.rindex(b"\x42", 0, whole.index(b"com.microsoft") - 4) + 2
    for size in range(graph_end):
        path.write_bytes(whole[:size])
        with pytest.raises(ModelError):
            index(path)


def test_deeply_nested_graphs_are_refused(tmp_path):
    def message(number, content):
        head = bytearray([number << 3 | 2])
        size = len(content)
        while size > 127:
            head.append(size & 127 | 128)
            size >>= 7
        return bytes([*head, size]) + content

    graph = b""
    for _ in range(5000):
        graph = message(1, message(5, message(6, graph)))
    path = tmp_path / "deep.onnx"
    path.write_bytes(b"\x08\x08" + message(7, graph))
    with pytest.raises(ModelError, match="nested"):
        index(path)


def test_claimed_sizes_allocate_nothing(tmp_path):
    """A tensor of 2**60 elements and a string that claims 2**40 bytes."""
    huge = helper.make_tensor("h", TensorProto.FLOAT, [1], [0.0])
    huge.dims[:] = [2**30, 2**30]
    path = _saved(tmp_path, _model(initializers=[huge]))
    with pytest.raises(ModelError, match="needs"):
        index(path)
    path.write_bytes(b"\x08\x08\x12" + b"\xff\xff\xff\xff\xff\x1f" + b"x")
    with pytest.raises(ModelError, match="claims"):
        index(path)


def _only_model_errors(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        index(path)
    except ModelError as error:
        assert error.message


@settings(max_examples=200, deadline=None)
@given(
    content=st.binary(max_size=200),
    head=st.sampled_from([b"", b"\x08\x08", b"\x18\0\0\0TFL3", b"\x08\x08\x3a"]),
)
def test_random_bytes_raise_nothing_else(tmp_path_factory, content, head):
    _only_model_errors(tmp_path_factory.getbasetemp() / "random.bin", head + content)


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_flipped_bytes_raise_nothing_else(tmp_path, kind):
    whole = (_saved(tmp_path).read_bytes()) if kind == "onnx" else tiny_tflite()
    chance = random.Random(7)
    path = tmp_path / "flipped"
    for _ in range(400):
        content = bytearray(whole)
        for _ in range(chance.choice((1, 1, 2, 8))):
            content[chance.randrange(len(content))] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))
        _only_model_errors(path, bytes(content[: chance.choice((len(content), chance.randrange(len(content))))]))


def tiny_tflite() -> bytes:
    """One FULLY_CONNECTED of 4 inputs and 3 outputs, made with the schema's object API."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    weights = np.arange(12, dtype=np.float32)
    tensors = []
    for name, shape, buffer in (("in", [1, 4], 0), ("w", [3, 4], 1), ("out", [1, 3], 0)):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, schema.TensorType.FLOAT32, buffer
        tensors.append(tensor)
    tensors[0].shapeSignature = [-1, 4]
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1, -1], [2]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 5
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = tensors, [0], [2], [operator]
    empty, filled = schema.BufferT(), schema.BufferT()
    filled.data = list(weights.tobytes())
    model = schema.ModelT()
    model.version, model.subgraphs, model.operatorCodes, model.buffers = 3, [graph], [code], [empty, filled]
    model.description = "tiny"
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_tflite_index(tmp_path):
    path = tmp_path / "tiny.bin"
    path.write_bytes(tiny_tflite())
    found = index(path)
    assert (sniff(path), found.format, found.ir_version, found.producer) == ("tflite", "tflite", 3, "tiny")
    assert [(v.name, v.dtype, v.shape) for v in found.inputs] == [("in", "float32", (None, 4))]
    assert [(v.name, v.shape) for v in found.outputs] == [("out", (1, 3))]
    assert (found.operators, found.operator_versions) == ({"FULLY_CONNECTED": 1}, {"FULLY_CONNECTED": 5})
    (weight,) = found.tensors
    raw = path.read_bytes()[weight.offset : weight.offset + weight.length]
    assert (weight.name, weight.shape) == ("w", (3, 4)) and np.array_equal(np.frombuffer(raw, "<f4"), np.arange(12))


def test_tflite_whose_offsets_share_one_big_table_is_refused(tmp_path):
    """10,000 subgraphs of 20,000 tensors each, all the same table: small in the file, endless when
    unfolded.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    builder = flatbuffers.Builder(1024)
    schema.TensorStart(builder)
    tensor = schema.TensorEnd(builder)
    schema.SubGraphStartTensorsVector(builder, 20_000)
    for _ in range(20_000):
        builder.PrependUOffsetTRelative(tensor)
    tensors = builder.EndVector()
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    graph = schema.SubGraphEnd(builder)
    schema.ModelStartSubgraphsVector(builder, 10_000)
    for _ in range(10_000):
        builder.PrependUOffsetTRelative(graph)
    graphs = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddSubgraphs(builder, graphs)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    path = tmp_path / "bomb.tflite"
    path.write_bytes(bytes(builder.Output()))
    with pytest.raises(ModelError, match="far more than the file holds"):
        index(path)


def test_index_needs_no_model_library():
    """In a fresh interpreter: indexing brings in neither onnx nor numpy."""
    import subprocess
    import sys

    heavy = ["onnx", "numpy", "onnxruntime", "ai_edge_litert", "flatbuffers"]
    code = f"import sys; import mobile.formats.read; print(sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
