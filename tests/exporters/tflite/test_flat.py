"""The writer: what stands in the file, and that it stays within what old runtimes and flatbuffers take."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporters.tflite import flat, packing, read, schema
from exporters.tflite.ir import Graph, Operator, Program, Quant, Tensor
from exporters.tflite.plain import dequantised
from exporters.tflite.sparse import dense, sparse_bytes, sparse_matrix, sparse_rows
from exporters.tflite.versions import version_of
from mobile.errors import ExportError, ModelError
from mobile.formats import index
from tests.support.tflite import Net, error, old_runtime, run_new


def conv_program() -> tuple[Net, Program]:
    net = Net()
    x = net.input(1, 8, 8, 4, signature=(-1, 8, 8, 4))
    return net, net.program(net.conv(x, 16))


def test_a_written_model_reads_back_as_it_was():
    _, program = conv_program()
    program.metadata["min_runtime_version"] = b"2.4.0"
    content = flat.to_bytes(program)
    back = read.read(content)
    assert [operator.op for operator in back.main.operators] == ["CONV_2D"]
    assert back.main.operators[0].options["fused_activation_function"] == "RELU6"
    assert back.main.tensors[0].signature == (-1, 8, 8, 4)
    assert back.input_names == ["x0"]
    assert back.metadata["min_runtime_version"] == b"2.4.0"
    weights = program.main.tensors[1].data
    assert (back.main.tensors[1].data == weights).all()
    assert flat.to_bytes(back) == content


def test_the_file_names_a_runtime_that_loads_it():
    _, program = conv_program()
    assert metadata_of(flat.to_bytes(program))["min_runtime_version"].startswith(b"2.14.0")
    program.main.operators[0].version = 8
    assert "min_runtime_version" not in metadata_of(flat.to_bytes(program))


def metadata_of(content: bytes) -> dict[str, bytes]:
    return read.read(content).metadata


def test_the_file_is_the_same_each_time():
    assert flat.to_bytes(conv_program()[1]) == flat.to_bytes(conv_program()[1])


def test_our_own_index_reads_the_file(tmp_path):
    path = tmp_path / "model.tflite"
    flat.write(conv_program()[1], path)
    found = index(path)
    assert found.format == "tflite"
    assert found.operators == {"CONV_2D": 1}


def test_a_free_batch_can_be_resized():
    _, program = conv_program()
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 4)).astype(np.float32)
    (whole,) = run_new(program, {"x0": x})
    (single,) = run_new(program, {"x0": x[1:2]})
    assert np.allclose(whole[1:2], single, atol=1e-5)


def test_constants_lie_at_multiples_of_16_bytes():
    _, program = conv_program()
    content = flat.to_bytes(program)
    for tensor in program.main.tensors:
        if tensor.data is not None and tensor.data.nbytes > 64:
            assert content.find(tensor.data.tobytes()) % 16 == 0


def shared(keyed: bool) -> Program:
    net = Net()
    x = net.input(2, 64)
    values = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    for _ in range(3):
        weight = net.const(values.copy(), buffer_key="w" if keyed else None)
        x = net.op("FULLY_CONNECTED", [x, weight, -1], (2, 64))
    return net.program(x)


@pytest.mark.parametrize("keyed", [True, False])
def test_equal_constants_lie_in_the_file_once(keyed):
    assert len(flat.to_bytes(shared(keyed))) < 2 * 64 * 64 * 4


def test_tensors_of_one_name_get_names_of_their_own():
    graph = Graph(tensors=[Tensor("a", (1,), "float32"), Tensor("a", (1,), "float32"), Tensor("a_1", (1,), "float32")])
    graph.operators = [Operator("RELU", [0], [1]), Operator("RELU", [1], [2])]
    graph.inputs, graph.outputs = [0], [2]
    names = [tensor.name for tensor in read.read(flat.to_bytes(Program([graph]))).main.tensors]
    assert names == ["a", "a_2", "a_1"]


def test_more_than_2_gb_is_refused_before_it_is_gathered():
    data = np.broadcast_to(np.float32(0), (1 << 15, 1 << 15))  # 4 GiB, of which nothing exists
    graph = Graph(tensors=[Tensor("w", data.shape, "float32", data=data)])
    with pytest.raises(ExportError, match="2 GB"):
        flat.to_bytes(Program([graph]))


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (Operator("NO_SUCH", [0], [1]), "no operator NO_SUCH"),
        (Operator("ADD", [0, 0], [1], {"stride_w": 2}), "no option stride_w"),
        (Operator("RELU", [0], [1], {"alpha": 2}), "has no options"),
        (Operator("CONV_2D", [0, 0], [1], {"padding": "FULL"}), "no value of padding"),
    ],
)
def test_what_the_schema_does_not_have_is_refused(operator, message):
    graph = Graph(tensors=[Tensor("x", (1,), "float32"), Tensor("y", (1,), "float32")], operators=[operator])
    with pytest.raises(ExportError, match=message):
        flat.to_bytes(Program([graph]))


def test_a_type_that_the_schema_does_not_have_is_refused():
    with pytest.raises(ExportError, match="type complex256"):
        flat.to_bytes(Program([Graph(tensors=[Tensor("x", (1,), "complex256")])]))


@given(
    st.sampled_from([("int4", -8, 7), ("int2", -2, 1), ("uint4", 0, 15), ("int8", -128, 127)]),
    st.integers(1, 33),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=60)
def test_narrow_integers_pack_and_unpack(kind, count, seed):
    dtype, low, high = kind
    values = np.random.default_rng(seed).integers(low, high + 1, count).astype(np.int8)
    raw = np.frombuffer(packing.encode(dtype, values), np.uint8)
    assert len(raw) == packing.stored_bytes(dtype, (count,))
    assert (packing.decode(dtype, raw, (count,)) == values).all()


def test_the_first_of_two_4_bit_values_is_the_low_half_of_its_byte():
    assert packing.encode("int4", np.array([1, -1], np.int8)) == bytes([0xF1])
    assert packing.encode("int2", np.array([1, -1, 0, -2], np.int8)) == bytes([0b10_00_11_01])


@pytest.mark.parametrize("block", [(1, 4), (4, 4), (16, 1)])
def test_a_sparse_constant_survives_the_file(block):
    random = np.random.default_rng(0)
    mask = np.kron(random.random((32 // block[0], 64 // block[1])) < 0.3, np.ones(block)).astype(bool)
    values = np.where(mask, random.normal(size=(32, 64)), 0).astype(np.float32)
    stored, sparsity = sparse_matrix(values, block)
    graph = Graph(tensors=[Tensor("w", (32, 64), "float32", data=stored, sparsity=sparsity)])
    (back,) = read.read(flat.to_bytes(Program([graph]))).main.tensors
    assert (dense(back) == values).all()
    assert stored.size == mask.sum()


@pytest.mark.parametrize("shape", [(32, 64), (4, 3, 3, 8)])
def test_a_constant_compressed_along_its_last_dimension_survives_the_file(shape):
    random = np.random.default_rng(0)
    values = np.where(random.random(shape) < 0.3, random.normal(size=shape), 0).astype(np.float32)
    stored, sparsity = sparse_rows(values)
    graph = Graph(tensors=[Tensor("w", shape, "float32", data=stored, sparsity=sparsity)])
    (back,) = read.read(flat.to_bytes(Program([graph]))).main.tensors
    assert (dense(back) == values).all()
    assert sparse_bytes(stored, sparsity) < values.nbytes


def test_blocks_that_do_not_divide_a_matrix_are_refused():
    with pytest.raises(ExportError, match="do not divide"):
        sparse_matrix(np.ones((3, 5), np.float32), (1, 4))


def test_blockwise_scales_survive_the_file():
    scales = np.array([[0.5, 0.25]], np.float32)
    quant = Quant(scales, np.zeros((1, 2), np.int64), 0, 32)
    codes = np.tile(np.arange(-7, 9), 4)[None].clip(-7, 7).astype(np.int8)
    graph = Graph(tensors=[Tensor("w", (1, 64), "int4", data=codes, quant=quant)])
    back = read.read(flat.to_bytes(Program([graph]))).main.tensors[0]
    assert back.quant.block == 32
    assert (dequantised(back) == codes * np.repeat(scales, 32, axis=1)).all()


def floats(*shapes: tuple[int, ...], dtype: str = "float32") -> list[Tensor]:
    return [Tensor(f"t{place}", shape, dtype) for place, shape in enumerate(shapes)]


@pytest.mark.parametrize(
    ("operator", "tensors", "version"),
    [
        (Operator("ADD", [0, 1], [2]), floats((1, 4), (1, 4), (1, 4)), 1),
        (Operator("CONV_2D", [0, 1], [2]), floats((1, 4, 4, 8), (8, 1, 1, 4), (1, 4, 4, 8)), 6),
        (Operator("FULLY_CONNECTED", [0, 1, 1], [2]), floats((1, 4), (8, 4), (1, 8)), 1),
        (Operator("FULLY_CONNECTED", [0, 1], [2]), floats((1, 4), (8, 4), (1, 8)), 6),
        (Operator("TRANSPOSE", [0, 1], [2]), floats((1,) * 6, (6,), (1,) * 6), 6),
        (Operator("BATCH_MATMUL", [0, 1], [2]), floats((1, 2, 2), (1, 2, 2), (1, 2, 2), dtype="int8"), 2),
        (Operator("RESIZE_BILINEAR", [0, 1], [2], {"half_pixel_centers": True}), floats((1,), (2,), (1,)), 3),
        (Operator("DIV", [0, 1], [2]), floats((1, 1, 1, 1, 4), (1,), (1, 1, 1, 1, 4)), 2),
        (Operator("GATHER", [0, 1], [2], {"batch_dims": 1}), floats((1, 2), (1, 2), (1, 2)), 5),
        (Operator("ADD", [0, 1], [2], {}, 7), floats((1,), (1,), (1,)), 7),
    ],
)
def test_an_operators_version_is_the_lowest_that_its_use_needs(operator, tensors, version):
    assert version_of(Graph(tensors=tensors), operator) == version


def test_an_operator_in_two_versions_has_two_codes():
    net = Net()
    x = net.input(1, 4, 4, 4)
    first = net.op("RELU", [x], (1, 4, 4, 4))
    second = net.op("TRANSPOSE", [first, net.const(np.array([0, 3, 1, 2], np.int32))], (1, 4, 4, 4))
    net.graph.operators[-1].version = 2
    third = net.op("TRANSPOSE", [second, net.const(np.array([0, 3, 1, 2], np.int32))], (1, 4, 4, 4))
    model = schema.library().ModelT.InitFromPackedBuf(flat.to_bytes(net.program(third)))
    assert [(code.builtinCode, code.version) for code in model.operatorCodes] == [(19, 1), (39, 2), (39, 1)]


def test_new_operators_say_so_in_the_old_field():
    net = Net()
    x = net.op("GELU", [net.input(1, 4)], (1, 4))
    (code,) = schema.library().ModelT.InitFromPackedBuf(flat.to_bytes(net.program(x))).operatorCodes
    assert (code.builtinCode, code.deprecatedBuiltinCode) == (150, 127)


def test_the_older_runtime_reads_what_is_written(tmp_path):
    net, program = conv_program()
    feeds = net.feeds()
    assert error(run_new(program, feeds)[0], old_runtime(tmp_path).run(flat.to_bytes(program), feeds)[0]) < 1e-5


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\x08\x00\x00\x00TFL3" + b"\xff" * 40])
def test_damaged_bytes_are_no_model(content):
    with pytest.raises(ModelError, match="not a TFLite model"):
        read.read(content)


def test_strings_have_their_offsets_before_them():
    assert packing.encode("string", np.array(["ab", "c"])) == (
        b"\x02\0\0\0" + b"\x10\0\0\0" + b"\x12\0\0\0" + b"\x13\0\0\0" + b"abc"
    )
