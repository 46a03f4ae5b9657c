"""Profiles as files: what is written is read, what is damaged is refused in words, what is kept is found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobile.errors import InputError
from offload.costs.coders import CodecTime
from offload.costs.profile import (
    Cut,
    PieceTime,
    Place,
    Profile,
    Timed,
    from_json,
    read_profile,
    same_model,
    write_profile,
)
from offload.costs.shelf import all_kept, keep, kept

PROFILE = Profile(
    model="net.onnx",
    model_sha256="ab" * 32,
    place=Place("pi5", "slowed", "onnxruntime", "1.20", "CPUExecutionProvider", 2, (0, 1), 4.0, "performance"),
    pieces=(
        PieceTime("conv1", ("Conv", "Relu"), 0.003, 0.002, "measured", 0.0025, 1000, 10, 20, 30),
        PieceTime("flat", ("Flatten",), 0.0, 0.001, "predicted"),
    ),
    whole=Timed(2, 0.0031, 50, ("20260101-a",), 1 << 20, 1e-4),
    heads=(Timed(1, 0.003, 40, ("20260101-b",)),),
    tails=(Timed(1, 0.001, 40, ("20260101-c",)),),
    cuts=(Cut(1, ("r1",), 20),),
    codecs=(CodecTime("r1", "q8+zlib", 20, 1e-5, 2e-5, 9.0),),
    created_utc="2026-01-01T00:00:00Z",
    energy={"missing": "no sensor"},
    notes=("a note",),
)


def test_a_profile_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_profile(tmp_path / "deep/p.json", PROFILE)
    assert read_profile(tmp_path / "deep/p.json") == PROFILE
    document = json.loads((tmp_path / "deep/p.json").read_text())
    assert document["schema"] == 1
    assert document["whole_s"] == 0.0031
    assert [entry["cut"] for entry in document["prefixes"]] == [1]


def test_sums_and_words_follow_from_the_pieces() -> None:
    assert PROFILE.head_s(1) == 0.003
    assert PROFILE.tail_s(1) == 0.001
    assert PROFILE.pieces_how == "predicted"
    assert replace(PROFILE, pieces=PROFILE.pieces[:1]).pieces_how == "measured"
    assert replace(PROFILE, whole=None).whole_s == pytest.approx(0.003)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "run"}, "no profile of edgewise"),
        ({"schema": 2}, "schema 2"),
        ({"pieces": []}, "there is no piece"),
        ({"how": "guessed"}, "how is none of"),
        ({"place": {"name": "x", "provenance": "dreamt"}}, "provenance"),
        ({"prefixes": [{"cut": 9, "seconds": 1}]}, "a cut after 9"),
        ({"suffixes": [{"cut": 1, "seconds": -1}]}, "no time in seconds"),
        ({"suffixes": [{"cut": 1, "seconds": float("nan")}]}, "no time in seconds"),
        ({"whole": {"cut": 2}}, "damaged"),
        ({"pieces": "x"}, "damaged"),
        ({"codecs": [{"value": "v"}]}, "damaged"),
        ({"model": None}, "damaged"),
    ],
)
def test_a_profile_that_makes_no_sense_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        from_json({**PROFILE.to_json(), **change})


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_damage_is_refused_or_harmless(data: st.DataObject) -> None:
    document = json.loads(json.dumps(PROFILE.to_json()))
    target, key = document, data.draw(st.sampled_from(sorted(document)))
    for _ in range(3):
        inner = target[key]
        if isinstance(inner, dict) and inner:
            target, key = inner, data.draw(st.sampled_from(sorted(inner)))
        elif isinstance(inner, list) and inner:
            target, key = inner, data.draw(st.integers(0, len(inner) - 1))
    target[key] = data.draw(st.none() | st.integers() | st.floats() | st.text(max_size=3) | st.just([]) | st.just({}))
    try:
        from_json(document)
    except InputError:
        return


def test_files_that_are_none_are_refused_with_a_next_step(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.json").write_text("[" * 100_000)
    (tmp_path / "c.json").write_bytes(b"\xff\xfe")
    for name in "abc":
        with pytest.raises(InputError, match="is no JSON"):
            read_profile(tmp_path / f"{name}.json")
    with pytest.raises(InputError, match="No such file") as missing:
        read_profile(tmp_path / "d.json")
    assert "edgewise profile" in str(missing.value.hint)


def test_the_newest_profile_of_a_model_and_place_is_kept(tmp_path: Path) -> None:
    keep(tmp_path, replace(PROFILE, created_utc="old"))
    path = keep(tmp_path, PROFILE)
    other = keep(tmp_path, replace(PROFILE, place=Place("board / 7")))
    assert path != other
    assert kept(tmp_path, PROFILE.model_sha256, "pi5") == PROFILE
    (tmp_path / "broken.json").write_text("{}")
    assert len(list(all_kept(tmp_path))) == 2
    with pytest.raises(InputError, match="not profiled on orin") as missing:
        kept(tmp_path, PROFILE.model_sha256, "orin")
    assert "--on orin" in str(missing.value.hint)
    assert list(all_kept(tmp_path / "none")) == []


def test_profiles_of_another_model_or_of_other_pieces_are_refused() -> None:
    names = ["conv1", "flat"]
    same_model([PROFILE], PROFILE.model_sha256, names)
    with pytest.raises(InputError, match="another model"):
        same_model([PROFILE], "cd" * 32, names)
    with pytest.raises(InputError, match="other pieces"):
        same_model([PROFILE], PROFILE.model_sha256, ["conv1"])
