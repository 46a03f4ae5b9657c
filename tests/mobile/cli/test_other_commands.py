"""`edgewise devices`, `push`, `runs`, `report`, `completion` and the help, as a user runs them."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from mobile import example
from mobile.cli.main import COMMANDS
from tests.support.cli import edgewise, edgewise_json

QUICK = ("--duration", "0.1", "--min-count", "5", "--warmup-duration", "0")


@pytest.fixture
def model(tmp_path):
    return Path(shutil.copy(example.model_path(), tmp_path / "model.onnx"))


def test_the_facts_of_this_machine(tmp_path):
    (device,) = edgewise_json("devices", "local", cwd=tmp_path)["devices"]
    assert device["reachable"] is True
    assert device["provenance"] == "real"
    facts = device["facts"]
    assert facts["cores"] >= 1
    assert facts["memory_bytes"] > 2**28
    runtimes = {runtime["name"]: runtime for runtime in facts["runtimes"]}
    assert "CPUExecutionProvider" in runtimes["onnxruntime"]["providers"]
    assert {"ai_edge_litert", "numpy"} <= set(runtimes)
    for sensor in device["sensors"]:
        assert sensor["state"] in ("present", "absent", "failed")
        assert sensor["state"] == "present" or sensor["reason"]
    table = edgewise("devices", "local", cwd=tmp_path)
    assert table.returncode == 0
    assert "onnxruntime" in table.stdout


def test_a_device_without_python_is_named_and_does_not_hide_the_others(tmp_path):
    (tmp_path / "devices.yaml").write_text("devices:\n  bad:\n    transport: local\n    python: /no/such/python\n")
    done = edgewise("devices", "--json", cwd=tmp_path)
    assert done.returncode == 1
    by_name = {device["name"]: device for device in json.loads(done.stdout)["devices"]}
    assert by_name["local"]["reachable"] is True
    assert by_name["bad"]["reachable"] is False
    assert "/no/such/python" in by_name["bad"]["error"]["message"] + by_name["bad"]["error"]["hint"]


def test_no_probe_contacts_nobody(tmp_path):
    (tmp_path / "devices.yaml").write_text("devices:\n  far:\n    transport: ssh\n    host: far.invalid\n")
    done = edgewise("devices", "--no-probe", cwd=tmp_path)
    assert done.returncode == 0
    assert "far" in done.stdout


def test_a_push_is_stored_by_content_once(tmp_path, model):
    (first,) = edgewise_json("push", "model.onnx", "local", cwd=tmp_path)["pushed"]
    assert Path(first["path"]).read_bytes() == model.read_bytes()
    assert first["sha256"] in first["path"]
    (second,) = edgewise_json("push", "model.onnx", "local", cwd=tmp_path)["pushed"]
    assert second["path"] == first["path"]


def test_reports_in_every_format(tmp_path, model):
    edgewise_json("bench", "model.onnx", "--threads", "1,2", *QUICK, cwd=tmp_path)
    ids = [run["id"] for run in edgewise_json("runs", cwd=tmp_path)["runs"]]
    lines = edgewise("report", *ids, "--format", "jsonl", cwd=tmp_path).stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ids
    rows = list(csv.DictReader(io.StringIO(edgewise("report", *ids, "--format", "csv", cwd=tmp_path).stdout)))
    assert len(rows) == 2
    markdown = edgewise("report", *ids, "--format", "md", cwd=tmp_path).stdout
    assert markdown.startswith("|")
    assert markdown.count("model.onnx") >= 2
    table = edgewise("report", *ids, cwd=tmp_path).stdout
    assert ids[0] in table or "threads" in table


def test_an_empty_store_has_no_last_run(tmp_path):
    done = edgewise("report", cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert edgewise_json("runs", cwd=tmp_path)["runs"] == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(tmp_path, shell):
    done = edgewise("completion", shell, cwd=tmp_path)
    assert done.returncode == 0
    assert "_EDGEWISE_COMPLETE" in done.stdout


def test_completion_answers_the_shell(tmp_path):
    done = edgewise(cwd=tmp_path, _EDGEWISE_COMPLETE="bash_complete", COMP_WORDS="edgewise qui", COMP_CWORD="1")
    assert "quickstart" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help(tmp_path, command):
    done = edgewise(command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "Usage: edgewise " + command in done.stdout


def test_a_closed_pipe_is_no_error_message(tmp_path):
    import subprocess

    from tests.support.cli import START, environment

    first = subprocess.Popen(
        [*START, "--help"], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    first.stdout.close()
    _, stderr = first.communicate(timeout=30)
    assert b"Traceback" not in stderr
    assert b"Exception" not in stderr
