"""The frames of a split run, from the agent's records to rows."""

from __future__ import annotations

from typing import Any

import pytest

from device_agents.records import decode, done, encode, invocations
from mobile.errors import AgentError
from mobile.results.collect import Collector
from mobile.results.frames import frames
from mobile.results.run import ModelRef, RunSpec
from mobile.results.store import RunStore

NOTES: dict[str, list[float | None]] = {
    "why": [0, 1],
    "placement": [1, None],
    "predicted_s": [0.02, None],
    "fallback": [None, 0],
    "refused": [0, 1],
    "bytes_up": [700, 0],
}
WORDS = {"placement_ids": ["p0", "p1"], "fallback_kinds": ["late"], "reasons": ["latency", "refused: no answer"]}


def collector() -> Collector:
    spec = RunSpec("board", ModelRef("net.split", "0" * 64, "split", 1), {"task": "bench"})
    return Collector("20260101-abcdefgh", "2026-01-01T00:00:00Z", "real", spec)


def fed(notes: dict[str, list[float | None]], summary: dict[str, Any] | None) -> Any:
    made = collector()
    block = invocations("measure", [1_000, 31_000_000], [25_000_000, 40_000_000], {}, notes)
    made.feed(decode(encode(block)))
    if summary is not None:
        made.feed(decode(encode(done("completed", 2, {}, {}, summary))))
    return made.run


def test_a_frame_has_its_decision_in_words(tmp_path: Any) -> None:
    store = RunStore(tmp_path / "runs.sqlite3")
    store.add(fed(NOTES, {"split": WORDS}))
    first, second = frames(store.get("last"))
    assert list(first)[:6] == ["t_s", "measured_s", "placement", "why", "predicted_s", "fallback"]
    assert first == {
        "t_s": 0.0,
        "measured_s": 0.025,
        "placement": "p1",
        "why": "latency",
        "predicted_s": 0.02,
        "fallback": None,
        "refused": False,
        "bytes_up": 700,
    }
    assert second["t_s"] == pytest.approx(0.030999)
    assert (second["placement"], second["predicted_s"], second["fallback"]) == (None, None, "late")
    assert second["refused"] is True


def test_a_run_that_was_cut_has_numbers_in_the_place_of_words() -> None:
    first, _ = frames(fed(NOTES, None))
    assert (first["placement"], first["why"]) == (1, 0)


def test_a_run_without_decisions_has_no_frames() -> None:
    assert list(frames(fed({}, None))) == []


def test_notes_that_are_shorter_than_their_frames_or_change_are_refused() -> None:
    with pytest.raises(AgentError, match="not equally long"):
        fed({"why": [0]}, None)
    made = collector()
    made.feed(invocations("measure", [1], [1], {}, {"why": [0]}))
    with pytest.raises(AgentError, match="the notes of phase measure changed"):
        made.feed(invocations("measure", [2], [1], {}, {"placement": [0]}))
