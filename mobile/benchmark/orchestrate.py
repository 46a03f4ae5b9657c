"""Models on devices: every combination is measured, what finished is stored at once, what failed is listed.

Nothing here prints. Devices work side by side. One device or one option that fails spoils nothing of the rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile.benchmark.device_work import DeviceWork, Numbered, Slot, Terms
from mobile.benchmark.fleet import side_by_side
from mobile.benchmark.follow import RECONNECT_S
from mobile.benchmark.models import NO_MODEL, Model, check_runner, open_model
from mobile.benchmark.options import BenchOptions
from mobile.benchmark.outcomes import BenchResult, Failure, Left, Progress
from mobile.benchmark.together import check_together
from mobile.errors import EdgewiseError, UsageError
from mobile.results.run import Run
from mobile.results.started import StartedRuns, content_of

if TYPE_CHECKING:
    from mobile.inventory import Device, Inventory
    from mobile.results.store import RunStore

OnProgress = Callable[[Progress], None]
Outcome = Run | Failure | Left


@dataclass(frozen=True)
class Manner:
    """How a request is carried out, beside what is measured.

    ``detach``: runs are started and left. ``resume``: the newest request of the same content is taken up again where it
    is not complete. ``reconnect_s``: how long a broken link may take to come back. ``break_lock``: a run of somebody
    else that is going on is ended. ``label``: a name that the runs keep, to find them by. ``together``: all models at
    the same time, see together.py.
    """

    detach: bool = False
    resume: bool = False
    reconnect_s: float = RECONNECT_S
    break_lock: bool = False
    label: str | None = None
    together: bool = False

    @property
    def remarks(self) -> dict[str, str]:
        """What the runs are to remember."""
        return {"label": self.label} if self.label else {}

    def __post_init__(self) -> None:
        """Nothing, or UsageError that names the option."""
        if not 0.0 <= self.reconnect_s <= 86_400.0:
            raise UsageError(f"--reconnect is {self.reconnect_s:g} s, expected 0 to 86400")


def bench(
    models: Sequence[str | Path],
    on: Sequence[str] = ("local",),
    options: BenchOptions | None = None,
    *,
    inventory: Inventory | None = None,
    store: RunStore | None = None,
    on_progress: OnProgress | None = None,
    manner: Manner | None = None,
) -> BenchResult:
    """Every run that finished and every failure, for each model on each device with each combination of options.

    ``on`` names devices, groups or tags of the inventory ("@pis"). Runs are added to ``store`` (the user's own when
    None) as they finish. UsageError or ConfigError when the request itself is wrong; nothing was started then.
    """
    request = Request.of(models, on, options, inventory=inventory, store=store, manner=manner)
    return BenchResult.in_order(dict(request.outcomes(on_progress)))


def iter_bench(
    models: Sequence[str | Path],
    on: Sequence[str] = ("local",),
    options: BenchOptions | None = None,
    *,
    inventory: Inventory | None = None,
    store: RunStore | None = None,
    on_progress: OnProgress | None = None,
    manner: Manner | None = None,
) -> Generator[Outcome, None, None]:
    """The outcomes of ``bench``, one by one as they come; what was yielded is stored, also when the caller stops."""
    request = Request.of(models, on, options, inventory=inventory, store=store, manner=manner)
    with contextlib.closing(request.outcomes(on_progress)) as outcomes:
        for _, outcome in outcomes:
            yield outcome


@dataclass(frozen=True)
class Request:
    """A checked request: nothing is started before ``outcomes`` is iterated."""

    devices: list[Device]
    models: list[Model]
    damaged: list[tuple[str, EdgewiseError]]
    options: BenchOptions
    store: RunStore
    manner: Manner

    @classmethod
    def of(
        cls,
        models: Sequence[str | Path],
        on: Sequence[str],
        options: BenchOptions | None,
        *,
        inventory: Inventory | None = None,
        store: RunStore | None = None,
        manner: Manner | None = None,
    ) -> Request:
        """The request. UsageError or ConfigError when it is wrong; ModelError never: damaged models are failures."""
        options = options or BenchOptions()
        if options.inputs is not None and not options.inputs.is_file():
            raise UsageError(f"{options.inputs}: no such file", hint="give inputs as .npz, one array for each input")
        devices = _devices(inventory, on)
        opened, damaged = _open_models(models, options)
        manner = manner or Manner()
        if manner.together:
            check_together(opened, options, detach=manner.detach, resume=manner.resume)
        if store is None:
            from mobile.results.store import RunStore as Store

            store = Store()
        return cls(devices, opened, damaged, options, store, manner)

    @property
    def total(self) -> int:
        """How many measurements it has."""
        return len(self.devices) * len(self.models) * len(self.options.expand())

    def outcomes(self, on_progress: OnProgress | None = None) -> Generator[Numbered, None, None]:
        """(number in the request, outcome) as they come. Stored runs of a request taken up again come first."""
        yield from self._damaged_outcomes()
        if not self.models:
            return
        started = StartedRuns(self.store)
        request, kept = self._taken_up(started) if self.manner.resume else (None, {})
        if request is None:
            request = started.new_request(content_of(self._content()), self.total)
        yield from kept.items()
        terms = Terms(self.store, started, request, self.total, self.manner)
        work = {}
        for device, slots in self._slots(kept):
            if slots:
                work[device.name] = DeviceWork(device, slots, terms).run
        with contextlib.closing(side_by_side(work)) as told:
            for item in told:
                if not isinstance(item, Progress):
                    yield item
                elif on_progress is not None:
                    on_progress(item)

    def _damaged_outcomes(self) -> Iterator[Numbered]:
        pairs = [(device.name, name, error) for device in self.devices for name, error in self.damaged]
        for index, (device_name, name, error) in enumerate(pairs):
            yield index - len(pairs), Failure.of(device_name, name, error)

    def _slots(self, kept: dict[int, Outcome]) -> Iterator[tuple[Device, list[Slot]]]:
        """What is to be measured on each device; numbers run device by device, model by model, as asked for."""
        work = [(model, single) for model in self.models for single in self.options.expand()]
        for place, device in enumerate(self.devices):
            numbered = enumerate(work, start=place * len(work))
            slots = [Slot(number, model, single, self.manner.remarks) for number, (model, single) in numbered]
            yield device, [slot for slot in slots if slot.number not in kept]

    def _taken_up(self, started: StartedRuns) -> tuple[str | None, dict[int, Outcome]]:
        """The request that is taken up again, and the outcomes that it has already; (None, {}) when there is none."""
        request = started.unfinished_request(content_of(self._content()))
        if request is None:
            return None, {}
        kept: dict[int, Outcome] = {}
        for slot, waiting in started.waiting_slots(request).items():
            kept[slot] = Left(waiting.run, waiting.device, waiting.model, "running")
        for slot, run_id in started.stored_slots(request).items():
            kept[slot] = self.store.get(run_id)
        return request, kept

    def _content(self) -> dict[str, Any]:
        """What makes two requests the same: devices, the bytes of models and inputs, every option."""
        options = {name: getattr(self.options, name) for name in self.options.__dataclass_fields__}
        options["inputs"] = _file_hash(self.options.inputs)
        options["stages"], options["evaluation"] = _file_hash(self.options.stages), dict(self.options.evaluation)
        options["assess"] = self.options.assess.content() if self.options.assess else None
        options["conditions"] = self.options.conditions.content()
        options["dims"], options["input_scale"] = dict(self.options.dims), dict(self.options.input_scale)
        return {
            "devices": [device.name for device in self.devices],
            "models": [[model.ref.name, model.ref.sha256] for model in self.models],
            "options": options,
        }


def _file_hash(path: Path | None) -> str | None:
    import hashlib

    if path is None:
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)


def _digest(file: Any) -> str:
    import hashlib

    digest = hashlib.sha256()
    for block in iter(lambda: file.read(1024 * 1024), b""):
        digest.update(block)
    return digest.hexdigest()


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
        if not path.exists():
            raise UsageError(f"{path}: no such file", hint="give the path of a .onnx or .tflite file")
        try:
            model = open_model(path)
        except EdgewiseError as error:
            damaged.append((path.name, error))
            continue
        check_runner(model, options)
        opened.append(model)
    return opened, damaged
