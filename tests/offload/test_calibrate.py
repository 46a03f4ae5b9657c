"""A package whose table gets what was measured in a run that took all placements in turn."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from device_agents.split.package import Package, PackageError, read
from device_agents.split.table import Conditions
from mobile.benchmark import BenchOptions
from mobile.errors import EdgewiseError, UsageError
from mobile.inventory import load_inventory
from offload.calibrate import apply, calibrated, options_for
from offload.package.write import write
from offload.plan.costs import Link
from offload.running import in_turn
from tests.support.split_packages import TABLE, placements, source

LINK = Link(20e6, 20e6, 0.02)
RANGES = {"downlink_bps": 20e6, "rtt_s": 0.02}
# Milliseconds of a frame: latency, head, encode, link, server, decode, tail.
FRAMES = {
    "p0": (9, 9, 0, 0, 0, 0, 0),
    "p1": (30, 3, 1, 20, 4, 1, 1),
    "p2": (40, 0, 2, 30, 7, 1, 0),
}
STAGES = ("head", "encode", "link", "server", "decode", "tail")


class Phase(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.duration_ns)


def phase(order: list[str]) -> Phase:
    rows = [[value * 1_000_000 for value in FRAMES[name]] for name in order]
    stages = {stage: [row[at] for row in rows] for at, stage in enumerate(STAGES, 1)}
    return Phase(duration_ns=[row[0] for row in rows], stages=stages)


def measured(summary: dict[str, Any] | None = None) -> Any:
    """First and warm-up are two laps (p0 p1 p2 | p2 p1 p0), then there are three more."""
    phases = {"first": phase(["p0"]), "warmup": phase(["p1", "p2", "p2", "p1", "p0"])}
    phases["measure"] = phase(["p0", "p1", "p2", "p2", "p1", "p0", "p0", "p1", "p2"])
    return SimpleNamespace(
        id="r1",
        spec=SimpleNamespace(device="board"),
        provenance="slowed",
        created_utc="2026-01-01T00:00:00Z",
        phase=phases.__getitem__,
        done={"summary": {"split": summary or {}}},
    )


@pytest.fixture
def made(tmp_path: Path) -> Package:
    found = source()
    return write(tmp_path / "p.split", found, placements(found), table={**TABLE, **RANGES})


def test_frames_are_told_apart_by_the_tour_which_began_with_the_first_inference() -> None:
    found = in_turn(measured(), ["p0", "p1", "p2"])
    assert {name: [round(1e3 * value) for value in columns["latency"]] for name, columns in found.items()} == {
        "p0": [9] * 3,
        "p1": [30] * 3,
        "p2": [40] * 3,
    }


def test_the_run_takes_every_placement_of_the_table_and_warms_up_for_whole_laps(made: Package) -> None:
    server = load_inventory(Path("devices.yaml")).server("local")
    options = options_for(made, BenchOptions(), server, LINK, laps=7)
    assert options.split["policy"]["tour"] == ["p0", "p1", "p2"]
    assert (options.warmup_count + 1) % 3 == 0
    assert options.min_count == 21


def test_the_table_has_what_was_measured_and_the_package_stays_the_same_one(made: Package) -> None:
    run = measured()
    after = apply(made, calibrated(made, run), run)
    again = read(made.path)
    assert after.id == again.id == made.id
    assert after.table.to_json() == again.table.to_json()  # type: ignore[union-attr]
    rows = after.table.placements  # type: ignore[union-attr]
    far = Conditions(float("inf"), float("inf"), 0.0)
    # What is not the link: 9 ms; 3 + 1 there, 1 + 1 of coding, 4 on the server; 0, 2 + 1, 7.
    assert {name: round(row.latency_s(far), 6) for name, row in rows.items()} == {
        "p0": 0.009,
        "p1": 0.010,
        "p2": 0.010,
    }
    assert (rows["p1"].up_bits, rows["p1"].down_bits) == (2e4, 4e3)
    told = json.loads(Path(made.path, "manifest.json").read_text())["calibration"]
    assert (told["run"], told["provenance"], told["placements"][2]["count"]) == ("r1", "slowed", 3)


def test_the_look_up_is_of_the_measured_rows(made: Package) -> None:
    run = measured()
    table = apply(made, calibrated(made, run), run).table
    assert table is not None
    for x in (1e-9, 1e-8, 1e-7, 1e-6, 1e-4):
        now = Conditions(1 / x, 20e6, 0.02)
        fastest = min(table.placements.values(), key=lambda row: row.latency_s(now))
        assert table.choose(1 / x).latency_s(now) == pytest.approx(fastest.latency_s(now))


def test_frames_that_went_another_way_calibrate_nothing(made: Package) -> None:
    with pytest.raises(EdgewiseError, match="frames did not run as they were placed"):
        calibrated(made, measured({"fallbacks": {"unreachable": 3}}))


def test_a_package_without_a_table_is_refused(tmp_path: Path) -> None:
    found = source()
    bare = write(tmp_path / "bare.split", found, placements(found))
    server = load_inventory(Path("devices.yaml")).server("local")
    with pytest.raises(UsageError, match="no table of costs"):
        options_for(bare, BenchOptions(), server, LINK)


def test_a_table_that_was_changed_by_hand_is_seen(made: Package) -> None:
    path = Path(made.path, "manifest.json")
    document = json.loads(path.read_text())
    document["table"]["placements"][0]["device_s"] = 1e-9
    path.write_text(json.dumps(document))
    with pytest.raises(PackageError, match="table of costs is not the one that was hashed"):
        read(made.path)
