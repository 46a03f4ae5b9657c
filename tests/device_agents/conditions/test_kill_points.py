"""Whatever moment a run that holds settings is killed at, the next start finds the board as it was."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.agents import ROOT
from tests.support.pinnable import Board

FILES = {"governor": "performance", "clocks_locked": True}


def killed_everywhere(board: Board, journal, pins, *how: str):
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.kill_points", str(board.path), str(journal), json.dumps(pins), *how],
        capture_output=True,
        text=True,
        timeout=110,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("how", [(), ("restore",), ("power-cut",)], ids=["once", "twice", "power cut"])
def test_files_are_put_back_after_a_kill_at_any_system_call(tmp_path, how):
    board = Board(tmp_path / "board").clocks().booted("boot")
    found = killed_everywhere(board, tmp_path / "journal", FILES, *how)
    assert found["points"] > 30
    assert found["wrong"] == []


@pytest.mark.slow
@pytest.mark.parametrize("how", [(), ("power-cut",)], ids=["once", "power cut"])
def test_a_power_mode_and_what_it_resets_is_put_back_after_a_kill_at_any_system_call(tmp_path, how):
    board = Board(tmp_path / "board").clocks().nvpmodel().booted("boot")
    found = killed_everywhere(board, tmp_path / "journal", {"power_mode": "MODE_1", "clocks_locked": True}, *how)
    assert found["points"] > 30
    assert found["wrong"] == []
