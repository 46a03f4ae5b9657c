"""The probe itself: models are made for the device's runtime and measured there through the usual benchmark."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters.probe.models import Candidate, candidates
from exporters.probe.record import FLOAT, Measured, Probe
from mobile.errors import ExportError, UsageError

if TYPE_CHECKING:
    from mobile.inventory import Inventory
    from mobile.results.run import Run

DEFAULT_SCHEMES = ("float", "int8", "int4", "int2", "ternary", "binary", "power-of-two")
DEFAULT_SHAPES = ((1024, 1024),)
DEFAULT_ROWS = (1, 16, 128)
_TRIES = 3  # of a model, where the device is busy
MAX_WEIGHTS = 1 << 26  # of one product; more says nothing new and fills small boards


@dataclass(frozen=True)
class Plan:
    """What is measured: schemes, shapes as (rows N, columns K), numbers of rows of the other factor, seconds each."""

    schemes: Sequence[str] = DEFAULT_SCHEMES
    shapes: Sequence[tuple[int, int]] = DEFAULT_SHAPES
    rows_m: Sequence[int] = DEFAULT_ROWS
    duration_s: float = 0.3
    threads: int | None = None

    def __post_init__(self) -> None:
        """Nothing, or UsageError that names what is wrong."""
        if not self.schemes or not self.shapes or not self.rows_m:
            raise UsageError("a probe needs at least one scheme, one shape and one number of rows")
        for rows, columns in self.shapes:
            if rows < 1 or columns < 1 or rows * columns > MAX_WEIGHTS:
                raise UsageError(f"shape {rows}x{columns}: expected 1 to {MAX_WEIGHTS} weights")
        if any(not 1 <= count <= 1 << 16 for count in self.rows_m):
            raise UsageError(f"rows {list(self.rows_m)}: expected 1 to {1 << 16}")


def probe_device(
    name: str, inventory: Inventory, plan: Plan | None = None, progress: Callable[[str], None] | None = None
) -> Probe:
    """What the carriers cost on a device of the inventory, saved for the exporter; the models are removed afterwards.

    The runs go into a store of their own, not among the user's. ExportError when nothing could be measured, and
    TransportError when the device is not reached.
    """
    from exporters.device_target import target_text
    from exporters.targets import parse_target

    plan, say = plan or Plan(), progress or (lambda step: None)
    say("asking for its runtime")
    runtime = target_text(name, "onnx", inventory)
    target = parse_target(runtime)
    with tempfile.TemporaryDirectory(prefix="edgewise-probe-") as text:
        folder = Path(text)
        say("making the models")
        made = [
            candidate
            for scheme in dict.fromkeys(plan.schemes)
            for rows, columns in plan.shapes
            for candidate in candidates(scheme, rows, columns, target, folder)
        ]
        runs, missing, untried = _bench(name, inventory, plan, made, folder, say)
    measured = tuple(_times(made, runs))
    if not measured:
        raise ExportError(
            f"{name}: no carrier could be measured: {'; '.join(missing)[:300]}", f"edgewise doctor {name}"
        )
    found = Probe(
        name, runtime, datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"), runs[0].provenance, measured,
        _facts(runs[0], plan), tuple(missing), tuple(sorted(untried)),
    )  # fmt: skip
    found.save()
    return found


def _bench(
    name: str, inventory: Inventory, plan: Plan, made: Sequence[Candidate], folder: Path, say: Callable[[str], None]
) -> tuple[list[Run], list[str], set[str]]:
    """The runs that gave times, what failed in words, and the families of which something was not tried at all.

    Every model with every number of rows is one run. Where the device was busy with somebody else's run, the model is
    tried again, twice.
    """
    from mobile.results.store import RunStore

    runs: dict[tuple[str, Any], Run] = {}
    missing: list[str] = []
    untried: set[str] = set()
    families = {candidate.path.name: candidate.family for candidate in made}
    left = [candidate.path for candidate in made]
    store = RunStore(folder / "runs.db")
    try:
        for attempt in range(_TRIES):
            busy = []
            for outcome in _outcomes(name, inventory, plan, left, store):
                say(f"{len(runs) + 1} of {len(made) * len(plan.rows_m)}")
                if _has_times(outcome):
                    runs[(outcome.spec.model.name, outcome.spec.agent_spec.get("batch"))] = outcome
                elif getattr(outcome, "code", "") == "busy" and attempt < _TRIES - 1:
                    busy.append(outcome.model)
                else:
                    missing.append(_why(outcome, made))
                    if getattr(outcome, "model", None) in families:  # no run: the device never tried it
                        untried.add(families[outcome.model])
            left = [path for path in left if path.name in busy]
            if not left:
                break
    finally:
        say("removing the models")
        _forget(name, inventory, {candidate.path.name for candidate in made})
    return list(runs.values()), missing, untried


def _outcomes(name: str, inventory: Inventory, plan: Plan, paths: Sequence[Path], store: Any) -> Iterator[Any]:
    from mobile.benchmark import BenchOptions, iter_bench
    from mobile.benchmark.conditions import ConditionOptions

    options = BenchOptions(
        batch=tuple(dict.fromkeys(plan.rows_m)), threads=(plan.threads,), duration_s=plan.duration_s, min_count=10,
        max_duration_s=max(60.0, plan.duration_s), warmup_count=2, warmup_duration_s=0.05,
        conditions=ConditionOptions(idle_s=0.0, probe=False),  # carriers are told apart by far more than heat does
    )  # fmt: skip
    return iter_bench(paths, [name], options, inventory=inventory, store=store)


def _has_times(outcome: Any) -> bool:
    from mobile.results.run import Run

    return isinstance(outcome, Run) and outcome.failure is None and len(outcome.phase("measure")) > 0


def _why(outcome: Any, made: Sequence[Candidate]) -> str:
    """What failed, by family and carrier."""
    from mobile.results.run import Run

    if isinstance(outcome, Run):
        model, said = outcome.spec.model.name, (outcome.failure or {}).get("message", "no invocation was measured")
    else:
        model, said = outcome.model, getattr(outcome, "message", "it did not end")
    found = next((one for one in made if one.path.name == model), None)
    return f"{found.family} as {found.carrier}: {said}"[:300] if found else f"{model}: {said}"[:300]


def _forget(name: str, inventory: Inventory, names: set[str]) -> None:
    """Takes the models from the device's store; other files stay."""
    from mobile.deadline import Deadline
    from mobile.push import DeviceStore
    from mobile.transports import open_transport

    device = inventory.device(name)
    transport = open_transport(device)
    try:
        store, deadline = DeviceStore(transport, device.workdir), Deadline(120.0)
        keep = {file.address for file in store.stored(deadline=deadline) if file.name not in names}
        store.prune(deadline=deadline, keep=keep)
    finally:
        transport.close()


def _times(made: Sequence[Candidate], runs: Sequence[Run]) -> Iterator[Measured]:
    """The median of each run's measured invocations."""
    from statistics import median

    by_name = {candidate.path.name: candidate for candidate in made}
    for run in runs:
        found = by_name.get(run.spec.model.name)
        durations = run.phase("measure").duration_ns
        if found is not None and durations:
            rows_m = int(run.spec.agent_spec.get("batch") or 1)
            time_s = max(median(durations), 1) / 1e9
            yield Measured(found.family, found.carrier, found.rows, found.columns, rows_m, time_s)


def _facts(run: Run, plan: Plan) -> dict[str, Any]:
    """What tells this measurement from another: the processor, the runtime as the run found it, the threads."""
    device = run.environment.get("device")
    kept = {key: device.get(key) for key in ("model", "machine", "cpu", "cpus")} if isinstance(device, dict) else {}
    return {**kept, "threads": plan.threads, "duration_s": plan.duration_s}


def table(found: Probe) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the table: a line for each family, shape and carrier, milliseconds by number of rows."""
    counts = sorted({one.rows_m for one in found.measured})
    groups: dict[tuple[str, int, int], dict[str, dict[int, float]]] = {}
    for one in found.measured:
        carriers = groups.setdefault((one.family, one.rows, one.columns), {})
        carriers.setdefault(one.carrier, {})[one.rows_m] = one.time_s
    lines = []
    for (family, rows, columns), carriers in groups.items():
        best = {count: min(times.get(count, float("inf")) for times in carriers.values()) for count in counts}
        for carrier, times in carriers.items():
            cells = [
                "-" if count not in times
                else f"{times[count] * 1e3:.3g}{'*' if times[count] == best[count] and family != FLOAT else ''}"
                for count in counts
            ]  # fmt: skip
            lines.append([family, f"{rows}x{columns}", carrier, *cells])
    return ["family", "shape", "carrier", *(f"M={count} ms" for count in counts)], lines
