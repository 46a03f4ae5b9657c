"""Does an artifact answer on a device as its dequantised reference does? Its file is checked there, too.

The manifest of an artifact that was exported with ``--keep-reference`` names a file with inputs, what the reference
answers, and what each output may differ by (exporters/reference.py). The device answers these inputs with its own
runtime.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile.benchmark.models import Model, open_model
from mobile.benchmark.options import BenchOptions, unmeasured
from mobile.benchmark.session import DeviceSession
from mobile.deadline import Deadline
from mobile.errors import EdgewiseError, InputError, ModelError, TransportError
from mobile.formats import Manifest, file_sha256, index, manifest_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobile.inventory import Device
    from mobile.results.run import Run

EQUAL, DIFFERS, FAILED = "equal", "differs", "failed"
KEY, TOLERANCE = "reference.", "tolerance."
LIMIT_S = 900.0
AT_ONCE = 8
_AGAIN = "Export it again with --keep-reference."


@dataclass(frozen=True)
class Promise:
    """An artifact with what its manifest says: the reference's answers by output, their tolerances, packed weights.

    ``packed`` is {"initialiser_bytes": of the file, "bytes_by_bits", "checked": the export's check of their width}.
    """

    model: Model
    inputs: Path
    batch: int
    answers: Mapping[str, NDArray[Any]]
    tolerances: Mapping[str, float]
    packed: Mapping[str, Any]


@dataclass(frozen=True)
class OutputCheck:
    """One output over all items: the largest difference, and what is allowed, in the output's own unit."""

    name: str
    difference: float | None
    tolerance: float
    ok: bool
    why: str = ""


@dataclass(frozen=True)
class Verified:
    """How an artifact did on a device. ``state``: "equal", "differs" or "failed" (``reason`` says why).

    ``peak_rss_bytes`` is the worker's whole peak, ``before_load_bytes`` what it took before the model; ``load_s`` until
    the model was loaded. None where that was not measured.
    """

    device: str
    provenance: str
    model: str
    sha256: str
    state: str
    runtime: str | None = None
    outputs: tuple[OutputCheck, ...] = ()
    items: int | None = None
    packed: Mapping[str, Any] = field(default_factory=dict)
    path: str | None = None
    load_s: float | None = None
    before_load_bytes: int | None = None
    peak_rss_bytes: int | None = None
    reason: str | None = None
    hint: str | None = None

    @property
    def worst(self) -> float | None:
        """The largest share of its tolerance that an output is off by; None where something cannot be compared."""
        shares = [
            None if one.difference is None else one.difference / one.tolerance if one.tolerance else one.difference
            for one in self.outputs
        ]
        known = [share for share in shares if share is not None]
        return max(known) if known and len(known) == len(shares) else None

    def to_json(self) -> dict[str, Any]:
        """The row of --json."""
        return {**asdict(self), "outputs": [asdict(one) for one in self.outputs], "worst_share": self.worst}


def promise(path: Path) -> Promise:
    """The artifact at ``path`` with its reference. ModelError or InputError when one is missing or not the other's."""
    model = open_model(path)
    beside = manifest_path(path)
    manifest = Manifest.load(beside)
    if manifest.sha256 != model.ref.sha256:
        raise ModelError(f"{path}: not the file that {beside.name} describes, its content differs", "Export it again.")
    told = next((entry for entry in manifest.evidence if entry.get("kind") == "reference"), None)
    if told is None:
        raise ModelError(f"{beside}: it names no answers of a reference", _AGAIN)
    file = path.parent / Path(str(told.get("file"))).name
    if not file.is_file():
        raise InputError(f"{file}: the answers that {beside.name} names are not there", _AGAIN)
    if file_sha256(file) != told.get("sha256"):
        raise InputError(f"{file}: not the answers that {beside.name} names, the content differs", _AGAIN)
    answers, tolerances = _read(file)
    packed = {
        "initialiser_bytes": sum(tensor.length for tensor in index(path).tensors),
        "bytes_by_bits": manifest.sizes.get("weight_bytes_by_bits"),
        "checked": next((entry for entry in manifest.evidence if entry.get("kind") == "packing"), None),
    }
    return Promise(model, file, int(told.get("batch") or 1), answers, tolerances, packed)


def _read(file: Path) -> tuple[dict[str, NDArray[Any]], dict[str, float]]:
    import numpy as np

    try:
        with np.load(file, allow_pickle=False) as arrays:
            answers = {name.removeprefix(KEY): arrays[name] for name in arrays.files if name.startswith(KEY)}
            tolerances = {name: float(arrays[f"{TOLERANCE}{name}"]) for name in answers}
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"{file}: cannot be read as a reference: {error}", _AGAIN) from error
    return answers, tolerances


def verify(
    promises: Sequence[Promise], devices: Sequence[Device], progress: Callable[[str], None] | None = None
) -> list[Verified]:
    """Every artifact on every device, devices side by side, in the order of the devices. Never raises for a device."""
    say = progress or (lambda step: None)
    if not devices:
        return []
    with ThreadPoolExecutor(max_workers=min(AT_ONCE, len(devices))) as pool:
        found = pool.map(lambda device: list(_on(device, promises, say)), devices)
        return [row for rows in found for row in rows]


def _on(device: Device, promises: Sequence[Promise], say: Callable[[str], None]) -> Iterator[Verified]:
    lost: EdgewiseError | None = None
    with DeviceSession.open(device) as session:
        for one in promises:
            if lost is not None:
                yield _failed(device, one, lost)
                continue
            say(f"{one.model.ref.name} on {device.name}")
            try:
                yield _verified(session, one)
            except EdgewiseError as error:
                lost = error if isinstance(error, TransportError) else None
                yield _failed(device, one, error)


def _failed(device: Device, one: Promise, error: EdgewiseError) -> Verified:
    ref = one.model.ref
    return Verified(device.name, device.provenance, ref.name, ref.sha256, FAILED, reason=error.message, hint=error.hint)


def _verified(session: DeviceSession, one: Promise) -> Verified:
    from mobile.results.figures import figures

    path = session.push(one.model, Deadline(LIMIT_S), recheck=True)
    run = session.run(one.model, _options(one), Deadline.never(), lambda record: None)
    checks = tuple(compare(run, one))
    told = figures(run)
    runtime = (run.event("loaded") or {}).get("runtime") or {}
    return Verified(
        device=session.device.name,
        provenance=run.provenance,
        model=one.model.ref.name,
        sha256=one.model.ref.sha256,
        state=EQUAL if checks and all(check.ok for check in checks) else DIFFERS,
        runtime=f"{runtime.get('name')} {runtime.get('version')}" if runtime else None,
        outputs=checks,
        items=(run.event("evaluated") or {}).get("items"),
        packed=one.packed,
        path=path,
        load_s=told["cold_start_s"]["load"],
        before_load_bytes=told["memory_bytes"]["before_load"],
        peak_rss_bytes=told["memory_bytes"]["peak_rss"],
        reason="; ".join(check.why for check in checks if check.why) or None,
    )


def _options(one: Promise) -> BenchOptions:
    return unmeasured(
        LIMIT_S,
        task="evaluate",
        inputs=one.inputs,
        batch=(one.batch,),
        evaluation={"keep": "all", "repeats": 0},
    )


def compare(run: Run, one: Promise) -> Iterator[OutputCheck]:
    """Each output of the run against the reference's answers, by its name; by its place where a runtime renames."""
    from mobile.results.answers import outputs_by_item

    found = outputs_by_item(run)
    names = list(found)
    for place, (name, want) in enumerate(one.answers.items()):
        theirs = name if name in found else names[place] if len(names) == len(one.answers) else None
        if theirs is None:
            why = f"the device's outputs are {', '.join(names)}, the reference has {name!r}"
            yield OutputCheck(name, None, one.tolerances[name], False, why)
            continue
        yield difference(name, found[theirs], want, one.tolerances[name])


def difference(name: str, given: Sequence[Any], want: NDArray[Any], tolerance: float) -> OutputCheck:
    """The largest difference over all items; values that are not finite must stand at the same places."""
    import numpy as np

    if len(given) != len(want):
        return OutputCheck(name, None, tolerance, False, f"output {name!r}: {len(given)} answers for {len(want)} items")
    largest = 0.0
    for item, (have, right) in enumerate(zip(given, want, strict=True)):
        if have is None or isinstance(have, str) or have.shape != right.shape:
            shape = "no array" if have is None or isinstance(have, str) else list(have.shape)
            why = f"output {name!r}, item {item}: {shape}, expected {list(right.shape)}"
            return OutputCheck(name, None, tolerance, False, why)
        first, second = np.asarray(have, np.float64), np.asarray(right, np.float64)
        finite = np.isfinite(second)
        if not np.array_equal(first[~finite], second[~finite], equal_nan=True) or not np.isfinite(first[finite]).all():
            why = f"output {name!r}, item {item}: not finite where the reference is, or the other way"
            return OutputCheck(name, None, tolerance, False, why)
        largest = max(largest, float(abs(first[finite] - second[finite]).max(initial=0.0)))
    why = "" if largest <= tolerance else f"output {name!r} is off by {largest:.3g}, allowed is {tolerance:.3g}"
    return OutputCheck(name, largest, tolerance, largest <= tolerance, why)
