"""Profiles a model on a device: the runtime's own profile of the whole, and heads and tails that really run there.

All of it goes through the machinery of `edgewise bench`: the same agent, sampler, lock, conditions, and store.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mobile.benchmark import BenchOptions, Progress
from mobile.benchmark.conditions import Series
from mobile.benchmark.models import Model, open_model
from mobile.benchmark.outcomes import state_of
from mobile.benchmark.session import DeviceSession
from mobile.deadline import Deadline
from mobile.errors import ExportError, ModelError, RunFailure, UsageError
from offload.costs.codec_times import codec_times
from offload.costs.coders import CodecTime
from offload.costs.cuts import choose_cuts, possible_cuts
from offload.costs.features import Features, features_of
from offload.costs.fit import fit_heads, fit_tails
from offload.costs.nodes import named, times_of
from offload.costs.places import energy_of, place_of
from offload.costs.profile import Cut, PieceTime, Profile, Timed
from offload.costs.subject import Subject, save_arrays
from offload.model.coding import DEFAULT as DEFAULT_CODECS
from offload.model.halves import Part, part_model, parts_of
from offload.model.pieces import GraphError
from offload.model.values import value_infos
from offload.plan.costs import MEASURED, PREDICTED

if TYPE_CHECKING:
    from mobile.inventory import Device
    from mobile.results.run import Run
    from mobile.results.store import RunStore

CONNECT_S = 120.0
DEFAULT_CUTS = 8
MAX_CUTS, MAX_REPEAT = 256, 100
KINDS = ("head", "tail")
MAX_PART_BYTES = (1 << 31) - 1  # a protobuf message
OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Asked:
    """How a profile is made. ``options``: those of each run (single ones); ``cuts``: how many cuts at most;
    ``repeat``: rounds of all runs, one round after the other; ``codecs``: those that are timed on what crosses.
    """

    options: BenchOptions
    cuts: int = DEFAULT_CUTS
    repeat: int = 1
    codecs: tuple[str, ...] = DEFAULT_CODECS
    break_lock: bool = False

    def __post_init__(self) -> None:
        """Nothing, or UsageError that names the option."""
        if not 0 <= self.cuts <= MAX_CUTS:
            raise UsageError(f"--cuts is {self.cuts}, expected 0 to {MAX_CUTS}")
        if not 1 <= self.repeat <= MAX_REPEAT:
            raise UsageError(f"--repeat is {self.repeat}, expected 1 to {MAX_REPEAT}")


@dataclass(frozen=True)
class Measured:
    """What the runs told: the whole, heads and tails by cut (a run for each round), and why some are missing."""

    whole: tuple[Run, ...]
    heads: dict[int, list[Run]]
    tails: dict[int, list[Run]]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class OwnTimes:
    """What each piece takes by itself: seconds, how they are known, and as the runtime's profile told (or None)."""

    seconds: tuple[float, ...]
    hows: tuple[str, ...]
    profiled: tuple[float | None, ...]
    notes: tuple[str, ...] = ()


def profile(
    subject: Subject, device: Device, asked: Asked, store: RunStore | None = None, on_progress: OnProgress | None = None
) -> Profile:
    """The profile of a model on a device. Every run of it is added to ``store``.

    RunFailure, AgentError or TransportError when the whole model could not be measured; a head or tail that fails is
    told in the notes.
    """
    features = features_of(subject.model, subject.graph, subject.observed)
    with (
        TemporaryDirectory(prefix="edgewise-profile-") as folder,
        DeviceSession.open(device, break_lock=asked.break_lock) as session,
    ):
        session.agent.make_ready(Deadline(CONNECT_S))
        bench = _Bench(session, device, asked, store, on_progress, Path(folder))
        first = bench.whole(subject)
        own = _own_times(subject, features, first)
        cuts = choose_cuts(possible_cuts(subject.graph, subject.observed), own.seconds, asked.cuts)
        measured = bench.rounds(subject, first, cuts)
        codecs, note = codec_times(session, subject, cuts, asked.codecs, Path(folder))
    notes = (*own.notes, *measured.notes, *note, f"inputs: {subject.inputs_are}")
    return assemble(subject, device, features, replace(measured, notes=notes), cuts, own, codecs)


def _own_times(subject: Subject, features: Sequence[Features], whole: Run) -> OwnTimes:
    detail = whole.event("loaded") or {}
    times = times_of(subject.model, subject.graph, detail.get("node_times") or [])
    if not times.total_s > 0:
        why = detail.get("node_share_error") or "the runtime told no node"
        guessed = tuple(rough_seconds(one) for one in features)
        note = f"no profile by operator: {why}"
        return OwnTimes(guessed, (PREDICTED,) * len(guessed), (None,) * len(guessed), (note,))
    slow_down = float(whole.spec.agent_spec.get("slow_down") or 1.0)
    told = tuple(seconds * slow_down if seconds is not None else None for seconds in times.seconds)
    hows = tuple(MEASURED if seconds is not None else PREDICTED for seconds in told)
    return OwnTimes(tuple(seconds or 0.0 for seconds in told), hows, told)


def rough_seconds(features: Features) -> float:
    """A piece's time where nothing else is known: a gigabyte a second of what it touches, ten GMAC a second of work.

    Only ratios are used. They are those of a small ARM core (roofline: the slower of the two).
    """
    touched = features.input_bytes + features.output_bytes + features.weight_bytes
    return max((features.macs or 0) / 10e9, touched / 1e9)


def assemble(
    subject: Subject,
    device: Device,
    features: Sequence[Features],
    measured: Measured,
    cuts: Sequence[Cut],
    own: OwnTimes,
    codecs: Sequence[CodecTime] = (),
) -> Profile:
    """The profile of what was measured; piece times are fitted to it."""
    count, whole = len(own.seconds), measured.whole
    heads = {cut: seconds_of(runs) for cut, runs in measured.heads.items()}
    tails = {cut: seconds_of(runs) for cut, runs in measured.tails.items()}
    head_s = fit_heads(own.seconds, {**heads, count: seconds_of(whole)})
    tail_s = fit_tails(own.seconds, {**tails, 0: seconds_of(whole)})
    rows = zip(subject.graph.pieces, features, head_s, tail_s, own.hows, own.profiled, strict=True)
    return Profile(
        model=subject.name,
        model_sha256=subject.sha256,
        place=place_of(device, whole[0]),
        pieces=tuple(
            PieceTime(
                name=piece.name,
                operators=piece.operators,
                head_s=first,
                tail_s=second,
                how=how,
                profiled_s=profiled_s,
                macs=one.macs,
                input_bytes=one.input_bytes,
                output_bytes=one.output_bytes,
                weight_bytes=one.weight_bytes,
            )
            for piece, one, first, second, how, profiled_s in rows
        ),
        whole=_timed(whole, count, math.fsum(head_s)),
        heads=tuple(_timed(runs, cut, math.fsum(head_s[:cut])) for cut, runs in sorted(measured.heads.items())),
        tails=tuple(_timed(runs, cut, math.fsum(tail_s[cut:])) for cut, runs in sorted(measured.tails.items())),
        cuts=tuple(cuts),
        codecs=tuple(codecs),
        created_utc=whole[0].created_utc,
        energy=energy_of(whole[0]),
        notes=measured.notes,
    )


def seconds_of(runs: Sequence[Run]) -> float:
    """The median, over the runs, of the median seconds of an inference. ModelError when nothing was measured."""
    from statistics import median

    from mobile.results.stats import describe_ns

    medians = [describe_ns(run.phase("measure").duration_ns)["p50"] for run in runs]
    known = [seconds for seconds in medians if seconds is not None]
    if not known:
        raise ModelError("nothing was measured")
    return median(known)


def _timed(runs: Sequence[Run], cut: int, fitted_s: float) -> Timed:
    peaks = [((run.done or {}).get("memory") or {}).get("peak_rss") for run in runs]
    seconds = seconds_of(runs)
    return Timed(
        cut=cut,
        seconds=seconds,
        count=sum(len(run.phase("measure")) for run in runs),
        runs=tuple(run.id for run in runs),
        peak_memory_bytes=max((peak for peak in peaks if peak is not None), default=None),
        residual_s=seconds - fitted_s,
    )


class _Bench:
    """Runs models on one device, one after another, each with its own inputs."""

    def __init__(
        self,
        session: DeviceSession,
        device: Device,
        asked: Asked,
        store: RunStore | None,
        on_progress: OnProgress | None,
        folder: Path,
    ) -> None:
        self._session, self._device, self._asked = session, device, asked
        self._store, self._on_progress, self._folder = store, on_progress, folder
        self._series = Series()
        self._number, self._total = 0, asked.repeat * (1 + 2 * asked.cuts)

    def whole(self, subject: Subject) -> Run:
        """The whole model, with what each of its nodes takes."""
        path = subject.path
        model = named(subject.model)
        if model is not subject.model and model.ByteSize() <= MAX_PART_BYTES:
            path = self._save(model, subject.name)
        return self._run(path, self._inputs(subject, "whole", subject.graph.inputs), "profile", _batch(subject))

    def rounds(self, subject: Subject, first: Run, cuts: Sequence[Cut]) -> Measured:
        """All rounds: in each the whole (of the first it is there), then head and tail of each cut."""
        infos, notes = value_infos(subject.observed), dict[str, None]()
        parts = [part for cut in cuts for part in self._parts_of(subject, cut)]
        self._total = self._asked.repeat * (1 + len(parts))
        whole = [first]
        found: tuple[dict[int, list[Run]], dict[int, list[Run]]] = ({}, {})
        for number in range(self._asked.repeat):
            if number:
                whole.append(self._whole_again(subject))
            for cut, part in parts:
                try:
                    run = self._part(subject, part, infos, f"{KINDS[part.number]}{cut}")
                    found[part.number].setdefault(cut, []).append(run)
                except (RunFailure, ModelError, ExportError, GraphError) as error:
                    notes[f"{KINDS[part.number]} {cut} was not measured: {error}"] = None
        return Measured(tuple(whole), *found, tuple(notes))

    def _parts_of(self, subject: Subject, cut: Cut) -> list[tuple[int, Part]]:
        sides = [index >= cut.cut for index in range(len(subject.graph.pieces))]
        return [(cut.cut, part) for part in parts_of(subject.graph, sides)]

    def _whole_again(self, subject: Subject) -> Run:
        inputs = self._inputs(subject, "whole", subject.graph.inputs)
        return self._run(subject.path, inputs, "bench", _batch(subject))

    def _part(self, subject: Subject, part: Part, infos: dict[str, Any], name: str) -> Run:
        model = part_model(subject.model, subject.graph, part, infos)
        path = self._save(model, f"{subject.name.removesuffix('.onnx')}.{name}.onnx")
        run = self._run(path, self._inputs(subject, name, part.inputs), "bench")
        path.unlink()
        return run

    def _save(self, model: Any, name: str) -> Path:
        if model.ByteSize() > MAX_PART_BYTES:
            raise ModelError(f"{name}: larger than 2 GiB, which one ONNX file cannot hold")
        path = self._folder / name
        path.write_bytes(model.SerializeToString())
        return path

    def _inputs(self, subject: Subject, name: str, wanted: Sequence[str]) -> Path:
        path = self._folder / f"{name}.npz"
        save_arrays(path, {**subject.values, **subject.sample}, wanted)
        return path

    def _run(self, path: Path, inputs: Path, task: str, batch: int = 1) -> Run:
        model = open_model(path)
        asked = self._asked.options
        conditions = self._series.next(asked.conditions)
        options = replace(asked, inputs=inputs, task=task, batch=(batch,), conditions=conditions)
        self._tell(model, "push", {})

        def on_record(record: dict[str, Any]) -> None:
            self._series.hear(record)
            state = state_of(record)
            if state is not None:
                self._tell(model, state, record)

        keep = self._store.add if self._store is not None else None
        run = self._session.run(model, options, Deadline.never(), on_record, keep=keep)
        self._tell(model, "done", {})
        self._number += 1
        return run

    def _tell(self, model: Model, state: str, detail: dict[str, Any]) -> None:
        if self._on_progress is not None:
            self._on_progress(Progress(self._device.name, model.ref.name, self._number, self._total, state, detail))


def _batch(subject: Subject) -> int:
    """The first dimension of the sample, which is what a free batch is bound to."""
    return next((int(array.shape[0]) for array in subject.sample.values() if array.ndim), 1)
