"""From a model, two profiles and a link to a plan, and from a plan to a package that was proven.

Accuracy is no cost that a cut could minimise: what is planned is packed, run on the samples, and where a placement does
not agree with the whole model often enough, the codecs it used on those values are left out and all is planned anew.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_agents.split.frames import CodecError
from device_agents.split.package import Package
from exporters.data import read_samples
from exporters.generate import generate
from exporters.runtime import Session
from mobile.errors import ExportError, InputError, UsageError
from mobile.formats import index
from offload.costs.build import CodecTimes, costs_from_profiles
from offload.costs.profile import Profile, same_model
from offload.model.coding import DEFAULT, Coding, measure, usable
from offload.model.pieces import GraphError, PieceGraph, pieces_of
from offload.model.values import Observed, Watcher, observe
from offload.package.verify import Evidence, verify
from offload.package.write import Planned, Source, write
from offload.plan.candidates import Candidate, Change, bandwidth_changes, best_cut, candidates, label_of, scale_changes
from offload.plan.costs import Costs, Link, Power, latency_problem, price
from offload.plan.envelope import envelope
from offload.plan.objectives import Aim, Aimed, aimed
from offload.plan.problem import Line, ProblemError
from offload.plan.table import LEVELS, compile_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Feeds = Mapping[str, NDArray[Any]]

GENERATED_SAMPLES = 4
MEASURED_SAMPLES = 4  # of which codings are measured; ranges are of all samples
VERIFIED_SAMPLES = 32
RANGE = 1e3  # the table reaches from a thousandth of the link's bandwidth to a thousand times
MAX_ROUNDS = 6


@dataclass(frozen=True)
class Request:
    """What is to be planned. ``pinned``: names of pieces that must stay on the device; ``min_agreement``: how often
    the first output's arg-max must be that of the whole model (share of the samples' rows); ``with_split``: the best
    split is among the placements even where it is best nowhere, to be measured beside the others; ``aim``: what is
    wanted beside the least latency, whose placement is in the package, too.
    """

    model: Path
    device: Profile
    server: Profile
    link: Link
    power: Power | None = None
    calibration: Path | None = None
    scale: Mapping[str, float] = field(default_factory=dict)
    dims: Mapping[str, int] = field(default_factory=dict)
    codecs: tuple[str, ...] = DEFAULT
    times: CodecTimes | None = None
    request_s: float = 0.0
    pinned: tuple[str, ...] = ()
    keep_input: bool = False
    bidirectional: bool = False
    with_split: bool = False
    min_agreement: float = 0.99
    seed: int = 0
    aim: Aim = field(default_factory=Aim)


@dataclass(frozen=True)
class Plan:
    """Costs, the table over bandwidths and server slow-downs, and what is best on the link that was asked for."""

    request: Request
    source: Source
    costs: Costs
    table: dict[str, Any]
    lines: dict[str, Line]
    found: list[Candidate]
    changes: list[Change]
    codings: Mapping[str, Sequence[Coding]]
    notes: tuple[str, ...]
    aimed: Aimed | None = None

    def id_of(self, candidate: Candidate) -> str | None:
        """The table's id of a candidate; None for one that is best nowhere."""
        for name, line in self.lines.items():
            if line.sides.tobytes() == candidate.line.sides.tobytes() and line.crossings == candidate.line.crossings:
                return name
        return None


class Planner:
    """Opens the model once; ``plan`` may be called again with fewer codecs allowed. Use as a context manager."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._samples, self._notes = _samples(request)
        self._model = _load(request.model)
        try:
            self.graph: PieceGraph = pieces_of(self._model.graph)
        except GraphError as error:
            raise InputError(f"{request.model}: {error}") from error
        found = index(request.model)
        names = [piece.name for piece in self.graph.pieces]
        same_model([request.device, request.server], found.sha256, names)
        with Watcher(self._model, self.graph, str(request.model)) as watcher:
            self._observed: dict[str, Observed] = observe(watcher, self._samples)
            codecs, missing = _usable(request.codecs)
            self._codings = measure(watcher, self._samples[:MEASURED_SAMPLES], self._observed, codecs)
        self._notes += [f"not used: {line}" for line in missing]
        self._codecs = tuple(codecs)
        self.source = Source(
            request.model.name, found.sha256, found.size_bytes, self._model, self.graph, self._observed
        )

    def plan(self, banned: frozenset[tuple[str, str]] = frozenset()) -> Plan:
        """The plan without the (value, codec) pairs that are banned. InputError when the pins leave no placement."""
        request = self._request
        costs = without(self._costs(), banned)
        rates = (request.link.uplink_bps / RANGE, request.link.uplink_bps * RANGE)
        try:
            problem = latency_problem(costs, request.link)
            also = [best_cut(problem, 1.0 / request.link.uplink_bps)] if request.with_split else []
            best = None if request.aim.is_plain else self._aimed(costs)
            also += [best.line] if best is not None else []
            table, lines = compile_table(
                costs,
                request.link,
                LEVELS,
                rates,
                request.power,
                bidirectional=request.bidirectional,
                also=[line for line in also if line is not None],
            )
            curve = envelope(problem, *rates, bidirectional=request.bidirectional)
        except ProblemError as error:
            raise InputError(f"{request.model}: {error}") from error
        found = candidates(costs, lines.values(), request.link, request.power)
        if best is not None and all(one.line.crossings != best.line.crossings for one in found):
            found.append(Candidate(label_of(best.line), best.line, best.price))
        changes = bandwidth_changes(curve, request.link.uplink_bps) + scale_changes(costs, found, request.link)
        return Plan(
            request, self.source, costs, table, lines, found, changes, self._codings, tuple(self._notes), best
        )  # fmt: skip

    def _aimed(self, costs: Costs) -> Aimed:
        """The placement that is asked for. InputError when none keeps the limits."""
        request = self._request
        best = aimed(costs, request.link, request.power, request.aim, bidirectional=request.bidirectional)
        if best is None:
            raise InputError(
                f"{request.model}: no placement keeps the limits", "Allow more time or memory, or a faster link."
            )
        return best

    def package(self, target: Path) -> tuple[Package, Plan, list[Evidence]]:
        """The package in ``target``, its plan, and the evidence for each placement.

        ExportError when a placement's parts are not the whole model even uncoded, or when none agrees often enough.
        """
        banned: frozenset[tuple[str, str]] = frozenset()
        for _ in range(MAX_ROUNDS):
            plan = self.plan(banned)
            evidence = self._proven(plan)
            failed = [one for one in evidence if one.top1_agreement < self._request.min_agreement]
            if not failed:
                return self._write(target, plan, evidence), plan, evidence
            more = {pair for one in failed for pair in _coded(plan, one.placement)}
            if not more - banned:
                worst = min(failed, key=lambda one: one.top1_agreement)
                raise ExportError(
                    f"placement {worst.placement} agrees with the whole model on {worst.top1_agreement:.1%} of the"
                    f" samples even uncoded, wanted are {self._request.min_agreement:.1%}",
                    "Lower --min-agreement, or look at the model's own noise.",
                )
            banned |= more
        raise ExportError(f"no plan of {MAX_ROUNDS} agrees with the whole model often enough", "Lower --min-agreement.")

    def _proven(self, plan: Plan) -> list[Evidence]:
        with tempfile.TemporaryDirectory(prefix="edgewise-split-") as folder:
            package = write(Path(folder) / "trial", plan.source, placements_of(plan), table=plan.table)
            whole = Session(self._request.model, self._request.model.name)
            evidence = verify(package, whole, self._samples[:VERIFIED_SAMPLES])
        wrong = [one for one in evidence if not one.equivalent]
        if wrong and not any(value.dtype.startswith(("int", "uint")) for value in plan.source.observed.values()):
            raise ExportError(
                f"placement {wrong[0].placement}: its uncoded parts differ from the whole model by"
                f" {wrong[0].uncoded:.2g} of the output's largest value",
                "This is a fault of edgewise or of the runtime: please report it with the model.",
            )
        return evidence

    def _write(self, target: Path, plan: Plan, evidence: Sequence[Evidence]) -> Package:
        told = {
            "equivalence": [one.to_json() for one in evidence],
            "samples": "given" if self._request.calibration is not None else "generated",
            "min_agreement": self._request.min_agreement,
        }
        return write(
            target, plan.source, placements_of(plan), table=plan.table, evidence=told, notes=list(plan.notes)
        )  # fmt: skip

    def _costs(self) -> Costs:
        request, names = self._request, [piece.name for piece in self.graph.pieces]
        unknown = [name for name in request.pinned if name not in names]
        if unknown:
            raise InputError(f"no piece is called {unknown[0]!r}", "`edgewise profile` lists the pieces.")
        stay = {names.index(name) for name in request.pinned}
        if request.keep_input:  # whoever takes the raw input stays, so that it never leaves
            stay |= {index for value in self.graph.inputs for index in self.graph.consumers(value)}
        times = request.times or CodecTimes()
        times.codings = self._codings
        return costs_from_profiles(
            self.graph,
            self._observed,
            request.device,
            request.server,
            times,
            self._codecs,
            request_s=request.request_s,
            on_device=frozenset(stay),
        )


def placements_of(plan: Plan) -> list[Planned]:
    """The placements of a plan's table as they are packed, each with its price on the plan's link."""
    made = []
    for name, line in plan.lines.items():
        crossings = []
        for crossing in line.crossings:
            value = plan.costs.values[crossing.tensor]
            way = (value.up if crossing.up else value.down)[crossing.way]
            crossings.append((value.name, crossing.up, way.codec))
        cost = price(plan.costs, line, plan.request.link, plan.request.power)
        label = "split" if line.sides.any() and not line.sides.all() else ("server" if line.sides.any() else "device")
        predicted = {
            "latency_s": cost.latency_s,
            "device_s": cost.device_s,
            "server_s": cost.server_s,
            "codec_s": cost.codec_s,
            "network_s": cost.network_s,
            "up_bits": cost.up_bits,
            "down_bits": cost.down_bits,
            "energy_j": cost.energy_j,
        }
        made.append(Planned(name, label, tuple(bool(side) for side in line.sides), tuple(crossings), predicted))
    return made


def without(costs: Costs, banned: Iterable[tuple[str, str]]) -> Costs:
    """The costs with some (value, codec) pairs left out, in both directions."""
    from dataclasses import replace

    pairs = set(banned)
    values = tuple(
        replace(
            value,
            up=tuple(way for way in value.up if (value.name, way.codec) not in pairs),
            down=tuple(way for way in value.down if (value.name, way.codec) not in pairs),
        )
        for value in costs.values
    )
    return replace(costs, values=values)


def _usable(codecs: Sequence[str]) -> tuple[list[str], list[str]]:
    try:
        return usable(codecs)
    except CodecError as error:
        raise UsageError(str(error), "Such as raw, fp16, q8, q4.c, q8+zlib, q4+zstd.") from error


def _coded(plan: Plan, name: str) -> set[tuple[str, str]]:
    """The lossy codecs of a placement, by value."""
    found = set()
    for crossing in plan.lines[name].crossings:
        value = plan.costs.values[crossing.tensor]
        codec = (value.up if crossing.up else value.down)[crossing.way].codec
        if not codec.startswith("raw"):
            found.add((value.name, codec))
    return found


def _load(path: Path) -> Any:
    import onnx

    from exporters.runtime import one_line, onnx_errors

    try:
        return onnx.load(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except onnx_errors() as error:
        raise InputError(f"{path}: is no ONNX model: {one_line(error)}") from error


def _samples(request: Request) -> tuple[list[Feeds], list[str]]:
    """Inputs for one item each, and what is to be said about them."""
    found = index(request.model)
    if request.calibration is None:
        session = Session(request.model, str(request.model))

        def accepts(feeds: Feeds) -> None:
            session.run(feeds)

        made = generate(found.inputs, request.seed, request.dims, GENERATED_SAMPLES + 1, accepts)[:GENERATED_SAMPLES]
        return list(made), ["sizes, ranges and agreement are of generated inputs: give real ones with --calibration"]
    samples = read_samples(request.calibration, found.inputs, request.scale, request.dims)
    items: list[Feeds] = []
    for feeds in samples.batches(VERIFIED_SAMPLES):
        items += _single(feeds, samples.stacked)
    return items[:VERIFIED_SAMPLES], list(samples.notes)


def _single(feeds: Feeds, stacked: Mapping[str, Any]) -> list[Feeds]:
    """A batch as items of one row, so that what crosses is that of one frame."""
    rows = min((len(feeds[name]) for name in stacked), default=1)
    if rows <= 1:
        return [feeds]
    return [{name: a[row : row + 1] if name in stacked else a for name, a in feeds.items()} for row in range(rows)]
