"""`edgewise split plan` and `package`, as users call them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from device_agents.split.package import read
from offload.costs.profile import write_profile
from tests.support.cli import edgewise, edgewise_json
from tests.support.split_packages import EXAMPLE
from tests.support.split_profiles import made_up

MODEL = EXAMPLE / "fashion_mnist.onnx"


@pytest.fixture
def profiles(tmp_path: Path) -> list[str]:
    """Options that name a slow device and a fast server."""
    for name, seconds in (("board", 0.04), ("edge", 0.002)):
        write_profile(tmp_path / f"{name}.json", made_up(MODEL, name, seconds))
    return ["--device", "board.json", "--server", "edge.json"]


def test_a_plan_shows_both_ends_the_best_and_what_would_change_it(tmp_path: Path, profiles: list[str]) -> None:
    done = edgewise("split", "plan", MODEL, *profiles, "--uplink", "2Mbit/s", "--rtt", "5ms", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "predicted for a link of 2 Mbit/s up, 2 down, 5.00 ms round trip (assumed)" in done.stdout
    assert "device times assumed" in done.stdout
    assert "Mbit/s of uplink another is best" in done.stdout
    document = edgewise_json("split", "plan", MODEL, *profiles, "--uplink", "2Mbit/s", cwd=tmp_path)
    labels = [placement["label"] for placement in document["placements"]]
    assert {"device", "server"} <= set(labels)
    latencies = [placement["predicted"]["latency_s"] for placement in document["placements"]]
    assert latencies == sorted(latencies)
    assert document["link"]["how"] == "assumed"


def test_a_package_is_written_and_proven(tmp_path: Path, profiles: list[str]) -> None:
    options = ["--uplink", "2Mbit/s", "--calibration", EXAMPLE / "fashion_mnist_calibration_200.npz"]
    options += ["--scale", "image=1/255", "-o", "net.split"]
    document = edgewise_json("split", "package", MODEL, *profiles, *options, cwd=tmp_path)
    package = read(str(tmp_path / "net.split"))
    assert document["package"]["id"] == package.id
    assert list(package.placements) == document["package"]["placements"]
    assert all(one["equivalent"] for one in document["package"]["evidence"])
    assert json.loads((tmp_path / "net.split/manifest.json").read_text())["evidence"]["samples"] == "given"


POWER = ["--busy-w", "5", "--idle-w", "2", "--radio", "wifi"]


@pytest.mark.parametrize(
    ("options", "limit", "words"),
    [
        (["--objective", "energy", *POWER], None, "best for energy: p"),
        (["--objective", "energy", "--deadline", "30ms", *POWER], ("latency_s", 0.03), "energy, within 30.0 ms: p"),
        (["--objective", "weighted", "--weights", "1", "0.1", *POWER], None, "best for weighted: p"),
        (["--objective", "throughput"], None, "frames/s"),
        (["--device-memory", "10KB"], ("device_weight_bytes", 10e3), "at most 0.01 MB of weights on the device: p"),
    ],
)
def test_a_plan_is_for_what_was_asked(
    tmp_path: Path, profiles: list[str], options: list[str], limit: tuple[str, float] | None, words: str
) -> None:
    asked = ("split", "plan", MODEL, *profiles, "--uplink", "2Mbit/s", "--rtt", "5ms", *options)
    done = edgewise(*asked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert words in done.stdout
    found = edgewise_json(*asked, cwd=tmp_path)
    aim = found["aim"]
    assert aim["id"] in [placement["id"] for placement in found["placements"]]
    assert aim["bound"] <= aim["value"]
    assert aim["optimal"] or "best found, nothing can be better than" in done.stdout
    if limit is not None:
        assert aim["predicted"][limit[0]] <= limit[1]
    if "--radio" in options:
        assert found["power"]["how"] == "assumed"
        assert "2011 handset" in found["power"]["source"]
        assert "2011 handset" in done.stdout


def test_a_package_for_a_tritonserver_comes_with_models_that_decode(tmp_path: Path, profiles: list[str]) -> None:
    options = ["--uplink", "2Mbit/s", "--calibration", EXAMPLE / "fashion_mnist_calibration_200.npz"]
    options += ["--scale", "image=1/255", "--codecs", "raw,q8,jpeg90", "-o", "net.split", "--triton", "models"]
    done = edgewise("split", "package", MODEL, *profiles, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    package = read(str(tmp_path / "net.split"))
    assert "(lossy," in done.stdout
    pictured, coded = set(), set()
    for placement in package.placements.values():
        for crossing in (crossing for crossing in placement.crossings if crossing.up):
            name = f"{package.name}.{placement.id}"
            (pictured if crossing.codec == "jpeg90" else coded).add(name)
            config = (tmp_path / "models" / name / "config.pbtxt").read_text()
            assert ("TYPE_UINT8" in config) == (crossing.codec == "q8")
    assert pictured | coded
    for name in pictured:  # which no model can decode
        assert f"{name} takes its inputs uncoded" in done.stderr
    again = edgewise("split", "package", MODEL, *profiles, *options, cwd=tmp_path)
    assert (again.returncode, "models: is not empty" in again.stderr) == (1, True), again.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "the link is not known"),
        (["--uplink", "fast"], "expected a rate such as"),
        (["--uplink", "2Mbit/s", "--rtt", "soon"], "is no time such as 20ms"),
        (["--link", "board", "edge"], "the inventory has no link from board to edge"),
        (["--uplink", "2Mbit/s", "--busy-w", "4"], "the idle power of board was not measured"),
        (["--uplink", "2Mbit/s", "--objective", "energy"], "Assume it with --busy-w and --idle-w"),
        (["--uplink", "2Mbit/s", "--objective", "weighted"], "--weights SECONDS JOULES go together"),
        (["--uplink", "2Mbit/s", "--deadline", "1us"], "no placement keeps the limits"),
        (["--uplink", "2Mbit/s", "--device-memory", "much"], "is no size such as 64MB"),
        (["--uplink", "2Mbit/s", "--codecs", "q3"], "no codec is called 'q3'"),
        (["--uplink", "2Mbit/s", "--pin", "ghost"], "no piece is called 'ghost'"),
    ],
)
def test_what_cannot_be_planned_is_one_line(
    tmp_path: Path, profiles: list[str], options: list[str], words: str
) -> None:
    done = edgewise("split", "plan", MODEL, *profiles, *options, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_profile_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    done = edgewise(
        "split", "plan", MODEL, "--device", "a.json", "--server", "a.json", "--uplink", "1Mbit", cwd=tmp_path
    )
    assert done.returncode == 2
    assert "a.json: is no profile of edgewise" in done.stderr
