"""Layouts meet in every combination: random graphs give in LiteRT what they give in onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from exporters.tflite import export_tflite
from exporters.tflite.flat import to_bytes
from exporters.tflite.running import LiteSession
from tests.support.tflite_random import random_model


@pytest.mark.parametrize("seed", range(40))
def test_a_random_graph_computes_the_same(seed):
    free = seed % 2 == 1
    model = random_model(seed, free, length=8 + seed // 2)
    reference = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    session = LiteSession(to_bytes(export_tflite(ir.from_proto(model))), f"seed {seed}")
    for batch in (1, 3, 2) if free else (2,):
        x = np.random.default_rng(batch).standard_normal((batch, 4, 6, 5)).astype(np.float32)
        (wanted,) = reference.run(None, {"x": x})
        (got,) = session.run({"x": x})
        assert got.shape == wanted.shape
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * max(1.0, float(np.abs(wanted).max())))
