"""A metric of the user's own: ``FILE.py:function``, called on this machine with what the device answered.

``function(outputs, truth)``: ``outputs`` is {name: list with an array, a text or None for each item}, ``truth`` has
labels, texts, reference and annotations, None where the set has none. It returns a number, or one for each item (None
or NaN: it cannot be scored), of which the mean is taken. A variable ``larger_is_better`` of the file says which way is
better (True).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mobile.errors import InputError
from mobile.quality.metrics import Metric, Outputs, Scored, mean_of
from mobile.quality.sets import EvaluationSet
from mobile.user_code import function_of, guarded, program


def own_metric(path: Path, function: str) -> Metric:
    """The metric of a file's function, imported once to see that it is there.

    ModelError or UsageError when it is not, InputError when the file fails.
    """
    with program(path, InputError) as module:
        function_of(module, path, function)
        larger = bool(getattr(module, "larger_is_better", True))

    def score(outputs: Outputs, found: EvaluationSet) -> Scored:
        with program(path, InputError) as module, guarded(f"{path}:{function}()", InputError):
            given = function_of(module, path, function)(dict(outputs), _truth(found))
            return _scored(given, found, f"{path}:{function}()")

    return Metric(f"{path.name}:{function}", "all", None, larger, score, share=False)


def _truth(found: EvaluationSet) -> dict[str, Any]:
    return {
        "labels": found.labels,
        "texts": found.texts,
        "reference": dict(found.reference) or None,
        "annotations": found.annotations,
    }


def _scored(given: Any, found: EvaluationSet, what: str) -> Scored:
    """What the function returned, as a value with its interval."""
    import numpy as np

    if isinstance(given, Sequence) or (isinstance(given, np.ndarray) and given.ndim == 1):
        scores = [None if one is None or not math.isfinite(float(one)) else float(one) for one in given]
        return mean_of(scores, found)
    value = float(given)
    if not math.isfinite(value):
        raise InputError(f"{what} returned {value}, which is no figure")
    return Scored(value, None, None, "one figure of all items, without an interval", [])
