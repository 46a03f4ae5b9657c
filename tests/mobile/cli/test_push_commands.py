"""push, rollback and store as a user runs them, on this machine."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from mobile import example
from mobile.cli.push_progress import Rate, describe
from tests.support.cli import edgewise, edgewise_json
from tests.support.weights import random_weights, save_weights

INVENTORY = """
devices:
  gone:
    host: 127.0.0.1
    port: 9
    user: nobody
groups:
  both: [local, gone]
"""


@pytest.fixture
def folder(tmp_path):
    shutil.copy(example.model_path(), tmp_path / "model.onnx")
    (tmp_path / "devices.yaml").write_text(INVENTORY)
    return tmp_path


def current(home, name="model.onnx"):
    return Path(home, ".edgewise", "current", name)


def test_push_use_and_roll_back(folder, own_user_folders):
    first = edgewise_json("push", "model.onnx", "local", cwd=folder)
    (row,) = first["pushed"]
    assert row["check"] == {"state": "passed", "reason": None}
    assert row["sent_bytes"] == row["size_bytes"] == (folder / "model.onnx").stat().st_size
    assert row["current"] == str(current(own_user_folders))
    before = (folder / "model.onnx").read_bytes()
    save_weights(folder / "model.onnx", random_weights((1000,)))
    edgewise_json("push", "model.onnx", "local", cwd=folder)
    assert current(own_user_folders).read_bytes() == (folder / "model.onnx").read_bytes()
    listed = edgewise_json("store", "local", "list", cwd=folder)
    assert sorted((file["name"], file["in_use"]) for file in listed["files"]) == [
        ("model.onnx", False), ("model.onnx", True),
    ]  # fmt: skip
    back = edgewise_json("rollback", "local", cwd=folder)
    assert back["rolled_back"][0]["path"] == row["current"]
    assert current(own_user_folders).read_bytes() == before
    again = edgewise("rollback", "some/where/model.onnx", "local", cwd=folder)
    assert again.returncode == 2
    assert "no version of model.onnx before" in again.stderr


def test_a_model_that_does_not_run_is_stored_and_not_used(folder, own_user_folders):
    edgewise_json("push", "model.onnx", "local", cwd=folder)
    good = current(own_user_folders).read_bytes()
    import onnx

    proto = onnx.load(str(folder / "model.onnx"))
    proto.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(proto, str(folder / "model.onnx"))
    done = edgewise("push", "model.onnx", "local", "--json", cwd=folder)
    assert done.returncode == 1
    (row,) = json.loads(done.stdout)["pushed"]
    assert row["check"]["state"] == "failed"
    assert row["path"] is not None and row["current"] is None
    assert "not in use" in row["error"]["message"]
    assert current(own_user_folders).read_bytes() == good
    words = edgewise("push", "model.onnx", "local", cwd=folder)
    assert "failed: local: model.onnx is stored, but does not run" in words.stderr
    unchecked = edgewise_json("push", "model.onnx", "local", "--no-check", "--no-use", cwd=folder)["pushed"][0]
    assert unchecked["check"] == {"state": "skipped", "reason": "not asked for"}
    assert current(own_user_folders).read_bytes() == good


def test_a_device_without_python_gets_the_model_and_the_reason(folder, own_user_folders):
    (folder / "devices.yaml").write_text("devices:\n  local:\n    transport: local\n    python: /no/such/python\n")
    row = edgewise_json("push", "model.onnx", "local", cwd=folder)["pushed"][0]
    assert row["check"]["state"] == "skipped"
    assert "127" in row["check"]["reason"]
    assert current(own_user_folders).exists()


def test_one_device_that_fails_spoils_nothing(folder, own_user_folders):
    done = edgewise("push", "model.onnx", "@both", "--json", cwd=folder)
    assert done.returncode == 3
    rows = {row["device"]: row for row in json.loads(done.stdout)["pushed"]}
    assert rows["gone"]["error"]["code"] == "unreachable"
    assert rows["local"]["error"] is None
    assert current(own_user_folders).exists()


def test_prune_spares_what_is_in_use_and_all_leaves_no_trace(folder, own_user_folders):
    for seed in range(4):
        save_weights(folder / "model.onnx", random_weights((1000,), seed))
        edgewise_json("push", "model.onnx", "local", "--no-check", cwd=folder)
    pruned = edgewise_json("store", "local", "prune", cwd=folder)
    assert len(pruned["kept"]) == 2
    assert pruned["freed_bytes"] > 8000
    assert edgewise("rollback", "local", cwd=folder).returncode == 0
    pruned = edgewise_json("store", "local", "prune", "--keep", "1", cwd=folder)
    assert len(pruned["kept"]) == 1
    assert current(own_user_folders).read_bytes()
    edgewise_json("store", "local", "prune", "--all", cwd=folder)
    assert not Path(own_user_folders, ".edgewise").exists()
    assert edgewise_json("store", "local", "list", cwd=folder) == {"device": "local", "files": [], "size_bytes": 0}


@pytest.mark.parametrize(
    ("words", "exit_code", "complaint"),
    [
        (["push", "model.onnx", "nobody"], 2, "there is no device 'nobody'"),
        (["push", "nothing.onnx", "local"], 2, "nothing.onnx"),
        (["push", "devices.yaml", "local"], 2, "devices.yaml"),
        (["push", "model.onnx"], 2, "NAMES"),
        (["rollback", "local"], 2, "models in use: none"),
        (["rollback", "model.onnx", "local"], 2, "not in use there"),
        (["rollback", "model.onnx"], 2, "no device of the inventory"),
        (["rollback", "gone"], 3, "gone"),
        (["store", "local", "list", "--all"], 2, "belong to prune"),
        (["store", "local", "prune", "--all", "--keep", "3"], 2, "exclude each other"),
        (["store", "local", "prune", "--keep", "0"], 2, "--keep"),
        (["store", "local", "burn"], 2, "burn"),
        (["store", "gone", "list"], 3, "gone"),
    ],
)
def test_bad_input_ends_in_one_clear_line(folder, words, exit_code, complaint):
    done = edgewise(*words, cwd=folder)
    assert done.returncode == exit_code, done.stderr
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_a_read_only_device_is_said(folder, own_user_folders):
    if os.geteuid() == 0:
        Path(own_user_folders, ".edgewise").write_text("in the way")
    else:
        own_user_folders.chmod(0o500)
    done = edgewise("push", "model.onnx", "local", cwd=folder)
    assert done.returncode == 1
    assert "failed: local" in done.stderr


def test_rate_and_time_left():
    rate = Rate()
    for second in range(20):
        rate.add(float(second), second * 1_000_000 if second < 10 else 10_000_000 + (second - 10) * 3_000_000)
    assert 2.5e6 < rate.bytes_per_s() <= 3e6
    assert Rate().bytes_per_s() is None
    assert describe(0, 0, None) == "0 % of 0.0 MB"
