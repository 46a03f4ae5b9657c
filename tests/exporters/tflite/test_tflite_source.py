"""A TFLite file as the source of an export: quantised anew, itself unchanged."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from exporters import export
from mobile.errors import EdgewiseError, UsageError
from mobile.formats import file_sha256, index

FACE = Path(__file__).resolve().parents[2] / "data/models/face_detection_short_range.tflite"


@pytest.fixture
def face(tmp_path):
    return Path(shutil.copy(FACE, tmp_path / "face.tflite"))


def test_a_tflite_file_becomes_int8(face, tmp_path):
    images = np.random.default_rng(0).uniform(-1, 1, (4, 128, 128, 3)).astype(np.float32)
    np.savez(tmp_path / "images.npz", input=images)
    before = file_sha256(face)
    out = tmp_path / "face8.tflite"
    result = export(face, out, format="tflite", scheme="int8", calibration=tmp_path / "images.npz")
    assert out.stat().st_size < face.stat().st_size
    assert file_sha256(face) == before
    assert index(out).inputs == index(face).inputs
    manifest = result.manifest
    assert manifest.origin["kind"] == "tflite"
    assert manifest.origin["sha256"] == before
    assert manifest.quantization["items"] == 4
    assert result.quantization is not None


def test_weights_alone_need_no_calibration(face, tmp_path):
    result = export(face, tmp_path / "small.tflite", format="tflite", scheme="int8-dynamic")
    assert sum(result.manifest.quantization["stored"].values()) == 16


def test_a_tflite_file_without_a_scheme_is_refused(face, tmp_path):
    with pytest.raises(UsageError, match="TFLite model already"):
        export(face, tmp_path / "again.tflite", format="tflite")
    assert not (tmp_path / "again.tflite").exists()


def test_a_tflite_file_does_not_become_onnx(face, tmp_path):
    with pytest.raises(EdgewiseError, match="TFLite"):
        export(face, tmp_path / "face.onnx")


def test_damaged_bytes_leave_nothing_behind(tmp_path):
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(FACE.read_bytes()[:5000])
    with pytest.raises(EdgewiseError):
        export(bad, tmp_path / "out.tflite", format="tflite", scheme="int8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.tflite"]
