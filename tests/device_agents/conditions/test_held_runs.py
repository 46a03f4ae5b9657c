"""The real agent under conditions: the order of its events, and the board after whatever ended the run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from device_agents.conditions.journal import Journal
from tests.support.agents import FAULTY, ROOT, finish, read_until, run_agent, run_faulty, start
from tests.support.detached import SLEEPER
from tests.support.detached import Board as Runs
from tests.support.pinnable import CPU, ZONE, Board
from tests.support.processes import all_gone, new_mark

FILES = {"governor": "performance", "clocks_locked": True}
PINS = {**FILES, "power_mode": 1}
NULL = {"runner": "null", "min_duration_s": 0.2}
LONG = {"runner": "command", "command": {"argv": ["sleep", "0.02"]}, "min_duration_s": 50.0, "max_duration_s": 100.0}
LIMIT_S = 60.0


@pytest.fixture
def board(tmp_path):
    return Board(tmp_path / "board").clocks().nvpmodel().heat(45.0)


@pytest.fixture
def journal():
    """That of an agent which runs from a folder: in the home of this test."""
    return Journal(os.path.expanduser("~/.edgewise/journal"))


def spec(board, more=None, **conditions):
    return {**NULL, "root": str(board.path), "conditions": conditions, **(more or {})}


def eventually(check):
    end = time.monotonic() + LIMIT_S
    while not check():
        assert time.monotonic() < end
        time.sleep(0.05)


def names(stream):
    return [record["name"] for record in stream.of("event")]


def test_the_order_of_a_run_under_conditions(board, journal):
    found = board.state()
    stream = run_agent(
        spec(
            board,
            {"idle_s": 0.3},
            pins=FILES,
            cool_below_c=60.0,
            cool_back=True,
            max_temperature_c=90.0,
            probe=True,
        )
    )
    assert stream.done["outcome"] == "completed", stream.records
    own = ["load-started", "loaded", "first-done", "warmup-done", "measured"]
    assert [name for name in names(stream) if name != "invocations"] == [
        *["pinned"] * 5,
        "gate-started",
        "gate-passed",
        "probe",
        "idle-started",
        "idle-done",
        "intruders",
        *own,
        "probe",
        "intruders",
        *["restored"] * 5,
    ]
    assert stream.records[0]["type"] == "hello"
    assert stream.records[0]["device"]["governor"] == "performance"  # the facts are those of the measurement
    assert stream.event("idle-done")["duration_s"] >= 0.3
    assert stream.event("gate-passed") == {
        "waited_s": pytest.approx(0.0, abs=30.0),
        "temperature_c": 45.0,
        "sensor": "temperature.cpu-thermal",
    }
    assert (board.state(), journal.books()) == (found, [])
    assert all_gone(stream.mark)


def test_a_run_without_conditions_waits_for_nothing_and_starts_nothing(tmp_path, journal):
    stream = run_agent(spec(Board(tmp_path / "bare")))
    assert not {"pinned", "gate-started", "idle-started"} & set(names(stream))
    assert not os.path.exists(journal.folder)


def test_a_pin_that_cannot_be_held_is_a_failure_before_the_worker(board, journal):
    found = board.state()
    stream = run_agent(spec(board, pins={"governor": "performance", "power_mode": 3}))
    assert (stream.failure["code"], stream.failure["phase"]) == ("pin-failed", "prepare")
    assert "load-started" not in names(stream)
    assert (board.state(), journal.books()) == (found, [])


def test_a_worker_that_dies_takes_no_setting_along(board, journal):
    found = board.state()
    stream = run_faulty("segfault@later", spec(board, pins=PINS))
    assert stream.failure["code"] == "crashed"
    assert (board.state(), journal.books()) == (found, [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stop_in_mid_run_puts_back(board, journal, number):
    found = board.state()
    process, mark = start(spec(board, LONG, pins=FILES))
    said = read_until(process, b'"phase":"warmup"')
    assert board.state() != found
    process.send_signal(number)
    stream = finish(process, mark, said)
    assert stream.done["outcome"] == "stopped"
    assert (board.state(), journal.books()) == (found, [])


@pytest.mark.parametrize("moment", [b'"name":"idle-started"', b'"phase":"warmup"'], ids=["idle", "measuring"])
def test_a_killed_supervisor_is_put_back_by_its_watchdog_at_once(board, journal, moment):
    found = board.state()
    process, mark = start(spec(board, {**LONG, "idle_s": 30.0 if b"idle" in moment else 0.0}, pins=PINS))
    read_until(process, moment)
    assert board.state() != found
    process.kill()
    process.communicate()
    eventually(lambda: board.state() == found and not journal.books() and journal.describe()["restored"])
    assert {entry["ok"] for entry in journal.describe()["restored"]} == {True}
    eventually(lambda: all_gone(mark))


def test_when_the_watchdog_is_killed_too_the_next_contact_puts_back(board, journal):
    found = board.state()
    process, mark = start(spec(board, LONG, pins=PINS))
    read_until(process, b'"phase":"warmup"')
    watchdogs = subprocess.run(["pgrep", "-P", str(process.pid), "-f", "watchdog"], capture_output=True, text=True)
    for pid in watchdogs.stdout.split():
        os.kill(int(pid), signal.SIGKILL)
    process.kill()
    process.communicate()
    eventually(lambda: all_gone(mark))
    assert board.state() != found
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    facts = subprocess.run(
        [sys.executable, "-m", "device_agents", "facts", "--root", str(board.path)],
        capture_output=True, timeout=LIMIT_S, env=environment, cwd=ROOT,
    )  # fmt: skip
    records = [json.loads(line) for line in facts.stdout.splitlines()]
    assert [record["type"] for record in records] == ["hello"] + ["event"] * 6
    assert all(record["detail"]["ok"] and record["detail"]["left_over"] for record in records[1:])
    assert records[0]["device"]["governor"] == "ondemand"
    assert (board.state(), journal.books()) == (found, [])


def test_the_next_run_puts_back_first(board, journal):
    found = board.state()
    book = journal.new_book({"pid": 2**22 - 1, "start_ticks": 1, "boot_id": None}, str(board.path))
    path = str(board.path / CPU / "policy0/scaling_governor")
    book.add([{"kind": "file", "what": "governor", "path": path, "was": "ondemand", "now": "performance", "cap": None}])
    board.write(f"{CPU}/policy0/scaling_governor", "performance\n")
    stream = run_agent(spec(board))
    assert stream.event("restored") == {
        "what": "governor",
        "to": "ondemand",
        "ok": True,
        "why": None,
        "left_over": True,
    }
    assert board.state() == found


class TestDetached:
    """Runs whose host has gone: the command that started them has ended, nobody reads."""

    @pytest.fixture
    def runs(self, tmp_path):
        mark = new_mark()
        yield Runs(tmp_path / "work/runs", mark)
        eventually(lambda: all_gone(mark))

    def test_it_holds_its_settings_to_its_end_and_nobody_takes_them_away(self, board, runs):
        found = board.state()
        quick = {**SLEEPER, "root": str(board.path), "conditions": {"pins": PINS}}
        runs.start("r1", "r2", spec={**quick, "min_duration_s": 50.0})
        runs.wait_for_measuring("r1")
        listed = runs.list()
        assert board.state() != found
        assert {(entry["what"], entry["held"]) for entry in listed["journal"]} >= {("power mode", True)}
        (runs.runs / "r2/stop").touch()
        assert runs.call("stop", "r1").returncode == 0
        runs.wait_for("r2", "finished")
        answer = runs.list()
        assert (board.state(), answer["journal"], answer["restored"]) == (found, [], [])

    def test_its_killed_supervisor_leaves_nothing_behind(self, board, runs):
        found = board.state()
        runs.start("r1", spec={**LONG, "root": str(board.path), "warmup_count": 1, "conditions": {"pins": PINS}})
        runs.wait_for_measuring("r1")
        runs.kill("r1")
        eventually(lambda: board.state() == found)
        answer = runs.list()
        assert (answer["journal"], runs.states()) == ([], {"r1": "crashed"})
        assert "power mode" in {entry["what"] for entry in answer["restored"]}

    def test_each_run_of_an_order_cools_back_to_the_first(self, board, runs):
        quick = {**SLEEPER, "root": str(board.path), "conditions": {"cool_back": True, "gate_timeout_s": 50.0}}
        runs.start("r1", "r2", spec={**quick, "min_duration_s": 3.0})
        eventually(lambda: "gate-passed" in self._events(runs, "r1"))
        board.heat(60.0)
        eventually(lambda: "gate-started" in self._events(runs, "r2"))
        board.heat(46.9)
        runs.wait_for("r2", "finished")
        started = self._events(runs, "r2")["gate-started"]
        assert started["below_c"] == self._events(runs, "r1")["gate-passed"]["temperature_c"] + 2.0
        assert self._events(runs, "r2")["gate-passed"]["temperature_c"] == 46.9

    def _events(self, runs, run_id):
        path = runs.runs / run_id / "stream.jsonl"
        records = runs.records(run_id) if path.exists() else []
        return {record["name"]: record["detail"] for record in records if record["type"] == "event"}


def test_a_gate_that_is_never_passed_starts_no_worker(board):
    stream = run_agent(spec(board, cool_below_c=40.0, gate_timeout_s=0.2))
    assert (stream.failure["code"], stream.failure["phase"]) == ("too-hot", "prepare")
    assert stream.event("gate-refused")["temperature_c"] == 45.0
    assert "load-started" not in names(stream)


def test_a_gate_that_sees_no_temperature_starts_no_worker(tmp_path):
    stream = run_agent(spec(Board(tmp_path / "bare").clocks(), cool_below_c=40.0))
    assert stream.failure["code"] == "no-temperature"


def test_a_stop_while_it_cools_down(board, journal):
    found = board.state()
    process, mark = start(spec(board, LONG, cool_below_c=40.0, pins=FILES))
    said = read_until(process, b'"name":"gate-started"')
    process.send_signal(signal.SIGTERM)
    stream = finish(process, mark, said)
    assert (stream.done["outcome"], stream.event("stopping")) == ("stopped", {"reason": "SIGTERM"})
    assert not stream.of("failure")
    assert (board.state(), journal.books()) == (found, [])


def test_a_host_that_goes_away_while_it_cools_down(board, journal):
    found = board.state()
    process, mark = start(spec(board, LONG, cool_below_c=40.0, pins=FILES))
    read_until(process, b'"name":"gate-started"')
    process.stdout.close()
    process.stdout = None
    assert process.wait(LIMIT_S) == 130
    process.stderr.close()
    assert (board.state(), journal.books()) == (found, [])
    assert all_gone(mark)


@pytest.mark.parametrize("fault", ["slow@always", "hang@later"])
def test_the_guard_stops_a_run_that_gets_too_hot_also_one_that_hangs(board, fault):
    """What was measured is kept; a worker that hangs in an inference is not waited for."""
    more = {"warmup_count": 0, "warmup_duration_s": 0.0, "min_duration_s": 50.0, "max_duration_s": 100.0}
    process, mark = start(spec(board, more, max_temperature_c=80.0), [*FAULTY, fault])
    said = read_until(process, b'"phase":"measure"' if fault == "slow@always" else b'"phase":"first"')
    board.heat(80.5)
    stream = finish(process, mark, said)
    assert stream.failure["code"] == "overheated"
    assert "temperature.cpu-thermal is at 80.5 °C, the limit is 80.0 °C" in stream.failure["message"]
    assert stream.event("guard")["temperature_c"] == 80.5
    assert stream.done["outcome"] == "failed"
    if fault == "slow@always":
        assert stream.done["invocations"] == len(stream.durations("measure")) > 0
    assert all_gone(mark)


def test_a_guard_whose_sensor_is_gone_stops_the_run(board):
    process, mark = start(spec(board, LONG, max_temperature_c=80.0))
    said = read_until(process, b'"phase":"warmup"')
    (board.path / ZONE / "temp").unlink()
    stream = finish(process, mark, said)
    assert stream.failure["code"] == "no-temperature"
    assert "the file is gone" in stream.failure["message"]
    assert stream.event("guard")["temperature_c"] is None


def test_a_guard_that_never_sees_a_temperature_starts_no_worker(tmp_path):
    stream = run_agent(spec(Board(tmp_path / "bare").clocks(), max_temperature_c=80.0))
    assert (stream.failure["code"], stream.failure["phase"]) == ("no-temperature", "prepare")


def test_a_governor_that_somebody_changes_in_mid_run_is_told(board):
    process, mark = start(spec(board, {**LONG, "min_duration_s": 1.0}))
    said = read_until(process, b'"phase":"warmup"')
    board.write(f"{CPU}/policy4/scaling_governor", "powersave\n")
    stream = finish(process, mark, said)
    assert stream.event("changed") == {"what": "governor of policy4", "before": "ondemand", "after": "powersave"}


def test_intruders_that_cannot_be_seen_are_refused_when_that_was_asked(board):
    stream = run_agent(spec(board, intruders="refuse"))
    assert stream.failure["code"] == "intruder"
    assert "/proc/stat" in stream.failure["message"]
    stream = run_agent(spec(board, intruders="ignore"))
    assert "intruders" not in names(stream)


def test_an_intruder_is_refused_by_its_name(board):
    """The accounts of a tree: an `apt` that takes more and more."""
    stat = "{} (apt) R 1 20 20 0 -1 0 0 0 0 0 {} 0 0 0 20 0 1 0 500 0 0 0 0 0"
    ending = threading.Event()

    def be_busy():
        ticks = 0
        while not ending.wait(0.01):
            ticks += 10
            for name, text in (("stat", f"cpu {ticks} 0 0 0 0 0 0 0 0 0\n"), ("20/stat", stat.format(20, ticks))):
                new = board.write(f"proc/{name}.new", text)
                os.replace(new, board.path / "proc" / name)

    worker = threading.Thread(target=be_busy)
    worker.start()
    try:
        eventually(lambda: (board.path / "proc/20/stat").exists())
        stream = run_agent(spec(board, intruders="refuse"))
    finally:
        ending.set()
        worker.join()
    assert stream.failure["code"] == "intruder"
    assert "apt" in stream.failure["message"]
    assert "load-started" not in names(stream)
