"""`edgewise split bench` and `run` on this machine against a server on loopback."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.cli import edgewise, edgewise_json
from tests.support.split_packages import EXAMPLE, TABLE, package
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


def test_answers_are_compared_with_labels_or_with_the_whole_model(tmp_path: Path) -> None:
    made = package(tmp_path / "net.split", table=TABLE)
    with np.load(EXAMPLE / "fashion_mnist_test_1000.npz") as arrays:
        np.savez(tmp_path / "labelled.npz", image=arrays["image"][:20], label=arrays["label"][:20])
        np.savez(tmp_path / "plain.npz", image=arrays["image"][:20])
    with edge_server(made) as running:
        inventory(tmp_path, running.url)
        asked = ["split", "bench", "net.split", "--server", "edge", "--scale", "image=1/255", *SHORT, "--inputs"]
        labelled, plain = (edgewise_json(*asked, name, cwd=tmp_path) for name in ("labelled.npz", "plain.npz"))
    for found, measure in ((labelled, "accuracy"), (plain, "agreement")):
        for one in found["variants"]:
            right = one["quality"]
            assert (right["measure"], right["items"]) == (measure, 20)
            assert right["low"] < right["share"] <= right["high"] <= 1
    assert plain["variants"][0]["quality"]["share"] == 1.0


def test_a_run_goes_on_by_itself_and_every_frame_of_it_is_told(tmp_path: Path) -> None:
    made = package(tmp_path / "net.split", table=TABLE)
    with edge_server(made) as running:
        inventory(tmp_path, running.url)
        started = edgewise_json("split", "run", "net.split", "--server", "edge", "--detach", *SHORT, cwd=tmp_path)
        (left,) = started["left"]
        attached = edgewise_json("attach", left["id"], cwd=tmp_path)
    (run,) = attached["runs"]
    assert run["id"] == left["id"]
    assert sum(run["split"]["placements"].values()) >= run["invocations"]
    (told,) = edgewise_json("report", left["id"], "--frames", cwd=tmp_path)["runs"]
    assert len(told["frames"]) == run["invocations"]
    for frame in told["frames"]:
        assert frame["placement"] in made.placements
        assert frame["why"]
        assert frame["predicted_s"] > 0
        assert frame["measured_s"] > 0
        assert frame["uplink_bps"] > 0
    (tmp_path / "there.yaml").write_text("policy: fixed\nplacement: p2\n")
    again = edgewise_json("policy", "replay", "net.split", left["id"], "--policy", "there.yaml", cwd=tmp_path)
    assert [row["then"] for row in again["frames"]] == [frame["placement"] for frame in told["frames"]]
    assert {row["now"] for row in again["frames"]} == {"p2"}
    text = edgewise("report", left["id"], "--frames", "--format", "csv", cwd=tmp_path).stdout
    assert text.splitlines()[0].startswith("run,t_s,measured_s,placement,why")
    assert len(text.splitlines()) == 1 + run["invocations"]


def test_frames_of_a_run_without_decisions_are_refused(tmp_path: Path) -> None:
    edgewise_json("bench", EXAMPLE / "fashion_mnist.onnx", *SHORT, cwd=tmp_path)
    done = edgewise("report", "last", "--frames", cwd=tmp_path)
    assert done.returncode == 2
    assert "has no frames with decisions" in done.stderr


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
