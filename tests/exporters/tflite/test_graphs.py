"""Whole graphs: right at every shape, without moving data more than they must, and refused as a whole or not at all."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import numpy_helper, parser

from exporters.parity import compare_tensor
from exporters.tflite import export_tflite
from exporters.tflite.flat import to_bytes
from exporters.tflite.probabilities import LEAST_SCALE, least_scales
from exporters.tflite.running import LiteSession
from mobile.errors import ExportError
from tests.support import tflite_graphs as graphs
from tests.support.tflite_cases import weights


def _session(model: onnx.ModelProto, **more):
    return LiteSession(to_bytes(export_tflite(ir.from_proto(model), **more)), "graph")


def _check(model, session, feeds, tolerance=2e-6):
    reference = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = reference.run(None, feeds)
    for mine, theirs in zip(session.run(feeds), wanted, strict=True):
        assert mine.shape == theirs.shape
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=tolerance * max(1, float(np.abs(theirs).max())))


def _operators(model: onnx.ModelProto, **more) -> Counter[str]:
    return Counter(step.op for step in export_tflite(ir.from_proto(model), **more).main.operators)


def _model(text: str) -> onnx.ModelProto:
    return parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]>\n{text}')


def test_a_decoder_with_a_cache_is_right_at_every_batch_length_and_past():
    model = graphs.decoder()
    session = _session(model, sample={"ids": (1, 4), "past_k": (1, 2, 3, 4), "past_v": (1, 2, 3, 4)})
    random = np.random.default_rng(0)
    for batch, tokens, past in ((1, 4, 3), (1, 1, 7), (2, 5, 1), (3, 1, 1), (1, 9, 4)):
        cache = [random.standard_normal((batch, 2, past, 4)).astype(np.float32) for _ in range(2)]
        feeds = {"ids": random.integers(0, 20, (batch, tokens)), "past_k": cache[0], "past_v": cache[1]}
        _check(model, session, feeds)


def test_a_decoder_of_fixed_sizes_computes_no_shape():
    made = _operators(graphs.decoder(), dims={"N": 1, "T": 1, "P": 15})
    assert not made.keys() & {"SHAPE", "STRIDED_SLICE", "PACK", "RANGE", "BROADCAST_TO"}


def test_the_free_dimensions_of_the_file_stand_at_the_sample():
    program = export_tflite(ir.from_proto(graphs.tail()), sample={"x": (1, 3, 8, 12)})
    tensor = program.main.tensors[program.main.inputs[0]]
    assert (tensor.shape, tensor.signature) == ((1, 3, 8, 12), (-1, 3, -1, -1))


def test_both_branches_of_an_if_are_taken():
    model = graphs.branch()
    session = _session(model)
    for batch in (1, 3):
        x = np.random.default_rng(batch).standard_normal((batch, 3)).astype(np.float32)
        for rate in (3, 30):
            _check(model, session, {"x": x, "rate": np.array(rate)})


def test_a_detectors_tail_is_right_at_every_size_and_moves_little():
    model = graphs.tail()
    session = _session(model, sample={"x": (1, 3, 8, 12)})
    for shape in ((1, 3, 8, 12), (2, 3, 8, 8), (1, 3, 16, 4)):
        _check(model, session, {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)})
    assert _operators(model, dims={"N": 1, "H": 8, "W": 8})["TRANSPOSE"] <= 2


def test_an_image_network_is_transposed_once():
    """Into channels last at the input; everything behind stays so."""
    model = _model(
        """net (float[1, 3, 8, 8] x) => (float[1, 4] y)
        <float[1, 4, 1, 1] c = {1, 2, 3, 4}> {
            a = Conv<pads = [1, 1, 1, 1]>(x, w)
            b = Relu(a)
            e = Conv<pads = [1, 1, 1, 1], group = 4>(b, d)
            f = Mul(e, c)
            g = Add(f, b)
            h = Concat<axis = 1>(g, b)
            s1, s2 = Split<axis = 1>(h)
            m = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(s1)
            p = GlobalAveragePool(m)
            y = Flatten(p)
        }"""
    )
    for name, shape in (("w", (4, 3, 3, 3)), ("d", (4, 1, 3, 3))):
        model.graph.initializer.append(numpy_helper.from_array(weights(*shape), name))
    made = _operators(model)
    assert made["TRANSPOSE"] == 1
    assert made["RELU"] == made["MUL"] == 0  # fused into the convolution, and into its weights
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    _check(model, _session(model), {"x": x})


def test_an_input_that_lies_channels_last_is_not_transposed():
    model = _model(
        """net (float[1, 8, 8, 1] x) => (float[1, 8, 8, 1] y) <float[1, 1, 1, 1] w = {2.0}> {
            a = Transpose<perm = [0, 3, 1, 2]>(x)
            b = Conv(a, w)
            y = Transpose<perm = [0, 2, 3, 1]>(b)
        }"""
    )
    assert _operators(model) == {"CONV_2D": 1}


def test_what_cannot_be_converted_is_listed_as_a_whole():
    model = _model(
        """net (float[2, 2] x) => (float[2, 2] y, float[2] d) {
            a = Exp(x)
            b = Atanh(a)
            d = Det(x)
            y = Mish(b)
        }"""
    )
    with pytest.raises(ExportError) as caught:
        export_tflite(ir.from_proto(model))
    message = str(caught.value)
    assert "Atanh" in message and "Det" in message
    assert "Exp " not in message


def test_a_condition_inside_an_operator_is_refused_with_its_reason():
    model = _model(
        """net (float[N, 1, H, W] x) => (float[N, 1, A, B] y) <float[4] s = {1, 1, 1.5, 1.5}, float[0] r = {}> {
            y = Resize<mode = "linear">(x, r, s)
        }"""
    )
    with pytest.raises(ExportError, match=r"Resize .*the scale 1\.5 of a free dimension"):
        export_tflite(ir.from_proto(model))


def test_the_model_itself_is_not_changed():
    model = ir.from_proto(graphs.decoder())
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    export_tflite(model, dims={"N": 1, "T": 2, "P": 3})
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_outputs_that_are_inputs_constants_or_twice_the_same_are_kept():
    model = _model(
        """net (float[2, 2] x) => (float[2, 2] p, float[2, 2] q, float[2, 2] r, float[2] c) {
            p = Identity(x)
            q = Exp(x)
            r = Identity(q)
            c = Constant<value_floats = [1.0, 2.0]>()
        }"""
    )
    _check(model, _session(model), {"x": np.float32([[1, 2], [3, 4]])})


def test_shapes_and_ranges_of_free_dimensions_are_computed_at_run_time():
    model = _model(
        """net (float[N, 3] x) => (int64[N] r, float[A, 3] f, float[N, 3] y) <int64[1] l = {1}> {
            s = Shape(x)
            z = Constant<value_int = 0>()
            one = Constant<value_int = 1>()
            n = Gather(s, z)
            r = Range(z, n, one)
            f = ConstantOfShape<value = float[1] {2.5}>(s)
            g = CastLike(r, x)
            u = Unsqueeze(g, l)
            y = Mul(x, u)
        }"""
    )
    session = _session(model)
    for rows in (1, 4, 2):
        _check(model, session, {"x": np.random.default_rng(0).standard_normal((rows, 3)).astype(np.float32)})


def test_int64_values_beyond_int32_stay_exact():
    model = _model("net (int64[3] x, int64[3] z) => (int64[3] y) { y = Mul(x, z) }")
    x = np.array([2**33, -5, 2**40 + 1])
    np.testing.assert_array_equal(_session(model).run({"x": x, "z": np.array([3, 7, 5])})[0], x * [3, 7, 5])


@pytest.mark.parametrize("end", ["d = Mul(x, c) y = Div(d, six)", "d = Div(c, six) y = Mul(d, x)"])
def test_hard_swish_written_out_becomes_one_operator(end):
    model = _model(
        """net (float[4, 8] x) => (float[4, 8] y)
        <float three = {3.0}, float zero = {0.0}, float six = {6.0}> {
            a = Add(x, three)
            c = Clip(a, zero, six)
            %s
        }""".replace("%s", end)
    )
    assert _operators(model) == {"HARD_SWISH": 1}
    _check(model, _session(model), {"x": np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32) * 4})


def test_gelu_written_out_becomes_one_operator():
    model = _model(
        """net (float[4, 8] x) => (float[4, 8] y) {
            root = Constant<value_float = 1.4142135>()
            one = Constant<value_float = 1.0>()
            half = Constant<value_float = 0.5>()
            a = Div(x, root)
            b = Erf(a)
            c = Add(b, one)
            d = Mul(x, c)
            y = Mul(d, half)
        }"""
    )
    assert _operators(model) == {"GELU": 1}
    x = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    _check(model, _session(model), {"x": x})


def test_half_precision_is_computed_in_float32():
    model = _model(
        """net (float[2, 3] x) => (float[2, 3] y) {
            a = Cast<to = 10>(x)
            b = Mul(a, w)
            y = Cast<to = 1>(b)
        }"""
    )
    model.graph.initializer.append(numpy_helper.from_array(np.float16([0.5, 1, -2]), "w"))
    program = export_tflite(ir.from_proto(model))
    assert {tensor.dtype for tensor in program.main.tensors} == {"float32"}
    x = np.float32([[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(LiteSession(to_bytes(program), "half").run({"x": x})[0], x * [0.5, 1, -2])


def test_more_dimensions_than_kernels_take_are_refused():
    model = _model("net (float[1, 2, 1, 2, 1, 2, 2] x) => (float[1, 2, 1, 2, 1, 2, 2] y) { y = Relu(x) }")
    with pytest.raises(ExportError, match="7 dimensions, TFLite's kernels end at 6"):
        export_tflite(ir.from_proto(model))


def test_outputs_that_are_sigmoids_are_compared_at_a_scale_that_onnxruntime_holds():
    model = _model(
        """net (float[2, 3] x) => (float[3, 2] y, float[2, 6] z, float[2, 3] w) {
            a = Sigmoid(x)
            y = Transpose(a)
            z = Concat<axis = 1>(a, a)
            w = Mul(a, x)
        }"""
    )
    assert least_scales(ir.from_proto(model)) == {"y": LEAST_SCALE, "z": LEAST_SCALE}
    tiny = np.float32([1e-6, 2e-6])
    assert not compare_tensor("y", tiny, tiny + np.float32(1e-7)).ok
    assert compare_tensor("y", tiny, tiny + np.float32(1e-7), LEAST_SCALE).ok
    assert not compare_tensor("y", tiny, tiny + np.float32(1e-6), LEAST_SCALE).ok


def test_a_graph_that_is_quantised_already_is_refused_with_the_way_to_go():
    model = _model(
        """net (float[2] x) => (float[2] y) <float s = {0.1}, int8 z = {3}> {
            q = QuantizeLinear(x, s, z)
            y = DequantizeLinear(q, s, z)
        }"""
    )
    with pytest.raises(ExportError, match=r"DequantizeLinear, QuantizeLinear: .*give the float model"):
        export_tflite(ir.from_proto(model))


def test_weights_are_kept_as_they_are_when_asked():
    model = _model(
        """net (float[1, 3, 4, 4] x) => (float[1, 2, 4, 4] y, float[1, 5] g)
        <float[2] a = {2, 3}, float[2] b = {1, 1}, float[2] m = {0, 1}, float[2] v = {1, 4}> {
            c = Conv(x, w)
            y = BatchNormalization(c, a, b, m, v)
            f = Flatten(x)
            g = Gemm<alpha = 0.5>(f, t)
        }"""
    )
    tables = {"w": weights(2, 3, 1, 1), "t": weights(48, 5)}
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in tables.items())
    x = np.random.default_rng(0).standard_normal((1, 3, 4, 4)).astype(np.float32)
    for keep in (False, True):
        program = export_tflite(ir.from_proto(model), keep_weights=keep)
        held = [tensor.data for tensor in program.main.tensors if tensor.data is not None]
        for table in (tables["w"].transpose(0, 2, 3, 1), tables["t"].T):
            assert any(np.array_equal(data, table) for data in held) == keep
        _check(model, LiteSession(to_bytes(program), "kept"), {"x": x})
