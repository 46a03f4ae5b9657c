"""The agent's small parts: memory, endings, the stream, the worker's place, the spec's checks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from device_agents import endings, memory
from device_agents.child import LineReader, worker_environment
from device_agents.failures import AgentFailure
from device_agents.lifeline import die_with_parent
from device_agents.runners.ort_nodes import shares
from device_agents.spec import AgentSpec
from device_agents.stream import Stream, write_whole
from device_agents.worker import set_affinity
from tests.support.agents import AGENT, ROOT, run_agent


def test_memory_in_bytes_and_none_where_proc_does_not_say(tmp_path):
    status = tmp_path / "status"
    status.write_text("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n")
    assert memory.rss_bytes(str(status)) == 1024 * 1024
    assert memory.peak_rss_bytes(str(status)) == 2 * 1024 * 1024
    status.write_text("VmRSS:\tmany kB\n")
    assert memory.rss_bytes(str(status)) is None
    assert memory.peak_rss_bytes(str(status)) is None
    assert memory.rss_bytes(str(tmp_path / "none")) is None
    assert memory.reset_peak(str(tmp_path / "none" / "clear_refs")) is False


@pytest.mark.parametrize(
    ("code", "words", "oom", "expected"),
    [
        (-signal.SIGSEGV, "", (0, 0), "crashed"),
        (-signal.SIGABRT, "terminate called: std::bad_alloc", (0, 0), "out-of-memory"),
        (-signal.SIGILL, "", (None, None), "crashed"),
        (-signal.SIGKILL, "", (3, 4), "out-of-memory"),
        (-signal.SIGKILL, "", (4, 4), "killed"),
        (-signal.SIGKILL, "", (None, 4), "killed"),
        (-signal.SIGTERM, "", (0, 1), "killed"),
        (-99, "", (0, 0), "killed"),
        (3, "", (0, 0), "crashed"),
        (1, "Traceback (most recent call last)\nKeyError: 1", (0, 0), "internal"),
        (1, "MemoryError", (0, 0), "out-of-memory"),
    ],
)
def test_what_an_exit_means(code, words, oom, expected):
    failure = endings.explain(code, "measure", words, *oom)
    assert failure.code == expected
    assert "measure" in failure.message
    if words:
        assert words.splitlines()[-1] in failure.message


def test_kills_for_memory_are_counted_where_the_kernel_counts_them(tmp_path):
    assert endings.oom_kills(str(tmp_path)) is None
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "vmstat").write_text("nr_free 1\noom_kill 2\n")
    assert endings.oom_kills(str(tmp_path)) == 2
    (tmp_path / "proc" / "self" / "cgroup").write_text("4:memory:/a\n0::/b\nnonsense\n")
    for path, count in (("sys/fs/cgroup/memory/a/memory.oom_control", 3), ("sys/fs/cgroup/b/memory.events", 4)):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(f"oom_kill_disable 0\noom_kill {count}\n")
    assert endings.oom_kills(str(tmp_path)) == 9


def test_lines_are_put_together_and_bounded(monkeypatch):
    reader_fd, writer_fd = os.pipe()
    try:
        lines = LineReader(reader_fd)
        os.write(writer_fd, b"one\ntw")
        assert lines.read() == ([b"one"], False)
        os.write(writer_fd, b"o\nthree\n")
        assert lines.read() == ([b"two", b"three"], False)
        monkeypatch.setattr("device_agents.child.MAX_LINE_BYTES", 10)
        os.write(writer_fd, b"x" * 11)
        with pytest.raises(ValueError, match="longer than 10"):
            lines.read()
    finally:
        os.close(reader_fd)
        os.close(writer_fd)


def test_a_reader_that_reads_nothing_is_given_up():
    reader_fd, writer_fd = os.pipe()
    try:
        with pytest.raises(BrokenPipeError):
            write_whole(writer_fd, b"x" * 10_000_000, lambda blocked_s: blocked_s > 0.01)
    finally:
        os.close(reader_fd)
        os.close(writer_fd)


def test_records_of_many_threads_stay_whole_lines(tmp_path):
    reader_fd, writer_fd = os.pipe()
    stream = Stream(writer_fd, str(tmp_path / "run" / "stream.jsonl"))
    record = {"type": "event", "text": "x" * 5000}
    threads = [threading.Thread(target=lambda: [stream.emit(record) for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    with os.fdopen(reader_fd, "rb") as reader:
        lines = [reader.readline() for _ in range(80)]
    for thread in threads:
        thread.join()
    stream.close()
    os.close(writer_fd)
    assert all(json.loads(line) == record for line in lines)
    assert (tmp_path / "run" / "stream.jsonl").read_bytes() == b"".join(lines)


def test_what_prints_on_descriptor_1_does_not_reach_the_stream():
    code = (
        "import os; from device_agents.stream import take_stdout; fd = take_stdout();"
        "os.write(1, b'noise'); os.write(fd, b'record'); print('more', os.get_inheritable(fd))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=30)
    assert done.stdout == b"record"
    assert done.stderr == b"noisemore False\n"


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-"])
def test_standard_descriptors_that_are_closed(tmp_path, closed):
    stream = run_agent({"runner": "null", "run_dir": str(tmp_path)}, ["sh", "-c", f'exec "$0" "$@" {closed}', *AGENT])
    assert stream.exit_code == 0
    assert json.loads((tmp_path / "stream.jsonl").read_bytes().splitlines()[-1])["outcome"] == "completed"


def test_a_broken_host_is_noticed_and_the_file_goes_on(tmp_path):
    reader_fd, writer_fd = os.pipe()
    os.close(reader_fd)
    troubles = []
    stream = Stream(writer_fd, str(tmp_path / "stream.jsonl"))
    stream.on_trouble = lambda: troubles.append(1)
    stream.emit({"type": "one"})
    stream.emit({"type": "two"})
    stream.close()
    os.close(writer_fd)
    assert stream.broken
    assert troubles == [1]
    assert (tmp_path / "stream.jsonl").read_bytes().count(b"\n") == 2


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_host_whose_disk_is_full_is_gone():
    full = os.open("/dev/full", os.O_WRONLY)
    stream = Stream(full)
    stream.emit({"type": "one"})
    os.close(full)
    assert stream.broken


def test_the_workers_environment():
    spec = AgentSpec.from_json(
        {"runner": "null", "env": {"A": "1", "PYTHONPATH": "/own", "ORT_DISABLE_TELEMETRY": "0"}, "python_path": ["/w"]}
    )
    environment = worker_environment(spec, "/scratch")
    assert environment["A"] == "1"
    assert environment["ORT_DISABLE_TELEMETRY"] == "1"
    assert environment["TMPDIR"] == "/scratch"
    assert environment["PYTHONPATH"].split(os.pathsep)[1:] == ["/w", "/own"]


@pytest.mark.parametrize(
    "document",
    [
        {"runner": "null", "env": {"A": 1}},
        {"runner": "null", "env": {"A=B": "1"}},
        {"runner": "null", "env": {"A": "1\0"}},
        {"runner": "null", "python_path": "/w"},
        {"runner": "null", "python_path": ["/w\0"]},
        {"runner": "null", "inputs": {"kind": "npz"}},
        {"runner": "null", "inputs": {"kind": "random", "seed": -1}},
        {"runner": "null", "inputs": {"kind": "npz", "path": "d", "scale": {"x": "1"}}},
        {"runner": "null", "inputs": {"kind": "npz", "path": "d", "scale": {"x": float("-inf")}}},
        {"runner": "null", "min_duration_s": float("nan")},
        {"runner": "null", "min_duration_s": float("inf")},
        {"runner": "null", "slow_down": 0.5},
        {"runner": "null", "slow_down": "4"},
    ],
)
def test_specs_that_are_refused(document):
    with pytest.raises(AgentFailure) as caught:
        AgentSpec.from_json(document)
    assert caught.value.code == "bad-spec"


def test_a_secret_in_the_environment_is_not_in_the_message():
    with pytest.raises(AgentFailure) as caught:
        AgentSpec.from_json({"runner": "null", "env": {"TOKEN": "se\0cret"}})
    assert "TOKEN" in caught.value.message
    assert "cret" not in caught.value.message


@pytest.mark.parametrize(
    "spec", [b"", b"[]", b"{", b'{"runner":"null","min_duration_s":NaN}', b'"\xff"', b"[" * 100_000]
)
def test_a_spec_that_is_none_is_answered_in_records(spec):
    stream = run_agent(spec)
    assert [record["type"] for record in stream.records] == ["hello", "failure", "done"]
    assert (stream.failure["code"], stream.failure["phase"]) == ("bad-spec", "spec")
    assert stream.exit_code == 1


def test_a_cpu_that_is_not_there_names_those_that_are():
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("no CPU affinity on this system")
    allowed = ", ".join(map(str, sorted(os.sched_getaffinity(0))))
    for cpus in ([4095], []):
        with pytest.raises(AgentFailure, match=allowed) as caught:
            set_affinity(cpus)
        assert caught.value.code == "bad-spec"
    assert run_agent({"runner": "null", "cpus": [4095]}).failure["code"] == "bad-spec"


def test_the_worker_runs_on_the_cpus_that_were_asked_for():
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("no CPU affinity on this system")
    cpu = max(os.sched_getaffinity(0))
    pid = os.fork()
    if pid == 0:
        set_affinity([cpu])
        os._exit(0 if os.sched_getaffinity(0) == {cpu} else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert run_agent({"runner": "null", "cpus": [cpu]}).done["outcome"] == "completed"


@pytest.mark.skipif(not os.path.exists("/proc"), reason="PR_SET_PDEATHSIG is Linux's")
def test_an_orphan_dies_at_once():
    pid = os.fork()
    if pid == 0:
        die_with_parent(1)  # not the parent: the real one is taken as gone
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def test_shares_of_a_profile():
    def node(provider, duration, name="a_kernel_time", cat="Node"):
        return {"cat": cat, "name": name, "dur": duration, "args": {"provider": provider}}

    events = [
        node("CUDA", 30),
        node("CUDA", 50),
        node("CPU", 20),
        node("CPU", 7, name="a_fence_before"),
        node("CPU", 9, cat="Session"),
        {"cat": "Node", "name": "b_kernel_time", "dur": 3},
    ]
    assert shares(events) == {"nodes": {"CPU": 1 / 3, "CUDA": 2 / 3}, "time": {"CPU": 0.2, "CUDA": 0.8}}
    assert shares([]) == {"nodes": None, "time": None}
