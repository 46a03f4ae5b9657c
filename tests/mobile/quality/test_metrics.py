"""Each metric on answers whose figure is known, with bounds that hold it, and each misfit named."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mobile.errors import InputError, ModelError, UsageError
from mobile.quality import EvaluationSet, default_metric, metric, open_set
from mobile.quality.bootstrap import ratio_interval


def the_set(tmp_path, **truth):
    return EvaluationSet("set", tmp_path / "x.npz", "00" * 32, **truth)


def arrays(*rows):
    return [None if row is None else np.array(row) for row in rows]


def test_top1_and_top5_count_the_right_ones(tmp_path):
    found = the_set(tmp_path, labels=[3, 0, 7, 1])
    outputs = {"top.classes": arrays([3, 1, 2, 4, 5], [1, 2, 3, 4, 0], [1, 2, 3, 4, 5], None)}
    top1, top5 = (metric(name).score(outputs, found) for name in ("top1", "top5"))
    assert (top1.value, top1.scores) == (0.25, [1.0, 0.0, 0.0, 0.0])
    assert (top5.value, top5.scores) == (0.5, [1.0, 1.0, 0.0, 0.0])
    assert top1.low < 0.25 < top1.high and top1.method == "Wilson"


def test_classes_are_told_from_whole_outputs_or_are_single_numbers(tmp_path):
    found = the_set(tmp_path, labels=[1, 0])
    assert metric("top1").score({"y": arrays([0.1, 0.9], [0.2, 0.8])}, found).scores == [1.0, 0.0]
    assert metric("top5").score({"result": [np.array(1), np.array(1)]}, found).scores == [1.0, 0.0]
    with pytest.raises(InputError, match="the first output is a text"):
        metric("top1").score({"text": ["a", "b"]}, found)


def test_cosine_and_mse_against_references(tmp_path):
    found = the_set(tmp_path, reference={"": np.array([[1.0, 0.0], [1.0, 0.0], [2.0, 2.0]])})
    outputs = {"y": arrays([2.0, 0.0], [0.0, 3.0], [1.0, 1.0]), "other": arrays([9.0], [9.0], [9.0])}
    cosine, mse = (metric(name).score(outputs, found) for name in ("cosine", "mse"))
    assert cosine.scores == pytest.approx([1.0, 0.0, 1.0])
    assert cosine.value == pytest.approx(2 / 3)
    assert mse.scores == pytest.approx([0.5, 5.0, 1.0])
    assert mse.low <= mse.value <= mse.high


def test_items_that_cannot_be_scored_are_left_out_and_counted(tmp_path):
    found = the_set(tmp_path, reference={"y": np.ones((3, 2))})
    scored = metric("mse").score({"y": arrays([1.0, 1.0], None, [np.nan, 1.0])}, found)
    assert (scored.value, scored.left_out, scored.scores) == (0.0, 2, [0.0, None, None])
    with pytest.raises(InputError, match="no item could be scored"):
        metric("mse").score({"y": arrays(None, None, None)}, found)


def test_one_item_has_no_spread(tmp_path):
    scored = metric("mse").score({"y": arrays([2.0])}, the_set(tmp_path, reference={"y": np.ones((1, 1))}))
    assert (scored.value, scored.low, scored.high, scored.method) == (1.0, None, None, "one item has no spread")


@pytest.mark.parametrize(
    ("name", "outputs", "truth", "message"),
    [
        ("top1", {"top.classes": arrays([1])}, {"labels": [1, 2]}, "2 labels for 1 items"),
        ("mse", {"z": arrays([1.0])}, {"reference": {"y": np.ones((1, 1))}}, "reference.y, but the outputs are z"),
        ("mse", {"y": arrays([1.0])}, {"reference": {"y": np.ones((1, 2))}}, "2 reference values, the device gave 1"),
        ("wer", {"y": arrays([1.0])}, {"texts": ["a"]}, "the device returned numbers"),
        ("wer", {"y": ["a"]}, {"texts": [" "]}, "the right text of item 0 is empty"),
        ("map", {"y": arrays([1.0])}, {"annotations": {"images": [{"id": 1}], "annotations": []}}, "not one for boxes"),
    ],
)
def test_a_misfit_is_named(tmp_path, name, outputs, truth, message):
    with pytest.raises(InputError, match=message):
        metric(name).score(outputs, the_set(tmp_path, **truth))


def test_word_and_character_errors(tmp_path):
    pytest.importorskip("jiwer")
    found = the_set(tmp_path, texts=["the cat sat", "on the mat"])
    given = {"text": ["the bat sat", None]}  # one substitution of three; three deletions of three
    words = metric("wer").score(given, found)
    assert words.value == pytest.approx(4 / 6)
    assert words.scores == pytest.approx([1 / 3, 1.0])
    characters = metric("cer").score({"text": ["the cat sat", "on the mat"]}, found)
    assert (characters.value, characters.low, characters.high) == (0.0, 0.0, 0.0)


BOXES = [[10.0, 10.0, 50.0, 60.0], [5.0, 5.0, 25.0, 25.0]]  # x1, y1, x2, y2


def detection_set(tmp_path, images=4):
    annotations = [
        {"image_id": image, "category_id": 1 + image % 2, "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]]}
        for image in range(images)
        for box in BOXES
    ]
    return the_set(
        tmp_path,
        annotations={"images": [{"id": one} for one in range(images)], "annotations": annotations},
        classes=[1, 2],
    )


def detections(images, shift=0.0):
    return {
        "boxes": [np.array(BOXES) + shift for _ in range(images)],
        "scores": [np.array([0.9, 0.8]) for _ in range(images)],
        "classes": [np.array([image % 2, image % 2]) for image in range(images)],
    }


def test_perfect_detections_have_a_precision_of_one_and_none_of_zero(tmp_path):
    pytest.importorskip("pycocotools")
    found = detection_set(tmp_path)
    perfect = metric("map").score(detections(4), found)
    assert perfect.value == pytest.approx(1.0)
    assert perfect.more["map50"] == pytest.approx(1.0)
    nothing = {name: [None] * 4 for name in ("boxes", "scores", "classes")}
    assert metric("map").score(nothing, found).value == 0.0


def test_boxes_that_are_off_count_at_the_looser_overlaps_only(tmp_path):
    pytest.importorskip("pycocotools")
    found = detection_set(tmp_path)
    off = metric("map").score(detections(4, shift=2.0), found)
    assert off.more["map50"] == pytest.approx(1.0)
    assert 0.3 < off.value < 0.9
    # IoU of the large box 38 * 48 / (2 * 2000 - 38 * 48) = 0.838, of the small one 18 * 18 / (2 * 400 - 324) = 0.681:
    # right at 0.50 to 0.65 both, at 0.70 to 0.80 the large one alone, whose score is the higher: precision 1 up to
    # recall 0.5, which is 51 of 101 points.
    assert off.value == pytest.approx((4 + 3 * 51 / 101) / 10, abs=1e-6)
    assert off.low <= off.value <= off.high


def test_the_right_boxes_of_the_wrong_classes_are_worth_nothing(tmp_path):
    pytest.importorskip("pycocotools")
    given = detections(4)
    given["classes"] = [1 - classes for classes in given["classes"]]
    assert metric("map").score(given, detection_set(tmp_path)).value == 0.0


def test_a_metric_of_ones_own(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(
        "larger_is_better = False\n"
        "def each(outputs, truth):\n"
        "    return [abs(float(y[0]) - label) for y, label in zip(outputs['y'], truth['labels'])]\n"
        "def one(outputs, truth):\n    return 0.5\n"
        "def bad(outputs, truth):\n    return outputs['nothing']\n"
    )
    found = the_set(tmp_path, labels=[1, 2])
    outputs = {"y": arrays([1.5], [2.0])}
    each = metric(f"{path}:each")
    assert (each.name, each.larger_is_better) == ("own.py:each", False)
    assert each.score(outputs, found).scores == [0.5, 0.0]
    assert metric(f"{path}:one").score(outputs, found).low is None
    with pytest.raises(InputError, match=r"bad\(\) failed: KeyError: 'nothing' \(own.py:7\)"):
        metric(f"{path}:bad").score(outputs, found)
    with pytest.raises(UsageError, match="no function 'none'"):
        metric(f"{path}:none")
    with pytest.raises(ModelError, match="no such file"):
        metric(f"{tmp_path}/absent.py:one")


def test_an_unknown_metric_lists_the_known_ones():
    with pytest.raises(UsageError, match="no metric 'accuracy'") as caught:
        metric("accuracy")
    assert "top1, top5, cosine, mse, map, wer, cer" in caught.value.hint


def test_bootstrap_bounds_hold_the_truth_as_often_as_they_say():
    generator = np.random.default_rng(11)
    hits = 0
    for _ in range(100):
        low, high = ratio_interval(generator.exponential(2.0, 60).tolist())
        hits += low <= 2.0 <= high
    assert 86 <= hits <= 99  # binomial(100, 0.93): the percentile interval of a skewed mean is a little short


def test_a_set_of_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 3)), label=np.array([1, 0]), **{"reference.y": np.ones((2, 2))})
    found = open_set(tmp_path / "a.npz")
    assert found.labels == [1, 0] and set(found.reference) == {"y"}
    assert default_metric(found) == "top1"
    with pytest.raises(InputError, match=r"no labels 'truth'; it holds x, label, reference\.y"):
        open_set(tmp_path / "a.npz", "truth")


def test_a_folder_and_a_document(tmp_path):
    np.savez(tmp_path / "inputs.npz", x=np.zeros((2, 3)))
    (tmp_path / "texts.json").write_text('["a", "b"]')
    folder = open_set(tmp_path)
    assert folder.texts == ["a", "b"] and default_metric(folder) == "wer"
    (tmp_path / "set.json").write_text(json.dumps({"inputs": "inputs.npz", "texts": "texts.json", "metric": "cer"}))
    document = open_set(tmp_path / "set.json")
    assert document.texts == folder.texts and default_metric(document) == "cer"
    (tmp_path / "texts.json").write_text('["a", "c"]')
    assert open_set(tmp_path).sha256 != folder.sha256


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "names no inputs"),
        ({"inputs": "absent.npz"}, "are not there"),
        ({"inputs": "inputs.npz", "texts": "absent.json"}, "cannot be read"),
        ({"inputs": "inputs.npz", "texts": [1]}, "no list of texts"),
        ({"inputs": "inputs.npz", "labels": [1.5]}, "no list of whole numbers"),
        ({"inputs": "inputs.npz", "annotations": []}, "no COCO document"),
    ],
)
def test_a_document_that_is_none_is_named(tmp_path, document, message):
    np.savez(tmp_path / "inputs.npz", x=np.zeros((2, 3)))
    (tmp_path / "set.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=message):
        open_set(tmp_path / "set.json")


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(InputError, match=r"cannot be read as \.npz"):
        open_set(tmp_path / "a.npz")
    with pytest.raises(InputError, match="no such evaluation set"):
        open_set(tmp_path / "b.npz")
