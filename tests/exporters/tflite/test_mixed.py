"""Static int8 of an attention layer: what int8 cannot hold stays float32, by measurement, and masks are obeyed."""

from __future__ import annotations

import numpy as np
import pytest

from exporters.tflite import flat
from exporters.tflite.calibrate import Ranges, calibrate
from exporters.tflite.int8_choice import Choice, Scales
from exporters.tflite.mixed import LEAST_COSINE, affordable, remarks, static_int8
from exporters.tflite.quantise_static import StaticReport, quantise_static
from exporters.tflite.rules import LITERT_2_3, TFLITE_2_14
from exporters.tflite.sensitivity import Nearness, losses, switched
from tests.support.tflite import Net, error, old_runtime, run_new

TOKENS, WIDTH = 8, 32


def attention(hidden: float = -10000.0):
    """One layer of attention with a mask as BERT has it: inputs x0 [1, tokens, width] and x1 [1, 1, tokens]."""
    net = Net()
    x, mask = net.input(1, TOKENS, WIDTH), net.input(1, 1, TOKENS)
    query, key, value = (net.dense(x, WIDTH) for _ in range(3))
    scores = net.op("BATCH_MATMUL", [query, key], (1, TOKENS, TOKENS), adj_y=True)
    gone = net.op("SUB", [net.const(np.array(1.0, "f4")), mask], (1, 1, TOKENS))
    gone = net.op("MUL", [gone, net.const(np.array(hidden, "f4"))], (1, 1, TOKENS))
    scores = net.op("ADD", [scores, gone], (1, TOKENS, TOKENS))
    mixed = net.op("BATCH_MATMUL", [net.op("SOFTMAX", [scores], (1, TOKENS, TOKENS), beta=1.0), value],
                   (1, TOKENS, WIDTH))  # fmt: skip
    return net.program(net.dense(mixed, WIDTH))


def inputs(masked: bool, count: int = 6) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(1)
    mask = np.ones((1, 1, TOKENS), "f4")
    mask[..., TOKENS // 2 :] = 0.0 if masked else 1.0
    return [{"x0": random.normal(size=(1, TOKENS, WIDTH)).astype("f4"), "x1": mask} for _ in range(count)]


def test_a_mask_leaves_scores_no_resolution_and_so_they_stay_float():
    program, feeds = attention(), inputs(masked=True)
    small, report = static_int8(program, feeds[:4], LITERT_2_3)
    assert report.cosine_plain < LEAST_COSINE
    assert report.cosine > LEAST_COSINE
    assert report.kept["ADD"] == 1
    assert report.int8["FULLY_CONNECTED"] >= 3
    for feed in feeds[4:]:  # not calibrated on
        near = Nearness()
        near.add(run_new(program, feed), run_new(small, feed))
        assert near.cosine() > LEAST_COSINE


def test_the_mixed_file_answers_alike_in_the_older_runtime(tmp_path):
    feeds = inputs(masked=True)
    small, _ = static_int8(attention(), feeds, TFLITE_2_14)
    (old,) = old_runtime(tmp_path).run(flat.to_bytes(small), feeds[0])
    assert error(run_new(small, feeds[0])[0], old) < 0.06


def test_a_mask_that_calibration_never_set_is_obeyed():
    """Its tensor held only zeros: as int8 it would be 0 for ever, without a word."""
    program = attention()
    small, report = static_int8(program, inputs(masked=False), LITERT_2_3)
    assert report.float32["ADD"] == 1
    feed = inputs(masked=True)[0]
    other = {**feed, "x0": feed["x0"].copy()}
    other["x0"][:, TOKENS // 2 :] += 1.0  # tokens that are masked
    (first,), (second,) = run_new(small, feed), run_new(small, other)
    assert error(first[:, : TOKENS // 2], second[:, : TOKENS // 2]) < 0.02
    assert error(run_new(program, feed)[0], first) < 0.1


def test_a_mask_of_infinities_stays_float(tmp_path):
    """QUANTIZE of tflite-runtime 2.14, and LiteRT's without XNNPACK, turns -inf into 127 at a negative zero point."""
    net = Net()
    scores = net.dense(net.input(1, WIDTH), 8)
    scores = net.op("ADD", [scores, net.input(1, 8)], (1, 8))
    program = net.program(net.dense(net.op("SOFTMAX", [scores], (1, 8), beta=1.0), 8))
    mask = np.array([[0, -np.inf, 0, 0.5, -np.inf, 0, 0, 0]], "f4")
    feeds = [{**net.feeds(), "x1": mask} for _ in range(4)]
    small, report = static_int8(program, feeds, TFLITE_2_14)
    assert report.float32["ADD"] == 1
    (want,) = run_new(program, feeds[0])
    assert error(want, run_new(small, feeds[0])[0]) < 0.06
    assert error(want, old_runtime(tmp_path).run(flat.to_bytes(small), feeds[0])[0]) < 0.06


def test_a_tensor_that_held_infinities_or_only_zeros_has_no_range():
    ranges = Ranges()
    ranges.add(0, np.array([-np.inf, 1.0]))
    ranges.add(1, np.zeros(4))
    ranges.add(2, np.array([0.0, 1.0]))
    assert [ranges.of(place) for place in range(2)] == [None, None]
    assert ranges.of(2) == (0.0, 1.0)


def test_a_network_of_convolutions_is_int8_throughout():
    net = Net()
    x = net.conv(net.conv(net.input(1, 8, 8, 4), 16), 8)
    program = net.program(x)
    _, report = static_int8(program, [net.feeds() for _ in range(4)], LITERT_2_3)
    assert not report.kept
    assert report.cosine == report.cosine_plain > LEAST_COSINE
    assert remarks(report) == []


@pytest.fixture(scope="module")
def planned():
    program, feeds = attention(), inputs(masked=True)
    ranges = calibrate(program, feeds)
    chosen = Choice(program.main, ranges).made()
    return program, feeds, ranges, chosen, Scales(program.main, ranges, chosen).groups(chosen)


def test_switched_off_nothing_is_rounded_and_switched_on_everything_is(planned):
    program, feeds, ranges, chosen, groups = planned
    whole = switched(program, groups, chosen)
    name = whole.input_names[-1]
    (want,) = run_new(program, feeds[0])
    (off,) = run_new(whole, {**feeds[0], name: np.zeros(len(groups), bool)})
    (on,) = run_new(whole, {**feeds[0], name: np.ones(len(groups), bool)})
    (small,) = run_new(quantise_static(program, ranges, LITERT_2_3)[0], feeds[0])
    assert error(want, off) < 1e-6
    assert error(want, on) > 0.1
    assert error(small, on) < 0.5 * error(want, on)  # the real file rounds its weights, too


def test_the_masked_scores_are_what_loses_most(planned):
    program, feeds, _, chosen, groups = planned
    costs = losses(program, groups, chosen, feeds)
    (add,) = (operator for operator in program.main.operators if operator.op == "ADD")
    worst = groups[int(np.argmax(costs))]
    assert add.outputs[0] in worst.tensors
    assert sum(cost > 0.01 for cost in costs) < len(costs) / 2


def test_the_least_costs_are_afforded_first():
    assert affordable([0.5, 0.1, float("inf"), 0.2], 0.35) == {1, 3}
    assert affordable([float("inf")], 1.0) == set()


def test_nearness_is_of_the_worst_output_and_leaves_integers_out():
    near = Nearness()
    ids = np.array([1, 2])
    near.add([np.ones(4, "f4"), np.array([1.0, 0.0]), ids], [np.ones(4, "f4"), np.array([1.0, 1.0]), ids + 1])
    assert near.cosine() == pytest.approx(0.5**0.5)
    assert near.loss() == pytest.approx(1.0)
    lost = Nearness()
    lost.add([np.ones(2)], [np.array([np.nan, 1.0])])
    assert lost.cosine() == -1.0
    assert Nearness().cosine() is None


def test_a_loss_that_remains_is_said_loudly():
    said = remarks(StaticReport(cosine=0.93, cosine_plain=0.93))
    assert len(said) == 1
    assert said[0].startswith("INT8 LOSES MUCH")
    assert "int8-dynamic" in said[0]
