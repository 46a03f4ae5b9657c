"""The runner of split packages, as an agent's run: a real worker, a real socket."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agents.split.package import Package
from tests.support.split_packages import EXAMPLE, TABLE, images, package
from tests.support.split_server import closes, edge_server

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """The example with a table."""
    return package(tmp_path_factory.mktemp("runner") / "net.split", table=TABLE)


def run(made: Package, **more: Any) -> list[dict[str, Any]]:
    """The records of a run of the package."""
    spec = {"runner": "split", "model_path": str(Path(made.path) / "manifest.json"), "min_count": 4}
    spec |= {"min_duration_s": 0.0, "warmup_count": 1, "warmup_duration_s": 0.0, **more}
    done = subprocess.run(
        [sys.executable, "-m", "device_agents", "run"],
        input=json.dumps(spec),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=100,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def outcome(records: list[dict[str, Any]]) -> dict[str, Any]:
    done = records[-1]
    assert done["outcome"] == "completed", [r for r in records if r["type"] == "failure"]
    summary: dict[str, Any] = done["summary"]["split"]
    return summary


def test_frames_are_measured_with_their_stages_and_what_became_of_them(made: Package) -> None:
    with edge_server(made) as running:
        split = {"server": {"url": running.url}, "policy": {"policy": "fixed", "placement": "p1"}}
        records = run(made, split=split)
    told = outcome(records)
    assert told["placements"] == {"p1": told["frames"]}
    assert (told["fallbacks"], told["refused"]) == ({}, 0)
    assert told["bytes_up"] > 0
    blocks = [r for r in records if r["type"] == "invocations" and r["phase"] == "measure"]
    stages = {name: [t for block in blocks for t in block["stages"][name]] for name in blocks[0]["stages"]}
    assert set(stages) == {"head", "encode", "link", "server", "decode", "tail"}
    assert all(min(stages[name]) > 0 for name in ("head", "encode", "link"))
    loaded = next(r["detail"] for r in records if r.get("name") == "loaded")
    assert loaded["package"] == made.id


def test_a_slow_down_is_of_the_parts_that_run_here_alone(made: Package) -> None:
    """The head takes so many times its time; the link and the server are as fast as they are."""
    with edge_server(made) as running:
        split = {"server": {"url": running.url}, "policy": {"policy": "fixed", "placement": "p1"}}
        plain, slow = (run(made, split=split, min_count=20, **more) for more in ({}, {"slow_down": 40.0}))

    def fastest(records: list[dict[str, Any]], stage: str) -> int:
        blocks = [r for r in records if r["type"] == "invocations" and r["phase"] == "measure"]
        return min(t for block in blocks for t in block["stages"][stage])

    assert fastest(slow, "head") > 10 * fastest(plain, "head")
    assert fastest(slow, "link") < 10 * fastest(plain, "link")


def test_an_evaluation_over_a_dead_server_is_answered_here(made: Package, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", image=images(6))
    with edge_server(made, misbehave=closes) as running:
        split = {"server": {"url": running.url}, "policy": {"policy": "fixed", "placement": "p2"}}
        records = run(made, split=split, task="evaluate", inputs={"kind": "npz", "path": str(tmp_path / "in.npz")})
    told = outcome(records)
    assert sum(told["fallbacks"].values()) == 3  # then the breaker is open
    from exporters.runtime import Session

    whole = Session(EXAMPLE / "fashion_mnist.onnx", "whole")
    want = [int(whole.run({"image": image[None]})[0].argmax()) for image in images(6)]
    assert [c for r in records if r["type"] == "outputs" for c in r["top1"]] == want


@pytest.mark.parametrize(
    ("split", "code", "words"),
    [
        ({"policy": {"policy": "magic"}}, "bad-model", "policy is 'magic'"),
        ({"policy": {"policy": "fixed", "placement": "p9"}}, "bad-model", "'p9' is not in the package"),
        ({"server": {"url": "ftp://x"}}, "bad-model", "the server's address is http"),
        ({"server": {"url": "http://x", "token_env": "NO_SUCH_VARIABLE"}}, "bad-spec", "NO_SUCH_VARIABLE"),
        ({"server": {}}, "bad-spec", "split: 'url'"),
        ({"link": {"uplink_bps": 1}}, "bad-spec", "split: "),
    ],
)
def test_what_cannot_be_run_is_one_failure(made: Package, split: dict[str, Any], code: str, words: str) -> None:
    records = run(made, split=split)
    failure = next(r for r in records if r["type"] == "failure")
    assert failure["code"] == code
    assert words in failure["message"]


def test_a_part_that_was_changed_is_a_bad_model(tmp_path: Path) -> None:
    made = package(tmp_path / "net.split", table=TABLE)
    Path(made.file_of(made.placements["p0"].parts[0])).write_bytes(b"x")
    failure = next(r for r in run(made) if r["type"] == "failure")
    assert failure["code"] == "bad-model"
    assert "another size than the manifest says" in failure["message"]
