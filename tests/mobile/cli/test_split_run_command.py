"""`edgewise split bench` and `run` on this machine against a server on loopback."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli import edgewise, edgewise_json
from tests.support.split_packages import TABLE, package
from tests.support.split_server import edge_server

SHORT = ["--duration", "0.1", "--min-count", "5"]


def inventory(folder: Path, url: str) -> None:
    (folder / "devices.yaml").write_text(f"servers:\n  edge:\n    url: {url}\n")


def test_the_ways_of_running_stand_side_by_side(tmp_path: Path) -> None:
    made = package(tmp_path / "net.split", table=TABLE)
    with edge_server(made) as running:
        inventory(tmp_path, running.url)
        found = edgewise_json(
            "split", "bench", "net.split", "--server", "edge", "--deadline", "10s", *SHORT, cwd=tmp_path
        )
    by_name = {one["variant"]: one for one in found["variants"]}
    assert list(by_name) == ["local", "server", "best split", "adaptive"]
    assert list(by_name["local"]["placements"]) == ["p0"]
    assert list(by_name["server"]["placements"]) == ["p2"]
    assert list(by_name["best split"]["placements"]) == ["p1"]
    for one in found["variants"]:
        assert one["figures"]["latency_s"]["p50"] > 0
        assert one["deadline_missed_share"] == 0.0
        assert one["refused"] == 0
    assert by_name["server"]["bytes_up_per_frame"] > by_name["best split"]["bytes_up_per_frame"] > 0
    assert found["link"]["how"] == "assumed"


def test_a_server_that_is_gone_is_seen_in_the_table_and_every_frame_is_answered(tmp_path: Path) -> None:
    package(tmp_path / "net.split", table=TABLE)
    inventory(tmp_path, "http://127.0.0.1:9")
    done = edgewise(
        "split", "run", "net.split", "--server", "edge", "--uplink", "1Gbit/s", "--rtt", "0ms", *SHORT, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "unreachable: " in done.stdout
    assert "1000 Mbit/s up" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["bench", "nothing.split"], 2, "nothing.split"),
        (["bench", "plain.split"], 2, "the package has no table of costs"),
        (["run", "plain.split", "--server", "ghost"], 2, "there is no server 'ghost'"),
        (["run", "plain.split", "--policy", "none.yaml"], 2, "none.yaml"),
    ],
)
def test_what_cannot_be_run_is_one_line(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    package(tmp_path / "plain.split")
    done = edgewise("split", *arguments, *SHORT, cwd=tmp_path)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
