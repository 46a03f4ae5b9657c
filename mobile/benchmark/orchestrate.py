"""Models on devices: every combination is measured, what finished is stored at once, what failed is listed.

Nothing here prints. One device or one option that fails spoils nothing of the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile.benchmark.models import NO_MODEL, Model, check_runner, open_model
from mobile.benchmark.options import BenchOptions
from mobile.benchmark.session import DeviceSession
from mobile.deadline import Deadline
from mobile.errors import EdgewiseError, StoreError, UsageError

if TYPE_CHECKING:
    from mobile.inventory import Device, Inventory
    from mobile.results.run import Run
    from mobile.results.store import RunStore


@dataclass(frozen=True)
class Failure:
    """A measurement that did not happen, and why. ``exit_code`` is the error's (3: the device was not reached)."""

    device: str
    model: str
    code: str
    message: str
    hint: str | None
    exit_code: int = 1

    def to_json(self) -> dict[str, str | None]:
        """The failure as the JSON contract of `edgewise bench` has it."""
        return {
            "device": self.device,
            "model": self.model,
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
        }


@dataclass(frozen=True)
class Progress:
    """What is happening now: ``state`` is "connect", "push", "load", "warmup", "measure", "done" or "failed"."""

    device: str
    model: str
    index: int  # of this measurement, from 0
    total: int
    state: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class BenchResult:
    """What finished and what failed, in the order it was asked for."""

    runs: list[Run] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The JSON contract of `edgewise bench`: runs with their figures, failures."""
        from mobile.results.figures import figures

        return {
            "runs": [figures(run) for run in self.runs],
            "failures": [failure.to_json() for failure in self.failures],
        }

    @property
    def exit_code(self) -> int:
        """0 when all finished; 3 when nothing did because no device was reached; else 1."""
        if not self.failures:
            return 0
        unreached = all(failure.exit_code == 3 for failure in self.failures)
        return 3 if unreached and not self.runs else 1


OnProgress = Callable[[Progress], None]


def bench(
    models: Sequence[str | Path],
    on: Sequence[str] = ("local",),
    options: BenchOptions | None = None,
    *,
    inventory: Inventory | None = None,
    store: RunStore | None = None,
    on_progress: OnProgress | None = None,
) -> BenchResult:
    """Every run that finished and every failure, for each model on each device with each combination of options.

    ``on`` names devices, groups or tags of the inventory ("@pis"). Runs are added to ``store`` (the user's own when
    None) as they finish. UsageError or ConfigError when the request itself is wrong; nothing was started then.
    """
    result = BenchResult()
    for outcome in iter_bench(models, on, options, inventory=inventory, store=store, on_progress=on_progress):
        if isinstance(outcome, Failure):
            result.failures.append(outcome)
        else:
            result.runs.append(outcome)
    return result


def iter_bench(
    models: Sequence[str | Path],
    on: Sequence[str] = ("local",),
    options: BenchOptions | None = None,
    *,
    inventory: Inventory | None = None,
    store: RunStore | None = None,
    on_progress: OnProgress | None = None,
) -> Iterator[Run | Failure]:
    """The outcomes of ``bench``, one by one as they come; what was yielded is stored, also when the caller stops."""
    options = options or BenchOptions()
    if options.inputs is not None and not options.inputs.is_file():
        raise UsageError(f"{options.inputs}: no such file", hint="give inputs as .npz, one array for each input")
    devices = _devices(inventory, on)
    opened, damaged = _open_models(models, options)
    if store is None:
        from mobile.results.store import RunStore as Store

        store = Store()
    plan = _Plan(opened, options, store, on_progress or (lambda progress: None), len(devices))
    for device in devices:
        yield from (Failure(device.name, name, error.code, error.message, error.hint) for name, error in damaged)
        yield from plan.on_device(device)


def _devices(inventory: Inventory | None, on: Sequence[str]) -> list[Device]:
    from mobile.inventory import load_inventory

    return (inventory or load_inventory(None)).select(list(on))


def _open_models(
    paths: Sequence[str | Path], options: BenchOptions
) -> tuple[list[Model], list[tuple[str, EdgewiseError]]]:
    """The models that can be opened, and (name, error) of the damaged ones. UsageError for a missing file."""
    if not paths:
        if options.runner not in ("null", "command"):
            raise UsageError("no model given", hint="edgewise bench FILE --on NAME")
        return [NO_MODEL], []
    opened: list[Model] = []
    damaged: list[tuple[str, EdgewiseError]] = []
    for path in map(Path, paths):
        if not path.is_file():
            raise UsageError(f"{path}: no such file", hint="give the path of a .onnx or .tflite file")
        try:
            model = open_model(path)
        except EdgewiseError as error:
            damaged.append((path.name, error))
            continue
        check_runner(model, options)
        opened.append(model)
    return opened, damaged


class _Plan:
    """The measurements of a request, device by device."""

    def __init__(
        self, models: list[Model], options: BenchOptions, store: RunStore, on_progress: OnProgress, devices: int
    ) -> None:
        self._work = [(model, single) for model in models for single in options.expand()]
        self._store = store
        self._on_progress = on_progress
        self._total = len(self._work) * devices
        self._index = 0

    def on_device(self, device: Device) -> Iterator[Run | Failure]:
        """The outcomes on one device. When it cannot be opened, one failure for each measurement."""
        if not self._work:
            return
        self._tell(device, self._work[0][0], "connect")
        try:
            session = DeviceSession.open(device)
        except EdgewiseError as error:
            for model, _ in self._work:
                yield self._failed(device, model, error)
            return
        with session:
            for model, options in self._work:
                yield self._one(session, model, options)

    def _one(self, session: DeviceSession, model: Model, options: BenchOptions) -> Run | Failure:
        device = session.device
        self._tell(device, model, "push")

        def on_record(record: dict[str, Any]) -> None:
            state = _state_of(record)
            if state is not None:
                self._tell(device, model, state, record)

        try:
            run = session.run(model, options, Deadline.never(), on_record)
            self._store.add(run)
        except StoreError:
            raise  # nothing further could be kept either: stop here
        except EdgewiseError as error:
            return self._failed(device, model, error)
        self._tell(device, model, "done")
        self._index += 1
        return run

    def _failed(self, device: Device, model: Model, error: EdgewiseError) -> Failure:
        self._tell(device, model, "failed", {"message": error.message})
        self._index += 1
        if not isinstance(error, StoreError):
            self._store.record_failure(device.name, model.ref.name, error.code, error.message, error.hint)
        return Failure(device.name, model.ref.name, error.code, error.message, error.hint, error.exit_code)

    def _tell(self, device: Device, model: Model, state: str, detail: Mapping[str, Any] | None = None) -> None:
        self._on_progress(Progress(device.name, model.ref.name, self._index, self._total, state, detail or {}))


_STATES = {"hello": "load", "first-done": "warmup", "warmup-done": "measure"}


def _state_of(record: Mapping[str, Any]) -> str | None:
    """The state that a record starts; "measure" again for each block, so that progress can be shown; else None."""
    if record["type"] == "invocations" and record.get("phase") == "measure":
        return "measure"
    return _STATES.get(record["name"] if record["type"] == "event" else record["type"])
