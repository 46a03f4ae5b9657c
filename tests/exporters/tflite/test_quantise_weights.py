"""Weights in few bits: right on LiteRT and on tflite-runtime 2.14, with a rule for each thing that is wrong there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from exporters.tflite import affine, flat
from exporters.tflite.ir import Program, Quant
from exporters.tflite.quantise_weights import quantise_weights
from exporters.tflite.rules import LITERT_2_3, TFLITE_2_14
from mobile.errors import ExportError
from tests.support.tflite import Net, Refused, error, old_runtime, run_new


@pytest.fixture
def old(tmp_path):
    return old_runtime(tmp_path)


def dense_net() -> Net:
    net = Net()
    net.input(4, 64)
    return net


def with_conv() -> tuple[Net, Program]:
    net = Net()
    x = net.conv(net.input(1, 8, 8, 8), 16)
    x = net.op("MEAN", [x, net.const(np.array([1, 2], np.int32))], (1, 16))
    return net, net.program(net.dense(x, 128))


@pytest.mark.parametrize(
    ("scheme", "runtime", "limit"),
    [
        ("int8-dynamic", LITERT_2_3, 0.02),
        ("int8-dynamic", TFLITE_2_14, 0.02),
        ("int4", LITERT_2_3, 0.15),
        ("int4", TFLITE_2_14, 0.25),
        ("int2", LITERT_2_3, 0.9),
    ],
)
def test_a_scheme_is_near_the_float_model_on_its_runtime(scheme, runtime, limit, old):
    net, program = with_conv()
    feeds = net.feeds()
    (want,) = run_new(program, feeds)
    small, report = quantise_weights(program, scheme, runtime)
    content = flat.to_bytes(small)
    assert len(content) < len(flat.to_bytes(program))
    assert sum(report.ways.values()) == 2
    found = run_new(small, feeds) if runtime is LITERT_2_3 else old.run(content, feeds)
    assert error(want, found[0]) < limit


def test_int8_weights_of_the_older_runtime_are_unpacked_at_load_with_a_scale_per_channel():
    net = dense_net()
    small, report = quantise_weights(net.program(net.dense(0, 32)), "int8-dynamic", TFLITE_2_14)
    assert [len(tensor.quant.scales) for tensor in small.main.tensors if tensor.dtype == "int8"] == [32]
    assert report.ways == {"int8, unpacked at load": 1}


def test_int4_weights_of_the_older_runtime_have_one_scale_per_layer():
    net = dense_net()
    small, _ = quantise_weights(net.program(net.dense(0, 32)), "int4", TFLITE_2_14)
    assert [len(tensor.quant.scales) for tensor in small.main.tensors if tensor.dtype == "int4"] == [1]


def per_channel(program: Program) -> Program:
    """The rule broken: scales per channel in a hybrid fully connected layer."""
    return quantise_weights(program, "int8-dynamic", LITERT_2_3)[0]


def test_why_scales_per_channel_of_a_hybrid_layer_make_the_older_runtime_wrong(old):
    net = dense_net()
    program = net.program(net.dense(0, 32))
    feeds = net.feeds()
    (want,) = run_new(program, feeds)
    broken = per_channel(program)
    broken.main.operators[0].version = 9  # 12, which says that there are scales per channel, is refused
    assert error(want, run_new(broken, feeds)[0]) < 0.02
    assert error(want, old.run(flat.to_bytes(broken), feeds)[0]) > 0.5


def test_why_the_version_of_a_hybrid_layer_with_scales_per_channel_is_refused_there(old):
    net = dense_net()
    program = per_channel(net.program(net.dense(0, 32)))
    with pytest.raises(Refused, match=r"(?i)version|registration|op"):
        old.run(flat.to_bytes(program), net.feeds())


def test_why_int2_is_not_for_the_older_runtime(old):
    net = dense_net()
    program = net.program(net.dense(0, 32))
    small, _ = quantise_weights(program, "int2", LITERT_2_3)
    with pytest.raises(Refused):
        old.run(flat.to_bytes(small), net.feeds())
    with pytest.raises(ExportError, match="has no int2"):
        quantise_weights(program, "int2", TFLITE_2_14)


def test_why_an_int4_weight_is_not_unpacked_by_the_older_runtime(old):
    net = Net()
    x = net.input(1, 8, 8, 8)
    small, _ = quantise_weights(net.program(net.conv(x, 32)), "int4", TFLITE_2_14)
    assert {tensor.dtype for tensor in small.main.tensors} == {"float32", "int8"}
    place = small.main.operators[0].inputs[0]
    weight = small.main.tensors[place]
    small.main.tensors[place] = replace(weight, dtype="int4", data=weight.data // 16)
    with pytest.raises(Refused):
        old.run(flat.to_bytes(small), net.feeds())


def test_int4_blocks_keep_their_scales_as_float16_holds_them():
    net = dense_net()
    small, report = quantise_weights(net.program(net.dense(0, 32)), "int4", LITERT_2_3)
    (weight,) = (tensor for tensor in small.main.tensors if tensor.dtype == "int4")
    assert weight.quant.block == 32
    assert weight.quant.scales.shape == (32, 2)
    assert report.ways == {"int4, hybrid kernel": 1}


@pytest.mark.parametrize("op", ["GATHER", "GATHER_ND"])
def test_an_embedding_table_is_stored_in_a_byte_a_value(op):
    net = Net()
    ids = net.input(1, 5, *([1] if op == "GATHER_ND" else []), dtype="int32")
    options = {"axis": 0} if op == "GATHER" else {}
    program = net.program(net.op(op, [net.weights(100, 16), ids], (1, 5, 16), **options))
    small, report = quantise_weights(program, "int8-dynamic", TFLITE_2_14)
    feeds = {"x0": np.array([1, 5, 99, 0, 7], np.int32).reshape(net.graph.tensors[ids].shape)}
    assert report.ways == {"int8, unpacked at load": 1}
    assert error(run_new(program, feeds)[0], run_new(small, feeds)[0]) < 0.01


def test_a_model_without_weights_is_refused():
    net = dense_net()
    with pytest.raises(ExportError, match="no weights"):
        quantise_weights(net.program(net.op("RELU", [0], (4, 64))), "int8-dynamic", LITERT_2_3)


def test_a_layer_of_a_few_weights_stays_float():
    net = dense_net()
    with pytest.raises(ExportError, match="no weights"):
        quantise_weights(net.program(net.dense(0, 4)), "int8-dynamic", LITERT_2_3)


def test_a_scale_of_zero_is_none(old):
    codes, quant = affine.weights(np.zeros((4, 4), np.float32), 0)
    assert (quant.scales > 0).all()
    assert not codes.any()
    assert isinstance(quant, Quant)
