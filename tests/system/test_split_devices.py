"""A model split between a board of the lab and its edge server, over 10 Mbit/s and 20 ms, by the commands alone; and
what becomes of the frames when server or link fail in the middle.

The board is made slower by a known factor, so that a server pays for the small example network.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mobile import example
from tests.support.provision import cache_at, lab_cache, prefill
from tests.support.split_desk import Desk
from tests.support.split_lab import EdgeServer

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300, func_only=True)]
pytest_plugins = ["tests.lab.fixtures"]
SLOW_DOWN = 300
PROFILE = ("--cuts", "1", "--duration", "0.1", "--min-count", "5")
FRAMES = ("--duration", "1", "--min-count", "10", "--threads", "1")
SAME_TASK = ("--inputs", "some.npz", "--scale", "image=1/255")
EVALUATE = """
import json, sys
from pathlib import Path
from mobile import BenchOptions, evaluate, load_inventory
from device_agents.split.decide import Policy
from offload.running import settings
inventory = load_inventory()
for name in sys.argv[1:]:
    split = settings(Policy("fixed", placement=name), inventory.server("edge"), None)
    options = BenchOptions(input_scale={"image": 1 / 255}, threads=(1,), split=split)
    found = evaluate("model.split", Path("some.npz"), inventory.device("board86"), options)
    print(json.dumps(list(found.top1)))
"""


def a_desk(lab, folder: Path) -> Desk:
    """A desk with the example model and twenty labelled images."""
    made = Desk(lab, folder, SLOW_DOWN)
    shutil.copy(example.model_path(), folder / "model.onnx")
    with np.load(example.evaluation_path()) as arrays:
        np.savez(folder / "some.npz", image=arrays["image"][:20], label=arrays["label"][:20])
    return made


@pytest.fixture(scope="module")
def desk(lab, tmp_path_factory):
    with cache_at(lab_cache()):  # the lab has no internet
        prefill("x86_64")
    return a_desk(lab, tmp_path_factory.mktemp("split"))


@pytest.fixture(scope="module")
def packed(desk):
    """The desk after profiles, link and package, by the four commands of the docs; and what they told."""
    desk.edgewise("setup", "board86")
    told = {
        "device": desk.json("profile", "model.onnx", "--on", "board86", "--threads", 1, *PROFILE, "-o", "board.json"),
        "server": desk.json("profile", "model.onnx", *PROFILE, "-o", "edge.json"),
    }
    planned = ("model.onnx", "--device", "board.json", "--server", "edge.json", "--calibration", "some.npz")
    planned += ("--scale", "image=1/255")
    # Another package of the same model and name: other codecs, so another id. It also gives the link a server.
    (desk.folder / "other").mkdir()
    desk.edgewise(
        "split", "package", *planned, "--uplink", "10Mbit/s", "--codecs", "raw,fp16", "-o", "other/model.split"
    )
    desk.lab.link("board86", rate="10mbit", delay="10ms")
    with EdgeServer(desk.lab, [desk.folder / "other" / "model.split"], desk.folder):
        told["link"] = desk.json("link", "board86", "edge", "--duration", 1.5, "--save")
    told["package"] = desk.json("split", "package", *planned, "--link", "board86", "edge", "-o", "model.split")
    return desk, told


@pytest.fixture
def slow(packed):
    """The desk with the board behind 10 Mbit/s and 20 ms there and back."""
    packed[0].lab.link("board86", rate="10mbit", delay="10ms")
    return packed[0]


def test_device_and_link_are_measured_and_called_by_what_they_are(packed):
    _, told = packed
    assert told["device"]["place"]["provenance"] == "slowed"
    assert told["device"]["place"]["slow_down"] == SLOW_DOWN
    assert told["link"]["provenance"] == "slowed"
    assert 7e6 < told["link"]["uplink_bps"] < 10.5e6
    assert 0.019 < told["link"]["rtt_s"] < 0.06
    assert {row["label"] for row in told["package"]["placements"]} >= {"device", "server"}


def test_local_server_split_and_adaptive_answer_every_frame(slow):
    with EdgeServer(slow.lab, [slow.folder / "model.split"], slow.folder):
        found = slow.json("split", "bench", "model.split", "--on", "board86", "--server", "edge", *FRAMES, *SAME_TASK)
    rows = {row["variant"]: row for row in found["variants"]}
    assert {"local", "server", "adaptive"} <= set(rows)
    for row in rows.values():
        assert row["refused"] == 0
        assert row["fallbacks"] == {}
        assert row["figures"]["provenance"] == "slowed"
        assert sum(row["placements"].values()) >= 10
    assert rows["local"]["bytes_up_per_frame"] == 0
    assert rows["server"]["bytes_up_per_frame"] > 0
    assert rows["server"]["figures"]["latency_s"]["p50"] > 0.019  # no answer is there before a round trip


def test_every_placement_gives_the_whole_models_classes(slow):
    """Of 20 images; coded ones may differ as the package says (its evidence allows one of a hundred)."""
    import onnxruntime

    with np.load(slow.folder / "some.npz") as arrays:
        images = arrays["image"].astype(np.float32) * np.float32(1 / 255)
    session = onnxruntime.InferenceSession(example.model_path(), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"image": images})[0].argmax(axis=1).tolist()
    manifest = json.loads((slow.folder / "model.split" / "manifest.json").read_text())
    names = [row["id"] for row in manifest["placements"]]
    tried = [names[len(names) // 2], names[-1]]
    with EdgeServer(slow.lab, [slow.folder / "model.split"], slow.folder) as server:
        argv = [sys.executable, "-c", EVALUATE, *tried]
        done = slow.lab.run_in_ctl(argv, timeout_s=120, env=slow.env, cwd=slow.folder, check=True)
        assert server.answered() >= len(tried) * len(expected)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [expected] * len(tried)


def server_placements(package: Path) -> list[str]:
    """The ids of the placements that use the server."""
    manifest = json.loads((package / "manifest.json").read_text())
    return [row["id"] for row in manifest["placements"] if row["label"] != "device"]


def streaming(desk, *more, duration_s=5):
    """A started run of so many seconds, by the policy that takes the fastest placement unless ``more`` has another."""
    asked = ("--on", "board86", "--server", "edge", "--duration", duration_s, "--min-count", 20, "--threads", 1)
    return desk.start("split", "run", "model.split", *asked, *SAME_TASK, "--json", *more)


def outcome_of(desk, process):
    """The run's row; no frame was refused, and each has an outcome."""
    (row,) = json.loads(desk.ended(process))["variants"]
    assert row["refused"] == 0
    assert sum(row["placements"].values()) >= row["figures"]["invocations"] > 0
    return row


def test_a_server_that_is_killed_in_mid_stream_loses_no_frame_and_is_found_again(slow):
    with EdgeServer(slow.lab, [slow.folder / "model.split"], slow.folder) as first:
        process = streaming(slow, duration_s=30)  # a busy machine takes long to start the second server
        first.wait_for(10)
        first.kill()
    with EdgeServer(slow.lab, [slow.folder / "model.split"], slow.folder) as second:
        second.wait_for(10)
        row = outcome_of(slow, process)
    assert sum(row["fallbacks"].values()) > 0


def test_a_server_with_another_package_is_refused_and_the_device_answers(slow):
    names = [server_placements(slow.folder / folder / "model.split") for folder in (".", "other")]
    both = next(name for name in names[0] if name in names[1])  # the other server knows a model of this name
    (slow.folder / "server.yaml").write_text(f"policy: fixed\nplacement: {both}\nfallback: local\n")
    with EdgeServer(slow.lab, [slow.folder / "other" / "model.split"], slow.folder) as server:
        row = outcome_of(slow, streaming(slow, "--policy", "server.yaml", duration_s=1))
        assert server.answered() == 0
    assert row["fallbacks"]["foreign"] > 0
    assert set(row["fallbacks"]) <= {"foreign", "unreachable"}  # after three refusals it is left alone for a while


def test_a_link_that_is_cut_for_three_seconds_loses_no_frame(slow):
    with EdgeServer(slow.lab, [slow.folder / "model.split"], slow.folder) as server:
        process = streaming(slow, duration_s=15)
        server.wait_for(10)
        slow.lab.link("board86", up=False)
        time.sleep(3)  # as long as the cable is out
        slow.lab.link("board86", up=True)
        row = outcome_of(slow, process)
    assert sum(row["fallbacks"].values()) > 0
