"""Two hosts and one device: one measures, the other is told who does, for how long, and how to end it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest

from device_agents import lock as locks
from device_agents import records
from device_agents.failures import AgentFailure
from device_agents.lock import DeviceLock, duration, refusal
from device_agents.processes import identity
from tests.support.detached import LONG, Board
from tests.support.processes import all_gone, marked, new_mark

THEM = {"host": "lab", "user": "ben", "pid": 9, "purpose": "bench other.onnx"}


@pytest.fixture
def board(tmp_path):
    mark = new_mark()
    yield Board(tmp_path / "runs", mark)
    for pid in marked(mark):
        os.kill(pid, signal.SIGKILL)
    assert all_gone(mark)


def failure_of(done):
    assert done.returncode == records.NOT_STARTED, done.stdout
    (found,) = [json.loads(line) for line in done.stdout.splitlines() if b'"failure"' in line]
    return found


def test_the_second_host_is_refused_with_owner_and_age(board):
    board.start("r1", spec=LONG)
    time.sleep(1.2)
    told = failure_of(board.start("r2", owner=THEM))
    assert told["code"] == "busy"
    assert told["message"].startswith("the device is busy: bench m.onnx, run r1 of ann@desk (process 7), for ")
    assert "--break-lock" in told["hint"]
    assert board.states() == {"r1": "running"}
    held = board.list()["lock"]
    assert held["owner"]["user"] == "ann"
    assert 1.0 < held["age_s"] < 60.0
    assert held["silent_s"] < 10.0


def test_it_is_free_once_the_run_is_over(board):
    for number in range(3):
        done = board.call("start", "--follow", "50", stdin=board.order(f"r{number}"))
        assert done.returncode == records.STREAM_WHOLE  # the next one starts at the very moment the last one ends


def test_of_many_that_begin_together_one_begins(board):
    racers = [board.open("start", stdin=board.order(f"r{number}", spec=LONG)) for number in range(6)]
    codes = sorted(process.wait(40) for process in racers)
    for process in racers:
        process.communicate(timeout=10)
    assert codes == [0] + [records.NOT_STARTED] * 5
    assert list(board.states().values()) == ["running"]


def test_a_broken_lock_ends_the_other_run_and_keeps_what_it_measured(board):
    board.start("r1", "r2", spec=LONG)
    board.wait_for_measuring("r1")
    done = board.start("r3", owner=THEM, break_lock=True)
    assert done.returncode == 0, done.stdout
    found = {run["id"]: (run["state"], run["outcome"]) for run in board.list()["runs"]}
    assert found["r1"] == found["r2"] == ("finished", "stopped")
    assert found["r3"][0] in ("running", "finished")
    assert board.records("r1")[-1]["invocations"] > 0
    board.wait_for("r3", "finished")


def test_a_lock_is_broken_though_its_holder_is_suspended(board):
    board.start("r1", spec=LONG)
    board.kill("r1", signal.SIGSTOP)
    assert board.start("r2", break_lock=True).returncode == 0


def test_break_lock_where_nobody_holds_it(board):
    assert board.start("r1", break_lock=True).returncode == 0


def test_a_lock_file_of_nonsense_is_no_lock(board):
    board.runs.mkdir()
    (board.runs / "lock").write_bytes(b"\xff\x00 nonsense")
    assert board.start("r1").returncode == 0


def test_the_text_of_a_holder_that_was_killed_does_not_count(tmp_path):
    code = (
        "import os, sys, signal\n"
        "from device_agents.lock import DeviceLock\n"
        "from device_agents.processes import identity\n"
        "DeviceLock(sys.argv[1]).acquire(identity(), {}, 'r1')\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([os.sys.executable, "-c", code, str(tmp_path)], timeout=30, check=False)
    assert json.loads((tmp_path / "lock").read_text())["run"] == "r1"
    lock = DeviceLock(str(tmp_path))
    assert lock.held() is None
    lock.acquire(identity(), {}, "r2")
    assert lock.held()["run"] == "r2"
    lock.release()
    assert lock.held() is None
    assert (tmp_path / "lock").read_bytes() == b""


def test_where_the_file_system_knows_no_locks_the_process_decides(tmp_path, monkeypatch):
    def no_locks(fd, how):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locks.fcntl, "flock", no_locks)
    first, second = DeviceLock(str(tmp_path)), DeviceLock(str(tmp_path))
    first.acquire(identity(), THEM, "r1")
    with pytest.raises(AgentFailure, match="ben@lab"):
        second.acquire(identity(), {}, "r2")
    assert second.held()["run"] == "r1"
    first.release()
    second.acquire(identity(), {}, "r2")
    second.release()


def test_a_holder_that_cannot_be_ended_loses_its_place(tmp_path, monkeypatch):
    """A process of another user: its lock stays with a file that has no name any more."""
    first, second = DeviceLock(str(tmp_path)), DeviceLock(str(tmp_path))
    first.acquire(identity(), THEM, "r1")
    monkeypatch.setattr(locks, "_signal", lambda pid, number: None)
    monkeypatch.setattr(locks, "TERM_S", 0.1)
    monkeypatch.setattr(locks, "KILL_S", 0.1)
    second.acquire(identity(), {}, "r2", break_it=True)
    assert second.held()["run"] == "r2"
    first.release()
    assert second.held()["run"] == "r2"
    second.release()


def test_a_silent_holder_is_named_so():
    held = {"owner": THEM, "run": "r1", "age_s": 4000.0, "silent_s": 65.0}
    assert refusal(held) == (
        "the device is busy: bench other.onnx, run r1 of ben@lab (process 9), for 67 min, silent for 65 s"
    )
    assert "for an unknown time" in refusal(None)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (119.0, "119 s"), (3600.0, "60 min"), (90_000.0, "25 h"), (864_000.0, "10 days")],
)
def test_durations(seconds, words):
    assert duration(seconds) == words
