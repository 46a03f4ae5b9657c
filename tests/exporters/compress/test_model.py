"""From an ONNX file to a spec file: the weights, on demand, and what is no model."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from exporters.compress.model import compress_onnx
from exporters.compress.spec import read_spec, write_spec
from exporters.compress.weights import Weight
from mobile import example
from mobile.errors import ModelError, UsageError


def test_a_file_becomes_a_spec_with_its_origin(tmp_path):
    made = compress_onnx(example.model_path(), "@conv=int4:g=row,binary")
    assert [tensor.family for tensor in made.tensors.values()] == ["int4"] * 5 + ["binary"]
    assert made.origin["scheme"] == "@conv=int4:g=row,binary"
    write_spec(made, tmp_path / "w.safetensors")
    again = read_spec(tmp_path / "w.safetensors")
    stored = onnx.load(example.model_path()).graph.initializer
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in stored}
    for name, tensor in again.tensors.items():
        assert tensor.shape == weights[name].shape
        assert np.array_equal(tensor.dequantise(), made.tensors[name].dequantise())
    assert again.origin == made.origin
    assert (tmp_path / "w.safetensors").stat().st_size < 125_000


def test_only_the_weights_that_the_scheme_means_are_read(monkeypatch):
    read = []
    original = Weight.array
    monkeypatch.setattr(Weight, "array", lambda self: read.append(self.name) or original(self))
    compress_onnx(example.model_path(), "conv2.*=int8")
    assert set(read) == {"conv2.weight"}


def test_what_is_no_model_or_no_scheme_is_refused(tmp_path):
    with pytest.raises(ModelError):
        compress_onnx(tmp_path / "none.onnx", "int8")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(ModelError):
        compress_onnx(tmp_path / "text.onnx", "int8")
    with pytest.raises(UsageError):
        compress_onnx(example.model_path(), "vq")
