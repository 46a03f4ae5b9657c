"""Every ONNX operator that is converted gives in LiteRT what it gives in onnxruntime, at every shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from exporters.tflite import export_tflite, ops
from exporters.tflite.context import LOWERINGS
from exporters.tflite.flat import to_bytes
from exporters.tflite.running import LiteSession
from tests.support.tflite_cases import CASES, Case


def _reference(model, feeds):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def _agree(case: Case, got, wanted, where):
    assert len(got) == len(wanted)
    for mine, theirs in zip(got, wanted, strict=True):
        assert mine.shape == theirs.shape, where
        assert mine.dtype == theirs.dtype, where
        if theirs.dtype.kind == "f":
            scale = max(float(np.abs(theirs[np.isfinite(theirs)]).max(initial=0)), 1.0)
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=case.tolerance * scale, err_msg=str(where))
        else:
            np.testing.assert_array_equal(mine, theirs, err_msg=str(where))


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_it_computes_what_onnxruntime_computes(case: Case):
    seconds = case.second or (None,) * len(case.shapes)
    for number, (shape, second) in enumerate(zip(case.shapes, seconds, strict=True)):
        if number and case.free:
            break
        model = case.model(shape, second, free=False)
        feeds = case.feeds(shape, second, number)
        session = LiteSession(to_bytes(export_tflite(ir.from_proto(model))), case.name)
        _agree(case, session.run(feeds), _reference(model, feeds), shape)


@pytest.mark.parametrize("case", [c for c in CASES if c.free], ids=[c.name for c in CASES if c.free])
def test_one_file_is_right_at_every_shape(case: Case):
    model = case.model(case.shapes[0], None, free=True)
    program = export_tflite(ir.from_proto(model), sample={"x": case.shapes[0]})
    session = LiteSession(to_bytes(program), case.name)
    for number, shape in enumerate([*case.shapes, case.shapes[0]]):
        feeds = case.feeds(shape, None, number)
        _agree(case, session.run(feeds), _reference(model, feeds), shape)


def test_the_table_covers_what_is_converted():
    assert ops.__all__  # importing it fills the table of conversions
    untried = set(LOWERINGS) - {case.op for case in CASES}
    assert untried == {"If", "ConstantOfShape", "Range", "CastLike"}  # those are in test_graphs.py
    assert len(LOWERINGS) >= 60


def test_the_documentation_lists_what_is_converted():
    text = (Path(__file__).resolve().parents[3] / "docs/tflite.md").read_text(encoding="utf-8")
    listed = text.split("opset 7 and newer):")[1].split("\n- ")[0]
    assert {name.strip(" .") for name in listed.replace("\n", " ").split(",")} == set(LOWERINGS)
    assert f"({len(LOWERINGS)}; the default domain" in text
