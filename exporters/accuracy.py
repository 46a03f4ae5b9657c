"""How often a model is right, where labels are given: beside its source, on the same items."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters.parity import Run, paired
from mobile.errors import InputError
from mobile.results.accuracy import Accuracy, PairedDifference, accuracy, paired_accuracy_difference

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelledAccuracy:
    """The share of right classes (arg-max of the first output) of artifact and source, and their paired difference."""

    artifact: Accuracy
    source: Accuracy
    difference: PairedDifference
    labels: str

    def to_json(self) -> dict[str, Any]:
        """The evidence for a manifest."""
        return {
            "kind": "accuracy", "statement": "arg-max of the first output against labels", "labels": self.labels,
            "artifact": self.artifact._asdict(), "source": self.source._asdict(),
            "artifact_minus_source": self.difference._asdict(),
        }  # fmt: skip

    def said(self) -> str:
        """The finding in words."""
        own, other, gap = self.artifact, self.source, self.difference
        return (
            f"accuracy {own.accuracy:.1%} ({own.low:.1%} to {own.high:.1%}) of {own.items} items, source"
            f" {other.accuracy:.1%}; difference {gap.difference:+.1%} ({gap.low:+.1%} to {gap.high:+.1%})"
        )


def labelled_accuracy(
    source: Run, artifact: Run, batches: Iterable[dict[str, NDArray[Any]]], inputs: Path, labels: str
) -> LabelledAccuracy:
    """The accuracy over all batches. InputError when the labels are missing, or not one class for each row."""
    import numpy as np

    wanted = read_labels(inputs, labels)
    right: tuple[list[NDArray[Any]], list[NDArray[Any]]] = ([], [])
    for both in paired(artifact, source, batches):
        for answers, outputs in zip(right, both, strict=True):
            answers.append(np.asarray(outputs[0]).argmax(-1).reshape(-1))
    first, second = (np.concatenate(answers) for answers in right)
    if len(first) != len(wanted):
        raise InputError(f"{inputs}: {len(wanted)} labels {labels!r} for {len(first)} answers of the model")
    own, other = (list(map(bool, answers == wanted)) for answers in (first, second))
    return LabelledAccuracy(accuracy(own), accuracy(other), paired_accuracy_difference(own, other), labels)


def read_labels(inputs: Path, name: str) -> NDArray[Any]:
    """Class numbers, int64, from an array of a .npz. InputError when it is not there or holds no whole numbers."""
    import numpy as np

    try:
        with np.load(inputs, allow_pickle=False) as archive:
            if name not in archive:
                raise InputError(f"{inputs}: no labels {name!r}; it holds {', '.join(archive)}")
            found = archive[name]
    except (OSError, ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{inputs}: labels cannot be read from it ({error})") from error
    if found.dtype.kind not in "iu":
        raise InputError(f"{inputs}: the labels {name!r} are {found.dtype}, whole numbers were expected")
    classes: NDArray[Any] = found.reshape(-1).astype(np.int64)
    return classes
