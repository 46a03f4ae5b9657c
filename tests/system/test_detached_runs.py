"""Detached runs, broken links, power cuts and locks on the lab's devices, by the command as a user has it."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from mobile import example
from mobile.benchmark.session import DeviceSession
from tests.soak.runs import soak
from tests.support.cli import edgewise, edgewise_json, start_edgewise
from tests.support.fleet import know_the_phone, lab_inventory
from tests.support.provision import cache_at, lab_cache, prefill

pytest_plugins = ["tests.lab.fixtures"]
pytestmark = [pytest.mark.lab, pytest.mark.timeout(300, func_only=True)]

BOARDS = ("board86", "board64")
SLEEPER = ("--runner", "command", "--command", "sleep 0.05", "--min-count", "5", "--warmup", "1")


@pytest.fixture
def desk(in_ctl, tmp_path, own_user_folders):
    """The developer's folder, with an inventory of the lab."""
    lab_inventory(in_ctl, tmp_path)
    know_the_phone(in_ctl, own_user_folders)
    return tmp_path


def whole(row):
    return row["verdict"] == "valid" and row["provenance"] == "emulated" and row["invocations"] >= 5


def no_run_is_kept(desk, *names):
    probed = edgewise_json("devices", *names, cwd=desk)["devices"]
    return all(device["runs"] == [] for device in probed)


def test_detached_on_two_boards_collected_by_a_new_program(desk):
    started = edgewise_json("bench", "--on", ",".join(BOARDS), *SLEEPER, "--duration", "1", "--detach", cwd=desk)
    assert [left["device"] for left in started["left"]] == ["board86", "board64"]
    found = edgewise_json("attach", cwd=desk)
    assert {row["id"] for row in found["runs"]} == {left["id"] for left in started["left"]}
    assert all(whole(row) for row in found["runs"])
    assert no_run_is_kept(desk, *BOARDS)


def test_detached_on_the_phone_over_adbd(desk, in_ctl, monkeypatch):
    """A model, by the runtime that `edgewise setup` gives a phone that has no Python; the cable is out meanwhile."""
    text = (desk / "devices.yaml").read_text().replace("{transport: adb", "{kind: android, transport: adb")
    workdir = "workdir: /data/local/tmp/edgewise-drawer"  # shared with test_drawer.py: the phone is set up once
    text = text.replace("transport: adb", f"transport: adb, {workdir}, env: {{QEMU_CPU: cortex-a72}}")
    (desk / "devices.yaml").write_text(text)
    monkeypatch.setenv("EDGEWISE_CACHE", str(lab_cache()))
    shutil.copy(example.model_path(), desk / "model.onnx")
    edgewise_json("setup", "phone", "--runtime", "onnxruntime", cwd=desk)
    started = edgewise_json(
        "bench", "model.onnx", "--on", "phone", "--duration", "1", "--min-count", "5", "--detach", cwd=desk
    )
    in_ctl.link("phone", up=False)
    time.sleep(2.0)
    in_ctl.link("phone", up=True)
    (row,) = edgewise_json("attach", started["left"][0]["id"], cwd=desk)["runs"]
    assert whole(row)
    assert row["environment"]["runtime"]["name"] == "onnxruntime"
    assert no_run_is_kept(desk, "phone")


@pytest.fixture(scope="module", autouse=True)
def prepared():
    """What the phone is given; within the lab there is no internet."""
    with cache_at(lab_cache()):
        prefill("aarch64", phone=True)


def test_a_power_cut_under_a_run_keeps_what_was_measured(desk, in_ctl):
    started = edgewise_json("bench", "--on", "board86", *SLEEPER, "--duration", "50", "--detach", cwd=desk)
    run_id = started["left"][0]["id"]
    time.sleep(4.0)
    in_ctl.power("board86", on=False)
    done = edgewise("attach", cwd=desk)
    assert done.returncode != 0
    assert "failed: board86: none: board86: " in done.stderr
    in_ctl.power("board86", on=True)
    (row,) = edgewise_json("attach", cwd=desk)["runs"]
    assert (row["id"], row["verdict"]) == (run_id, "invalid")
    assert "killed" in row["reasons"][0] or "restarted" in row["reasons"][0]
    assert row["invocations"] > 5
    assert no_run_is_kept(desk, "board86")


def test_a_board_that_restarts_under_a_bench_ends_it_with_the_reason(desk, in_ctl):
    long = (*SLEEPER, "--duration", "50", "--require-valid")
    going = start_edgewise("bench", "--on", "board86", *long, cwd=desk)
    try:
        assert any("measuring" in line for line in going.stderr)
        time.sleep(2.0)
        in_ctl.power("board86", on=False)
        in_ctl.power("board86", on=True)
        shown, said = going.communicate(timeout=100)
    finally:
        going.kill()
        going.wait(timeout=10)
    assert going.returncode == 1
    assert (shown.count("the power was cut"), "Traceback" in said) == (1, False), shown + said
    assert "(board86, none) is invalid: it failed: killed: " in shown
    assert no_run_is_kept(desk, "board86")
    (row,) = edgewise_json("bench", "--on", "board86", *SLEEPER, "--duration", "1", cwd=desk)["runs"]
    assert whole(row)


def test_a_second_host_is_told_who_measures(desk):
    edgewise_json("bench", "--on", "board86", *SLEEPER, "--duration", "50", "--detach", cwd=desk)
    other = {"EDGEWISE_STORE": str(desk / "other.sqlite3")}
    refused = edgewise("bench", "--on", "board86", *SLEEPER, "--duration", "1", cwd=desk, **other)
    assert refused.returncode == 1
    assert "the device is busy: bench none, run " in refused.stderr
    assert "--break-lock" in refused.stderr
    done = edgewise("bench", "--on", "board86", *SLEEPER, "--duration", "1", "--break-lock", cwd=desk, **other)
    assert done.returncode == 0, done.stderr
    (row,) = edgewise_json("attach", cwd=desk)["runs"]
    assert no_run_is_kept(desk, "board86")
    assert row["reasons"] == ["it was stopped before it was complete"]


def test_no_run_is_lost_when_links_break(lab, tmp_path):
    """A tenth of `python -m tests.soak.runs`, its times a twentieth."""
    lost = soak(lab, Path(tmp_path), count=10, seed=20, scale=0.05)
    assert lost == []


def a_round(lab, folder):
    """(what was lost, the round's line) of one round of the soak."""
    lines = []
    lost = soak(lab, Path(folder), count=1, seed=21, scale=0.05, say=lines.append)
    return lost, json.loads(lines[0])


def test_the_soak_removes_what_stayed_on_its_board_and_sees_what_cannot_be_removed(lab, tmp_path, monkeypatch):
    forget, told = DeviceSession.forget, []

    def cut_the_first(self, run_id):
        told.append(run_id)
        if len(told) > 1:
            forget(self, run_id)

    monkeypatch.setattr(DeviceSession, "forget", cut_the_first)
    lost, line = a_round(lab, tmp_path)
    assert (lost, line["stayed"]) == ([], True)
    monkeypatch.setattr(DeviceSession, "forget", lambda self, run_id: None)
    lost, line = a_round(lab, tmp_path)
    assert "the board keeps" in line["lost"]
    assert len(lost) == 1
