"""Targets are understood as people write them, and the table is ordered as releases are."""

import itertools

import pytest

from exporters import TARGETS, parse_target
from exporters.targets import smallest_for
from mobile.errors import UsageError


@pytest.mark.parametrize(
    "text", ["ort-1.19", "ORT1.19", "onnxruntime==1.19.2", "onnxruntime 1.19", "ort@1.19", "ort==v1.19"]
)
def test_ways_to_write_a_target(text):
    found = parse_target(text)
    assert (found.version, found.opset, found.ir_version) == ((1, 19), 21, 10)


@pytest.mark.parametrize("text", ["", "1.19", "tensorrt-8", "ort", "ort-1", "ort-x.y", "onnxruntime==1.19; rm -rf"])
def test_what_is_no_target(text):
    with pytest.raises(UsageError, match=r"1\.8 to 1\.32"):
        parse_target(text)


def test_a_newer_release_is_assumed_to_load_what_the_newest_known_does():
    found = parse_target("ort-1.99")
    assert found.opset == TARGETS[-1].opset and "assumed" in found.provenance


def test_limits_never_shrink():
    for older, newer in itertools.pairwise(TARGETS):
        assert older.version < newer.version
        assert (older.opset, older.ml_opset, older.ir_version) <= (newer.opset, newer.ml_opset, newer.ir_version)
        assert older.opset <= newer.opset and older.ir_version <= newer.ir_version


def test_the_installed_release_loads_what_the_table_says():
    import onnx
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail

    target = parse_target(f"onnxruntime=={onnxruntime.__version__}")

    def loads(opset, ir_version):
        text = (
            f'<ir_version: {ir_version}, opset_import: ["" : {opset}]> g (float x) => (float y) {{ y = Identity (x) }}'
        )
        model = onnx.parser.parse_model(text).SerializeToString()
        try:
            onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        except Fail:
            return False
        return True

    assert loads(target.opset, target.ir_version)
    if "assumed" not in target.provenance:
        assert not loads(target.opset, target.ir_version + 1)


def test_the_oldest_release_for_a_model():
    assert smallest_for({"": 17}, 8).version == (1, 12)
    assert smallest_for({"": 17}, 10).version == (1, 18)
    assert smallest_for({"": 7, "com.microsoft": 1}, 3).version == (1, 8)
    assert smallest_for({"": 99}, 3) is None
