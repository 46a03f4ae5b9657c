"""`edgewise bench --evaluate` as a user runs it: quality beside the cost, stages, outputs, the front of variants."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from onnx import TensorProto, helper

from mobile import example
from mobile.cli.main import run as run_here
from tests.support.onnx_models import classifier, model, save

QUICK = ("--on", "local", "--duration", "0.1", "--min-count", "5", "--warmup-duration", "0", "--idle", "0")
EXAMPLE = ("--scale", "image=1/255", "--batch", "50")


@pytest.fixture
def ask(tmp_path, monkeypatch, capsys):
    """The command in this process, for speed: (exit code, stdout, stderr). The agent is a process of its own."""
    monkeypatch.chdir(tmp_path)

    def asked(*arguments):
        code = run_here([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return asked


@pytest.fixture
def document(ask):
    """The JSON document of a command that must succeed."""

    def of(*arguments):
        code, out, err = ask(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    return of


@pytest.fixture
def folder(tmp_path):
    """A classifier x [batch, 4] whose class is that of the largest value, and items that are all right."""
    save(tmp_path / "model.onnx", classifier())
    np.savez(tmp_path / "set.npz", x=np.eye(4, dtype=np.float32)[:3].repeat(4, 0), label=np.array([0, 1, 2]).repeat(4))
    return tmp_path


def test_the_example_has_its_accuracy_beside_its_cost(tmp_path, ask, document):
    shutil.copy(example.model_path(), tmp_path / "model.onnx")
    asked = ("--evaluate", example.evaluation_path(), *EXAMPLE, "--threads", "1,2")
    one, two = document("bench", "model.onnx", *QUICK, *asked)["runs"]
    for run in (one, two):
        told = run["quality"]
        assert (told["metric"], told["items"], told["errors"]) == ("top1", 1000, {})
        assert 0.90 < told["low"] < told["value"] < told["high"] < 0.97
        assert told["repeats"]["equal"] and told["set"]["name"] == "fashion_mnist_test_1000.npz"
    assert one["quality"]["against"] is None
    assert two["quality"]["against"]["of"] == {"threads": 1}
    assert two["quality"]["against"]["max_difference"] < 1e-3
    stored = document("report", one["quality"]["run"])["runs"][0]
    assert stored["task"] == "evaluate" and stored["quality"]["value"] == one["quality"]["value"]
    _, table, _ = ask("compare", "model=model.onnx", "--pareto", "--include-invalid")
    assert "top1" in table and "threads 1" in table and "*" in table


def test_the_manifest_names_the_set(tmp_path, ask, document):
    shutil.copy(example.model_path(), tmp_path / "source.onnx")
    shutil.copy(example.evaluation_path(), tmp_path / "images.npz")
    asked = ("--inputs", "images.npz", "--labels", "label", "--scale", "image=1/255")
    document("export", "source.onnx", "-o", "model.onnx", *asked)
    bench = ("bench", "model.onnx", *QUICK, "--evaluate", "manifest", "--batch", "50")
    (run,) = document(*bench)["runs"]
    assert run["quality"]["metric"] == "top1" and run["quality"]["value"] > 0.9
    np.savez(tmp_path / "images.npz", image=np.zeros((1, 1, 28, 28), np.uint8), label=np.array([0]))
    code, _, err = ask(*bench)
    assert code == 2 and "its content differs" in err


STAGES = """
import numpy as np

def preprocess(item):
    return {"x": item["pixels"].astype(np.float32)[None] / 255}

def postprocess(outputs):
    return {"class": int(outputs["logits"].argmax()), "text": "abc"[int(outputs["logits"].argmax())]}
"""


def test_stages_run_on_the_device_and_are_timed(folder, document):
    (folder / "stages.py").write_text(STAGES)
    pixels = (np.eye(4)[:3] * 255).astype(np.uint8)
    np.savez(folder / "pixels.npz", pixels=pixels, label=np.array([0, 1, 0]))
    asked = ("--evaluate", "pixels.npz", "--stages", "stages.py")
    (run,) = document("bench", "model.onnx", *QUICK, *asked)["runs"]
    assert run["quality"]["value"] == pytest.approx(2 / 3)
    stages = run["stages_s"]
    assert list(stages) == ["preprocess", "inference", "postprocess"]
    assert sum(stage["mean"] for stage in stages.values()) <= run["latency_s"]["mean"]
    assert all(stage["p50"] > 0 for stage in stages.values())


def test_texts_of_postprocess_have_a_word_error_rate(folder, document):
    pytest.importorskip("jiwer")
    (folder / "stages.py").write_text(STAGES)
    np.savez(folder / "inputs.npz", pixels=(np.eye(4)[:3] * 255).astype(np.uint8))
    (folder / "set.json").write_text(json.dumps({"inputs": "inputs.npz", "texts": ["a", "b", "x"], "metric": "cer"}))
    asked = ("--evaluate", "set.json", "--stages", "stages.py")
    (run,) = document("bench", "model.onnx", *QUICK, *asked)["runs"]
    assert run["quality"]["metric"] == "cer" and run["quality"]["value"] == pytest.approx(1 / 3)


def test_outputs_are_written_without_a_metric(folder, document):
    np.savez(folder / "plain.npz", x=np.arange(12, dtype=np.float32).reshape(3, 4))
    asked = ("--evaluate", "plain.npz", "--outputs", "out.npz")
    (run,) = document("bench", "model.onnx", *QUICK, *asked)["runs"]
    assert run["quality"]["missing"] == "no metric was asked for"
    with np.load(folder / "out.npz") as found:
        assert np.array_equal(found["logits"], np.arange(12, dtype=np.float32).reshape(3, 4)[:, :3])


def test_items_that_the_runtime_refuses_are_counted(tmp_path, ask, document):
    table = helper.make_tensor("t", TensorProto.FLOAT, [3, 3], np.eye(3, dtype=np.float32).reshape(-1))
    gather = helper.make_node("Gather", ["t", "x"], ["y"], axis=0)
    save(
        tmp_path / "model.onnx",
        model([gather], [("x", TensorProto.INT64, [1])], [("y", TensorProto.FLOAT, [1, 3])], [table]),
    )
    np.savez(tmp_path / "set.npz", x=np.array([0, 1, 99, 2]), label=np.array([0, 1, 2, 2]))
    (run,) = document("bench", "model.onnx", *QUICK, "--evaluate", "set.npz")["runs"]
    assert run["quality"]["value"] == 0.75
    refused = run["quality"]["errors"]["refused"]
    assert (refused["count"], refused["items"]) == (1, [2])
    _, table, _ = ask("report", run["id"])
    assert "1 of 4 answers refused by the runtime" in table


def test_a_metric_that_fails_is_a_failure_and_its_run_is_kept(folder, ask):
    (folder / "own.py").write_text("def bad(outputs, truth):\n    raise RuntimeError('no')\n")
    asked = ("--evaluate", "set.npz", "--metric", "own.py:bad")
    code, out, _ = ask("bench", "model.onnx", *QUICK, *asked, "--json")
    assert code == 1
    (failure,) = json.loads(out)["failures"]
    assert "bad() failed: RuntimeError: no" in failure["message"]
    (kept,) = json.loads(ask("runs", "--json")[1])["runs"]
    assert kept["task"] == "evaluate"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("--evaluate", "absent.npz"), "no such evaluation set"),
        (("--evaluate", "set.npz", "--metric", "mse"), "mse needs reference"),
        (("--evaluate", "set.npz", "--metric", "nothing"), "no metric 'nothing'"),
        (("--metric", "top1"), "--metric top1 is none of p50"),
        (("--outputs", "x.npz"), "--outputs goes with --evaluate"),
        (("--evaluate", "set.npz", "--detach"), "does not go with --detach"),
        (("--evaluate", "set.npz", "--outputs", "x.npz", "--threads", "1,2"), "there are 2 evaluations"),
        (("--evaluate", "manifest"), "manifest"),
        (("--stages", "absent.py"), "no such file"),
    ],
)
def test_what_cannot_be_is_said_before_anything_starts(folder, ask, asked, message):
    code, _, err = ask("bench", "model.onnx", *QUICK, *asked)
    assert code == 2 and message in err
