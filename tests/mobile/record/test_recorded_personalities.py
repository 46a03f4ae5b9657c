"""The lab's boards, recorded and replayed, are the same boards: each sensor, each value, each reason."""

from __future__ import annotations

import pytest

from mobile.record.replay import replay_archive
from tests.lab.personalities import PERSONALITIES
from tests.support.recordings import archive_of, look


@pytest.mark.parametrize("name", PERSONALITIES)
def test_a_board_of_the_lab_is_the_same_again(name, tmp_path):
    board = tmp_path / "board"
    board.mkdir()
    PERSONALITIES[name].write(board)
    replayed = replay_archive(archive_of(board, tmp_path / "board.zip"), tmp_path / "replayed")
    assert replayed.notes == ()
    assert look(replayed.root) == look(board)
    assert replayed.recording.redacted == {}  # no value of a board was taken for something private
