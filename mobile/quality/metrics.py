"""Task metrics: what each needs of the device and of the evaluation set, and what it makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mobile.errors import InputError, UsageError
from mobile.quality.bootstrap import METHOD, ratio_interval
from mobile.quality.sets import EvaluationSet
from mobile.results.accuracy import accuracy
from mobile.results.answers import TOP

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Each output's value for each item, None where the device had no answer.
Outputs = Mapping[str, "Sequence[NDArray[Any] | str | None]"]


class Scored(NamedTuple):
    """A metric's value with its 95 % interval; ``low`` and ``high`` are None where ``method`` says why.

    ``scores``: one number for each item, None for one without an answer; empty where the metric has none for single
    items. ``left_out``: items that could not be scored; ``more``: further figures of the same answers.
    """

    value: float
    low: float | None
    high: float | None
    method: str
    scores: list[float | None]
    left_out: int = 0
    more: Mapping[str, float] = {}


@dataclass(frozen=True)
class Metric:
    """``keep``: what the device sends ("top" or "all"). ``needs``: the set's field with the right answers, or None.

    ``share``: a value from 0 to 1, shown in per cent.
    """

    name: str
    keep: str
    needs: str | None
    larger_is_better: bool
    score: Callable[[Outputs, EvaluationSet], Scored]
    share: bool = True


def metric(text: str) -> Metric:
    """The metric of a name, or of FILE.py:function. UsageError lists the names."""
    if text in METRICS:
        return METRICS[text]
    if ".py:" in text:
        from mobile.quality.own import own_metric

        path, _, function = text.rpartition(":")
        return own_metric(Path(path), function)
    raise UsageError(
        f"there is no metric {text!r}", f"Give one of {', '.join(METRICS)}, or FILE.py:function for one of your own."
    )


def default_metric(found: EvaluationSet) -> str:
    """The name of the metric that fits what a set holds. InputError when it holds no right answers."""
    if found.metric is not None:
        return found.metric
    for needs, name in (("labels", "top1"), ("annotations", "map"), ("texts", "wer"), ("reference", "cosine")):
        if getattr(found, needs):
            return name
    raise InputError(
        f"{found.name}: it has no right answers (labels, texts, annotations or reference)",
        "Add them, or name a metric of your own: --metric FILE.py:function.",
    )


def check_needs(one: Metric, found: EvaluationSet) -> None:
    """Nothing, once it is sure that the metric can be computed: the set has what it needs, its library is there.

    InputError or UsageError names what is missing.
    """
    if one.needs is not None and not getattr(found, one.needs):
        raise InputError(f"{found.name}: {one.name} needs {one.needs}, which it has not", "See docs/quality.md.")
    library = _LIBRARIES.get(one.name)
    if library is not None:
        import importlib

        try:
            importlib.import_module(library)
        except ImportError as error:
            raise UsageError(
                f"{one.name} needs {library}, which is not installed", 'pip install "edgewise[quality]"'
            ) from error


def _top(k: int) -> Callable[[Outputs, EvaluationSet], Scored]:
    def score(outputs: Outputs, found: EvaluationSet) -> Scored:
        classes, labels = _classes(outputs), found.labels or []
        same_length(len(classes), len(labels), found, "labels")
        right = [
            given is not None and label in [int(one) for one in given[:k]]
            for given, label in zip(classes, labels, strict=True)
        ]
        share = accuracy(right)
        return Scored(share.accuracy, share.low, share.high, share.method, [float(one) for one in right])

    return score


def _classes(outputs: Outputs) -> Sequence[Any]:
    """The classes of each item, the best first: as the device sent them, else by its first output."""
    import numpy as np

    if TOP[0] in outputs:
        return outputs[TOP[0]]
    values = next(iter(outputs.values()), ())
    if any(isinstance(value, str) for value in values):
        raise InputError(
            "the first output is a text, classes are compared", "Return scores or a class from postprocess."
        )
    return [None if value is None else _ranked(np.asarray(value)) for value in values]


def _ranked(value: NDArray[Any]) -> NDArray[Any]:
    """Class numbers, the best first: a single whole number is the class itself."""
    import numpy as np

    if value.size == 1 and value.dtype.name in ("int32", "int64"):
        return value.reshape(-1)
    return np.argsort(-value.astype(np.float64).reshape(-1), kind="stable")


def _cosine(outputs: Outputs, found: EvaluationSet) -> Scored:
    import numpy as np

    def of(given: NDArray[Any], wanted: NDArray[Any]) -> float:
        length = float(np.linalg.norm(given) * np.linalg.norm(wanted))
        return float(given @ wanted) / length if length else float("nan")

    return _mean(outputs, found, of)


def _mse(outputs: Outputs, found: EvaluationSet) -> Scored:
    return _mean(outputs, found, lambda given, wanted: float(((given - wanted) ** 2).mean()))


def _mean(outputs: Outputs, found: EvaluationSet, of: Callable[[NDArray[Any], NDArray[Any]], float]) -> Scored:
    """The mean of ``of`` (what was given, what is right; float64, flat) over the items."""
    import math

    pairs = _against_reference(outputs, found)
    scores: list[float | None] = []
    for pair in pairs:
        value = None if pair is None else of(*pair)
        scores.append(value if value is not None and math.isfinite(value) else None)
    return mean_of(scores, found)


def mean_of(scores: list[float | None], found: EvaluationSet) -> Scored:
    """The mean of the items' scores with its bootstrap interval. InputError when no item has one."""
    there = [score for score in scores if score is not None]
    if not there:
        raise InputError(f"{found.name}: no item could be scored", "Look at the kinds of errors of the run.")
    bounds = ratio_interval(there)
    low, high = bounds or (None, None)
    method = METHOD if bounds else "one item has no spread"
    return Scored(sum(there) / len(there), low, high, method, scores, len(scores) - len(there))


def _against_reference(outputs: Outputs, found: EvaluationSet) -> list[tuple[NDArray[Any], NDArray[Any]] | None]:
    """For each item what was given and what is right, both flat float64; None where there was no answer."""
    import numpy as np

    names = {name or next(iter(outputs), ""): wanted for name, wanted in found.reference.items()}
    for name, wanted in names.items():
        if name not in outputs:
            raise InputError(f"{found.name}: reference.{name}, but the outputs are {', '.join(outputs)}")
        same_length(len(outputs[name]), len(wanted), found, "references")
    items = len(next(iter(names.values())))
    pairs: list[tuple[NDArray[Any], NDArray[Any]] | None] = []
    for place in range(items):
        given = [outputs[name][place] for name in names]
        if any(one is None or isinstance(one, str) for one in given):
            pairs.append(None)
            continue
        left = np.concatenate([np.asarray(one, dtype=np.float64).reshape(-1) for one in given])
        right = np.concatenate([np.asarray(one[place], dtype=np.float64).reshape(-1) for one in names.values()])
        if left.shape != right.shape:
            raise InputError(
                f"{found.name}: item {place} has {right.size} reference values, the device gave {left.size}"
            )
        pairs.append((left, right))
    return pairs


def same_length(given: int, wanted: int, found: EvaluationSet, what: str) -> None:
    """Nothing, or InputError when there are not as many answers as the set has of ``what``."""
    if given != wanted:
        raise InputError(f"{found.name}: {wanted} {what} for {given} items")


def _map(outputs: Outputs, found: EvaluationSet) -> Scored:
    from mobile.quality.detection import mean_average_precision

    return mean_average_precision(outputs, found)


def _words(outputs: Outputs, found: EvaluationSet) -> Scored:
    from mobile.quality.text import error_rate

    return error_rate(outputs, found, characters=False)


def _characters(outputs: Outputs, found: EvaluationSet) -> Scored:
    from mobile.quality.text import error_rate

    return error_rate(outputs, found, characters=True)


METRICS: dict[str, Metric] = {
    "top1": Metric("top1", "top", "labels", True, _top(1)),
    "top5": Metric("top5", "top", "labels", True, _top(5)),
    "cosine": Metric("cosine", "all", "reference", True, _cosine, share=False),
    "mse": Metric("mse", "all", "reference", False, _mse, share=False),
    "map": Metric("map", "all", "annotations", True, _map),
    "wer": Metric("wer", "all", "texts", False, _words),
    "cer": Metric("cer", "all", "texts", False, _characters),
}
_LIBRARIES = {"map": "pycocotools", "wer": "jiwer", "cer": "jiwer"}
