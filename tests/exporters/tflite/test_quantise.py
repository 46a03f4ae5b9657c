"""Schemes end to end, which runtime would load the result, and models that are quantised anew from their file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from exporters.tflite import flat, read, registered
from exporters.tflite.quantise import SCHEMES, quantise
from exporters.tflite.rules import LITERT_2_3, TFLITE_2_14, parse_runtime, refused
from mobile.errors import ExportError, UsageError
from tests.support.tflite import Net, error, run_new

FACE = Path(__file__).resolve().parents[2] / "data/models/face_detection_short_range.tflite"


def net_and_program():
    net = Net()
    x = net.conv(net.input(1, 8, 8, 8), 32)
    x = net.op("MEAN", [x, net.const(np.array([1, 2], np.int32))], (1, 32))
    return net, net.program(net.dense(x, 64))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_scheme_says_what_it_did(scheme):
    net, program = net_and_program()
    found = quantise(program, scheme, LITERT_2_3, [net.feeds()])
    assert found.recipe["scheme"] == scheme
    assert refused(found.program, LITERT_2_3) == []
    assert len(flat.to_bytes(found.program)) < len(flat.to_bytes(program))


def test_an_unknown_scheme_is_refused():
    with pytest.raises(UsageError, match="int3"):
        quantise(net_and_program()[1], "int3", LITERT_2_3)


def test_int8_of_a_model_without_int8_operators_is_refused():
    net = Net()
    program = net.program(net.op("SIN", [net.input(1, 4)], (1, 4)))
    with pytest.raises(ExportError, match="nothing that it could quantise"):
        quantise(program, "int8", LITERT_2_3, [net.feeds()])


def test_a_published_model_with_packed_weights_is_quantised_anew():
    source = read.read(FACE.read_bytes())  # float16 weights behind DEQUANTIZE
    random = np.random.default_rng(0)
    name = source.main.tensors[source.main.inputs[0]].name
    feeds = [{name: random.uniform(-1, 1, (1, 128, 128, 3)).astype(np.float32)} for _ in range(3)]
    found = quantise(source, "int8", TFLITE_2_14, feeds)
    assert found.recipe["int8"]["CONV_2D"] > 10
    assert found.recipe["kept_float32"]  # on noise, int8 everywhere is too far off
    want, have = run_new(source, feeds[0]), run_new(found.program, feeds[0])
    assert error(want[0], have[0]) < 0.15


def test_what_an_older_runtime_has_not_registered_is_named():
    net = Net()
    program = net.program(net.dense(net.input(1, 64), 32))
    small = quantise(program, "int8-dynamic", LITERT_2_3).program
    assert refused(small, LITERT_2_3) == []
    assert refused(small, TFLITE_2_14) == ["FULLY_CONNECTED version 12 (newest there: 10)"]


@pytest.mark.parametrize(
    ("text", "runtime"),
    [
        ("litert:2.3", LITERT_2_3),
        ("litert 2.3".replace(" ", "-"), LITERT_2_3),
        ("litert:2.9", LITERT_2_3),
        ("litert:2.1", TFLITE_2_14),
        ("tflite:2.14", TFLITE_2_14),
        ("tflite-runtime==2.14.0", TFLITE_2_14),
        (None, TFLITE_2_14),
    ],
)
def test_a_target_is_a_runtime(text, runtime):
    assert parse_runtime(text) is runtime


def test_a_target_that_is_no_tflite_runtime_is_refused():
    with pytest.raises(UsageError, match=r"ort:1\.19"):
        parse_runtime("ort:1.19")


def test_a_newer_runtime_has_registered_all_that_the_older_one_has():
    assert all(registered.LITERT_2_3[op] >= version for op, version in registered.TFLITE_2_14.items())
