"""`edgewise profile` and `edgewise link` as a user runs them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mobile import example
from mobile.inventory import load_inventory
from tests.support.cli import edgewise, edgewise_json
from tests.support.link_server import TOKEN, linked
from tests.support.wire_server import server

QUICK = ("--duration", "0.02", "--min-count", "3", "--cuts", "1", "--threads", "1", "--codecs", "raw,q8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(example.model_path(), tmp_path / "model.onnx")
    return tmp_path


def test_a_profile_is_printed_kept_and_found_again(folder: Path) -> None:
    store = {"EDGEWISE_STORE": str(folder / "runs.sqlite3")}
    document = edgewise_json("profile", "model.onnx", "--on", "local", *QUICK, cwd=folder, **store)
    assert document["schema"] == 1
    assert document["kind"] == "edgewise-profile"
    assert document["how"] == "measured"
    assert document["place"]["provenance"] == "real"
    assert len(document["prefixes"]) == len(document["suffixes"]) == 1
    assert {piece["how"] for piece in document["pieces"]} <= {"measured", "predicted"}
    assert sum(piece["head_s"] for piece in document["pieces"]) > 0
    (kept,) = (folder / "profiles").iterdir()
    assert json.loads(kept.read_text()) == document
    stored = edgewise_json("runs", cwd=folder, **store)
    assert len(stored["runs"]) == 3
    # And from it a prediction for the same operators elsewhere, which runs nothing.
    shutil.copy(example.model_path(), folder / "other.onnx")
    (folder / "other.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"\x3a\x00")
    more = ("--predict", "--from", kept)
    guessed = edgewise_json("profile", "other.onnx", *more, cwd=folder, **store)
    assert guessed["how"] == "predicted"
    assert {piece["how"] for piece in guessed["pieces"]} == {"predicted"}
    assert guessed["prefixes"] == guessed["suffixes"] == []
    assert "error of pieces left out" in guessed["notes"][0]
    assert len(edgewise_json("runs", cwd=folder, **store)["runs"]) == 3
    shown = edgewise("profile", "other.onnx", *more, "-o", "there.json", cwd=folder, **store)
    assert shown.returncode == 0, shown.stderr
    assert "whole model" in shown.stdout
    assert "predicted" in shown.stdout
    assert "measured" not in shown.stdout
    assert json.loads((folder / "there.json").read_text())["how"] == "predicted"


def test_a_table_names_pieces_cuts_and_the_place(folder: Path) -> None:
    done = edgewise("profile", "model.onnx", *QUICK, "-o", "p.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "Conv+Relu" in done.stdout
    assert "crossing" in done.stdout
    assert "local (real)" in done.stdout
    assert "largest difference of the fit" in done.stdout
    assert "kept in p.json" in done.stderr
    assert (folder / "p.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("none.onnx",), "no such file"),
        (("model.onnx", "--on", "nowhere"), "no device 'nowhere'"),
        (("model.onnx", "--threads", "1,2"), "one number of threads"),
        (("model.onnx", "--cuts", "-1"), "--cuts"),
        (("model.onnx", "--from", "x.json"), "--from goes with --predict"),
        (("model.onnx", "--predict", "--from", "x.json"), "x.json"),
        (("model.onnx", "--inputs", "a.npz", "--calibration", "a.npz"), "give one"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(folder: Path, arguments: tuple[str, ...], words: str) -> None:
    done = edgewise("profile", *arguments, cwd=folder)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_link_is_measured_and_saved_and_its_token_is_nowhere(folder: Path) -> None:
    with server(linked(token=TOKEN)) as (url, _):
        text = f"# mine\nservers:\n  edge: {{url: '{url}', token_env: EDGE_TOKEN}}\n"
        (folder / "devices.yaml").write_text(text)
        asked = ("link", "local", "edge", "--duration", "0.5")
        document = edgewise_json(*asked, cwd=folder, EDGE_TOKEN=TOKEN)
        shown = edgewise(*asked, "--save", cwd=folder, EDGE_TOKEN=TOKEN)
        refused = edgewise(*asked, cwd=folder, EDGE_TOKEN="wrong")
    assert document["how"] == "measured"
    assert document["uplink_bps"] > 0
    assert document["downlink_bps"] > 0
    assert document["rtt_low_s"] <= document["rtt_s"] <= document["rtt_high_s"]
    assert (document["loss"] is None) == (document["loss_missing"] is not None)
    assert shown.returncode == 0, shown.stderr
    assert "round trip" in shown.stdout
    assert "measured" in shown.stdout
    assert refused.returncode == 2
    assert "refuses the token" in refused.stderr
    assert TOKEN not in shown.stdout + shown.stderr + refused.stderr + json.dumps(document)
    saved = load_inventory(folder / "devices.yaml").link("local", "edge")
    assert not saved.assumed
    assert (folder / "devices.yaml").read_text().startswith(text)


def test_a_server_that_is_not_there_is_not_reached(folder: Path) -> None:
    (folder / "devices.yaml").write_text("servers:\n  edge: {url: 'http://127.0.0.1:9'}\n")
    done = edgewise("link", "local", "edge", cwd=folder)
    assert done.returncode == 3
    assert "connection refused" in done.stderr
    assert "edgewise serve" in done.stderr
    assert edgewise("link", "local", "cloud", cwd=folder).returncode == 2
    nowhere = edgewise("link", "local", "local", "--save", cwd=folder.parent, EDGEWISE_INVENTORY="")
    assert nowhere.returncode == 2
