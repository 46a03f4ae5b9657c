"""The transport to this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from mobile.deadline import Deadline
from mobile.errors import DeadlineExceeded, RemoteFileError
from mobile.transports import process
from mobile.transports.local import LocalTransport
from tests.contracts.transport import Board, Brief, TransportContract, assert_all_end, sh


class TestLocal(TransportContract):
    @pytest.fixture
    def board(self, tmp_path):
        return Board(open=lambda: LocalTransport(kill_grace_s=0.5), folder=str(tmp_path / "device"))


class TestLocalWithoutPidFd(Brief):
    """As on macOS, where the end of a process is looked for."""

    @pytest.fixture
    def board(self, tmp_path, monkeypatch):
        monkeypatch.setattr(process, "_pid_fd", lambda pid: None)
        return Board(open=lambda: LocalTransport(kill_grace_s=0.5), folder=str(tmp_path / "device"))


def test_a_full_disk_leaves_nothing(tmp_path, small_file_system):
    """Runs where a small file system can be mounted; test_no_space_is_told_apart covers the mapping everywhere."""
    from mobile.errors import NoSpaceOnDevice

    with pytest.raises(NoSpaceOnDevice):
        LocalTransport().put(bytes(8 * 1024 * 1024), f"{small_file_system}/file", deadline=Deadline(30))
    assert os.listdir(small_file_system) == []


@pytest.fixture
def small_file_system(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, timeout=20, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a tmpfs needs root on Linux")
    yield folder
    subprocess.run(["umount", folder], check=True, timeout=20)


def test_a_write_that_meets_a_full_disk_is_no_space(tmp_path, monkeypatch):
    import errno

    from mobile.errors import NoSpaceOnDevice

    def fsync(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(NoSpaceOnDevice):
        LocalTransport().put(b"data", f"{tmp_path}/file", deadline=Deadline(30))
    assert list(tmp_path.iterdir()) == []


def test_a_named_pipe_is_no_file_and_does_not_hold_up(tmp_path):
    import io

    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RemoteFileError):
        LocalTransport().get(str(tmp_path / "pipe"), io.BytesIO(), deadline=Deadline(30))


def test_what_is_started_outlives_the_interpreter(tmp_path):
    """No signal and no zombie reaches it when edgewise ends."""
    program = f"""
from mobile.deadline import Deadline
from mobile.transports.local import LocalTransport
argv = ["sh", "-c", "while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; echo went on >{tmp_path}/said"]
print(LocalTransport().start(argv, log="{tmp_path}/log", deadline=Deadline(10)))
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, timeout=60, check=True)
    assert done.stderr == b""
    (tmp_path / "go").touch()
    assert_all_end(LocalTransport(), [int(done.stdout)])
    assert (tmp_path / "said").read_text() == "went on\n"


def test_a_second_interrupt_does_not_wait_for_the_grace(tmp_path):
    """The command ignores SIGTERM and the grace is an hour; the second Ctrl-C kills it."""
    program = """
import _thread, os, signal, sys, threading, time
from mobile.deadline import Deadline
from mobile.transports.local import LocalTransport
def interrupt():
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.5)
def on_stdout(data):
    sys.stdout.buffer.write(data)
    sys.stdout.flush()
    threading.Thread(target=interrupt).start()
argv = ["sh", "-c", "trap '' TERM; echo $$; while :; do sleep 0.1; done"]
LocalTransport(kill_grace_s=3600).run(argv, deadline=Deadline(3600), on_stdout=on_stdout)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=False)
    assert b"KeyboardInterrupt" in done.stderr
    assert_all_end(LocalTransport(), [int(done.stdout)])


def test_no_zombie_is_left_of_what_was_started(tmp_path):
    pid = LocalTransport().start(["true"], log=str(tmp_path / "log"), deadline=Deadline(10))
    end = Deadline(10)
    while True:
        end.check("the end of the process")
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.01)


def test_a_process_that_cannot_be_made_is_no_exit_code(monkeypatch):
    import errno

    from mobile.errors import TransportError

    def popen(*_, **__):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", popen)
    with pytest.raises(TransportError, match="cannot start a process"):
        sh(LocalTransport(), "true")


def test_a_deadline_names_what_was_done():
    with pytest.raises(DeadlineExceeded, match=r"local: sleep: not done within 0\.1 s"):
        LocalTransport().run(["sleep", "60"], deadline=Deadline(0.1))
