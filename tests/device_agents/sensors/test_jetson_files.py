"""No recorded file of a Jetson is left without a test, and what only a table of another tool shows adds up."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobile.results.totals import totals
from tests.support.jetson import FOLDER

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
