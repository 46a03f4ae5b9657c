"""`bench --detach`, `attach`, `devices` and `bench --resume` on this machine, as a user has them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time

import pytest

from mobile import example
from tests.support.cli import edgewise, edgewise_json, start_edgewise
from tests.support.processes import MARK, all_gone, marked, new_mark

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes under /proc")
QUICK = ("--duration", "0.5", "--min-count", "5")


@pytest.fixture
def home(tmp_path):
    shutil.copy(example.model_path(), tmp_path / "model.onnx")
    return tmp_path


@pytest.fixture
def user(home):
    """The command with this home, and no process of it left at the end."""
    mark = new_mark()
    yield {"cwd": home, "HOME": str(home), MARK: mark}
    for pid in marked(mark):
        os.kill(pid, signal.SIGKILL)
    assert all_gone(mark)


def kept(home):
    return sorted(path.name for path in (home / ".edgewise" / "runs").iterdir() if path.name != "lock")


def test_detach_prints_what_was_started_and_attach_collects_it(home, user):
    done = edgewise("bench", "model.onnx", *QUICK, "--threads", "1,2", "--detach", **user)
    assert done.returncode == 0, done.stderr
    assert "edgewise attach" in done.stdout
    runs = kept(home)
    assert len(runs) == 2
    assert all(run in done.stdout for run in runs)
    listed = edgewise_json("devices", "local", **user)["devices"][0]["runs"]
    assert sorted(run["id"] for run in listed) == runs
    assert {run["model"] for run in listed} == {"model.onnx"}
    table = edgewise("devices", "local", **user).stdout
    assert all(run in table for run in runs)
    found = edgewise_json("attach", **user)
    assert sorted(row["id"] for row in found["runs"]) == runs
    assert (found["failures"], found["left"]) == ([], [])
    assert [row["environment"]["threads"] for row in found["runs"]] == [1, 2]
    assert kept(home) == []
    assert len(edgewise_json("runs", **user)["runs"]) == 2


def test_attach_with_nothing_to_collect(home, user):
    done = edgewise("attach", **user)
    assert (done.returncode, done.stdout) == (0, "")
    assert "no run is waiting" in done.stderr
    assert edgewise_json("attach", **user) == {"runs": [], "failures": [], "left": []}
    assert edgewise("attach", "never", **user).returncode == 2


def test_no_wait_and_stop(home, user):
    edgewise_json("bench", "model.onnx", "--duration", "50", "--detach", **user)
    found = edgewise_json("attach", "--no-wait", **user)
    assert [left["state"] for left in found["left"]] == ["running"]
    text = edgewise("attach", "--no-wait", **user).stdout
    assert "running" in text
    stopped = edgewise("attach", "--stop", "--require-valid", "--json", **user)
    assert stopped.returncode == 1
    assert len(json.loads(stopped.stdout)["runs"]) + len(json.loads(stopped.stdout)["failures"]) == 1
    assert kept(home) == []


def test_the_run_goes_on_when_edgewise_is_killed(home, user):
    process = start_edgewise("bench", "model.onnx", "--duration", "4", "--detach", **user)
    process.communicate(timeout=60)
    assert process.returncode == 0
    attached = start_edgewise("attach", **user)
    while "measuring" not in attached.stderr.readline():
        pass
    attached.kill()
    attached.communicate(timeout=20)
    (row,) = edgewise_json("attach", **user)["runs"]
    assert row["verdict"] == "valid"


def test_a_run_left_by_a_killed_bench_is_collected(home, user):
    process = start_edgewise("bench", "model.onnx", "--duration", "50", **user)
    while "measuring" not in process.stderr.readline():
        pass
    time.sleep(1.5)
    process.kill()
    process.communicate(timeout=20)
    assert all_gone(user[MARK], within_s=15)
    (run,) = edgewise_json("devices", "local", **user)["devices"][0]["runs"]
    assert (run["state"], run["outcome"], run["read"]) == ("finished", "stopped", False)
    (row,) = edgewise_json("attach", **user)["runs"]
    assert (row["id"], row["verdict"]) == (run["id"], "invalid")
    assert row["invocations"] > 0
    assert kept(home) == []


def test_an_interrupted_matrix_is_taken_up_with_the_same_command(home, user):
    command = ("bench", "model.onnx", *QUICK, "--threads", "1,2", "--repeat", "2")
    process = start_edgewise(*command, **user)
    seen = ""
    while "[3/4] local: model.onnx: measuring" not in seen:
        line = process.stderr.readline()
        assert line, seen
        seen += line
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=40)
    assert process.returncode == 130
    assert "2 of 4 runs are stored; --resume measures the rest" in rest
    before = {row["id"] for row in edgewise_json("runs", **user)["runs"]}
    document = edgewise_json(*command, "--resume", **user)
    assert [row["environment"]["threads"] for row in document["runs"]] == [1, 1, 2, 2]
    assert before < {row["id"] for row in document["runs"]}
    assert len(edgewise_json("runs", **user)["runs"]) == 4


def test_a_busy_machine_is_refused_and_the_lock_can_be_broken(home, user):
    edgewise_json("bench", "model.onnx", "--duration", "50", "--detach", **user)
    refused = edgewise("bench", "model.onnx", *QUICK, **user)
    assert refused.returncode == 1
    assert "the device is busy: bench model.onnx, run " in refused.stderr
    assert "next: Wait until it has ended, or end it with --break-lock." in refused.stderr
    done = edgewise("bench", "model.onnx", *QUICK, "--break-lock", **user)
    assert done.returncode == 0, done.stderr
    edgewise("attach", **user)
    assert kept(home) == []


def test_an_odd_time_to_reconnect(home, user):
    done = edgewise("bench", "model.onnx", "--reconnect", "-1", **user)
    assert done.returncode == 2
    assert "--reconnect is -1 s" in done.stderr
