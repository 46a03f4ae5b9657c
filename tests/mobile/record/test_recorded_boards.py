"""Every archive in tests/data/recordings, replayed, has the sensors and the values that its board had."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobile.record.archive import read_archive
from mobile.record.replay import replay
from tests.support.recordings import look

FOLDER = Path(__file__).resolve().parents[2] / "data" / "recordings"
ARCHIVES = sorted(FOLDER.glob("*.zip"))


def test_there_are_recordings_and_each_says_where_it_comes_from():
    sources = (FOLDER / "SOURCES.md").read_text()
    assert ARCHIVES
    for archive in ARCHIVES:
        assert archive.name in sources


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.stem)
def test_a_recorded_board_has_its_sensors_again(archive, tmp_path):
    recording = read_archive(archive)
    replayed = replay(recording, tmp_path / "board")
    descriptors, values = look(replayed.root)
    now = {about["name"]: about for about in descriptors}
    for about in recording.sensors:
        if about["state"] == "present" or about["name"] in recording.readings:
            assert now[about["name"]]["state"] == about["state"], about["name"]
            assert now[about["name"]]["unit"] == about["unit"]
    moving = any(len(file.contents) > 1 for file in recording.files) or recording.programs
    for name, reading in recording.readings.items():
        if isinstance(reading, dict):
            assert values[name] == reading["reason"]
        elif moving:
            assert isinstance(values[name], float), name
        else:
            assert values[name] == pytest.approx(reading), name
