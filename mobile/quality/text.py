"""Word and character error rates, counted by jiwer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mobile.errors import InputError
from mobile.quality.bootstrap import METHOD, ratio_interval

if TYPE_CHECKING:
    from mobile.quality.metrics import Outputs, Scored
    from mobile.quality.sets import EvaluationSet

_HINT = "Let `postprocess` of --stages return the text, as str."


def error_rate(outputs: Outputs, found: EvaluationSet, *, characters: bool) -> Scored:
    """(substitutions + deletions + insertions) / words (or characters) of the right texts, over all items.

    As jiwer counts them, by the alignment of least edits; nothing is normalised before (case and marks count). An item
    without an answer counts as an empty text. Its score is its own edits over its own length. InputError when the
    device returned no texts, or a right text is empty.
    """
    import jiwer

    from mobile.quality.metrics import Scored, same_length

    right = found.texts or []
    given = _texts(outputs, found)
    same_length(len(given), len(right), found, "texts")
    for place, text in enumerate(right):
        if not text.strip():
            raise InputError(f"{found.name}: the right text of item {place} is empty")
    count = jiwer.process_characters if characters else jiwer.process_words
    edits, lengths = [], []
    for wanted, text in zip(right, given, strict=True):
        told: Any = count(wanted, text)
        edits.append(float(told.substitutions + told.deletions + told.insertions))
        lengths.append(float(told.hits + told.substitutions + told.deletions))
    bounds = ratio_interval(edits, lengths)
    low, high = bounds or (None, None)
    scores: list[float | None] = [one / length for one, length in zip(edits, lengths, strict=True)]
    method = METHOD if bounds else "one item has no spread"
    return Scored(sum(edits) / sum(lengths), low, high, method, scores)


def _texts(outputs: Outputs, found: EvaluationSet) -> list[str]:
    """The text of each item, "" where there is none."""
    for values in outputs.values():
        if any(isinstance(value, str) for value in values):
            return [value if isinstance(value, str) else "" for value in values]
    raise InputError(f"{found.name}: the device returned numbers, texts are compared", _HINT)
