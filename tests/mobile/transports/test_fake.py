"""The public fake device: it passes the contract by running locally, and its faults are what they say."""

from __future__ import annotations

import io

import pytest

from mobile.deadline import Deadline
from mobile.errors import DeadlineExceeded, DeviceUnreachable, TransportError
from mobile.transports import Completed
from mobile.transports.fake import FakeTransport, Faults, answers, run_locally
from tests.contracts.transport import Board, Brief


class TestFake(Brief):
    @pytest.fixture
    def board(self, tmp_path):
        root = tmp_path / "root"
        root.mkdir()
        return Board(open=lambda: FakeTransport(run_locally, root=root), folder=str(root / "device"))


def test_commands_are_answered_by_the_handler():
    with FakeTransport(answers({("uname", "-m"): b"aarch64\n", ("false",): Completed(1, b"", b"no")})) as board:
        assert board.run(["uname", "-m"], deadline=Deadline(5)).stdout == b"aarch64\n"
        assert board.run(["false"], deadline=Deadline(5)).why() == "exit code 1: no"
        assert board.run(["other"], deadline=Deadline(5)).exit_code == 127
        assert board.calls == [("uname", "-m"), ("false",), ("other",)]


def test_a_handler_can_stream():
    def handler(command):
        for piece in (b"one", b"two"):
            command.emit(piece + command.env["END"].encode())
        return Completed(0, b"last" + command.stdin, b"")

    seen = []
    with FakeTransport(handler) as board:
        done = board.run(["x"], deadline=Deadline(5), on_stdout=seen.append, env={"END": "!"}, stdin=b"-in")
    assert seen == [b"one!", b"two!", b"last-in"]
    assert done.stdout == b""


def test_files_lie_under_the_root_and_go_with_it():
    board = FakeTransport()
    board.put(b"model", "/opt/model", deadline=Deadline(5))
    where = board.path("/opt/model")
    assert where.read_bytes() == b"model"
    board.close()
    assert not where.exists()


def test_a_given_root_stays(tmp_path):
    with FakeTransport(root=tmp_path) as board:
        board.put(b"model", "/opt/model", deadline=Deadline(5))
    assert (tmp_path / "opt" / "model").read_bytes() == b"model"


def test_the_log_of_what_is_started_is_the_handlers_output():
    with FakeTransport(answers({("agent",): b"said"})) as board:
        assert board.start(["agent"], log="/log", deadline=Deadline(5)) > 0
        assert board.path("/log").read_bytes() == b"said"


def test_a_refusing_device_is_unreachable_until_it_is_not():
    with FakeTransport(answers({("true",): b""}), faults=Faults(refuse=True)) as board:
        with pytest.raises(DeviceUnreachable):
            board.run(["true"], deadline=Deadline(5))
        board.faults.refuse = False
        assert board.run(["true"], deadline=Deadline(5)).ok


def test_a_cut_put_leaves_nothing_and_the_link_stays_cut(tmp_path):
    with FakeTransport(root=tmp_path) as board:
        board.faults.cut_after_bytes = 2_500_000
        with pytest.raises(TransportError, match="broke"):
            board.put(bytes(5_000_000), "/model", deadline=Deadline(5))
        with pytest.raises(DeviceUnreachable):
            board.get("/model", io.BytesIO(), deadline=Deadline(5))
        assert list(tmp_path.iterdir()) == []
        board.faults.cut_after_bytes = None
        board.put(b"again", "/model", deadline=Deadline(5))


def test_a_cut_ends_a_command_in_the_middle_of_its_output():
    seen = []
    with FakeTransport(run_locally) as board:
        board.faults.cut_after_bytes = 100_000
        with pytest.raises(TransportError, match="broke"):
            board.run(["sh", "-c", "while :; do echo line; done"], deadline=Deadline(20), on_stdout=seen.append)
    assert 0 < sum(map(len, seen)) <= 100_000


def test_latency_counts_against_the_deadline():
    faults = Faults(latency_s=30.0)
    with FakeTransport(answers({("true",): b""}), faults=faults) as board, pytest.raises(DeadlineExceeded):
        board.run(["true"], deadline=Deadline(0.05))
