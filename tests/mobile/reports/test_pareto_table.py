"""Variants are grouped, what is not comparable is left out with a word, and the table says who is on the front."""

from __future__ import annotations

from mobile.reports.pareto import pareto_json, pareto_table, variants_of
from mobile.reports.quality import quality_notes

SET = {"name": "set.npz", "sha256": "11" * 32}


def row(number, model="a.onnx", p50=0.01, size=100, top1=0.9, joules=None, **more):
    quality = {"metric": "top1", "value": top1, "share": True, "larger_is_better": True, "set": SET, "items": 8}
    return {
        "id": f"r{number}", "device": "pi", "model": {"name": model, "sha256": model * 8, "size_bytes": size},
        "latency_s": {"p50": p50}, "spec": {"threads": 1, "batch": 1}, "environment": {},
        "energy": None if joules is None else {"per_inference_j": joules, "scope": "board", "sensor": "ina"},
        "quality": None if top1 is None else {**quality, "errors": {}}, **more,
    }  # fmt: skip


def test_runs_of_one_variant_are_one_point_by_their_median():
    found = variants_of([row(1, p50=0.03), row(2, p50=0.01), row(3, p50=0.02), row(4, "b.onnx", p50=0.5, top1=0.8)])
    assert [point.name for point in found.points] == ["a.onnx", "b.onnx"]
    assert found.runs[0] == ("r1", "r2", "r3")
    assert found.points[0].values["latency_s"] == 0.02
    assert found.front.on == (True, False)


def test_a_worse_variant_that_is_smaller_stays_on_the_front():
    found = variants_of([row(1), row(2, "b.onnx", p50=0.02, size=50, top1=0.5)])
    assert found.front.on == (True, True)
    table = pareto_table(found)
    assert table.headers == [
        "front",
        "variant",
        "runs",
        "latency (p50)",
        "energy of an item",
        "size",
        "top1",
        "beaten by",
    ]
    assert table.rows[1] == ["*", "b.onnx", "1", "20.0 ms", "-", "50 B", "50.0 %", ""]


def test_settings_that_differ_are_in_the_names():
    found = variants_of([row(1), row(2, spec={"threads": 2, "batch": 4}), row(3, device="jetson")])
    assert [point.name for point in found.points] == [
        "a.onnx, pi, threads 1, batch 1", "a.onnx, pi, threads 2, batch 4", "a.onnx, jetson, threads 1, batch 1",
    ]  # fmt: skip
    assert found.points[1].values["latency_s"] == 0.0025  # of an item


def test_energies_of_two_scopes_are_left_out_with_a_word():
    other = row(2, "b.onnx", joules=0.1)
    other["energy"]["scope"] = "package"
    found = variants_of([row(1, joules=0.2), other])
    assert "energy_j" not in found.less_is_better
    assert found.notes == ("energy is left out: it is of 2 scopes or sensors, which are not compared",)


def test_qualities_of_two_sets_are_left_out_with_a_word():
    other = row(2, "b.onnx")
    other["quality"]["set"] = {"name": "other", "sha256": "22" * 32}
    assert "quality is left out: it is by 2 evaluation sets" in " ".join(variants_of([row(1), other]).notes)


def test_less_is_better_where_the_metric_says_so():
    rows = [row(1, top1=0.1), row(2, "b.onnx", top1=0.2)]
    for one in rows:
        one["quality"].update(metric="wer", larger_is_better=False)
    found = variants_of(rows)
    assert found.front.on == (True, False)
    document = pareto_json(found)
    assert document["axes"]["quality"] == "less" and document["points"][1]["beaten_by"] == "a.onnx"


def test_an_energy_that_some_lack_is_named_as_missing():
    found = variants_of([row(1, joules=0.1), row(2, "b.onnx")])
    assert pareto_json(found)["missing"] == {"energy_j": ["b.onnx"]}
    assert "not by energy of an item: b.onnx has none" in pareto_table(found).notes


def test_what_went_wrong_is_said_under_the_table():
    told = row(1)
    told["quality"].update(
        method="Wilson", left_out=1, errors={"nan": {"count": 2, "why": "in output 'y'"}},
        repeats={"items": 4, "repeats": 1, "equal": False, "max_difference": 0.25},
        against={"of": {"threads": None}, "equal": False, "max_difference": None},
    )  # fmt: skip
    assert quality_notes([told, told]) == [
        "quality: top1 on 8 items of set.npz, 95 % interval: Wilson",
        "a.onnx on pi: 2 of 8 answers not a number: in output 'y'",
        "a.onnx on pi: 1 of 8 items could not be scored and are left out",
        "a.onnx on pi: not stable: 4 items asked again gave other answers, by at most 0.250",
        "a.onnx on pi: other answers than with threads default",
    ]
