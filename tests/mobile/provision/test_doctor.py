"""`edgewise doctor` names a fault before a run meets it."""

from __future__ import annotations

import json
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mobile.deadline import Deadline
from mobile.inventory.models import Device
from mobile.provision.doctor import (
    check_memory,
    check_place,
    check_python,
    check_runs,
    check_runtimes,
    check_system,
    examine,
)
from mobile.provision.findings import Examination
from mobile.provision.probe import parse
from mobile.provision.senses import check_sensors
from tests.support.cli import edgewise, edgewise_json
from tests.support.sshd import Sshd, find_sshd, make_key

DATA = Path(__file__).resolve().parents[2] / "data" / "provision"
needs_sshd = pytest.mark.skipif(find_sshd() is None, reason="sshd is not installed")


def board(name="lab_board86", **changes):
    return replace(parse([(DATA / f"{name}.txt").read_bytes()]), **changes)


def found(check, *arguments):
    seen = Examination("pi")
    check(seen, *arguments)
    return {finding.check: finding for finding in seen.findings}


def test_a_clock_that_was_never_set():
    nano = board("constructed_jetpack4")
    clock = found(check_system, nano, 1.8e9)["clock"]
    assert clock.state == "warning"
    assert "1970" in clock.message
    assert found(check_system, replace(nano, clock_s=1_799_999_990), 1.8e9)["clock"].state == "ok"
    assert "500 s off" in found(check_system, replace(nano, clock_s=1_799_999_500), 1.8e9)["clock"].message


def test_a_locale_that_is_not_utf8():
    assert found(check_system, board(), 1.8e9)["locale"].state == "warning"
    assert found(check_system, board(charmap="UTF-8"), 1.8e9)["locale"].state == "ok"


def test_a_full_a_read_only_and_a_noexec_place():
    full = found(check_place, board("constructed_pi_32bit"), "/w")["working folder"]
    assert (full.state, "No space left on device" in full.message) == ("problem", True)
    assert "prune" in full.hint
    read_only = found(check_place, board("constructed_alpine"), "/w")["working folder"]
    assert (read_only.state, "Read-only" in read_only.message, "workdir" in read_only.hint) == ("problem", True, True)
    noexec = found(check_place, board(exec_error="Permission denied"), "/w")["working folder"]
    assert (noexec.state, "noexec" in noexec.message) == ("warning", True)


@pytest.mark.parametrize(("free_bytes", "state"), [(1_000, "problem"), (50_000_000, "warning"), (10**9, "ok")])
def test_little_disk(free_bytes, state):
    assert found(check_place, board(free_bytes=free_bytes), "/w")["disk"].state == state


@pytest.mark.parametrize(
    ("memory_bytes", "free_bytes", "state"),
    [(50_000_000, 40_000_000, "problem"), (10**9, 10**8, "warning"), (10**9, 5 * 10**8, "ok"), (None, None, "warning")],
)
def test_little_memory(memory_bytes, free_bytes, state):
    changed = board(memory_bytes=memory_bytes, memory_available_bytes=free_bytes)
    assert found(check_memory, changed)["memory"].state == state


def test_a_python_that_is_too_old_or_not_there():
    pi = Device(name="pi", host="pi.local")
    assert found(check_python, board("constructed_jetpack4"), pi)["python"].state == "problem"
    assert found(check_python, board("lab_phone"), pi)["python"].hint == "edgewise setup pi"
    assert found(check_python, board(), pi)["python"].state == "ok"
    other = Device(name="pi", host="pi.local", python="python3.13")
    assert found(check_python, board(), other)["python"].state == "problem"


def test_a_runtime_whose_cpp_library_is_missing_is_explained():
    error = "ImportError: libstdc++.so.6: cannot open shared object file: No such file or directory"
    entries = [
        {"name": "numpy", "version": "2", "error": None},
        {"name": "onnxruntime", "version": "1", "error": error},
    ]
    finding = found(check_runtimes, entries, "pi")["runtime"]
    assert finding.state == "problem"
    assert "lacks the C++ library" in finding.message
    assert finding.hint == "edgewise setup pi"
    entries.append({"name": "tflite_runtime", "version": "2", "error": None})
    seen = Examination("pi")
    check_runtimes(seen, entries, "pi")
    assert [finding.state for finding in seen.findings] == ["ok", "warning"]


def test_no_runtime_and_no_numpy():
    both = found(check_runtimes, [], "pi")
    assert both["runtime"].state == both["numpy"].state == "problem"


def test_sensors_that_cannot_be_read():
    seen = Examination("pi")
    check_sensors(seen, [{"name": "t", "state": "present"}, {"name": "p", "state": "failed", "reason": "denied"}])
    assert [finding.state for finding in seen.findings] == ["ok", "warning"]
    assert "denied" in seen.findings[1].message


def test_runs_left_behind_and_a_lock_that_is_held():
    answer = {"runs": [{"id": "r1"}, {"id": "r2"}], "lock": {"owner": {"host": "lab-pc"}, "age_s": 5}}
    both = found(check_runs, answer)
    assert both["runs"].hint == "edgewise attach r1"
    assert "lab-pc" in both["lock"].message
    assert {finding.state for finding in found(check_runs, {"runs": [], "lock": None}).values()} == {"ok"}


def test_exit_codes():
    seen = Examination("pi")
    seen.warning("a", "b")
    assert (seen.ready, seen.exit_code) == (True, 0)
    seen.problem("a", "b")
    assert (seen.ready, seen.exit_code) == (False, 1)
    seen.unreachable = True
    assert seen.exit_code == 3


# ---- on real connections


def test_this_machine_is_ready(tmp_path):
    document = edgewise_json("doctor", "local", cwd=tmp_path)
    assert document["ready"] is True
    states = {finding["check"]: finding["state"] for finding in document["findings"]}
    assert states["agent"] == states["runtime"] == states["working folder"] == "ok"


def test_the_command_says_each_check_and_the_verdict(tmp_path):
    (tmp_path / "devices.yaml").write_text("devices: {gone: {host: no-such-host.invalid}}\n")
    done = edgewise("doctor", "gone", cwd=tmp_path)
    assert done.returncode == 3
    assert "PROBLEM     name: 'no-such-host.invalid' does not resolve" in done.stdout
    assert done.stdout.endswith("gone: a run would not work\n")


def last(device):
    seen = examine(device, Deadline(60))
    return seen, seen.findings[-1]


def test_a_port_that_is_refused():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    seen, finding = last(Device(name="pi", host="127.0.0.1", port=port))
    assert (finding.check, finding.state, seen.exit_code) == ("port", "problem", 3)
    assert "refuses connections" in finding.message


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    if find_sshd() is None:
        pytest.skip("sshd is not installed")
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()


def ssh_device(sshd, tmp_path, **fields):
    at = sshd.device()
    return Device(**{
        "name": "pi", "host": at.host, "port": at.port, "user": at.user, "key_file": str(sshd.key),
        "known_hosts": str(sshd.known_hosts), "workdir": str(tmp_path / "work"), "python": sys.executable, **fields,
    })  # fmt: skip


def test_an_unknown_host_key(sshd, tmp_path):
    seen, finding = last(ssh_device(sshd, tmp_path, known_hosts=str(tmp_path / "none")))
    assert (finding.check, finding.state, seen.exit_code) == ("host key", "problem", 3)
    assert "SHA256:" in finding.message
    assert "ssh-keygen" in finding.hint


def test_a_changed_host_key(sshd, tmp_path):
    kind, blob = (make_key(tmp_path / "other").with_suffix(".pub")).read_text().split()[:2]
    (tmp_path / "known").write_text(f"[127.0.0.1]:{sshd.port} {kind} {blob}\n")
    _, finding = last(ssh_device(sshd, tmp_path, known_hosts=str(tmp_path / "known")))
    assert finding.check == "host key"
    assert "CHANGED" in finding.message


def test_a_key_that_is_not_let_in(sshd, tmp_path):
    _, finding = last(ssh_device(sshd, tmp_path, key_file=str(make_key(tmp_path / "wrong"))))
    assert (finding.check, finding.state) == ("login", "problem")


def test_a_board_behind_ssh_is_looked_at_whole(sshd, tmp_path):
    seen = examine(ssh_device(sshd, tmp_path), Deadline(100))
    assert seen.ready, seen.to_json()
    checks = [finding.check for finding in seen.findings]
    order = ["name", "port", "host key", "login", "login shell", "system", "locale", "clock", "working folder", "disk",
             "memory", "set-up", "python", "agent", "runtime"]  # fmt: skip
    assert [check for check in dict.fromkeys(checks) if check in order] == order
    json.dumps(seen.to_json())


def test_a_damaged_record_of_a_setup_is_a_warning(sshd, tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work/runtime.json").write_text("{")
    seen = examine(ssh_device(sshd, tmp_path), Deadline(100))
    finding = next(finding for finding in seen.findings if finding.check == "set-up")
    assert (finding.state, finding.hint) == ("warning", "edgewise setup pi")
    assert seen.ready


def test_a_python_that_does_not_start(sshd, tmp_path):
    seen = examine(ssh_device(sshd, tmp_path, python=str(tmp_path / "no-python")), Deadline(100))
    assert [finding.check for finding in seen.findings if finding.state == "problem"] == ["python"]
    assert seen.exit_code == 1
