"""No recorded file of a Jetson is left without a test, and what only a table of another tool shows adds up."""

from __future__ import annotations

import math
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device_agents import records
from device_agents.facts.power_mode import CONF, STATUS, clocks_locked, power_mode
from device_agents.sensors import SensorError, find_sensors
from mobile.results.totals import totals
from tests.lab.personalities.jetson import PERSONALITIES
from tests.support.jetson import FOLDER
from tests.support.sysfs import make_tree

TESTS = Path(__file__).parents[1]


def test_every_recorded_file_is_named_in_a_test():
    texts = "".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("*.py"))
    texts += (TESTS.parent / "support/jetson.py").read_text(encoding="utf-8")
    named = [path for folder in ("nvpmodel", "jetson_clocks", "sysfs", "tegrastats_fragments")
             for path in sorted((FOLDER / folder).iterdir())]  # fmt: skip
    assert len(named) == 18
    assert [path.name for path in named if path.name not in texts] == []


def test_thors_rails_add_up_to_what_another_tool_shows():
    """thor_thorfan_status.txt: its "total" is the sum of the module's rails, not the board's input."""
    lines = (FOLDER / "sysfs/thor_thorfan_status.txt").read_text(encoding="utf-8").splitlines()
    watts = {line.split()[0]: float(line.split()[1]) for line in lines if line.endswith(" W")}
    shown = watts.pop("total")
    (total,) = totals([{"name": "power." + rail, "quantity": "power"} for rail in watts])
    assert total.scope_kind == "sum of module rails"
    assert sum(watts[str(sensor["name"])[len("power.") :]] for sensor in total.sensors) == pytest.approx(shown)


def check(root: str) -> None:
    """Every sensor gives a finite number or a reason; so do the facts."""
    sensors, descriptors = find_sensors(root)
    records.encode(records.hello({}, descriptors, None, None))
    for sensor in sensors:
        try:
            assert math.isfinite(sensor.read())
        except SensorError as error:
            assert error.reason
        sensor.close()
    for value, reason in (power_mode(root), clocks_locked(root)):
        assert (value is None) == bool(reason)


_GARBAGE = st.one_of(
    st.binary(max_size=60),
    st.integers(-(2**70), 2**70).map(lambda number: str(number).encode()),
    st.sampled_from([b"", b"-256000\n", b"32760 ma\n", b"NC\n", b"0@306000000Hz\n", b"nan\n", b"9" * 5000]),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), board=st.sampled_from(PERSONALITIES))
def test_garbage_in_the_files_of_a_board_gives_reasons(data, board):
    files = dict(board.files)
    files |= {STATUS: "pmode:0001", CONF: "< POWER_MODEL ID=1 NAME=15W >"}
    files |= data.draw(st.dictionaries(st.sampled_from(sorted(files)), _GARBAGE, min_size=1, max_size=10))
    with tempfile.TemporaryDirectory() as root:
        check(make_tree(Path(root), files))


@pytest.mark.parametrize("board", PERSONALITIES, ids=lambda board: board.name)
def test_a_board_that_vanishes_in_the_middle_gives_reasons(tmp_path, board):
    root = make_tree(tmp_path, dict(board.files))
    sensors, _ = find_sensors(root)
    assert len(sensors) > 10
    shutil.rmtree(tmp_path / "sys")
    for sensor in sensors:
        with pytest.raises(SensorError, match="gone"):
            sensor.read()
