"""What devices answer, and how it is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobile.deadline import Deadline
from mobile.provision import scripts
from mobile.provision.probe import parse, probe
from mobile.provision.tags import target_of
from mobile.transports.fake import FakeTransport, run_locally

DATA = Path(__file__).resolve().parents[2] / "data" / "provision"


def read(name):
    return parse([(DATA / f"{name}.txt").read_bytes()])


def test_a_debian_board():
    board = read("lab_board86")
    assert (board.machine, board.glibc, board.musl) == ("x86_64", (2, 36), False)
    assert board.python.path == "/usr/bin/python3"
    assert board.python.version == (3, 11, 2)
    assert board.libstdcxx == "/usr/lib/x86_64-linux-gnu/libstdc++.so.6"
    assert board.memory_bytes == 24684092 * 1024
    assert board.free_bytes == 3977500 * 1024
    assert board.charmap == "ANSI_X3.4-1968"
    assert (board.write_error, board.exec_error, board.tmp_error) == (None, None, None)
    assert board.android is board.jetson is None


def test_a_phone():
    phone = read("lab_phone")
    assert (phone.machine, phone.glibc, phone.android) == ("aarch64", None, "13")
    assert phone.python is None
    assert phone.pythons == ()
    assert phone.libstdcxx is None
    assert phone.model == "Virtual Phone"
    assert phone.tools == {"tar", "sha256sum"}


def test_a_jetson_that_greets_and_whose_clock_was_never_set():
    nano = read("constructed_jetpack4")
    assert nano.glibc == (2, 27)
    assert nano.python is None
    assert [(python.path, python.text, python.usable) for python in nano.pythons] == [
        ("/usr/bin/python3", "3.6.9", False)
    ]
    assert nano.jetson.startswith("# R32")
    assert nano.clock_s == 1042


def test_a_32_bit_system_on_a_64_bit_kernel_takes_32_bit_wheels():
    board = read("constructed_pi_32bit")
    assert board.machine == "armv7l"
    assert board.write_error == "No space left on device"
    assert board.free_bytes == 0
    assert [python.text for python in board.pythons] == ["3.9.2", "does not start"]
    target = target_of(board, board.python)
    assert target.label == "cp39-armv7l"
    assert target.platforms[0] == "manylinux_2_31_armv7l"


def test_musl_is_no_glibc():
    board = read("constructed_alpine")
    assert (board.musl, board.glibc) == (True, None)
    assert board.write_error == "Read-only file system"
    assert target_of(board, board.python).platforms == ()


def test_a_device_that_says_nothing():
    board = parse([b"", b"\xff\xfe\n\n", b"Last login: yesterday\n"])
    assert board.machine == "unknown"
    assert board.memory_bytes is None
    assert board.python is None


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_questions_are_answered_by_a_real_shell(shell, tmp_path):
    """Here and now: by whatever sh this machine has. Nothing is left behind."""
    with FakeTransport(run_locally, root=tmp_path) as board:
        folder = tmp_path / "a b" / "deep"
        seen = probe(board, str(folder), "python3", Deadline(60))
        assert seen.python is not None
        assert seen.write_error is None
        assert seen.exec_error is None
        assert seen.free_bytes > 0
        assert not folder.exists()
        done = board.run([shell, "-c", scripts.SYSTEM], deadline=Deadline(30))
    assert done.ok
    assert parse([done.stdout]).system == seen.system


def test_a_folder_that_cannot_be_made_is_told_in_the_tools_own_words(tmp_path):
    (tmp_path / "file").write_text("")
    with FakeTransport(run_locally, root=tmp_path) as board:
        seen = probe(board, str(tmp_path / "file" / "below"), "python3", Deadline(60))
    assert seen.write_error == "Not a directory"


def test_no_question_is_longer_than_an_old_adbd_takes():
    names = ("SYSTEM", "PYTHONS", "PLACE", "NOISE", "UNPACK")
    assert max(len(getattr(scripts, name)) for name in names) < 3500
