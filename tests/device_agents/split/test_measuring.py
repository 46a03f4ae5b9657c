"""The verbs link and codecs: what is told of a link and of coding, and what is refused; no secret comes back."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agents.split import coding, link
from device_agents.split.codecs import encode
from tests.support.agents import AGENT, ROOT
from tests.support.link_server import TOKEN, linked
from tests.support.wire_server import reply, server


def ask(verb: str, order: Any, runs: Path) -> dict[str, Any]:
    """What the agent answers on its standard output."""
    done = subprocess.run(
        [*AGENT[:-1], verb, "--runs", str(runs)],
        input=json.dumps(order).encode() if not isinstance(order, bytes) else order,
        capture_output=True,
        cwd=ROOT,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert TOKEN.encode() not in done.stdout + done.stderr
    return json.loads(line)


def test_a_link_is_measured_with_empty_requests_and_growing_bodies(tmp_path: Path) -> None:
    with server(linked(token=TOKEN)) as (url, asked):
        answer = ask("link", {"url": url, "token": TOKEN, "duration_s": 0.5, "max_bytes": 1 << 20}, tmp_path)
    assert answer["problem"] is None
    assert answer["connect_ns"] > 0
    kinds = {kind: {size for k, size, _ in answer["samples"] if k == kind} for kind in ("empty", "up", "down")}
    assert kinds["empty"] == {0}
    for way in ("up", "down"):
        assert min(kinds[way]) == 4096
        assert max(kinds[way]) <= 1 << 20
        assert len(kinds[way]) > 1
    assert all(ns > 0 for _, _, ns in answer["samples"])
    assert len({head.split(b"\r\n")[0] for head, _ in asked}) > 3
    bodies = {body[:64] for _, body in asked if body}
    assert all(len(set(body)) > 20 for body in bodies)  # nothing that could be compressed
    counters = answer["tcp"]
    assert counters is None or counters["segments"] > 0


def test_a_link_that_breaks_keeps_what_was_measured(tmp_path: Path) -> None:
    with server(linked(limit=200_000)) as (url, _):
        answer = ask("link", {"url": url, "duration_s": 5}, tmp_path)
    assert "closed the connection" in answer["problem"]
    assert len(answer["samples"]) > 8


@pytest.mark.parametrize(
    ("order", "kind"),
    [
        ({"token": TOKEN}, "unauthorized"),
        ({"url": "http://127.0.0.1:9", "token": TOKEN}, "unreachable"),
        ({"url": "ftp://x", "token": TOKEN}, "refused"),
        ({"url": None, "token": TOKEN}, "refused"),
        ({"duration_s": 0, "token": TOKEN}, "refused"),
        ({"duration_s": "x", "token": TOKEN}, "refused"),
        ({"max_bytes": 1 << 40, "token": TOKEN}, "refused"),
        ([], "refused"),
        (b"{", "bad-spec"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_words(order: Any, kind: str, tmp_path: Path) -> None:
    with server(linked(token="another")) as (url, _):
        asked = {"url": url, **order} if isinstance(order, dict) else order
        answer = ask("link", asked, tmp_path)
    assert answer["error"]["kind"] == kind
    assert answer["error"]["message"]


def test_certificates_that_are_none_are_refused() -> None:
    answer = link.answer_to({"url": "https://127.0.0.1:9", "certificates": "no pem"})
    assert answer["error"]["kind"] in ("refused", "unreachable")


def test_a_server_that_sends_another_size_is_not_believed() -> None:
    with server(lambda head, body: reply(b"x")) as (url, _):
        answer = link.answer_to({"url": url, "duration_s": 1})
    assert "4096" in answer.get("problem", "") or "bytes where" in str(answer)


def test_the_device_is_measured_by_one_at_a_time(tmp_path: Path) -> None:
    from device_agents.lock import DeviceLock
    from device_agents.processes import identity

    lock = DeviceLock(str(tmp_path))
    lock.acquire(identity(), {"host": "other"}, "a-run")
    try:
        answer = ask("codecs", {"files": [], "codecs": []}, tmp_path)
    finally:
        lock.release()
    assert answer["error"]["kind"] == "busy"
    assert "other" in answer["error"]["message"]
    assert "error" not in ask("codecs", {"files": [], "codecs": []}, tmp_path)


def saved(folder: Path, **arrays: Any) -> tuple[str, list[dict[str, Any]]]:
    np.savez(folder / "v.npz", **arrays)
    described = [{"name": name, "dtype": str(a.dtype), "shape": list(a.shape)} for name, a in arrays.items()]
    return str(folder / "v.npz"), described


def test_codecs_are_timed_on_what_is_there(tmp_path: Path) -> None:
    activation = np.random.default_rng(0).gamma(1.0, 1.0, (1, 8, 16, 16)).astype(np.float32)
    path, values = saved(tmp_path, a=activation, n=np.arange(6, dtype=np.int64))
    values[0]["range"] = {"low": [0.0] * 8, "high": [5.0] * 8}
    order = {"files": [{"path": path, "values": values}], "codecs": ["raw", "q8", "q8.c", "q4+zlib", "q8+zstd"]}
    answer = ask("codecs", order, tmp_path)
    times = {(time["value"], time["codec"]): time for time in answer["times"]}
    assert {codec for value, codec in times if value == "n"} == {"raw"}
    assert times["a", "raw"]["coded_bytes"] == times["a", "raw"]["size_bytes"] == activation.nbytes
    assert times["a", "raw"]["encode_s"] == 0.0
    q8 = times["a", "q8"]
    assert q8["coded_bytes"] == len(encode(activation, "q8"))
    assert q8["encode_s"] > 0
    assert q8["decode_s"] > 0
    assert times["a", "q4+zlib"]["coded_bytes"] < q8["coded_bytes"]
    assert ("a", "q8+zstd") in times or "q8+zstd" in answer["missing"]
    assert answer["problem"] is None


@pytest.mark.parametrize(
    "order",
    [
        None,
        {},
        {"files": [{"path": "/nowhere.npz", "values": []}], "codecs": ["q8"]},
        {"files": [{"values": []}], "codecs": ["q8"]},
        {"files": [{"path": __file__, "values": [{"name": "x", "dtype": "float32", "shape": [1]}]}], "codecs": ["q8"]},
        {"files": [], "codecs": ["zip"]},
        {"files": 7, "codecs": []},
    ],
)
def test_an_order_of_codecs_that_makes_no_sense_is_refused_in_words(order: Any) -> None:
    assert coding.answer_to(order)["error"]["message"]


def test_codecs_stop_when_their_time_is_over(tmp_path: Path) -> None:
    path, values = saved(tmp_path, a=np.ones((4, 4), np.float32))
    answer = coding.answer_to({"files": [{"path": path, "values": values}], "codecs": ["q8"], "limit_s": 1e-9})
    assert answer["times"] == []
    assert answer["problem"]
