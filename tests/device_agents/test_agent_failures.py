"""A worker that really crashes, hangs, runs out of memory or talks nonsense always ends in a failure record."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from tests.support.agents import run_agent, run_faulty
from tests.support.processes import all_gone


@pytest.mark.parametrize(
    ("fault", "code", "phase", "says"),
    [
        ("segfault@load", "crashed", "load", "SIGSEGV"),
        ("segfault@first", "crashed", "first", "SIGSEGV"),
        ("segfault@later", "crashed", "measure", "SIGSEGV"),
        ("abort@first", "crashed", "first", "SIGABRT"),
        ("kill@later", "killed", "measure", "SIGKILL"),
        ("memory_error@load", "out-of-memory", "load", "allocation"),
        ("bad_alloc@first", "out-of-memory", "first", "bad_alloc"),
        ("leave@later", "crashed", "measure", "exited with code 3"),
        ("leave_quietly@first", "crashed", "first", "exited with code 0"),
        ("garbage@first", "internal", "first", "not a record"),
        ("unknown_record@first", "internal", "first", "surprise"),
        ("endless_line@first", "internal", "first", "longer than"),
        ("fault_of_ours@later", "internal", "measure", "KeyError"),
    ],
)
def test_each_fault_has_its_code_and_phase(fault, code, phase, says):
    stream = run_faulty(fault)
    assert (stream.failure["code"], stream.failure["phase"]) == (code, phase)
    assert says in stream.failure["message"]
    assert stream.failure["hint"]
    assert stream.done["outcome"] == "failed"
    assert stream.exit_code == 1
    assert all_gone(stream.mark)


def test_a_hang_ends_with_the_worker_and_its_children():
    stream = run_faulty("hang_with_child@later", {"hang_timeout_s": 0.2})
    assert stream.failure["code"] == "hung"
    assert stream.done["outcome"] == "failed"
    assert stream.done["memory"]["peak_rss"] > 1_000_000  # read from outside, while the worker still lived
    assert all_gone(stream.mark)


def test_a_hang_while_loading_has_its_own_limit():
    stream = run_faulty("hang@load", {"load_timeout_s": 0.2, "hang_timeout_s": 500.0})
    assert (stream.failure["code"], stream.failure["phase"]) == ("hung", "load")


def test_what_was_measured_before_a_crash_is_kept():
    stream = run_faulty("segfault@later", {"warmup_count": 2})
    assert len(stream.durations("first")) == 1
    assert len(stream.durations("warmup")) == 2
    assert stream.event("warmup-done")["count"] == 2
    assert stream.done["memory"]["before_load"] > 1_000_000


def test_native_libraries_print_and_the_stream_stays_clean():
    stream = run_faulty("chatter@first")
    assert stream.done["outcome"] == "completed"  # every line of standard output was a record
    assert "native libraries print here" in stream.stderr


def test_a_flood_on_stderr_is_cut_and_holds_nothing_up():
    stream = run_faulty("chatter_endlessly@always", {"min_count": 50})
    assert stream.done["outcome"] == "completed"
    assert 0 < len(stream.stderr) < 2_000_000


def test_a_worker_that_cannot_be_started():
    stream = run_agent({"runner": "null", "env": {"LONG": "x" * 500_000}})  # over Linux's limit for one variable
    assert stream.failure["code"] == "internal"
    assert "cannot be started" in stream.failure["message"]
    assert stream.done["outcome"] == "failed"


@pytest.fixture
def memory_group():
    """A control group that allows 96 MB, for a kill by the kernel itself."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    places = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            places.append((Path("/sys/fs/cgroup/memory") / path.lstrip("/"), "memory.limit_in_bytes"))
        elif not controllers:
            places.append((Path("/sys/fs/cgroup") / path.lstrip("/"), "memory.max"))
    for parent, limit in places:
        group = parent / f"edgewise-test-{uuid.uuid4().hex[:8]}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / limit).write_text(str(96 * 1024**2))
        except OSError:
            group.rmdir()
            continue
        yield group
        group.rmdir()
        return
    pytest.skip("no memory control group can be made here (needs root)")


def test_a_kill_by_the_kernel_for_memory(memory_group):
    def enter():
        (memory_group / "cgroup.procs").write_text(str(os.getpid()))

    stream = run_faulty("fill_memory@later", prepare=enter)
    assert stream.failure["code"] == "out-of-memory"
    assert "SIGKILL" in stream.failure["message"]
    assert all_gone(stream.mark)
