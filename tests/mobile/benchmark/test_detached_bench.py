"""Benchmarks on boards whose link breaks, whose host goes away, that are shared: nothing is lost, nothing is left."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from mobile.benchmark import BenchOptions, Collecting, Failure, Left, Manner, attach, bench, iter_bench
from mobile.benchmark import follow as following
from mobile.benchmark.orchestrate import Request
from mobile.errors import StoreError, UsageError
from mobile.results.figures import figures
from mobile.results.started import StartedRuns
from mobile.results.store import RunStore
from mobile.transports.fake import Faults
from tests.support.fleet import SLEEPER, FakeBoards
from tests.support.processes import MARK, all_gone, marked, new_mark

QUICK = BenchOptions(**SLEEPER, min_count=5, duration_s=0.3)
LONG = BenchOptions(**SLEEPER, min_count=5, duration_s=40.0)
PATIENT = Manner(reconnect_s=20.0)


@pytest.fixture
def boards(tmp_path, monkeypatch):
    mark = new_mark()
    monkeypatch.setenv(MARK, mark)
    made = FakeBoards(tmp_path / "boards", "a", "b", "c")
    with made.in_place(monkeypatch):
        yield made
    for pid in marked(mark):
        os.kill(pid, signal.SIGKILL)
    assert all_gone(mark)


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "runs.sqlite3")


def kept(boards, name="a"):
    return sorted(path.name for path in boards.runs(name).iterdir() if path.name != "lock")


def measure(boards, store, *names, options=QUICK, manner=PATIENT, **more):
    return bench([], names or ["a"], options, inventory=boards.inventory, store=store, manner=manner, **more)


def come_back(boards, store, *runs, on=(), **manner):
    return attach(
        runs, on, inventory=boards.inventory, store=store, manner=Collecting(**{"reconnect_s": 5.0, **manner})
    )


def whole(run):
    # It need not be valid: other tests run beside it.
    complete = run.failure is None and run.done["outcome"] == "completed"
    return complete and figures(run)["invocations"] == run.done["invocations"] > 0


def cut_when(faults, state, bytes_later=0):
    """A progress callback that breaks the link once, at a state."""

    def on_progress(progress):
        if progress.state == state and not done:
            done.append(True)
            faults.cut_after_bytes = bytes_later
            threading.Timer(1.0, setattr, [faults, "cut_after_bytes", None]).start()

    done = []
    return on_progress


# --- a link that breaks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["push", "load", "measure"])
@pytest.mark.parametrize("bytes_later", [0, 700])
def test_a_run_is_whole_whenever_the_link_breaks(boards, store, state, bytes_later):
    boards.faults["a"] = Faults()
    options = BenchOptions(**SLEEPER, min_count=5, duration_s=2.5)
    result = measure(boards, store, options=options, on_progress=cut_when(boards.faults["a"], state, bytes_later))
    assert not result.failures
    assert whole(result.runs[0])
    assert store.get(result.runs[0].id) == result.runs[0]
    assert kept(boards) == []


def test_a_link_that_stays_away_leaves_the_run_to_be_attached(boards, store):
    boards.faults["a"] = Faults()

    def on_progress(progress):
        if progress.state == "measure":
            boards.faults["a"].cut_after_bytes = 0

    options = BenchOptions(**SLEEPER, min_count=5, duration_s=3.0)
    result = measure(boards, store, options=options, manner=Manner(reconnect_s=0.5), on_progress=on_progress)
    (failure,) = result.failures
    assert failure.code == "link-lost"
    assert failure.exit_code == 3
    (run_id,) = kept(boards)
    assert f"edgewise attach {run_id}" in failure.hint
    boards.faults["a"].cut_after_bytes = None
    result = come_back(boards, store)
    assert [run.id for run in result.runs] == [run_id]
    assert whole(result.runs[0])
    assert kept(boards) == []


def test_a_device_that_was_never_there_is_not_waited_for(boards, store):
    boards.faults["a"] = Faults(refuse=True)
    began = time.monotonic()
    result = measure(boards, store, options=BenchOptions(**SLEEPER, threads=(None,), repeat=3), manner=Manner())
    assert time.monotonic() - began < 20  # not the 60 s of a link that breaks
    assert [failure.code for failure in result.failures] == ["unreachable"] * 3
    assert result.exit_code == 3


def test_a_tail_that_is_killed_on_the_device_is_asked_for_again(boards, store, tmp_path):
    def on_progress(progress):
        if progress.state == "measure" and not killed:
            for pid in marked(os.environ[MARK]):
                words = (b"tail", b"start")
                try:
                    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                except OSError:  # it has ended meanwhile
                    continue
                if any(word in arguments for word in words) and os.getsid(pid) == pid and pid not in supervisors():
                    killed.append(pid)
                    os.kill(pid, signal.SIGKILL)

    def supervisors():
        import json

        return [json.loads(path.read_text())["process"]["pid"] for path in boards.runs("a").glob("*/process.json")]

    killed = []
    options = BenchOptions(**SLEEPER, min_count=5, duration_s=2.5)
    result = measure(boards, store, options=options, on_progress=on_progress)
    assert killed
    assert whole(result.runs[0])


# --- detached -------------------------------------------------------------------------------------------------------


def test_detached_runs_are_collected_whole_by_a_new_program(boards, store):
    options = BenchOptions(**SLEEPER, min_count=5, duration_s=0.3, repeat=3)
    result = measure(boards, store, "a", "b", options=options, manner=Manner(detach=True))
    assert [left.device for left in result.left] == ["a"] * 3 + ["b"] * 3
    assert [left.state for left in result.left] == ["running", "queued", "queued"] * 2
    assert store.list() == []
    assert result.exit_code == 0
    found = come_back(boards, RunStore(store.path))
    assert [run.id for run in found.runs] == [left.run for left in result.left]
    assert all(whole(run) for run in found.runs)
    assert {run.spec.device for run in found.runs} == {"a", "b"}
    assert kept(boards, "a") == kept(boards, "b") == []
    assert come_back(boards, store).runs == []


def test_another_machine_finds_them_by_asking_the_devices(boards, store, tmp_path):
    (left,) = measure(boards, store, "b", manner=Manner(detach=True)).left
    elsewhere = RunStore(tmp_path / "elsewhere.sqlite3")
    assert come_back(boards, elsewhere).runs == []  # nothing was started from there
    (run,) = come_back(boards, elsewhere, left.run[:12]).runs
    assert (run.id, run.spec.device, run.spec.model.name) == (left.run, "b", "none")
    (failure,) = come_back(boards, store).failures  # the first machine is told
    assert failure.code == "gone"
    assert come_back(boards, store).failures == []  # once


def test_all_of_a_device_are_collected_when_it_is_named(boards, store, tmp_path):
    measure(boards, store, "a", "b", manner=Manner(detach=True))
    found = come_back(boards, RunStore(tmp_path / "elsewhere.sqlite3"), on=["b"])
    assert [run.spec.device for run in found.runs] == ["b"]
    assert len(kept(boards, "a")) == 1


def test_no_wait_lists_what_goes_on_and_leaves_it(boards, store):
    (left,) = measure(boards, store, options=LONG, manner=Manner(detach=True)).left
    result = come_back(boards, store, wait=False)
    (found,) = result.left
    assert (found.run, found.state, found.model) == (left.run, "running", "none")
    assert found.age_s >= 0
    stopped = come_back(boards, store, left.run, stop=True)
    row = figures(stopped.runs[0])
    assert (row["verdict"], row["reasons"]) == ("invalid", ["it was stopped before it was complete"])
    assert kept(boards) == []


def test_an_attach_that_is_interrupted_is_repeated(boards, store, monkeypatch):
    (left,) = measure(boards, store, manner=Manner(detach=True)).left
    with monkeypatch.context() as patch:
        patch.setattr(RunStore, "add", lambda self, run: (_ for _ in ()).throw(StoreError("the disk is full")))
        with pytest.raises(StoreError):
            come_back(boards, store)
    assert kept(boards) == [left.run]
    with monkeypatch.context() as patch:  # stored, and cut before the device could forget it
        patch.setattr("mobile.benchmark.session.DeviceSession.forget", lambda self, run: None)
        assert len(come_back(boards, store).runs) == 1
    assert kept(boards) == [left.run]
    (again,) = come_back(boards, store, left.run).runs
    assert again.id == left.run
    assert len(store.list()) == 1
    assert kept(boards) == []


def test_a_run_that_nobody_knows(boards, store):
    with pytest.raises(UsageError, match="no device has a run 'never'"):
        come_back(boards, store, "never")


def test_a_device_that_does_not_answer_is_a_failure_and_the_run_stays_known(boards, store):
    measure(boards, store, manner=Manner(detach=True))
    boards.faults["a"] = Faults(refuse=True)
    result = come_back(boards, store)
    assert (result.failures[0].code, result.exit_code) == ("unreachable", 3)
    boards.faults["a"] = None
    assert len(come_back(boards, store).runs) == 1


# --- crashes --------------------------------------------------------------------------------------------------------


def supervisor_of(boards, run_id):
    import json

    return json.loads((boards.runs("a") / run_id / "process.json").read_text())["process"]["pid"]


def wait_for_measuring(boards, run_id):
    stream = boards.runs("a") / run_id / "stream.jsonl"
    end = time.monotonic() + 30
    while not (stream.exists() and stream.read_bytes().count(b'"phase":"measure"') > 1):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_what_was_measured_before_a_crash_is_kept_as_an_invalid_run(boards, store):
    (left,) = measure(boards, store, options=LONG, manner=Manner(detach=True)).left
    wait_for_measuring(boards, left.run)
    os.kill(supervisor_of(boards, left.run), signal.SIGKILL)
    (run,) = come_back(boards, store).runs
    row = figures(store.get(run.id))
    assert row["verdict"] == "invalid"
    assert "ended from outside" in row["reasons"][0]
    assert row["invocations"] > 0
    assert kept(boards) == []


def test_a_crash_before_anything_was_measured_is_a_failure(boards, store):
    options = BenchOptions(runner="command", command=("sleep", "30"), duration_s=50.0)
    (left,) = measure(boards, store, options=options, manner=Manner(detach=True)).left
    os.kill(supervisor_of(boards, left.run), signal.SIGKILL)
    (failure,) = come_back(boards, store).failures
    assert failure.code == "killed"
    assert store.failures()[0]["code"] == "killed"
    assert kept(boards) == []


def test_a_stream_that_a_power_cut_damaged_counts_up_to_the_damage(boards, store):
    (left,) = measure(boards, store, options=LONG, manner=Manner(detach=True)).left
    wait_for_measuring(boards, left.run)
    os.kill(supervisor_of(boards, left.run), signal.SIGKILL)
    stream = boards.runs("a") / left.run / "stream.jsonl"
    data = stream.read_bytes()
    stream.write_bytes(data[:-200] + b"\x00" * 150 + b"\n" + b"\x00" * 50)
    (run,) = come_back(boards, store).runs
    assert figures(run)["verdict"] == "invalid"
    assert len(run.phase("measure")) > 0


def test_a_supervisor_killed_under_an_attached_run_ends_it_at_once(boards, store):
    def on_progress(progress):
        if progress.state == "measure" and progress.detail.get("phase") == "measure" and not killed:
            killed.append(True)
            os.kill(supervisor_of(boards, kept(boards)[0]), signal.SIGKILL)

    killed = []
    result = measure(boards, store, options=LONG, on_progress=on_progress)
    assert figures(result.runs[0])["verdict"] == "invalid"
    assert kept(boards) == []


# --- two hosts ------------------------------------------------------------------------------------------------------


def test_a_second_host_is_refused_and_may_break_the_lock(boards, store, tmp_path):
    (left,) = measure(boards, store, options=LONG, manner=Manner(detach=True)).left
    wait_for_measuring(boards, left.run)
    second = RunStore(tmp_path / "second.sqlite3")
    (failure,) = measure(boards, second).failures
    assert failure.code == "busy"
    assert left.run in failure.message
    assert kept(boards) == [left.run]
    result = measure(boards, second, manner=Manner(break_lock=True))
    assert whole(result.runs[0])
    (stopped,) = come_back(boards, store).runs
    assert figures(stopped)["reasons"] == ["it was stopped before it was complete"]


def test_two_hosts_at_the_same_moment(boards, store, tmp_path):
    results = []

    def host(number):
        options = BenchOptions(**SLEEPER, min_count=5, duration_s=4.0)
        results.append(measure(boards, RunStore(tmp_path / f"{number}.sqlite3"), options=options))

    hosts = [threading.Thread(target=host, args=(number,)) for number in range(2)]
    for thread in hosts:
        thread.start()
    for thread in hosts:
        thread.join(60)
    assert sorted(len(result.runs) for result in results) == [0, 1]
    assert [failure.code for result in results for failure in result.failures] == ["busy"]
    assert kept(boards) == []


def test_one_host_does_not_collect_what_another_reads(boards, store, tmp_path):
    began = threading.Event()

    def on_progress(progress):
        if progress.state == "measure":
            began.set()

    options = BenchOptions(**SLEEPER, min_count=5, duration_s=4.0)
    results = []
    thread = threading.Thread(
        target=lambda: results.append(measure(boards, store, options=options, on_progress=on_progress))
    )
    thread.start()
    assert began.wait(30)
    assert come_back(boards, RunStore(tmp_path / "second.sqlite3"), on=["a"], wait=False).left == []
    thread.join(60)
    assert whole(results[0].runs[0])


# --- side by side ---------------------------------------------------------------------------------------------------


def test_devices_work_side_by_side_and_results_come_in_the_order_asked_for(boards, store):
    options = BenchOptions(**SLEEPER, min_count=5, duration_s=2.0, repeat=2)
    result = measure(boards, store, "c", "a", "b", options=options)
    assert [run.spec.device for run in result.runs] == ["c", "c", "a", "a", "b", "b"]
    spans = {name: [] for name in "abc"}
    for run in result.runs:
        spans[run.spec.device] += [run.phase("first").start_ns[0], run.done["t_ns"]]
    assert max(min(span) for span in spans.values()) < min(max(span) for span in spans.values())


def test_a_failing_device_spoils_nothing(boards, store):
    boards.faults["b"] = Faults(refuse=True)
    result = measure(boards, store, "a", "b", "c")
    assert [run.spec.device for run in result.runs] == ["a", "c"]
    assert [(failure.device, failure.code) for failure in result.failures] == [("b", "unreachable")]
    assert result.exit_code == 1


@pytest.mark.parametrize("state", ["connect", "push", "load", "measure"])
def test_an_interrupt_stops_all_and_leaves_nothing(boards, store, state):
    def on_progress(progress):
        if progress.state == state:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(boards, store, "a", "b", "c", options=LONG, on_progress=on_progress)
    assert all_gone(os.environ[MARK])
    assert [kept(boards, name) for name in "abc" if boards.runs(name).exists()] in ([[]] * 3, [[]] * 2, [[]], [])
    assert store.list() == []
    assert StartedRuns(store).pending() == []


def test_a_caller_that_stops_reading_stops_all(boards, store):
    outcomes = iter_bench([], ["a", "b"], BenchOptions(**SLEEPER, min_count=5, duration_s=0.3, repeat=50),
                          inventory=boards.inventory, store=store, manner=PATIENT)  # fmt: skip
    next(outcomes)
    outcomes.close()
    assert all_gone(os.environ[MARK])
    assert kept(boards, "a") == kept(boards, "b") == []
    assert 1 <= len(store.list()) < 20


def test_a_store_that_takes_nothing_stops_all(boards, store, monkeypatch):
    monkeypatch.setattr(RunStore, "add", lambda self, run: (_ for _ in ()).throw(StoreError("the disk is full")))
    with pytest.raises(StoreError, match="the disk is full"):
        measure(boards, store, "a", "b", options=BenchOptions(**SLEEPER, min_count=5, duration_s=0.3, repeat=20))
    assert all_gone(os.environ[MARK])


# --- a matrix that is taken up again --------------------------------------------------------------------------------


MATRIX = BenchOptions(**SLEEPER, min_count=5, duration_s=0.3, repeat=3)
RESUME = Manner(reconnect_s=20.0, resume=True)


def interrupt_after(count):
    def on_progress(progress):
        ended.append(progress.index) if progress.state == "done" else None
        if len(ended) == count:
            raise KeyboardInterrupt

    ended = []
    return on_progress


def test_what_is_stored_is_not_measured_again(boards, store):
    with pytest.raises(KeyboardInterrupt):
        measure(boards, store, "a", "b", options=MATRIX, on_progress=interrupt_after(3))
    before = [row["id"] for row in store.list()]
    assert 3 <= len(before) < 6
    result = measure(boards, store, "a", "b", options=MATRIX, manner=RESUME)
    assert len(result.runs) == 6
    assert [run.spec.device for run in result.runs] == ["a"] * 3 + ["b"] * 3
    assert set(before) < {run.id for run in result.runs}
    assert len(store.list()) == 6


def test_only_what_failed_is_tried_again(boards, store):
    boards.faults["b"] = Faults(refuse=True)
    first = measure(boards, store, "a", "b", options=MATRIX)
    assert len(first.failures) == 3
    boards.faults["b"] = None
    second = measure(boards, store, "a", "b", options=MATRIX, manner=RESUME)
    assert [run.id for run in second.runs[:3]] == [run.id for run in first.runs]
    assert len(store.list()) == 6


def test_a_request_that_is_complete_is_measured_anew(boards, store):
    first = measure(boards, store, manner=RESUME)
    second = measure(boards, store, manner=RESUME)
    assert first.runs[0].id != second.runs[0].id


def test_other_options_are_another_request(boards, store):
    with pytest.raises(KeyboardInterrupt):
        measure(boards, store, "a", options=MATRIX, on_progress=interrupt_after(1))
    other = BenchOptions(**SLEEPER, min_count=6, duration_s=0.3, repeat=3)
    assert len(measure(boards, store, "a", options=other, manner=RESUME).runs) == 3
    assert len(store.list()) >= 4


def test_detached_runs_are_not_started_twice(boards, store):
    measure(boards, store, "a", options=MATRIX, manner=Manner(detach=True))
    again = measure(boards, store, "a", options=MATRIX, manner=Manner(detach=True, resume=True))
    assert len(again.left) == 3
    assert len(kept(boards)) == 3
    come_back(boards, store)
    assert len(store.list()) == 3


def test_outcomes_have_their_place_in_the_request(boards, store):
    request = Request.of([], ["a", "b"], MATRIX, inventory=boards.inventory, store=store, manner=PATIENT)
    outcomes = dict(request.outcomes())
    assert sorted(outcomes) == list(range(6))
    assert not any(isinstance(outcome, (Failure, Left)) for outcome in outcomes.values())


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), 1e9])
def test_an_odd_time_to_reconnect_is_refused(seconds):
    with pytest.raises(UsageError, match="--reconnect"):
        Manner(reconnect_s=seconds)


def test_a_vanished_host_does_not_count_as_a_reader_for_ever(boards, store, monkeypatch):
    monkeypatch.setattr(following, "FOLLOW_S", 1.0)
    options = BenchOptions(**SLEEPER, min_count=5, duration_s=3.0)
    result = measure(boards, store, options=options)
    assert whole(result.runs[0])  # read in pieces of a second
    assert sum("tail" in call for transport in boards.transports for call in transport.calls) >= 2
