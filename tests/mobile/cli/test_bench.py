"""`edgewise bench` as a user runs it: the JSON contract, lists of options, tables, stored runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mobile import example
from tests.support.cli import edgewise, edgewise_json

MODELS = Path(__file__).parents[2] / "data/models"
QUICK = ("--duration", "0.2", "--min-count", "5", "--warmup-duration", "0.05")
LATENCY = {"min", "mean", "p50", "p90", "p99", "max", "std"}
RUN_KEYS = {
    *("id", "device", "model", "spec", "environment", "verdict", "reasons", "invocations", "latency_s"),
    *("throughput_per_s", "cold_start_s", "memory_bytes", "thermal", "energy", "energy_missing", "harness"),
}


@pytest.fixture
def model(tmp_path):
    return Path(shutil.copy(example.model_path(), tmp_path / "model.onnx"))


@pytest.mark.parametrize(
    ("path", "form", "more"),
    [
        (example.model_path(), "onnx", []),
        (MODELS / "ch_ppocr_mobile_v2.0_cls_infer.onnx", "onnx", ["--dim", "x:2=48", "--dim", "x:3=192"]),
        (MODELS / "silero_vad_16k_op15.onnx", "onnx", ["--dim", "input:1=576"]),
        (MODELS / "face_detection_short_range.tflite", "tflite", []),
        (MODELS / "alexa.tflite", "tflite", []),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else None,
)
def test_the_contract(tmp_path, path, form, more):
    document = edgewise_json("bench", path, "--on", "local", *QUICK, *more, cwd=tmp_path)
    assert set(document) == {"runs", "failures"}
    assert document["failures"] == []
    (run,) = document["runs"]
    assert run.keys() >= RUN_KEYS
    assert run["device"] == "local"
    assert run["model"] == {
        "name": path.name, "sha256": run["model"]["sha256"], "format": form, "size_bytes": path.stat().st_size,
    }  # fmt: skip
    assert len(run["model"]["sha256"]) == 64
    assert run["verdict"] in ("valid", "invalid")
    assert bool(run["reasons"]) == (run["verdict"] == "invalid")
    assert set(run["latency_s"]) == LATENCY
    latency = run["latency_s"]
    assert 0 < latency["min"] <= latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"] < 10
    assert run["invocations"] >= 5
    assert run["invocations"] * latency["mean"] <= 3
    assert run["throughput_per_s"] == pytest.approx(1 / latency["mean"], rel=0.5)
    assert run["cold_start_s"]["load"] > 0
    assert run["cold_start_s"]["first"] > 0
    assert 0 < run["memory_bytes"]["before_load"] <= run["memory_bytes"]["peak_rss"]
    assert set(run["harness"]) >= {"sampler_cpu_share", "missed_ticks"}
    assert (run["energy"] is None) == (run["energy_missing"] is not None)
    assert run["environment"]["agent"]["sha256"]


def test_lists_are_measured_in_every_combination_and_stored(tmp_path, model):
    document = edgewise_json("bench", "model.onnx", "--threads", "1,2", "--batch", "1,4", *QUICK, cwd=tmp_path)
    asked = [(run["spec"]["threads"], run["spec"]["batch"]) for run in document["runs"]]
    assert asked == [(1, 1), (1, 4), (2, 1), (2, 4)]
    stored = edgewise_json("runs", cwd=tmp_path)
    assert [run["id"] for run in stored["runs"]] == [run["id"] for run in reversed(document["runs"])]
    (again,) = edgewise_json("report", document["runs"][0]["id"], cwd=tmp_path)["runs"]
    assert again.pop("steady")["segments"] is not None  # looked for in reports alone
    assert again == document["runs"][0]  # the figures come from the stored samples alone


def test_a_table_shows_what_varies(tmp_path, model):
    done = edgewise("bench", "model.onnx", "--threads", "1,2", *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    head = next(line for line in done.stdout.splitlines() if "device" in line)
    assert "threads" in head
    assert "batch" not in head
    assert "batch 1" in done.stdout  # what does not vary stands under the table
    assert "measuring" in done.stderr
    assert "measuring" not in done.stdout


def test_an_invalid_run_exits_with_0_and_with_1_when_validity_is_required(tmp_path, model):
    short = ("--duration", "0.2", "--max-duration", "0.2", "--min-count", "1000000")
    done = edgewise("bench", "model.onnx", *short, "--json", cwd=tmp_path)
    assert done.returncode == 0
    (run,) = json.loads(done.stdout)["runs"]
    assert run["verdict"] == "invalid"
    assert "minimum is 1000000" in run["reasons"][0]
    assert edgewise("bench", "model.onnx", *short, "--require-valid", cwd=tmp_path).returncode == 1


def test_real_inputs_with_their_factor(tmp_path, model):
    more = ("--inputs", example.evaluation_path(), "--scale", "image=1/255", "--batch", "8")
    (run,) = edgewise_json("bench", "model.onnx", *more, *QUICK, cwd=tmp_path)["runs"]
    assert run["spec"]["inputs"]["kind"] == "npz"
    assert run["spec"]["inputs"]["scale"] == {"image": pytest.approx(1 / 255)}


def test_the_null_runner_needs_no_model(tmp_path):
    (run,) = edgewise_json("bench", "--runner", "null", "--duration", "0.2", cwd=tmp_path)["runs"]
    assert run["model"]["format"] == "none"
    assert run["latency_s"]["p50"] < 1e-4


def test_a_program_is_measured_launch_by_launch(tmp_path, model):
    more = ("--runner", "command", "--command", "sha256sum {model}", "--duration", "0.2", "--min-count", "3")
    (run,) = edgewise_json("bench", "model.onnx", *more, "--warmup", "1", "--warmup-duration", "0", cwd=tmp_path)[
        "runs"
    ]
    assert run["invocations"] >= 3
    failed = edgewise("bench", "model.onnx", "--runner", "command", "--command", "false", cwd=tmp_path)
    assert failed.returncode == 1
    assert "exit code 1" in failed.stderr


def test_affinity_and_provider(tmp_path, model):
    (run,) = edgewise_json("bench", "model.onnx", "--cpus", "0", *QUICK, cwd=tmp_path)["runs"]
    assert run["spec"]["cpus"] == [0]
    no_cpu = edgewise("bench", "model.onnx", "--cpus", "999", *QUICK, cwd=tmp_path)
    assert no_cpu.returncode == 1
    assert "999" in no_cpu.stderr
    none = edgewise("bench", "model.onnx", "--provider", "CUDAExecutionProvider", *QUICK, cwd=tmp_path)
    assert none.returncode == 1
    assert "CPUExecutionProvider" in none.stderr


def test_a_slow_down_is_injected_and_said(tmp_path):
    (tmp_path / "devices.yaml").write_text("devices:\n  slow: {transport: local, slow_down: 50}\n")
    options = ("--runner", "null", "--duration", "0.2")
    (fast,) = edgewise_json("bench", "--on", "local", *options, cwd=tmp_path)["runs"]
    (slow,) = edgewise_json("bench", "--on", "slow", *options, cwd=tmp_path)["runs"]
    assert [run["provenance"] for run in (fast, slow)] == ["real", "slowed"]
    assert [run["spec"]["slow_down"] for run in (fast, slow)] == [None, 50]
    assert slow["latency_s"]["p50"] > 10 * fast["latency_s"]["p50"]  # its median grows, not only its tail
    assert "slowed" in edgewise("report", slow["id"], cwd=tmp_path).stdout


def test_failures_are_kept_beside_what_finished(tmp_path, model):
    done = edgewise("bench", "model.onnx", "--provider", "cpu,tensorrt", *QUICK, "--json", cwd=tmp_path)
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert len(document["runs"]) == 1
    (failure,) = document["failures"]
    assert set(failure) == {"device", "model", "code", "message", "hint"}
    assert failure["code"] == "unsupported-provider"


def test_nothing_is_left_on_the_device_but_its_working_folder(tmp_path, model):
    home = tmp_path / "home"
    home.mkdir()
    edgewise_json("bench", "model.onnx", *QUICK, cwd=tmp_path, HOME=str(home))
    assert {path.name for path in home.iterdir()} <= {".edgewise", ".local", ".cache"}
    assert not (home / ".cache").exists() or not list((home / ".cache").rglob("*onnxruntime*"))
    assert {path.name for path in (home / ".edgewise").iterdir()} <= {"agents", "store", "incoming", "runs"}
    assert [path.name for path in (home / ".edgewise" / "runs").iterdir()] == ["lock"]
    assert list((home / ".edgewise" / "incoming").iterdir()) == []
