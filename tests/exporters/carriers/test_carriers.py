"""Every family in every carrier: equal to its dequantised reference, at its width in the file, at several shapes."""

import math

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from exporters import parse_target
from exporters.carriers import packing
from exporters.carriers.base import Wishes
from exporters.carriers.blocks import buckets
from exporters.carriers.nbits import BLOCKS
from exporters.proof import prove
from tests.support import families

NEWEST = parse_target("ort:1.32")
OLD = parse_target("ort:1.19")


@pytest.mark.parametrize("scheme", families.SCHEMES)
@pytest.mark.parametrize("target", [None, NEWEST], ids=["portable", "ort-1.32"])
def test_a_family_equals_its_reference_within_the_arithmetic_of_its_carrier(scheme, target, tmp_path):
    model, done = families.lowered(scheme, target)
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    feeds = [families.feeds(), families.feeds(1, 1), families.feeds(3, 16)]
    proof = prove(done, families.compressed(scheme).tensors, path, feeds, "generated")
    assert proof.ok, proof.worst
    assert {use.weight for use in proof.uses} == set(families.compressed(scheme).tensors)
    for feed in feeds:
        want, have = families.run(families.reference(scheme), feed), families.run(model, feed)
        exact = 1e-5 if scheme == "low-rank" else 0
        assert np.abs(want[1] - have[1]).max() <= exact * np.abs(want[1]).max()  # Conv
        assert np.abs(want[2] - have[2]).max() <= exact * np.abs(want[2]).max()  # embedding
        assert np.linalg.norm(want[0] - have[0]) <= 0.03 * np.linalg.norm(want[0])


@pytest.mark.parametrize("scheme", ["int8", "int4:g=row", "int5:g=row:sym", "binary", "ternary", "power-of-two"])
def test_many_rows_take_the_integer_product(scheme, tmp_path):
    model, done = families.lowered(scheme, NEWEST, Wishes(dynamic=True))
    assert families.carriers(done)["w"] == "MatMulInteger"
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    assert prove(done, families.compressed(scheme).tensors, path, [families.feeds()], "generated").ok


@pytest.mark.parametrize("scheme", ["int4:g=32", "binary", "int3:g=32", "codebook"])
def test_a_wrong_weight_is_beyond_its_bound(scheme, tmp_path):
    """The proof sees one code that is off, in the largest weight of a row."""
    model, done = families.lowered(scheme, NEWEST)
    stored = next(
        tensor for tensor in model.graph.initializer if tensor.name.startswith("w.") and "packed" in tensor.name
    )
    values = numpy_helper.to_array(stored).copy()
    values.reshape(-1)[: values.size // 8] ^= 0xFF
    stored.CopyFrom(numpy_helper.from_array(values, stored.name))
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    proof = prove(done, families.compressed(scheme).tensors, path, [families.feeds()], "generated")
    assert not proof.ok and proof.worst.weight == "w"


def _nodes(model, kind):
    return [node for node in model.graph.node if node.op_type == kind]


def _attributes(node):
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


@pytest.mark.parametrize("scheme", families.SCHEMES)
@pytest.mark.parametrize("target", [None, OLD, NEWEST], ids=["portable", "ort-1.19", "ort-1.32"])
def test_no_trap_is_written(scheme, target):
    """Accuracy level 4, blocks up to 128, widths of the release, nothing through DequantizeLinear or sparse tensors."""
    model, _ = families.lowered(scheme, target)
    for node in _nodes(model, "MatMulNBits"):
        found = _attributes(node)
        assert found["accuracy_level"] == 4 and found["block_size"] in BLOCKS
        assert found["bits"] in (target.nbits if target else (4,))
        assert found["bits"] != 2 or found["block_size"] >= 32
    assert not model.graph.sparse_initializer
    for kind in ("DequantizeLinear", "ScatterND", "BitShift", "GatherBlockQuantized"):
        assert not _nodes(model, kind)
    wide = {"FLOAT8E4M3FN", "FLOAT8E5M2", "FLOAT4E2M1", "INT4", "UINT4", "INT2", "UINT2"}
    casts = {onnx.TensorProto.DataType.Name(_attributes(node)["to"]) for node in _nodes(model, "Cast")}
    assert not casts & wide
    assert not {onnx.TensorProto.DataType.Name(tensor.data_type) for tensor in model.graph.initializer} & wide


@pytest.mark.parametrize("version", [(1, 24), (1, 25), (1, 26), (1, 27)])
def test_releases_whose_two_bit_kernel_is_slow_do_not_get_it(version):
    target = parse_target(f"ort:{version[0]}.{version[1]}")
    model, _ = families.lowered("ternary", target)
    assert {_attributes(node)["bits"] for node in _nodes(model, "MatMulNBits")} == {4}


def test_a_release_without_the_kernels_computes_in_integers_or_float():
    done = families.lowered("int8", parse_target("ort:1.16"))[1]
    assert families.carriers(done)["w"] == "MatMulInteger"
    done = families.lowered("int4:g=32", parse_target("ort:1.16"))[1]
    assert families.carriers(done)["w"] == "folded float32"


def test_the_file_holds_the_codes_at_their_width():
    widths = {
        "binary": 1,
        "ternary": 2,
        "dual-binary:g=row": 2,
        "int3:g=row:sym": 3,
        "int5:g=row:sym": 5,
        "power-of-two": 4,
    }
    for scheme, bits in widths.items():
        model, done = families.lowered(scheme, NEWEST)
        stored = {tensor.name: len(tensor.raw_data) for tensor in model.graph.initializer}
        mine = [name for name in done.packed if name.startswith("w.")]
        assert sum(stored[name] for name in mine) == families.K * families.N * bits // 8, scheme
        assert "w" not in stored


def test_a_tied_embedding_is_stored_once():
    """The MatMul on the transposed embedding and the Gather read the same bytes."""
    text = """
    <ir_version: 8, opset_import: ["" : 18]>
    tied (int64[n] ids) => (float[n, 48] y) { e = Gather (emb, ids)  t = Transpose <perm = [1, 0]> (emb)
        y = MatMul (e, t) }
    """
    import onnx_ir as ir

    from exporters.compress.schemes import compress, parse_scheme
    from exporters.compress.weights import find_weights
    from exporters.lowering import lower

    proto = onnx.parser.parse_model(text)
    weight = np.random.default_rng(0).standard_normal((48, 64)).astype(np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(weight, "emb"))
    model = ir.from_proto(proto)
    (found,) = find_weights(model)
    made = compress({"emb": (weight, found.kind, found.axis)}, parse_scheme("binary"))
    done = lower(model, made, NEWEST)
    lowered = ir.to_proto(model)
    packed = [tensor for tensor in lowered.graph.initializer if tensor.name in done.packed]
    assert sum(len(tensor.raw_data) for tensor in packed) == 48 * 64 // 8
    (got,) = families.run(lowered, {"ids": np.arange(5)})
    rows = made.tensors["emb"].dequantise()
    assert np.allclose(got, rows[:5] @ rows.T, atol=0.02 * np.abs(rows[:5] @ rows.T).max())


@pytest.mark.parametrize("bits", range(1, 17))
def test_planes_hold_the_codes(bits):
    codes = np.random.default_rng(bits).integers(0, 1 << bits, (5, 13)).astype(np.uint16 if bits > 8 else np.uint8)
    total = np.zeros(codes.shape, np.int64)
    for width, shift, packed in packing.planes(codes, bits):
        assert packed.shape == (5, math.ceil(13 * width / 8))
        total += packing.unpack(packed, width, 13).astype(np.int64) << shift
    assert (total == codes).all()


def test_a_repack_table_is_the_packing_of_its_bytes():
    values = np.array([7, 9], np.uint8)
    table = packing.repack_table(1, values, 4)
    codes = np.random.default_rng(0).integers(0, 2, (1, 64))
    assert (table[packing.pack(codes, 1)[0]].reshape(-1) == packing.pack(values[codes], 4)[0]).all()


def test_rows_of_blocks_are_joined_while_little_is_added():
    mask = np.zeros((5, 8), bool)
    for row, kept in enumerate((4, 4, 3, 4, 0)):
        mask[row, :kept] = True
    found = buckets(mask)
    assert [(bucket.rows, bucket.count) for bucket in found] == [((0, 1, 2, 3), 4), ((4,), 1)]


def test_two_bits_in_blocks_of_16_take_the_four_bit_kernel():
    """On onnxruntime 1.28 and 1.32 the 2-bit kernel takes 50 times as long with them."""
    model, _ = families.lowered("ternary:g=16", NEWEST)
    assert {_attributes(node)["bits"] for node in _nodes(model, "MatMulNBits")} == {4}
    model, _ = families.lowered("ternary:g=32", NEWEST)
    assert {_attributes(node)["bits"] for node in _nodes(model, "MatMulNBits")} == {2}


def _adapted(adapter):
    """The graph with a LoRA adapter of w, and the float result of merging it."""
    import onnx_ir as ir

    from exporters.compress.tensors import Adapter, CompressedModel
    from exporters.lowering import lower

    random = np.random.default_rng(0)
    left, right = (random.standard_normal(shape).astype(np.float32) for shape in ((80, 4), (4, 96)))
    tensor = Adapter("w", (96, 80), 1, left, right, 8.0)
    model = ir.from_proto(families.graph())
    done = lower(model, CompressedModel({"w": tensor}), NEWEST, Wishes(adapter=adapter))
    merged = onnx.ModelProto()
    merged.CopyFrom(families.graph())
    for stored in merged.graph.initializer:
        if stored.name == "w":
            stored.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(stored) + 2 * (left @ right).T, "w"))
    return ir.to_proto(model), done, merged


@pytest.mark.parametrize("adapter", ["merge", "apart"])
def test_an_adapter_is_merged_or_stays_beside_its_weight(adapter):
    model, done, merged = _adapted(adapter)
    feed = families.feeds()
    for want, have in zip(families.run(merged, feed), families.run(model, feed), strict=True):
        assert np.abs(want - have).max() <= 1e-4 * np.abs(want).max()
    names = {tensor.name for tensor in model.graph.initializer}
    assert ("w.lora_a" in names) == (adapter == "apart") and "w" in names
    assert len(done.uses) == 1


class _Measured:
    """A probe that found these carriers, fastest first."""

    def __init__(self, *carriers):
        self.carriers = carriers

    def rank(self, kind, rows, columns, m):
        return [(carrier, 0.001 * place) for place, carrier in enumerate(self.carriers)]


@pytest.mark.parametrize(
    ("measured", "carrier"),
    [
        (("MatMulInteger", "MatMulNBits b2"), "MatMulInteger"),
        (("folded float32", "MatMulInteger"), "folded float32"),
        (("gathered blocks", "MatMulNBits b2"), "MatMulNBits b2"),
        ((), "MatMulNBits b2"),
    ],
)
def test_what_was_measured_on_the_device_decides(measured, carrier):
    done = families.lowered("ternary", NEWEST, Wishes(measured=_Measured(*measured)))[1]
    assert families.carriers(done)["w"] == carrier


def test_known_rows_decide_where_nothing_was_measured():
    assert families.carriers(families.lowered("ternary", NEWEST, Wishes(rows_m=128))[1])["w"] == "MatMulInteger"
    assert (
        families.carriers(families.lowered("dual-binary:g=32", NEWEST, Wishes(rows_m=128))[1])["w"] == "folded float32"
    )
