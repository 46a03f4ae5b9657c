"""Runs of one order that go on at once: the real agent, its processes, and what becomes of one when another ends."""

from __future__ import annotations

import json
import signal

from device_agents import records
from device_agents.together import DONE, GONE, READY, Barrier, mark
from tests.support.detached import OWNER, SLEEPER

BESIDE = {**SLEEPER, "min_duration_s": 0.8, "beside": ["other"]}
FAILING = {**BESIDE, "command": {"argv": ["false"]}}


def start(board, *specs, **more):
    runs = [{"id": f"r{number}", "spec": spec, "about": {}} for number, spec in enumerate(specs)]
    order = {"runs": runs, "owner": OWNER, "together": True, **more}
    return board.call("start", stdin=json.dumps(order).encode())


def events(board, run_id):
    return {record["name"]: record for record in board.records(run_id) if record["type"] == "event"}


def window(board, run_id):
    blocks = [one for one in board.records(run_id) if one["type"] == "invocations" and one["phase"] == "measure"]
    starts = [start for block in blocks for start in block["start_ns"]]
    return starts[0], blocks[-1]["start_ns"][-1] + blocks[-1]["duration_ns"][-1]


def test_both_measure_at_the_same_time_and_neither_is_alone(board):
    done = start(board, BESIDE, {**BESIDE, "min_duration_s": 1.6})
    assert done.returncode == 0, done.stderr
    for run_id in ("r0", "r1"):
        board.wait_for(run_id, "finished")
        assert board.records(run_id)[-1]["outcome"] == "completed"
    (first, first_end), (second, second_end) = window(board, "r0"), window(board, "r1")
    assert abs(first - second) < 0.5e9  # 20 ms of work each, on a busy machine
    assert first_end < second_end
    stayed = events(board, "r0")["together-done"]["detail"]["stayed_s"]
    assert stayed >= (second_end - first_end) / 1e9 - 0.1  # it kept up the load for the longer one
    for run_id in ("r0", "r1"):
        assert events(board, run_id)["together-started"]["detail"]["missing"] == []
        assert events(board, run_id)["together-done"]["detail"]["missing"] == []


def test_one_that_fails_is_not_waited_for_and_the_other_says_so(board):
    start(board, BESIDE, FAILING)
    board.wait_for("r0", "finished")
    assert board.records("r0")[-1]["outcome"] == "completed"
    assert board.records("r1")[-1]["outcome"] == "failed"
    told = events(board, "r0")
    assert 1 in told["together-started"]["detail"]["missing"] + told["together-done"]["detail"]["missing"]


def test_a_stop_of_one_ends_it_and_the_lock_is_free_at_the_end(board):
    start(board, {**BESIDE, "min_duration_s": 50.0}, {**BESIDE, "min_duration_s": 1.0})
    board.wait_for_measuring("r0")
    assert board.call("stop", "r0").returncode == 0
    board.wait_for("r1", "finished")
    assert board.records("r0")[-1]["outcome"] == "stopped"
    assert board.records("r1")[-1]["outcome"] == "completed"
    assert start(board, BESIDE).returncode != 0  # the ids are taken, not the lock
    assert board.call("remove", "r0", "r1").returncode == 0
    assert board.start("r2").returncode == 0
    board.wait_for("r2", "finished")


def test_a_signal_to_the_order_ends_all(board):
    start(board, {**BESIDE, "min_duration_s": 50.0}, {**BESIDE, "min_duration_s": 50.0})
    for run_id in ("r0", "r1"):
        board.wait_for_measuring(run_id)
    board.kill("r0", signal.SIGTERM)
    for run_id in ("r0", "r1"):
        board.wait_for(run_id, "finished")
        assert board.records(run_id)[-1]["outcome"] == "stopped"


def test_settings_cannot_be_held_by_several(board):
    done = start(board, {**BESIDE, "conditions": {"pins": {"governor": "performance"}}}, BESIDE)
    assert done.returncode == records.NOT_STARTED
    assert b"cannot each hold settings" in done.stdout
    assert board.states() == {}


def test_a_barrier_is_reached_by_all_or_by_those_that_are_left(tmp_path):
    first, second = Barrier(str(tmp_path), 2, 0), Barrier(str(tmp_path), 2, 1)
    first.mark(READY)
    assert not first.all_at(READY)
    second.mark(READY)
    assert first.all_at(READY)
    first.mark(DONE)
    mark(str(tmp_path), GONE, 1)
    assert first.all_at(DONE)
    assert first.missing() == [1]
    mark(str(tmp_path), GONE, 0)
    assert second.missing() == [1]


def test_a_folder_that_is_gone_keeps_nobody_waiting(tmp_path):
    assert Barrier(str(tmp_path / "none"), 2, 0).all_at(READY)
