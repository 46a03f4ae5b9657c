"""Quality beside every cost: before a variant is measured, the device answers an evaluation set with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile.benchmark.conditions import ConditionOptions
from mobile.benchmark.models import Model
from mobile.benchmark.options import BenchOptions
from mobile.deadline import Deadline
from mobile.errors import EdgewiseError, InputError, RunFailure, UsageError
from mobile.quality import EvaluationSet, Metric, alike, assess, check_needs, default_metric, metric, open_set

if TYPE_CHECKING:
    from mobile.benchmark.session import DeviceSession
    from mobile.results.run import Run

MANIFEST = "manifest"
LONGEST_S = 6 * 3600.0
_VARIED = ("threads", "provider", "batch")


@dataclass(frozen=True)
class Task:
    """An evaluation set and the metric that goes with it; None: the answers are only kept and looked at.

    ``scale``: factors from whole numbers in the set to float inputs, where the manifest says so.
    """

    found: EvaluationSet
    metric: Metric | None
    scale: Mapping[str, float] = field(default_factory=dict)

    def content(self) -> list[Any]:
        """What makes two tasks the same, as JSON."""
        return [self.found.sha256, self.metric.name if self.metric else None, dict(self.scale)]


@dataclass(frozen=True)
class Assessment:
    """What is asked of each model, by its path. ``again``: how often the first items are asked again, for stability.

    ``outputs``: where the answers are written as .npz, None: nowhere.
    """

    tasks: Mapping[str, Task]
    again: int = 1
    outputs: Path | None = None

    def content(self) -> dict[str, Any]:
        """What makes two of them the same, as JSON."""
        return {"tasks": {path: task.content() for path, task in self.tasks.items()}, "again": self.again}


def assessment(
    models: Sequence[str | Path],
    asked: str | Path,
    metric_name: str | None = None,
    *,
    labels: str | None = None,
    again: int = 1,
    outputs: Path | None = None,
) -> Assessment:
    """What every model is to be asked: the set at ``asked``, or the one that each model's manifest names ("manifest").

    InputError or UsageError when a set, its metric or the metric's library is not there: nothing was started then.
    """
    if again < 0 or again > 1000:
        raise UsageError(f"--again is {again}, expected 0 to 1000")
    one = None if str(asked) == MANIFEST else _task(Path(asked), metric_name, labels, outputs is not None)
    tasks = {str(path): one or _of_manifest(Path(path), metric_name, labels) for path in models}
    return Assessment(tasks, again, outputs)


def _task(path: Path, name: str | None, labels: str | None, may_lack: bool) -> Task:
    found = open_set(path, labels)
    if name is None and may_lack:
        try:
            name = default_metric(found)
        except InputError:
            return Task(found, None)
    chosen = metric(name or default_metric(found))
    check_needs(chosen, found)
    return Task(found, chosen)


def _of_manifest(model: Path, name: str | None, labels: str | None) -> Task:
    from mobile.formats import Manifest, manifest_path

    manifest = manifest_path(model)
    told = Manifest.load(manifest).evaluation
    if not told:
        raise UsageError(
            f"{manifest}: it names no evaluation set", "Export with --inputs and --labels, or give --evaluate SET."
        )
    path = model.parent / str(told.get("inputs"))
    if not path.exists():
        raise InputError(f"{path}: the evaluation set that {manifest.name} names is not there", "Give --evaluate SET.")
    task = _task(path, name or told.get("metric"), labels or told.get("labels"), False)
    if task.found.sha256 != told.get("sha256"):
        raise InputError(
            f"{path}: not the evaluation set that {manifest.name} names, its content differs",
            "Export again, or give --evaluate SET if this one is meant.",
        )
    return replace(task, scale={str(key): float(value) for key, value in (told.get("scale") or {}).items()})


class Assessor:
    """The evaluations on one device: one for each model and setting, however often that is measured."""

    def __init__(self, session: DeviceSession, keep: Callable[[Run], None]) -> None:
        self._session = session
        self._keep = keep
        self._known: dict[tuple[Any, ...], dict[str, Any] | EdgewiseError] = {}
        self._first: dict[str, tuple[BenchOptions, Run]] = {}  # by model, whose answers others are compared with

    def quality(self, model: Model, options: BenchOptions, evaluating: Callable[[], None]) -> dict[str, Any]:
        """What the model is worth with these (single) options on this device; ``evaluating`` is called before it runs.

        RunFailure, or what else keeps the device from answering; the second time the same. InputError when there is no
        figure: its run is kept all the same.
        """
        key = (model.ref.sha256, options.threads, options.provider, options.batch)
        if key not in self._known:
            evaluating()
            try:
                self._known[key] = self._evaluated(model, options)
            except (InputError, RunFailure) as error:
                self._known[key] = error
        known = self._known[key]
        if isinstance(known, EdgewiseError):
            raise known
        return known

    def _evaluated(self, model: Model, options: BenchOptions) -> dict[str, Any]:
        assert options.assess is not None  # who asks has looked
        task = options.assess.tasks[str(model.path)]
        quality: dict[str, Any] = {}

        def keep(run: Run) -> None:
            quality.update(assess(run, task.found, task.metric))
            self._compare(model, options, run, quality)
            run.environment["quality"] = dict(quality)
            self._keep(run)

        run = self._session.run(
            model, evaluating_options(options, task), Deadline.never(), lambda record: None, keep=keep
        )
        if options.assess.outputs is not None:
            _write(run, options.assess.outputs)
        run.answers = {} if self._first[model.ref.sha256][1] is not run else run.answers
        if task.metric is not None and quality["missing"]:
            raise InputError(f"{model.ref.name}: {task.metric.name}: {quality['missing']}")
        return quality

    def _compare(self, model: Model, options: BenchOptions, run: Run, quality: dict[str, Any]) -> None:
        """Adds ``against``: whether the answers are those of the first setting of this model: {of, equal, ...}."""
        before, first = self._first.setdefault(model.ref.sha256, (options, run))
        quality["against"] = None
        if first is not run:
            of = {name: getattr(before, name)[0] for name in _VARIED if getattr(before, name) != getattr(options, name)}
            quality["against"] = {"of": of, "run": first.id, **alike(first, run)}


def evaluating_options(options: BenchOptions, task: Task) -> BenchOptions:
    """The options of the evaluation that belongs to a measurement: same setting, no waiting for heat, no idle power."""
    asked = options.assess
    whole = asked is not None and asked.outputs is not None
    keep = {"keep": "all" if whole or task.metric is None else task.metric.keep}
    return replace(
        options,
        task="evaluate",
        inputs=task.found.inputs,
        input_scale={**task.scale, **options.input_scale},
        evaluation={**keep, "repeats": asked.again if asked else 0},
        assess=None,
        beside=(),
        duration_s=0.0,
        max_duration_s=LONGEST_S,
        conditions=ConditionOptions(
            idle_s=0.0,
            probe=False,
            intruders="ignore",
            max_temperature_c=options.conditions.max_temperature_c,
            pins=options.conditions.pins,
        ),
    )


def _write(run: Run, path: Path) -> None:
    from mobile.results.answers import write_npz

    try:
        write_npz(run, path)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", "Name another file with --outputs.") from error
