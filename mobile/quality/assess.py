"""What an evaluation run is worth: its metric, its errors, and whether the device answers alike each time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mobile.errors import AgentError, InputError
from mobile.quality.metrics import Metric, Outputs
from mobile.quality.sets import EvaluationSet
from mobile.results.answers import outputs_by_item

if TYPE_CHECKING:
    from mobile.results.run import Run

CONFIDENCE = 0.95


def assess(run: Run, found: EvaluationSet, one: Metric | None) -> dict[str, Any]:
    """The quality of an evaluation run, as it and the runs measured beside it remember it; fills in ``run.scores``.

    metric, value, low, high, confidence, method (how the interval was made), share (0 to 1), larger_is_better, items,
    left_out (items that could not be scored), more {name: value}, missing (why there is no value), set {name, sha256},
    errors {kind: {count, items, why}}, repeats or null (see device_agents/answers.py), outputs_sha256 (equal for equal
    answers), run. Without a metric: all but its figures.
    """
    told = run.event("evaluated") or {}
    quality: dict[str, Any] = {
        "metric": None, "value": None, "low": None, "high": None, "confidence": CONFIDENCE, "method": None,
        "share": False, "larger_is_better": None, "left_out": 0, "more": {}, "missing": None, "set": found.about(),
        "items": told.get("items"), "errors": told.get("errors") or {}, "repeats": told.get("repeats"),
        "outputs_sha256": told.get("sha256"), "run": run.id,
    }  # fmt: skip
    if one is None:
        quality["missing"] = "no metric was asked for"
        return quality
    quality.update(metric=one.name, share=one.share, larger_is_better=one.larger_is_better)
    try:
        scored = one.score(real_outputs(run), found)
    except (AgentError, InputError) as error:
        quality["missing"] = error.message
        return quality
    run.scores = scored.scores
    quality.update(
        value=scored.value,
        low=scored.low,
        high=scored.high,
        method=scored.method,
        left_out=scored.left_out,
        more=dict(scored.more),
    )
    return quality


def real_outputs(run: Run) -> Outputs:
    """The outputs by item; whole numbers of a quantised tensor as the real numbers that they stand for.

    real = scale * (code - zero point), as TensorFlow Lite's quantisation specification has it.
    """
    import numpy as np

    outputs = outputs_by_item(run)
    loaded = run.event("loaded") or {}
    if loaded.get("stages"):
        return outputs
    for entry in loaded.get("outputs") or ():
        quantization, values = entry.get("quantization"), outputs.get(entry.get("name", ""))
        if quantization and values is not None:
            scale, zero_point = quantization
            outputs[entry["name"]] = [
                value if value is None or isinstance(value, str) else scale * (value.astype(np.float64) - zero_point)
                for value in values
            ]
    return outputs


def alike(run: Run, other: Run) -> dict[str, Any]:
    """Whether two runs gave the same answers to the same items: {equal (bitwise), max_difference (None: not known)}."""
    import numpy as np

    first, second = ((one.event("evaluated") or {}).get("sha256") for one in (run, other))
    if first is not None and first == second:
        return {"equal": True, "max_difference": 0.0}
    largest = 0.0
    ours, theirs = run.answers, other.answers
    if not ours or ours.keys() != theirs.keys():
        return {"equal": False, "max_difference": None}
    for name, answers in ours.items():
        partners = {answer.number: answer for answer in theirs[name]}
        for answer in answers:
            partner = partners.get(answer.number)
            if partner is None or partner.shape != answer.shape or partner.dtype != answer.dtype:
                return {"equal": False, "max_difference": None}
            left, right = answer.value(), partner.value()
            if isinstance(left, str) or isinstance(right, str):
                if left != right:
                    return {"equal": False, "max_difference": None}
                continue
            gap = np.abs(left.astype(np.float64) - right.astype(np.float64))
            gap = gap[np.isfinite(gap)]
            largest = max(largest, float(gap.max()) if gap.size else 0.0)
    return {"equal": False, "max_difference": largest}
