"""`edgewise quickstart`: the main job, from nothing to figures, in one command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mobile import example
from tests.support.cli import edgewise, edgewise_json


@pytest.mark.slow
def test_it_exports_benches_and_evaluates_both_variants(tmp_path):
    # An empty EDGEWISE_FASHION_MNIST: only the images that ship, as on a machine without the data set.
    document = edgewise_json(
        "quickstart", "--duration", "0.5", "--output", "out", cwd=tmp_path, EDGEWISE_FASHION_MNIST=""
    )
    fp32, int8 = document["runs"]
    assert [fp32["scheme"], int8["scheme"]] == ["fp32", "int8"]
    for row in (fp32, int8):
        assert Path(tmp_path, row["artifact"]).stat().st_size == row["model"]["size_bytes"]
        assert row["latency_s"]["p50"] > 0
        assert row["accuracy"]["items"] == 1000
        assert row["accuracy"]["top1"] > 0.9
    assert int8["model"]["size_bytes"] < 0.4 * fp32["model"]["size_bytes"]
    difference = document["accuracy_difference"]
    assert difference["low"] <= difference["difference"] <= difference["high"]
    assert difference["difference"] == pytest.approx(int8["accuracy"]["top1"] - fp32["accuracy"]["top1"])
    stored = edgewise_json("runs", cwd=tmp_path)["runs"]
    assert {row["id"] for row in (fp32, int8)} | {row["accuracy"]["run"] for row in (fp32, int8)} == {
        run["id"] for run in stored
    }


@pytest.mark.slow
def test_the_accuracy_is_that_of_the_runtime_itself(tmp_path):
    import onnxruntime

    document = edgewise_json(
        "quickstart", "--duration", "0.2", "--output", "out", cwd=tmp_path, EDGEWISE_FASHION_MNIST=""
    )
    with np.load(example.evaluation_path()) as arrays:
        images, labels = arrays["image"].astype(np.float32) * np.float32(1 / 255), arrays["label"]
    for row in document["runs"]:
        session = onnxruntime.InferenceSession(tmp_path / row["artifact"], providers=["CPUExecutionProvider"])
        correct = session.run(None, {"image": images})[0].argmax(axis=1) == labels
        # Batches of another size may round differently: an image or two may tip.
        assert row["accuracy"]["top1"] == pytest.approx(float(correct.mean()), abs=0.003)


def test_an_output_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    done = edgewise("quickstart", "--output", "file/out", cwd=tmp_path)
    assert done.returncode == 2
    assert "file/out" in done.stderr
