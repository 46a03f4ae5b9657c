"""`edgewise split calibrate`, on this machine and a server of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from device_agents.split.package import read
from offload.package.write import write
from offload.serve.background import serving
from offload.serve.server import Options
from tests.support.cli import edgewise, edgewise_json
from tests.support.split_packages import TABLE, placements, source


@pytest.fixture
def package(tmp_path: Path) -> Path:
    found = source()
    table = {**TABLE, "downlink_bps": 20e6, "rtt_s": 0.02}
    write(tmp_path / "p.split", found, placements(found, "q8"), table=table)
    return tmp_path / "p.split"


def test_the_package_gets_what_was_measured_and_keeps_its_id(package: Path, tmp_path: Path) -> None:
    before = read(str(package))
    with serving([package], Options(port=0)) as url:
        inventory = f'devices:\n  local: {{}}\nservers:\n  edge: {{url: "{url}"}}\n'
        (package.parent / "devices.yaml").write_text(inventory)
        told = edgewise_json(
            "split", "calibrate", package, "--server", "edge", "--laps", "3", cwd=package.parent, HOME=str(tmp_path)
        )
    after = read(str(package))
    assert told["package"] == after.id == before.id
    assert [(row["placement"], row["count"]) for row in told["placements"]] == [("p0", 3), ("p1", 3), ("p2", 3)]
    assert after.table is not None
    for row in told["placements"]:
        kept = after.table.placements[row["placement"]]
        assert (kept.device_s, kept.server_s) == (row["device_s"], row["server_s"])
    assert told["placements"][0]["device_s"] > 0 < told["placements"][2]["server_s"]
    assert json.loads((package / "manifest.json").read_text())["calibration"]["run"] == told["run"]


def test_without_a_server_nothing_is_changed_and_the_next_step_is_said(package: Path) -> None:
    inventory = 'devices:\n  local: {}\nservers:\n  edge: {url: "http://127.0.0.1:9"}\n'
    (package.parent / "devices.yaml").write_text(inventory)
    before = (package / "manifest.json").read_bytes()
    done = edgewise(
        "split", "calibrate", package, "--server", "edge", "--laps", "1", cwd=package.parent, HOME=str(package.parent)
    )
    assert done.returncode == 1
    assert "fallbacks" in done.stderr
    assert "edgewise serve" in done.stderr
    assert (package / "manifest.json").read_bytes() == before
