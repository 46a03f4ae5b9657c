"""Ctrl-C, a host that goes away, a full disk: what was measured is kept and nothing is left behind."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import time
from pathlib import Path

import pytest

from tests.support.agents import FAULTY, QUICK, finish, read_until, run_agent, start
from tests.support.processes import all_gone, marked

LONG = {**QUICK, "min_count": 10**9, "max_duration_s": 1000.0}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_measuring_keeps_what_was_measured(number):
    process, mark = start({**LONG, "runner": "null"})
    said = read_until(process, b'"phase":"measure"')
    process.send_signal(number)
    stream = finish(process, mark, said)
    assert stream.event("stopping")["reason"] == signal.Signals(number).name
    assert stream.event("measured")["reason"] == "stopped"
    assert stream.done["outcome"] == "stopped"
    assert stream.done["invocations"] == len(stream.durations("measure")) == stream.event("measured")["count"]
    assert not stream.of("failure")
    assert stream.exit_code == 130
    assert all_gone(mark)


@pytest.mark.parametrize(("fault", "phase"), [("hang@load", "load-started"), ("hang@first", '"loaded"')])
def test_a_signal_in_native_code_that_does_not_return(fault, phase):
    process, mark = start({**LONG, "runner": "null"}, [*FAULTY, fault])
    said = read_until(process, phase.encode())
    process.send_signal(signal.SIGINT)
    stream = finish(process, mark, said)
    assert stream.done["outcome"] == "stopped"
    assert not stream.of("failure")
    assert all_gone(mark)


def test_a_signal_while_warming_up():
    process, mark = start({**LONG, "runner": "null", "warmup_duration_s": 500.0}, [*FAULTY, "slow@always"])
    said = read_until(process, b"first-done")
    process.send_signal(signal.SIGINT)
    stream = finish(process, mark, said)
    assert stream.done["outcome"] == "stopped"
    assert stream.event("warmup-done")["count"] == len(stream.durations("warmup"))
    assert not stream.durations("measure")
    assert all_gone(mark)


def test_a_second_signal_waits_no_longer():
    process, mark = start({**LONG, "runner": "null"}, [*FAULTY, "hang@first"])
    said = read_until(process, b'"loaded"')
    process.send_signal(signal.SIGINT)
    said += read_until(process, b'"stopping"')
    process.send_signal(signal.SIGINT)
    assert finish(process, mark, said).done["outcome"] == "stopped"
    assert all_gone(mark)


def test_a_killed_supervisor_leaves_no_worker():
    process, mark = start({**LONG, "runner": "null"}, [*FAULTY, "hang@first"])
    read_until(process, b'"loaded"')
    assert len(marked(mark)) == 2
    process.kill()
    process.communicate(timeout=20)
    assert all_gone(mark)


def test_a_host_that_stops_reading_ends_the_run():
    process, mark = start({**LONG, "runner": "null"}, [*FAULTY, "slow@always"])
    read_until(process, b"first-done")
    process.stdout.close()
    process.stdout = None
    assert process.wait(20) == 130
    process.communicate(timeout=20)
    assert all_gone(mark)


def test_a_host_that_reads_nothing_and_then_stops_it():
    process, mark = start({**LONG, "runner": "null"})
    assert select.select([process.stdout], [], [], 30)[0]
    time.sleep(2.0)  # the pipe is full long before: the supervisor waits in a write
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 130
    process.communicate(timeout=20)
    assert all_gone(mark)


def test_a_run_with_a_folder_goes_on_without_its_host(tmp_path):
    folder = tmp_path / "run"
    spec = {**QUICK, "runner": "null", "run_dir": str(folder), "min_count": 40}
    process, mark = start(spec, [*FAULTY, "slow@always"])
    read_until(process, b"first-done")
    process.stdout.close()
    process.stdout = None
    process.send_signal(signal.SIGHUP)
    assert process.wait(30) == 0
    process.communicate(timeout=20)
    records = [json.loads(line) for line in (folder / "stream.jsonl").read_bytes().splitlines()]
    assert records[0]["type"] == "hello"
    assert records[-1]["outcome"] == "completed"
    assert records[-1]["invocations"] == 40
    assert all_gone(mark)


def test_the_folder_holds_what_the_host_read(tmp_path):
    stream = run_agent({"runner": "null", "run_dir": str(tmp_path)})
    kept = [json.loads(line) for line in (tmp_path / "stream.jsonl").read_bytes().splitlines()]
    assert kept == stream.records
    again = run_agent({"runner": "null", "run_dir": str(tmp_path)})
    assert again.failure["code"] == "bad-spec"
    assert "stream.jsonl" in again.failure["message"]
    assert len((tmp_path / "stream.jsonl").read_bytes().splitlines()) == len(kept)


def test_a_full_disk_stops_the_run_and_leaves_whole_lines(tmp_path):
    def little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    stream = run_agent({**LONG, "runner": "null", "run_dir": str(tmp_path)}, prepare=little_room)
    assert stream.failure["code"] == "no-space"
    assert stream.done["outcome"] == "failed"
    data = (tmp_path / "stream.jsonl").read_bytes()
    assert data.endswith(b"\n")
    assert all(json.loads(line)["type"] for line in data.splitlines())
    assert all_gone(stream.mark)


def test_a_folder_that_cannot_be_made():
    stream = run_agent({"runner": "null", "run_dir": "/proc/edgewise"})
    assert (stream.failure["code"], stream.failure["phase"]) == ("bad-spec", "spec")
    assert stream.done["outcome"] == "failed"


def test_scratch_files_are_gone_even_when_the_worker_is_killed(tmp_path):
    before = set(os.listdir(tmp_path))
    process, mark = start({**LONG, "runner": "null", "provider": "x"}, [*FAULTY, "hang@first"], cwd=tmp_path)
    read_until(process, b'"loaded"')
    scratch = [
        entry.split(b"=", 1)[1].decode()
        for pid in marked(mark)
        for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        if entry.startswith(b"TMPDIR=") and b"edgewise-" in entry
    ]
    assert len(scratch) == 1
    assert os.path.isdir(scratch[0])
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert not os.path.exists(scratch[0])
    assert set(os.listdir(tmp_path)) == before
