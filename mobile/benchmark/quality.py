"""Task quality on a device: the arg-max classes of labelled items, by the device's own runtime."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mobile.benchmark.models import check_runner, open_model
from mobile.benchmark.options import BenchOptions
from mobile.benchmark.session import DeviceSession
from mobile.deadline import Deadline
from mobile.errors import AgentError, InputError

if TYPE_CHECKING:
    from mobile.inventory import Device
    from mobile.results.run import Run

LABEL_KEY = "label"


@dataclass(frozen=True)
class Evaluation:
    """The classes that a model gave on a device, beside the labels; ``run`` holds what was observed."""

    run: Run
    top1: array[int]
    labels: list[int]

    @property
    def correct(self) -> list[bool]:
        """Whether each item's arg-max class is its label."""
        return [given == label for given, label in zip(self.top1, self.labels, strict=True)]

    @property
    def accuracy(self) -> float:
        """The share of correct items, 0 to 1."""
        return sum(self.correct) / len(self.labels)


def classes(model: str | Path, dataset: Path, device: Device, options: BenchOptions | None = None) -> Run:
    """The run in which ``device`` gave the arg-max class of every item of ``dataset`` (its ``top1``).

    ``dataset`` is an .npz with one array for each model input (first axis: items). RunFailure when the device could
    not do it.
    """
    opened = open_model(Path(model))
    options = replace(options or BenchOptions(), task="evaluate", inputs=dataset)
    check_runner(opened, options)
    with DeviceSession.open(device) as session:
        return session.run(opened, options, Deadline.never(), lambda record: None)


def outputs(
    model: str | Path, dataset: Path, device: Device, options: BenchOptions | None = None, *, repeats: int = 0
) -> Run:
    """The run in which ``device`` answered every item of ``dataset``, with its whole outputs (``run.answers``).

    `mobile.results.answers.outputs_by_item` has them as arrays, `write_npz` in a file; the run's event "evaluated" says
    what was wrong with items, and with ``repeats`` whether the first items gave the same again. RunFailure when the
    device could not do it, or the outputs take more than 64 MiB.
    """
    asked = {"keep": "all", "repeats": repeats}
    return classes(model, dataset, device, replace(options or BenchOptions(), evaluation=asked))


def evaluate(model: str | Path, dataset: Path, device: Device, options: BenchOptions | None = None) -> Evaluation:
    """The classes of every item of ``dataset`` on ``device``.

    ``dataset`` is an .npz with one array for each model input (first axis: items) and ``label`` (whole numbers).
    InputError when there are no labels or they do not fit; RunFailure when the device could not do it.
    """
    labels = read_labels(dataset)
    run = classes(model, dataset, device, options)
    if len(run.top1) != len(labels):
        raise AgentError(f"{device.name}: {len(run.top1)} answers for {len(labels)} items of {dataset.name}")
    return Evaluation(run=run, top1=run.top1, labels=labels)


def read_labels(dataset: Path) -> list[int]:
    """The labels of an evaluation set. InputError when they are absent, not whole numbers, or not in a plain .npz."""
    import zipfile

    import numpy as np

    try:
        with np.load(dataset, allow_pickle=False) as arrays:
            if LABEL_KEY not in arrays:
                raise InputError(
                    f"{dataset}: no array {LABEL_KEY!r}, there are {', '.join(arrays.files)}",
                    hint="add the true class of each item under that name",
                )
            labels = arrays[LABEL_KEY]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{dataset}: cannot be read as .npz: {error}") from error
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) == 0:
        raise InputError(
            f"{dataset}: {LABEL_KEY} is {labels.dtype} {list(labels.shape)}, expected whole numbers [items]"
        )
    return [int(label) for label in labels]
