"""Runs that outlive their connection: started, listed, read from anywhere, stopped, removed, found after a crash."""

from __future__ import annotations

import glob
import json
import os
import resource
import signal
import subprocess
import sys
import time

import pytest

from device_agents import records
from tests.support.detached import LONG, OWNER, SLEEPER, Board
from tests.support.processes import all_gone, new_mark

# Those of the usual places; ours is always there.
PYTHONS = sorted({sys.executable, *glob.glob(os.path.expanduser("~/.pyenv/versions/3.[89].*/bin/python"))})
PYTHONS += sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/3.1[0-9].*/bin/python")))


@pytest.mark.parametrize("python", PYTHONS)
def test_on_every_python_that_is_here(tmp_path, python):
    mark = new_mark()
    there = Board(tmp_path / "runs", mark, python)
    done = there.start("r1", "r2")
    assert (done.returncode, done.stderr) == (0, b"")
    assert there.call("tail", "r2", "--follow", "40").returncode == records.STREAM_WHOLE
    assert there.records("r2")[-1]["outcome"] == "completed"
    assert there.call("remove", "r1", "r2").returncode == 0
    assert all_gone(mark)


def end(process):
    process.kill()
    process.communicate(timeout=20)


def test_a_run_goes_on_when_the_command_that_started_it_has_ended(board):
    done = board.start("r1", spec={**SLEEPER, "min_duration_s": 1.5})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"type": "started", "runs": ["r1"]}
    assert board.states() == {"r1": "running"}
    board.wait_for("r1", "finished")
    assert board.records("r1")[-1]["outcome"] == "completed"
    (run,) = board.list()["runs"]
    assert (run["outcome"], run["detached"], run["owner"], run["about"]) == ("completed", True, OWNER, {"n": 0})
    assert 0 < run["ended_s"] < run["age_s"] < 60


def test_it_belongs_to_no_terminal_and_holds_nothing_of_the_connection(board):
    process = board.open("start", stdin=board.order("r1", spec=LONG))
    out, _ = process.communicate(timeout=20)  # returns at once: no copy of the pipes is kept
    assert b"started" in out
    pid = board.pid("r1")
    assert os.getsid(pid) not in (os.getsid(0), process.pid)
    board.kill("r1", signal.SIGHUP)  # what a closed terminal sends
    time.sleep(0.3)
    assert board.states() == {"r1": "running"}


def test_tail_goes_on_where_a_reader_stopped(board):
    board.start("r1")
    board.wait_for("r1", "finished")
    whole = (board.runs / "r1" / "stream.jsonl").read_bytes()
    first = board.call("tail", "r1", "--max-bytes", "1000")
    assert (first.returncode, first.stdout) == (records.STREAM_GOES_ON, whole[:1000])
    rest = board.call("tail", "r1", "--from", "1000")
    assert (rest.returncode, rest.stdout) == (records.STREAM_WHOLE, whole[1000:])
    beyond = board.call("tail", "r1", "--from", str(len(whole) + 10))
    assert (beyond.returncode, beyond.stdout) == (records.STREAM_WHOLE, b"")


def test_tail_waits_no_longer_than_it_was_told(board):
    board.start("r1", spec=LONG)
    done = board.call("tail", "r1", "--follow", "1.5")
    assert done.returncode == records.STREAM_GOES_ON
    assert b'"hello"' in done.stdout


def test_start_with_follow_reads_the_first_run_to_its_end(board):
    done = board.call("start", "--follow", "50", stdin=board.order("r1"))
    assert done.returncode == records.STREAM_WHOLE
    assert done.stdout == (board.runs / "r1" / "stream.jsonl").read_bytes()


def test_a_reader_that_is_gone_is_noticed(board):
    board.start("r1", spec=LONG)
    process = board.open("tail", "r1", "--follow", "50")
    process.stdout.readline()
    assert board.list()["runs"][0]["reader"] is True
    process.stdout.close()
    process.stdout = None
    assert process.wait(20) == 1
    process.communicate(timeout=20)
    assert board.list()["runs"][0]["reader"] is False


def test_runs_are_measured_one_after_another_under_one_lock(board):
    board.start("r1", "r2", "r3", spec={**SLEEPER, "min_duration_s": 3.0})
    listed = board.list()
    assert {run["id"]: run["state"] for run in listed["runs"]} == {"r1": "running", "r2": "queued", "r3": "queued"}
    assert listed["lock"]["run"] == "r1"
    board.wait_for("r3", "finished", within_s=90.0)
    assert set(board.states().values()) == {"finished"}
    ends = [board.records(run)[-1]["t_ns"] for run in ("r1", "r2", "r3")]
    begins = [board.records(run)[0]["t_ns"] for run in ("r1", "r2", "r3")]
    assert ends[0] <= begins[1] <= ends[1] <= begins[2]
    assert board.list()["lock"] is None


def test_one_of_several_is_stopped_and_the_others_are_not(board):
    board.start("r1", "r2", "r3", spec={**SLEEPER, "min_duration_s": 3.0})
    assert board.call("stop", "r2").returncode == 0  # at once, not when its turn comes
    assert board.states() == {"r1": "running", "r2": "finished", "r3": "queued"}
    board.wait_for_measuring("r1")
    done = board.call("stop", "r1", "--wait", "20")
    assert (done.returncode, json.loads(done.stdout)["problems"]) == (0, {"r1": None})
    board.wait_for("r3", "finished")
    outcomes = {run["id"]: run["outcome"] for run in board.list()["runs"]}
    assert outcomes == {"r1": "stopped", "r2": "stopped", "r3": "completed"}
    assert board.records("r1")[-1]["invocations"] > 0
    assert not (board.runs / "r2" / "stream.jsonl").exists()
    assert board.call("tail", "r2").returncode == records.STREAM_WHOLE


def test_all_are_stopped_at_once(board):
    board.start("r1", "r2", "r3", spec=LONG)
    board.wait_for_measuring("r1")
    assert board.call("stop", "r1", "r2", "r3").returncode == 0
    assert {run["outcome"] for run in board.list()["runs"]} == {"stopped"}
    assert [name for name in ("r1", "r2", "r3") if (board.runs / name / "stream.jsonl").exists()] == ["r1"]


def test_a_signal_to_the_supervisor_ends_all_that_it_was_to_do(board):
    board.start("r1", "r2", spec=LONG)
    board.wait_for_measuring("r1")
    board.kill("r1", signal.SIGTERM)
    board.wait_for("r2", "finished")
    assert {run["outcome"] for run in board.list()["runs"]} == {"stopped"}


def test_a_killed_supervisor_is_told_from_one_that_runs(board):
    board.start("r1", "r2", spec=LONG)
    board.wait_for_measuring("r1")
    board.kill("r1")
    assert board.wait_for("r1", "crashed") == "crashed"
    assert board.states() == {"r1": "crashed", "r2": "crashed"}
    assert "killed" in board.list("r1")["runs"][0]["reason"]
    done = board.call("tail", "r1")
    assert done.returncode == records.STREAM_CRASHED
    assert b'"phase":"measure"' in done.stdout
    assert board.start("r3").returncode == 0  # the kernel gave the lock back
    board.wait_for("r3", "finished")


def test_a_restart_of_the_device_is_told_from_a_kill(board):
    board.start("r1")
    board.wait_for("r1", "finished")
    (board.runs / "r1" / "exit.json").unlink()
    path = board.runs / "r1" / "process.json"
    told = json.loads(path.read_text())
    told["process"]["boot_id"] = "another boot"
    told["process"]["pid"] = os.getpid()  # the number belongs to somebody now
    path.write_text(json.dumps(told))
    (run,) = board.list()["runs"]
    assert (run["state"], run["reason"]) == ("crashed", "the device restarted while the run was going on")


def test_a_process_number_that_was_given_away_is_not_the_supervisor(board):
    board.start("r1")
    board.wait_for("r1", "finished")
    (board.runs / "r1" / "exit.json").unlink()
    path = board.runs / "r1" / "process.json"
    told = json.loads(path.read_text())
    told["process"]["pid"] = os.getpid()
    path.write_text(json.dumps(told))
    assert board.states() == {"r1": "crashed"}


def test_a_run_that_nobody_reads_ends_after_the_grace_and_keeps_what_it_has(board):
    process = board.open("start", "--follow", "50", stdin=board.order("r1", spec=LONG, grace_s=2.0))
    board.wait_for_measuring("r1")
    end(process)
    board.wait_for("r1", "finished", within_s=20)
    assert board.list()["runs"][0]["outcome"] == "stopped"
    reasons = [record["detail"]["reason"] for record in board.records("r1") if record.get("name") == "stopping"]
    assert reasons == ["nobody has read the stream for 2 s"]
    assert board.records("r1")[-1]["invocations"] > 0


def test_a_reader_that_comes_back_within_the_grace_keeps_it_going(board):
    spec = {**SLEEPER, "min_duration_s": 6.0}
    process = board.open("start", "--follow", "50", stdin=board.order("r1", spec=spec, grace_s=3.0))
    board.wait_for_measuring("r1")
    end(process)
    time.sleep(1.0)
    done = board.call("tail", "r1", "--follow", "50")
    assert done.returncode == records.STREAM_WHOLE
    assert json.loads(done.stdout.splitlines()[-1])["outcome"] == "completed"


def test_remove_leaves_nothing_and_refuses_while_it_goes_on(board):
    board.start("r1", spec=LONG)
    done = board.call("remove", "r1")
    assert done.returncode == 1
    assert "still going on" in json.loads(done.stdout)["problems"]["r1"]
    assert board.call("stop", "r1").returncode == 0
    assert board.call("remove", "r1", "never-was").returncode == 0
    assert os.listdir(board.runs) == ["lock"]
    assert board.call("tail", "r1").returncode == records.NO_SUCH_RUN
    assert board.call("stop", "r1").returncode == 0


def test_a_suspended_supervisor_is_stopped_too(board):
    board.start("r1", spec=LONG)
    board.wait_for_measuring("r1")
    board.kill("r1", signal.SIGSTOP)
    assert board.call("stop", "r1").returncode == 0
    assert board.list()["runs"][0]["outcome"] == "stopped"


def test_what_a_cut_left_half_made_is_cleared_away(board):
    board.start("r1")
    board.wait_for("r1", "finished")
    process = json.loads((board.runs / "r1" / "process.json").read_text())
    half = board.runs / ".r2.new"
    half.mkdir()
    (half / "process.json").write_text(json.dumps({"process": {**process["process"], "start_ticks": 1}}))
    (board.runs / ".r3.gone").mkdir()
    assert board.states() == {"r1": "finished"}
    assert sorted(os.listdir(board.runs)) == ["lock", "r1"]


def test_a_damaged_folder_is_listed_and_can_be_removed(board):
    board.start("r1")
    board.wait_for("r1", "finished")
    for name in ("spec.json", "process.json", "exit.json"):
        (board.runs / "r1" / name).write_bytes(b"\x00\xff{")
    (run,) = board.list()["runs"]
    assert (run["state"], run["age_s"], run["spec"]) == ("crashed", None, {})
    assert board.call("remove", "r1").returncode == 0
    assert board.states() == {}


def test_a_full_disk_ends_the_run_and_says_so(board):
    def little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    spec = {"runner": "null", "min_duration_s": 50.0, "max_duration_s": 60.0, "warmup_count": 1}
    done = board.call("start", "--follow", "50", stdin=board.order("r1", spec=spec), preexec_fn=little_room)
    assert done.returncode == records.STREAM_WHOLE
    (run,) = board.list()["runs"]
    assert (run["outcome"], run["problem"]) == ("failed", "File too large")


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (b"", "not JSON"),
        (b"[]", "no object with a list of runs"),
        (b'{"runs": []}', "0 runs"),
        (b'{"runs": [7]}', "a run is int"),
        (b'{"runs": [{"id": "r1"}]}', "the spec is NoneType"),
        (b'{"runs": [{"id": "../r1", "spec": {"runner": "null"}}]}', "run id is '../r1'"),
        (b'{"runs": [{"id": 7, "spec": {"runner": "null"}}]}', "run id is 7"),
        (b'{"runs": [{"id": "r1", "spec": {"runner": "x"}}]}', "runner is 'x'"),
        (b'{"runs": [{"id": "r", "spec": {"runner": "null"}}, {"id": "r", "spec": {"runner": "null"}}]}', "twice"),
        (b'{"runs": [{"id": "r", "spec": {"runner": "null"}}], "grace_s": "x"}', "grace_s is 'x'"),
    ],
)
def test_a_bad_order_is_refused_in_words(board, order, words):
    done = board.call("start", "--follow", "5", stdin=order)
    assert done.returncode == records.NOT_STARTED
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["type"] for record in said] == ["hello", "failure", "done"]
    assert said[1]["code"] == "bad-spec"
    assert words in said[1]["message"]
    assert not board.runs.exists() or os.listdir(board.runs) in ([], ["lock"])


def test_a_run_id_is_used_once(board):
    board.start("r1")
    board.wait_for("r1", "finished")
    done = board.start("r2", "r1")
    assert done.returncode == records.NOT_STARTED
    assert b"File exists" in done.stdout
    assert board.states() == {"r1": "finished"}
    assert board.list()["lock"] is None


def test_a_folder_that_cannot_be_made(board):
    blocked = Board(board.runs / "file" / "runs", new_mark())
    board.runs.mkdir()
    (board.runs / "file").write_text("")
    done = blocked.start("r1")
    assert done.returncode == records.NOT_STARTED
    assert b"Not a directory" in done.stdout
    assert blocked.list()["runs"] == []


@pytest.mark.parametrize("arguments", [("tail",), ("tail", "r1", "--from", "x"), ("stop",), ("remove",)])
def test_usage_errors(board, arguments):
    done = board.call(*arguments)
    assert done.returncode == 2
    assert b"usage:" in done.stderr


def test_tail_of_odd_names(board):
    for name in ("../x", ".", "lock", "a" * 300):
        assert board.call("tail", name).returncode == records.NO_SUCH_RUN


def test_it_needs_no_standard_streams(board):
    """As some supervisors of processes start theirs: with the descriptors closed."""
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", *board.command("start")],
        input=board.order("r1"),
        stdout=subprocess.PIPE,
        timeout=30,
        **board._process(),
    )
    assert done.returncode == 0
    assert board.wait_for("r1", "finished") == "finished"
