"""Sizes and errors of codecs on the example's own activations."""

from __future__ import annotations

import onnx
import pytest

from offload.model.coding import DEFAULT, measure, usable
from offload.model.pieces import pieces_of
from offload.model.values import Watcher, observe
from tests.support.split_packages import EXAMPLE, images


def test_fewer_bits_are_smaller_and_worse_on_every_value() -> None:
    model = onnx.load(EXAMPLE / "fashion_mnist.onnx")
    graph = pieces_of(model.graph)
    samples = [{graph.inputs[0]: image[None]} for image in images(3)]
    with Watcher(model, graph, "example") as watcher:
        observed = observe(watcher, samples)
        found = measure(watcher, samples, observed)
    assert set(found) == set(observed) == set(graph.values)
    for name, codings in found.items():
        assert [coding.codec for coding in codings] == list(DEFAULT)
        by_codec = {coding.codec: coding for coding in codings}
        assert by_codec["raw"].mean_bytes == observed[name].size_bytes
        assert by_codec["raw"].error == 0.0
        if observed[name].size_bytes > 2000:
            assert by_codec["fp16"].mean_bytes < by_codec["raw"].mean_bytes
            assert by_codec["q4+zlib"].mean_bytes < by_codec["q8"].mean_bytes < by_codec["fp16"].mean_bytes
        errors = [by_codec[codec].error for codec in ("q8", "q4+zlib", "q2+zlib")]
        assert errors == sorted(errors)
        assert by_codec["fp16"].error < 1e-3
        assert by_codec["q8"].error == by_codec["q8+zlib"].error < 0.02


def test_a_codec_that_is_not_here_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "lz4.block", None)
    assert usable(["q8", "q8+lz4"]) == (["q8"], ["q8+lz4: lz4 is not installed here"])


def test_pictures_are_for_image_inputs_and_differences_for_streams() -> None:
    model = onnx.load(EXAMPLE / "fashion_mnist.onnx")
    graph = pieces_of(model.graph)
    samples = [{graph.inputs[0]: images(1)}] * 4  # a camera that stands still
    with Watcher(model, graph, "example") as watcher:
        observed = observe(watcher, samples)
        found = measure(watcher, samples, observed, ("raw", "jpeg95", "jpeg50", "q8+zlib", "delta:q8+zlib"))
    pictures = {name: [c for c in codings if c.codec.startswith("jpeg")] for name, codings in found.items()}
    assert [name for name, codings in pictures.items() if codings] == list(graph.inputs)
    fine, coarse = pictures[graph.inputs[0]]
    assert coarse.mean_bytes < fine.mean_bytes < observed[graph.inputs[0]].size_bytes
    assert 0 < fine.error < coarse.error < 0.5
    for codings in found.values():
        by_codec = {coding.codec: coding for coding in codings}
        whole, stream = by_codec["q8+zlib"], by_codec["delta:q8+zlib"]
        assert stream.error == whole.error
        assert stream.mean_bytes < whole.mean_bytes or whole.mean_bytes < 200
