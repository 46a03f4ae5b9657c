"""A board on which runs are started, and on which none may be left."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.detached import Board
from tests.support.processes import all_gone, marked, new_mark


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    """The board; every process of its runs is killed in the end, and must then be gone."""
    mark = new_mark()
    yield Board(tmp_path / "runs", mark)
    for pid in marked(mark):
        os.kill(pid, signal.SIGKILL)
    assert all_gone(mark), marked(mark)
