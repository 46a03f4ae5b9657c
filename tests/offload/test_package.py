"""Split packages: written whole or not at all, read back, refused when anything was changed, and equal to the whole."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agents.split import package as reading
from device_agents.split.package import PackageError, check_part
from exporters.runtime import Session
from mobile.errors import ExportError
from offload.package.verify import verify
from offload.package.write import Planned, planned, write
from offload.plan.problem import Crossing, Line
from tests.support.split_packages import EXAMPLE, images, package, placements, source


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> reading.Package:
    """One package for all tests that do not change it."""
    return package(tmp_path_factory.mktemp("package") / "net.split")


def test_a_package_is_read_as_it_was_written(made: reading.Package) -> None:
    assert reading.read(made.path) == made
    assert made.name == "fashion_mnist"
    assert [placement.label for placement in made.placements.values()] == ["device", "split", "server"]
    middle = made.placements["p1"]
    assert [part.place for part in middle.parts] == ["device", "server"]
    assert middle.parts[0].outputs == middle.parts[1].inputs
    assert middle.codec(middle.parts[1].inputs[0], up=True) == "q8+zlib"
    assert made.model_name(middle, middle.parts[1]) == "fashion_mnist.p1"
    for placement in made.placements.values():
        for part in placement.parts:
            check_part(made, part)


def test_all_on_one_side_is_the_model_itself(made: reading.Package) -> None:
    files = {made.placements[name].parts[0].file for name in ("p0", "p2")}
    assert len(files) == 1


def test_the_parts_give_what_the_whole_gives_and_the_codec_costs_little(made: reading.Package) -> None:
    whole = Session(EXAMPLE / "fashion_mnist.onnx", "whole")
    inputs = [{made.inputs[0].name: image[None]} for image in images(24)]
    evidence = {found.placement: found for found in verify(made, whole, inputs)}
    assert all(found.equivalent for found in evidence.values())
    assert evidence["p0"].coded == evidence["p0"].uncoded == 0.0
    assert 0 < evidence["p1"].coded < 0.2
    assert evidence["p1"].top1_agreement >= 0.95
    assert {found.samples for found in evidence.values()} == {24}


def test_two_bits_are_seen_to_cost_more_than_eight(tmp_path: Path, made: reading.Package) -> None:
    whole = Session(EXAMPLE / "fashion_mnist.onnx", "whole")
    inputs = [{made.inputs[0].name: image[None]} for image in images(12)]
    coarse = package(tmp_path / "coarse", codec="q2")
    fine, rough = (verify(one, whole, inputs, ["p1"])[0] for one in (made, coarse))
    assert rough.coded > 3 * fine.coded
    assert rough.equivalent


def test_writing_again_gives_the_same_id_and_replaces_the_package(tmp_path: Path) -> None:
    first = package(tmp_path / "a")
    second = package(tmp_path / "a")
    assert first.id == second.id
    other = package(tmp_path / "a", notes=["another"])
    assert other.id != first.id
    assert reading.read(str(tmp_path / "a")).id == other.id
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_a_folder_that_is_no_package_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    with pytest.raises(ExportError, match="is no split package"):
        package(tmp_path / "mine")
    assert (tmp_path / "mine/thesis.txt").read_text() == "years of work"


def test_a_failure_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = package(tmp_path / "a")

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ExportError, match="No space left on device"):
        package(tmp_path / "a", notes=["new"])
    assert reading.read(str(tmp_path / "a")).id == before.id
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_a_part_that_was_changed_is_refused(tmp_path: Path) -> None:
    made = package(tmp_path / "a")
    part = made.placements["p1"].parts[1]
    path = Path(made.file_of(part))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(PackageError, match="is not the file that the manifest names"):
        check_part(made, part)
    path.write_bytes(data + b"x")
    with pytest.raises(PackageError, match="another size"):
        check_part(made, part)
    path.unlink()
    with pytest.raises(PackageError, match="No such file"):
        check_part(made, part)


def _manifest(made: reading.Package) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(Path(made.path, "manifest.json").read_text())
    return document


def test_a_manifest_that_was_changed_is_refused(made: reading.Package) -> None:
    document = _manifest(made)
    document["name"] = "other"
    with pytest.raises(PackageError, match="its id is not that of its content"):
        reading.from_json(document)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 9}, "not a split package of schema 1"),
        ({"name": "../up"}, "the package's name is"),
        ({"placements": []}, "there must be one"),
        ({"placements": "x"}, "placements: a list"),
        ({"values": None}, "the manifest is damaged"),
        ({"table": {"schema": 7}}, "placement table"),
        ({"ranges": {"a": {"low": [2], "high": [1]}}}, "a range needs"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(made: reading.Package, change: dict[str, Any], words: str) -> None:
    document = {**_manifest(made), **change}
    document.update(id=reading.identity(document), table_sha256=reading.costs_identity(document))
    with pytest.raises(PackageError, match=words):
        reading.from_json(document)


def test_a_part_cannot_lead_out_of_the_folder(made: reading.Package) -> None:
    document = _manifest(made)
    document["placements"][1]["parts"][0]["file"] = "../../etc/passwd"
    document["id"] = reading.identity(document)
    with pytest.raises(PackageError, match="a part's file is"):
        reading.from_json(document)


def test_parts_that_do_not_fit_together_are_refused(made: reading.Package) -> None:
    for which, field, words in ((1, "inputs", "nothing gives 'ghost'"), (0, "outputs", "nothing gives")):
        document = _manifest(made)
        document["placements"][1]["parts"][which][field] = ["ghost"]
        document["id"] = reading.identity(document)
        with pytest.raises(PackageError, match=words):
            reading.from_json(document)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_change_of_a_manifest_is_refused_or_harmless(made: reading.Package, data: st.DataObject) -> None:
    document = _manifest(made)
    target, key = document, data.draw(st.sampled_from(sorted(document)))
    for _ in range(4):
        inner = target[key]
        if isinstance(inner, dict) and inner:
            target, key = inner, data.draw(st.sampled_from(sorted(inner)))
        elif isinstance(inner, list) and inner:
            target, key = inner, data.draw(st.integers(0, len(inner) - 1))
    target[key] = data.draw(st.none() | st.integers() | st.text(max_size=3) | st.just([]) | st.just({}))
    document["id"] = reading.identity(document)
    try:
        reading.from_json(document)
    except PackageError:
        return


def test_a_line_of_the_planner_becomes_a_placement() -> None:
    found = source()
    count = len(found.graph.pieces)
    sides = np.array([index >= 2 for index in range(count)])
    values = list(found.graph.values)
    value = found.graph.pieces[2].inputs[0]
    line = Line(0.0, 0.0, sides, (Crossing(values.index(value), True, 1),))
    one = planned("p3", "split", line, values, [["raw", "q4+zlib"]] * len(values))
    assert one == Planned("p3", "split", tuple(bool(side) for side in sides), ((value, True, "q4+zlib"),))
    assert placements(found)[1].label == "split"


def test_a_value_that_cannot_be_sent_is_refused(tmp_path: Path) -> None:
    found = source()
    name = found.graph.pieces[3].inputs[0]
    from dataclasses import replace

    strange = {**found.observed, name: replace(found.observed[name], dtype="complex64")}
    count = len(found.graph.pieces)
    cut = Planned("p0", "split", tuple(index >= 3 for index in range(count)), ((name, True, "raw"),))
    with pytest.raises(ExportError, match="complex64, which cannot be sent"):
        write(tmp_path / "a", replace(found, observed=strange), [cut])
