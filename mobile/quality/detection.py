"""Mean average precision of detections, computed by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mobile.errors import InputError
from mobile.quality.bootstrap import interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobile.quality.metrics import Outputs, Scored
    from mobile.quality.sets import EvaluationSet

RESAMPLES = 200  # each accumulates the precision of every category anew
MOST_DETECTIONS = 100  # of an image: COCO's own limit
# Which output is which, by a part of its name.
_ROLES = {"boxes": ("box",), "scores": ("score", "conf"), "classes": ("class", "label", "categ")}
_COUNTS = ("count", "num")
_HINT = "Let `postprocess` of --stages return boxes [n, 4] (x1, y1, x2, y2 in pixels), scores [n] and classes [n]."


def mean_average_precision(outputs: Outputs, found: EvaluationSet) -> Scored:
    """COCO's mAP: the mean of the average precision over IoU 0.50 to 0.95 and all categories, at most 100 detections.

    As pycocotools computes it from the evaluation set's annotations. The interval draws images again. An item without
    an answer has no detections. InputError when outputs or annotations do not fit.
    """
    from mobile.quality.metrics import Scored, same_length

    truth = _document(found)
    images = [image["id"] for image in truth["images"]]
    roles = _roles(outputs, found)
    same_length(len(outputs[roles["boxes"]]), len(images), found, "images")
    with _unheard():
        evaluation = _evaluated(truth, _detections(outputs, roles, images, found))
        value, half = _precision(evaluation), _precision(evaluation, at_half=True)
    if value is None or half is None:
        raise InputError(f"{found.name}: its annotations have no object")
    with _unheard():
        bounds = _bounds(evaluation)
    method = f"percentile bootstrap over images ({RESAMPLES} draws)" if bounds else "one image has no spread"
    low, high = bounds or (None, None)
    return Scored(value, low, high, method, [], more={"map50": half})


def _document(found: EvaluationSet) -> dict[str, Any]:
    """The annotations with what pycocotools takes for granted. InputError names what is wrong with them."""
    given = found.annotations or {}
    try:
        images = [{**image, "id": int(image["id"])} for image in given["images"]]
        if len({image["id"] for image in images}) != len(images):
            raise InputError(f"{found.name}: two images of the annotations have the same id")
        objects = []
        for number, one in enumerate(given["annotations"], start=1):
            box = [float(value) for value in one["bbox"]]
            _, _, width, height = box
            ids = {"id": number, "image_id": int(one["image_id"]), "category_id": int(one["category_id"])}
            objects.append({"area": width * height, "iscrowd": 0, **one, **ids, "bbox": box})
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{found.name}: the annotations are no COCO instances: {error!r}") from error
    categories = sorted({one["category_id"] for one in objects})
    return {"images": images, "annotations": objects, "categories": [{"id": one} for one in categories]}


def _roles(outputs: Outputs, found: EvaluationSet) -> dict[str, str]:
    """The names of the outputs with boxes, scores and classes."""
    roles: dict[str, str] = {}
    for role, parts in _ROLES.items():
        fitting = [name for name in outputs if any(part in name.lower() for part in parts)]
        if len(fitting) != 1:
            raise InputError(f"{found.name}: the outputs {', '.join(outputs)} have not one for {role}", _HINT)
        roles[role] = fitting[0]
    return roles


def _detections(
    outputs: Outputs, roles: dict[str, str], images: Sequence[int], found: EvaluationSet
) -> list[dict[str, Any]]:
    import numpy as np

    counts = next((outputs[name] for name in outputs if any(part in name.lower() for part in _COUNTS)), None)
    detections = []
    for place, image in enumerate(images):
        values = [outputs[roles[role]][place] for role in _ROLES]
        if any(value is None or isinstance(value, str) for value in values):
            continue
        boxes, scores, classes = (np.asarray(value, dtype=np.float64) for value in values)
        boxes, scores, classes = boxes.reshape(-1, 4), scores.reshape(-1), classes.reshape(-1)
        if not len(boxes) == len(scores) == len(classes):
            raise InputError(
                f"{found.name}: item {place} has {len(boxes)} boxes, {len(scores)} scores, {len(classes)} classes",
                _HINT,
            )
        limit = len(boxes) if counts is None or counts[place] is None else int(np.asarray(counts[place]).reshape(-1)[0])
        for box, score, number in list(zip(boxes, scores, classes, strict=True))[:limit]:
            if np.isfinite(box).all() and np.isfinite(score):
                detections.append(_detection(image, box, float(score), int(number), found))
    return detections


def _detection(image: int, box: NDArray[Any], score: float, number: int, found: EvaluationSet) -> dict[str, Any]:
    left, top, right, bottom = (float(value) for value in box)
    category = number
    if found.classes is not None:
        if not 0 <= number < len(found.classes):
            raise InputError(f"{found.name}: class {number}, but `classes` has {len(found.classes)}")
        category = found.classes[number]
    return {
        "image_id": image, "category_id": category, "score": score, "bbox": [left, top, right - left, bottom - top],
    }  # fmt: skip


def _evaluated(truth: dict[str, Any], detections: list[dict[str, Any]]) -> Any:
    """pycocotools' evaluation of all images, matched and accumulated."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    right = COCO()
    right.dataset = truth
    right.createIndex()
    given = right.loadRes(detections) if detections else _none(right, COCO())
    evaluation = COCOeval(right, given, "bbox")
    evaluation.params.maxDets = [MOST_DETECTIONS]
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0.0, 1e10]], ["all"]
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation


def _none(right: Any, empty: Any) -> Any:
    """A result without a detection, which loadRes does not take."""
    empty.dataset = {**right.dataset, "annotations": []}
    empty.createIndex()
    return empty


def _precision(evaluation: Any, at_half: bool = False) -> float | None:
    """The mean of the accumulated precision [IoU, recall, category, area, detections]; -1 marks absent categories."""
    precision = evaluation.eval["precision"][:1] if at_half else evaluation.eval["precision"]
    there = precision[precision > -1]
    return float(there.mean()) if there.size else None


def _bounds(evaluation: Any) -> tuple[float, float] | None:
    """The interval over images: the matches of each image stay, the images are drawn again."""
    matches, images = evaluation.evalImgs, len(evaluation.params.imgIds)

    def figure(places: NDArray[Any]) -> float:
        rows = [matches[start : start + images] for start in range(0, len(matches), images)]
        evaluation.evalImgs = [row[place] for row in rows for place in places]
        evaluation.accumulate()
        value = _precision(evaluation)
        return float("nan") if value is None else value

    try:
        return interval(images, figure, resamples=RESAMPLES)
    finally:
        evaluation.evalImgs = matches


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """pycocotools prints its progress to stdout, where our data is."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
