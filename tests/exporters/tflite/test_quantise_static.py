"""Static int8: every operator that becomes int8 computes nearly what it did, in both runtimes."""

from __future__ import annotations

import numpy as np
import pytest

from exporters.tflite import affine, flat, int8_operators
from exporters.tflite.calibrate import Ranges, calibrate
from exporters.tflite.ir import Program
from exporters.tflite.quantise_static import quantise_static
from exporters.tflite.rules import TFLITE_2_14
from mobile.errors import InputError
from tests.support.tflite import Net, error, old_runtime, run_new

INT32 = np.int32
BORDER = np.array([[0, 0], [1, 1], [1, 1], [0, 0]], INT32)


@pytest.fixture
def old(tmp_path):
    return old_runtime(tmp_path)


def conv(net: Net) -> int:
    return net.conv(net.input(1, 8, 8, 4), 16)


def ints(*values: int) -> np.ndarray:
    return np.array(values, INT32)


def relu(net, x):
    return net.op("RELU", [x], net.graph.tensors[x].shape)


def depthwise(net, x):
    inputs = [x, net.const(net.random.normal(size=(1, 3, 3, 16)).astype("f4")), net.const(np.ones(16, "f4"))]
    return net.op(
        "DEPTHWISE_CONV_2D", inputs, (1, 8, 8, 16), padding="SAME", stride_w=1, stride_h=1, depth_multiplier=1
    )


def transpose_conv(net, x):
    inputs = [net.const(ints(1, 16, 16, 4)), net.weights(4, 3, 3, 16, spread=0.3), x, net.const(np.ones(4, "f4"))]
    return net.op("TRANSPOSE_CONV", inputs, (1, 16, 16, 4), padding="SAME", stride_w=2, stride_h=2)


def moved(op, shape, *constants, first=True, **options):
    """A move with constant operands behind the data, or before it."""

    def build(net, x):
        given = [net.const(constant) for constant in constants]
        return net.op(op, [x, *given] if first else [*given, x], shape, **options)

    return build


def pooled(op):
    return moved(op, (1, 4, 4, 16), padding="SAME", stride_w=2, stride_h=2, filter_width=2, filter_height=2)


def two(op, **options):
    def build(net, x):
        other = net.conv(net.graph.inputs[0], 16)
        return net.op(op, [x, other], (1, 8, 8, 16), **options)

    return build


def attention(net, x):
    flat_x = net.op("RESHAPE", [x, net.const(ints(1, 64, 16))], (1, 64, 16), new_shape=[1, 64, 16])
    scores = net.op("BATCH_MATMUL", [flat_x, flat_x], (1, 64, 64), adj_y=True)
    return net.op("BATCH_MATMUL", [net.op("SOFTMAX", [scores], (1, 64, 64), beta=0.05), flat_x], (1, 64, 16))


def halves(op, constants, shape, **options):
    """An operator with two outputs of one shape, and their sum."""

    def build(net, x):
        given = [x if constant is None else net.const(constant) for constant in constants]
        first = net.op(op, given, shape, **options)
        second = net.tensor("second", shape)
        net.graph.operators[-1].outputs.append(second)
        return net.op("ADD", [first, second], shape)

    return build


def dense(net, x):
    mean = net.op("MEAN", [x, net.const(ints(1, 2))], (1, 16))
    return net.dense(mean, 10)


CASES = {
    "DEPTHWISE_CONV_2D": depthwise,
    "TRANSPOSE_CONV": transpose_conv,
    "FULLY_CONNECTED": dense,
    "RELU": relu,
    "RELU6": lambda net, x: net.op("RELU6", [x], (1, 8, 8, 16)),
    "LOGISTIC": lambda net, x: relu(net, net.op("LOGISTIC", [x], (1, 8, 8, 16))),
    "TANH": lambda net, x: relu(net, net.op("TANH", [x], (1, 8, 8, 16))),
    "HARD_SWISH": lambda net, x: net.op("HARD_SWISH", [x], (1, 8, 8, 16)),
    "LEAKY_RELU": lambda net, x: net.op("LEAKY_RELU", [x], (1, 8, 8, 16), alpha=0.1),
    "PRELU": lambda net, x: net.op("PRELU", [x, net.const(np.full((1, 1, 16), 0.3, "f4"))], (1, 8, 8, 16)),
    "ADD": two("ADD"),
    "SUB": two("SUB"),
    "MUL": two("MUL"),
    "MAXIMUM": two("MAXIMUM"),
    "MINIMUM": two("MINIMUM"),
    "ADD of a constant": lambda net, x: net.op("ADD", [x, net.const(np.ones(16, "f4"))], (1, 8, 8, 16)),
    "CONCATENATION": lambda net, x: net.op(
        "CONCATENATION", [x, net.conv(net.graph.inputs[0], 16)], (1, 8, 8, 32), axis=3
    ),
    "PACK": lambda net, x: net.op(
        "PACK", [x, net.conv(net.graph.inputs[0], 16)], (2, 1, 8, 8, 16), axis=0, values_count=2
    ),
    "BATCH_MATMUL and SOFTMAX": attention,
    "SPLIT": halves("SPLIT", [np.array(3, INT32), None], (1, 8, 8, 8), num_splits=2),
    "SPLIT_V": halves("SPLIT_V", [None, ints(4, 4), np.array(1, INT32)], (1, 4, 8, 16), num_splits=2),
    "UNPACK": lambda net, x: halves("UNPACK", [None], (1, 8, 16), num=2, axis=1)(
        net, net.op("SLICE", [x, net.const(ints(0, 0, 0, 0)), net.const(ints(1, 2, 8, 16))], (1, 2, 8, 16))
    ),
    "MEAN": moved("MEAN", (1, 16), ints(1, 2)),
    "MAX_POOL_2D": pooled("MAX_POOL_2D"),
    "AVERAGE_POOL_2D": pooled("AVERAGE_POOL_2D"),
    "RESHAPE": moved("RESHAPE", (1, 64, 16), ints(1, 64, 16), new_shape=[1, 64, 16]),
    "TRANSPOSE": moved("TRANSPOSE", (1, 16, 8, 8), ints(0, 3, 1, 2)),
    "SQUEEZE": moved("SQUEEZE", (8, 8, 16), squeeze_dims=[0]),
    "EXPAND_DIMS": moved("EXPAND_DIMS", (1, 1, 8, 8, 16), np.array(0, INT32)),
    "SLICE": moved("SLICE", (1, 4, 8, 16), ints(0, 2, 0, 0), ints(1, 4, 8, 16)),
    "STRIDED_SLICE": moved("STRIDED_SLICE", (1, 4, 8, 16), ints(0, 0, 0, 0), ints(1, 8, 8, 16), ints(1, 2, 1, 1)),
    "PAD": moved("PAD", (1, 10, 10, 16), BORDER),
    "PADV2": moved("PADV2", (1, 10, 10, 16), BORDER, np.array(2.0, "f4")),
    "MIRROR_PAD": moved("MIRROR_PAD", (1, 10, 10, 16), BORDER, mode="REFLECT"),
    "GATHER": moved("GATHER", (1, 8, 8, 3), ints(3, 0, 9), axis=3),
    "TILE": moved("TILE", (1, 8, 16, 16), ints(1, 1, 2, 1)),
    "SPACE_TO_DEPTH": moved("SPACE_TO_DEPTH", (1, 4, 4, 64), block_size=2),
    "DEPTH_TO_SPACE": moved("DEPTH_TO_SPACE", (1, 16, 16, 4), block_size=2),
    "RESIZE_BILINEAR": moved("RESIZE_BILINEAR", (1, 16, 16, 16), ints(16, 16), half_pixel_centers=True),
    "RESIZE_NEAREST_NEIGHBOR": moved("RESIZE_NEAREST_NEIGHBOR", (1, 16, 16, 16), ints(16, 16)),
    "REDUCE_MAX": moved("REDUCE_MAX", (1, 16), ints(1, 2)),
    "REDUCE_MIN": moved("REDUCE_MIN", (1, 16), ints(1, 2)),
    "BROADCAST_TO": moved("BROADCAST_TO", (3, 8, 8, 16), ints(3, 8, 8, 16)),
    "L2_NORMALIZATION": lambda net, x: relu(net, net.op("L2_NORMALIZATION", [x], (1, 8, 8, 16))),
}  # fmt: skip


def built(name: str) -> tuple[Net, Program]:
    net = Net()
    x = conv(net)
    return net, net.program(CASES[name](net, x))


def ranged(program: Program, feeds, count: int = 8) -> Ranges:
    factors = np.linspace(0.5, 1, count, dtype=np.float32)
    return calibrate(program, [{key: value * factor for key, value in feeds.items()} for factor in factors])


@pytest.mark.parametrize("name", CASES)
def test_an_int8_operator_is_near_the_float_one_in_both_runtimes(name, old):
    net, program = built(name)
    feeds = net.feeds()
    (want,) = run_new(program, feeds)
    small, report = quantise_static(program, ranged(program, feeds), TFLITE_2_14)
    assert not report.float32, "an operator stayed float"
    types = {tensor.dtype for operator in small.main.operators for tensor in _tensors(small, operator) if tensor.rank}
    assert "int8" in types
    assert error(want, run_new(small, feeds)[0]) < 0.06
    assert error(want, old.run(flat.to_bytes(small), feeds)[0]) < 0.06


def _tensors(program, operator):
    return [program.main.tensors[place] for place in operator.inputs if place >= 0]


def test_every_int8_operator_is_tried():
    every = {
        *int8_operators.WEIGHTED,
        *int8_operators.FREE,
        *int8_operators.FIXED,
        *int8_operators.MOVES,
        *int8_operators.JOINS,
    }
    tried = set()
    for name in CASES:
        tried.update(operator.op for operator in built(name)[1].main.operators)
    assert every - tried == set()


def test_what_has_no_int8_kernel_stays_float_between_conversions():
    net = Net()
    x = net.op("SIN", [conv(net)], (1, 8, 8, 16))
    program = net.program(net.conv(x, 8))
    feeds = net.feeds()
    small, report = quantise_static(program, ranged(program, feeds), TFLITE_2_14)
    assert report.float32 == {"SIN": 1}
    assert [operator.op for operator in small.main.operators] == [
        "QUANTIZE", "CONV_2D", "DEQUANTIZE", "SIN", "QUANTIZE", "CONV_2D", "DEQUANTIZE",
    ]  # fmt: skip
    assert error(run_new(program, feeds)[0], run_new(small, feeds)[0]) < 0.06


def test_an_embedding_table_is_stored_in_8_bits_though_its_operator_stays_float(old):
    net = Net()
    ids = net.input(1, 5, dtype="int32")
    words = net.op("GATHER", [net.weights(200, 16), ids], (1, 5, 16), axis=0)
    program = net.program(net.dense(words, 32))
    feeds = {"x0": np.array([[1, 5, 99, 0, 7]], INT32)}
    small, report = quantise_static(program, calibrate(program, [feeds]), TFLITE_2_14)
    assert report.float32 == {"GATHER": 1}
    assert report.ways == {"int8, unpacked at load": 1}
    assert error(run_new(program, feeds)[0], old.run(flat.to_bytes(small), feeds)[0]) < 0.06


def test_a_join_of_far_apart_ranges_stays_float():
    net = Net()
    x = conv(net)
    large = net.op("MUL", [net.conv(net.graph.inputs[0], 16), net.const(np.array(300.0, "f4"))], (1, 8, 8, 16))
    program = net.program(net.op("CONCATENATION", [x, large], (1, 8, 8, 32), axis=3))
    feeds = net.feeds()
    small, report = quantise_static(program, ranged(program, feeds), TFLITE_2_14)
    assert report.float32 == {"CONCATENATION": 1}
    want, have = run_new(program, feeds)[0], run_new(small, feeds)[0]
    assert error(want[..., :16], have[..., :16]) < 0.06


def test_a_narrow_branch_of_a_join_is_requantised_and_keeps_its_scale():
    net = Net()
    x = conv(net)
    large = net.op("MUL", [net.conv(net.graph.inputs[0], 16), net.const(np.array(6.0, "f4"))], (1, 8, 8, 16))
    joined = net.op("CONCATENATION", [x, large], (1, 8, 8, 32), axis=3)
    program = net.program(joined, net.conv(x, 4))
    small, _ = quantise_static(program, ranged(program, net.feeds()), TFLITE_2_14)
    requantised = [operator for operator in small.main.operators if operator.op == "QUANTIZE"]
    assert len(requantised) == 2
    assert small.main.tensors[requantised[1].inputs[0]].dtype == "int8"


def test_a_models_last_softmax_stays_float():
    net = Net()
    program = net.program(net.op("SOFTMAX", [dense(net, conv(net))], (1, 10), beta=1.0))
    _, report = quantise_static(program, ranged(program, net.feeds()), TFLITE_2_14)
    assert report.float32 == {"SOFTMAX": 1}


def test_moves_that_no_int8_operator_needs_stay_float():
    net = Net()
    x = net.op("TRANSPOSE", [net.input(1, 4, 4, 4), net.const(ints(0, 3, 1, 2))], (1, 4, 4, 4))
    program = net.program(net.op("SIN", [x], (1, 4, 4, 4)))
    small, report = quantise_static(program, ranged(program, net.feeds()), TFLITE_2_14)
    assert not report.int8
    assert [operator.op for operator in small.main.operators] == ["TRANSPOSE", "SIN"]


def test_inputs_and_outputs_can_be_int8():
    net, program = built("ADD")
    feeds = net.feeds()
    (want,) = run_new(program, feeds)
    small, _ = quantise_static(program, ranged(program, feeds), TFLITE_2_14, integer_io=True)
    source, sink = small.main.tensors[small.main.inputs[0]], small.main.tensors[small.main.outputs[0]]
    assert (source.dtype, sink.dtype) == ("int8", "int8")
    (codes,) = run_new(small, {"x0": affine.encode(feeds["x0"], source.quant)})
    found = (codes.astype("f4") - sink.quant.zero_points[0]) * sink.quant.scales[0]
    assert error(want, found) < 0.06


def test_a_bias_is_int32_at_the_product_of_both_scales():
    data, weight = affine.fixed(0.5, 0), affine.fixed(0.25, 0)
    codes, quant = affine.bias(np.array([1.0, -3.0]), data, weight)
    assert codes.tolist() == [8, -24]
    assert quant.scales.tolist() == [0.125]


@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (-3.0, 0.0), (-1.0, 2.0), (0.0, 0.0)])
def test_zero_is_exact_in_an_activation(low, high):
    quant = affine.activation(low, high)
    code = int(affine.encode(np.zeros(1), quant)[0])
    assert code == quant.zero_points[0]
    assert -128 <= code <= 127


def test_outliers_do_not_widen_a_range_beyond_what_they_are_worth():
    ranges = Ranges()
    values = np.random.default_rng(0).normal(size=20000)
    values[0] = 12.0
    ranges.add(0, values)
    low, high = ranges.of(0)
    assert ranges.bounds[0][1] == 12.0
    assert high < 12.0
    assert low <= 0.0


def test_infinities_are_no_range():
    ranges = Ranges()
    ranges.add(0, np.array([-np.inf, 1.0]))
    ranges.add(1, np.array([np.inf]))
    assert ranges.bounds[0] == (1.0, 1.0)
    assert ranges.of(1) is None


def test_calibration_without_inputs_or_with_nan_is_refused():
    _, program = built("RELU")
    with pytest.raises(InputError, match="no calibration inputs"):
        calibrate(program, [])
    with pytest.raises(InputError, match="NaN"):
        calibrate(program, [{"x0": np.full((1, 8, 8, 4), np.nan, "f4")}])
