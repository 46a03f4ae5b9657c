"""`edgewise quickstart`: the main job, from nothing to figures, in one command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from mobile import example
from mobile.cli.quickstart_split import show, split_step
from mobile.inventory import Inventory
from mobile.results.store import RunStore
from tests.support.cli import edgewise, edgewise_json, environment, start_edgewise
from tests.support.processes import MARK, all_gone, marked, new_mark

pytestmark = pytest.mark.timeout(240)  # a dozen runs of the agent: over a minute where other tests run beside them
LIMIT_S = 200
WAYS = ["local", "server", "best split", "adaptive"]


@pytest.mark.slow
def test_it_exports_benches_and_evaluates_both_variants(tmp_path):
    # An empty EDGEWISE_FASHION_MNIST: only the images that ship, as on a machine without the data set.
    mark = new_mark()
    document = edgewise_json(
        *("quickstart", "--duration", "0.5", "--output", "out"),
        cwd=tmp_path,
        limit_s=LIMIT_S,
        EDGEWISE_FASHION_MNIST="",
        **{MARK: mark},
    )
    assert all_gone(mark), marked(mark)
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
    check_split(document["split"])
    assert document["split_missing"] is None
    told = {row["id"] for row in (fp32, int8)} | {row["accuracy"]["run"] for row in (fp32, int8)}
    told |= {way["run"] for way in document["split"]["variants"]}
    assert len(told) == 8
    # Beside these there are those of the profile: the whole model, a head and a tail.
    assert told < {run["id"] for run in edgewise_json("runs", "--limit", "50", cwd=tmp_path)["runs"]}


def check_split(found):
    """The document of a split step: planned for the assumed link, run over loopback, never one figure."""
    assert found["link_assumed"] == {"uplink_bps": 20e6, "downlink_bps": 20e6, "rtt_s": 0.02, "how": "assumed"}
    assert found["plan"]["link"] == found["link_assumed"]
    measured = found["link_measured"]
    assert (measured["how"], measured["device"], measured["server"]) == ("measured", "local", "local")
    assert measured["url"].startswith("http://127.0.0.1:")
    assert measured["rtt_s"] > 0
    assert min(measured["uplink_bps"], measured["downlink_bps"]) > 0
    assert [way["variant"] for way in found["variants"]] == WAYS
    local, server, split, adaptive = found["variants"]
    for way in found["variants"]:
        assert way["predicted"]["link"] == "assumed"
        assert way["measured"] == {"link": "loopback", "latency_s": way["figures"]["latency_s"]["p50"]}
        assert way["measured"]["latency_s"] > 0
        assert way["refused"] == 0
    # Whatever uses the server pays the assumed round trip in the prediction, though loopback has none like it.
    assert min(server["predicted"]["latency_s"], split["predicted"]["latency_s"]) > 0.02
    assert adaptive["predicted"]["latency_s"] == min(way["predicted"]["latency_s"] for way in found["variants"])
    assert local["bytes_up_per_frame"] == 0
    assert min(server["bytes_up_per_frame"], split["bytes_up_per_frame"]) > 0
    labels = {row["id"]: row["label"] for row in found["plan"]["placements"] if row["id"]}
    ran = [{labels[name] for name in way["placements"]} for way in (local, server, split)]
    assert ran == [{"device"}, {"server"}, {"split"}]
    assert set(labels) <= set(found["package"]["placements"])


@pytest.mark.slow
def test_the_split_step_says_which_figure_is_of_which_link_and_leaves_nothing_running(tmp_path, capsys):
    model = Path(shutil.copy(example.model_path(), tmp_path / "model.onnx"))
    before = set(threading.enumerate())
    step = split_step(model, tmp_path, Inventory.builtin(), RunStore(tmp_path / "runs.sqlite3"), lambda _: None)
    assert set(threading.enumerate()) <= before
    check_split(json.loads(json.dumps(step.to_json(), allow_nan=False)))
    show(step)
    printed = capsys.readouterr().out
    assert "predicted (assumed link)" in printed
    assert "measured p50 (loopback)" in printed
    assert "planned for an assumed link of 20 Mbit/s and 20 ms; run over loopback, measured at " in printed
    lines = [line.split("  ")[0].strip() for line in printed.splitlines()]
    assert [line for line in lines if line in WAYS] == WAYS


@pytest.mark.slow
def test_without_the_extra_the_split_step_is_left_out_with_the_reason(tmp_path):
    stub = tmp_path / "stub" / "ortools"
    stub.mkdir(parents=True)
    (stub / "__init__.py").write_text("raise ImportError('no OR-tools here')\n")
    path = f"{stub.parent}{os.pathsep}{environment()['PYTHONPATH']}"
    done = edgewise(
        *("quickstart", "--duration", "0.2", "--output", "out"),
        cwd=tmp_path,
        limit_s=LIMIT_S,
        EDGEWISE_FASHION_MNIST="",
        PYTHONPATH=path,
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "split" in line]
    assert "left out: OR-tools cannot be imported (no OR-tools here)" in line
    assert "pip install 'edgewise[split]'" in line
    assert "loopback" not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_split_step_that_fails_does_not_take_the_rest_along(tmp_path):
    (tmp_path / "out" / "fashion_mnist.split").mkdir(parents=True)  # in the way, and no package
    done = edgewise(
        *("quickstart", "--duration", "0.2", "--output", "out", "--json"),
        cwd=tmp_path,
        limit_s=LIMIT_S,
        EDGEWISE_FASHION_MNIST="",
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "the split step failed" in done.stderr
    document = json.loads(done.stdout)
    assert len(document["runs"]) == 2
    assert document["split"] is None
    assert "is no split package" in document["split_missing"]


@pytest.mark.slow
def test_ctrl_c_while_the_server_is_up_leaves_nothing_running(tmp_path):
    mark = new_mark()
    process = start_edgewise(
        *("quickstart", "--duration", "0.2", "--output", "out"),
        cwd=tmp_path,
        EDGEWISE_FASHION_MNIST="",
        **{MARK: mark},
    )
    seen = ""
    try:
        while "over loopback: server" not in seen:
            line = process.stderr.readline()
            assert line, seen
            seen += line
        os.killpg(process.pid, signal.SIGINT)
        _, rest = process.communicate(timeout=40)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
        process.stdout.close()
        process.stderr.close()
    assert process.returncode == 130, seen + rest
    assert "Traceback" not in seen + rest
    assert all_gone(mark), marked(mark)


@pytest.mark.slow
def test_the_accuracy_is_that_of_the_runtime_itself(tmp_path):
    import onnxruntime

    document = edgewise_json(
        *("quickstart", "--duration", "0.2", "--output", "out", "--no-split"),
        cwd=tmp_path,
        limit_s=LIMIT_S,
        EDGEWISE_FASHION_MNIST="",
    )
    assert document["split"] is None
    assert document["split_missing"] == "--no-split was given"
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
