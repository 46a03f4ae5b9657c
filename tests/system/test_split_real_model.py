"""A published classifier between a board of the lab and its edge server, over 10 Mbit/s and 20 ms, by the commands.

The board is made eight times slower than this machine by a stated factor: about 0.2 s for open-nsfw, a thin ResNet-50.
"""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from tests.soak.split.models import inputs_of
from tests.support.provision import cache_at, lab_cache, prefill
from tests.support.real_models import real_model
from tests.support.split_desk import Desk
from tests.support.split_lab import EdgeServer

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300, func_only=True)]
pytest_plugins = ["tests.lab.fixtures"]
FRAMES = 12


def test_local_server_split_and_adaptive_of_a_published_classifier(lab, tmp_path):
    model = real_model("open-nsfw")
    with cache_at(lab_cache()):
        prefill("x86_64")
    desk = Desk(lab, tmp_path, slow_down=8)
    shutil.copy(model, tmp_path / "nsfw.onnx")
    inputs_of("open-nsfw", tmp_path).rename(tmp_path / "pictures.npz")
    some = ("--inputs", "pictures.npz")
    quick = ("--cuts", 4, "--duration", 0.2, "--min-count", 4, *some)
    desk.edgewise("setup", "board86")
    desk.edgewise("profile", "nsfw.onnx", "--on", "board86", "--threads", 1, *quick, "-o", "board.json")
    desk.edgewise("profile", "nsfw.onnx", *quick, "-o", "edge.json")
    planned = ("--device", "board.json", "--server", "edge.json", "--uplink", "10Mbit/s", "--codecs", "raw,q8,q8+zlib")
    planned += ("--calibration", "pictures.npz", "--min-agreement", 0.9)
    made = desk.json("split", "package", "nsfw.onnx", *planned, "-o", "nsfw.split")
    assert {row["label"] for row in made["placements"]} == {"device", "server", "split"}
    asked = ("--on", "board86", "--server", "edge", "--threads", 1, *some)
    with EdgeServer(lab, [tmp_path / "nsfw.split"], tmp_path):
        desk.json("split", "calibrate", "nsfw.split", "--laps", 3, *asked)
        lab.link("board86", rate="10mbit", delay="10ms")
        desk.json("link", "board86", "edge", "--duration", 1.5, "--save")
        measured = ("split", "bench", "nsfw.split", *asked, "--duration", 1, "--min-count", FRAMES)
        found = desk.json(*measured)
    rows = {row["variant"]: row for row in found["variants"]}
    assert set(rows) == {"local", "server", "best split", "adaptive"}
    for row in rows.values():
        assert (row["refused"], row["fallbacks"]) == (0, {})
        assert sum(row["placements"].values()) >= FRAMES
        assert row["figures"]["provenance"] == "slowed"
        assert np.isfinite(row["figures"]["latency_s"]["p50"])
    raw_bytes = 4 * 224 * 224 * 3
    assert 0 < rows["best split"]["bytes_up_per_frame"] < rows["server"]["bytes_up_per_frame"] < raw_bytes
