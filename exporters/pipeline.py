"""`export`: from a source to a published artifact, each step named, nothing left behind when one fails."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters import convert, parity, passes, quantize
from exporters.data import Samples, read_samples
from exporters.generate import generate
from exporters.publish import Staging, unwritable
from exporters.result import ExportResult
from exporters.runtime import Session, one_line
from exporters.sources import Source, check_onnx, load_ir, open_source
from exporters.targets import Target, parse_target
from mobile.errors import ExportError, UsageError
from mobile.formats import Manifest, ModelIndex, index, manifest_path

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

FORMATS = ("onnx",)
SCHEMES = ("int8",)
PARITY_ITEMS = 64  # of given inputs
ERROR_ITEMS = 512  # on which quantisation errors are measured
_GENERATED_CALIBRATION = 16
_GENERATED_NOTE = (
    "CALIBRATED ON GENERATED NUMBERS, not on real data:"
    " the ranges, and so the accuracy, may be far off; give --calibration"
)


@dataclass(frozen=True)
class _Job:
    """What was asked for, checked."""

    source: str
    output: Path
    target: Target | None
    scheme: str | None
    calibration: Path | None
    inputs: Path | None
    scale: Mapping[str, float]
    dims: Mapping[str, int]
    seed: int
    example: Sequence[str]
    verify: bool
    publish_on_mismatch: bool
    say: Callable[[str], None]


@dataclass
class _Built:
    """What the steps add up to."""

    notes: list[str] = field(default_factory=list)
    passes: list[str] = field(default_factory=list)
    parity: parity.Parity | None = None
    quantization: quantize.QuantizationError | None = None
    recipe: dict[str, Any] | None = None


def export(
    source: str | Path,
    output: str | Path,
    *,
    format: str = "onnx",
    target: str | None = None,
    scheme: str | None = None,
    calibration: str | Path | None = None,
    dims: Mapping[str, int] | None = None,
    inputs: str | Path | None = None,
    scale: Mapping[str, float] | None = None,
    seed: int = 0,
    example: Sequence[str] = (),
    verify: bool = True,
    publish_on_mismatch: bool = False,
    progress: Callable[[str], None] | None = None,
) -> ExportResult:
    """The published artifact: ``output`` and, beside it, its manifest (and a .data file when it passes 1.8 GB).

    ``source`` is an .onnx file, ``file.py:factory`` or a .pt2 program. ``target`` names the oldest runtime that must
    load it ("onnxruntime==1.19"). ``scheme`` "int8" quantises statically, with the ranges of ``calibration`` (.npz
    whose keys are the inputs, or a folder of .npz or .npy). The graph is compared with the source on ``inputs`` (.npz),
    else on generated ones (seeded); ``dims`` bind the free dimensions of generated ones and are not baked in. ``scale``
    turns whole numbers in .npz files into a float input. ``example`` gives a PyTorch file its inputs
    ("name:shape:dtype"). A difference beyond tolerance publishes nothing unless ``publish_on_mismatch``;
    ``verify=False`` does not compare. ``progress`` is told each step.

    UsageError, ModelError, InputError or ExportError says what failed; an existing output is then as it was, and
    nothing else is left.
    """
    job = _checked(format, target, scheme, _Job(
        source=str(source), output=Path(output), target=parse_target(target) if target else None, scheme=scheme,
        calibration=Path(calibration) if calibration is not None else None,
        inputs=Path(inputs) if inputs is not None else None, scale=scale or {}, dims=dims or {}, seed=seed,
        example=example, verify=verify, publish_on_mismatch=publish_on_mismatch, say=progress or (lambda step: None),
    ))  # fmt: skip
    with Staging(job.output) as stage:
        try:
            return _build(job, stage)
        except OSError as error:
            raise unwritable(job.output, error) from error


def _checked(form: str, target: str | None, scheme: str | None, job: _Job) -> _Job:
    if form not in FORMATS:
        raise UsageError(f"format {form!r} is not one of {', '.join(FORMATS)}")
    if scheme is not None and scheme not in SCHEMES:
        raise UsageError(f"scheme {scheme!r} is not one of {', '.join(SCHEMES)}")
    if job.calibration is not None and scheme is None:
        raise UsageError("calibration data is given without a scheme that uses it", "Add --scheme int8.")
    if any(size < 1 for size in job.dims.values()):
        raise UsageError(f"a dimension must be at least 1: {dict(job.dims)}")
    if job.output.exists() and Path(job.source).exists() and job.output.samefile(job.source):
        raise UsageError(f"{job.output}: the output is the source itself", "Name another file.")
    return job


def _build(job: _Job, stage: Staging) -> ExportResult:
    work = stage.folder / "work"
    work.mkdir()
    job.say("reading the source")
    need = job.verify and job.inputs is None
    source = open_source(job.source, work, job.target, job.dims, job.seed, job.example, need)
    built = _Built(notes=list(source.notes))
    job.say("cleaning the graph")
    model, notes = convert.fit(
        load_ir(source.model), source.index, job.target, convert.PER_CHANNEL_OPSET if job.scheme else 0, job.verify
    )
    built.notes += notes
    built.passes = passes.run_passes(model, passes.PASSES, source.name)
    location = _data_location(job, source)
    graph = stage.folder / job.output.name if job.scheme is None else work / "graph.onnx"
    _save(model, graph, location)
    _check_interface(source.index, index(graph), source.name)
    feeds, kind = _feeds(job, source)
    if job.verify:
        job.say(f"comparing with the source on {len(feeds)} inputs")
        built.parity = _verified(job, source, graph, feeds, kind)
        if not built.parity.ok:
            built.notes.append(f"published although it differs: {built.parity.worst.said()}")
    if job.scheme is not None:
        _quantise(job, source, graph, stage, location, built)
    return _publish(job, source, stage, built)


def _data_location(job: _Job, source: Source) -> str:
    """A name of its own for each content, so that an old artifact keeps its data until it is replaced."""
    parts = [source.index.sha256, str(job.scheme), str(job.target.version if job.target else None)]
    return f"{job.output.stem}.{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:12]}.data"


def _save(model: ir.Model, path: Path, location: str) -> None:
    """Writes the graph: one file, or with external data when its weights pass what one protobuf message holds."""
    import onnx_ir as ir

    try:
        _write(model, path, location)
    except ir.serde.SerdeError as error:
        raise ExportError(f"the graph cannot be written back: {one_line(error)}", "Export the source again.") from error
    check_onnx(path)


def _write(model: ir.Model, path: Path, location: str) -> None:
    import onnx_ir as ir

    weights = [value.const_value for graph in model.graphs() for value in graph.initializers.values()]
    if sum(tensor.nbytes for tensor in weights if tensor is not None) > quantize.EXTERNAL_BYTES:
        ir.save(model, path, external_data=location)
    else:
        ir.external_data.load_to_model(model)
        ir.save(model, path)


def _check_interface(before: ModelIndex, after: ModelIndex, name: str) -> None:
    """ExportError unless inputs and outputs have their names, dtypes and shapes, free dimensions included."""
    for kind in ("inputs", "outputs"):
        want, have = getattr(before, kind), getattr(after, kind)
        if want != have:
            changed = next((pair for pair in zip(want, have, strict=False) if pair[0] != pair[1]), (want, have))
            raise ExportError(
                f"{name}: the {kind} changed on the way, from {changed[0]} to {changed[1]}", "Please report it."
            )


def _feeds(job: _Job, source: Source) -> tuple[list[dict[str, NDArray[Any]]], str]:
    """What is compared on: the given inputs, else those of the source."""
    if job.inputs is None:
        return source.feeds, source.feeds_are
    samples = read_samples(job.inputs, source.index.inputs, job.scale, job.dims)
    return list(samples.batches(PARITY_ITEMS)), "given"


def _verified(
    job: _Job, source: Source, graph: Path, feeds: Sequence[dict[str, NDArray[Any]]], kind: str
) -> parity.Parity:
    """The parity of the graph with the source. ExportError names the worst output when it is beyond tolerance."""
    names = [value.name for value in source.index.outputs]
    found = parity.compare(source.run, Session(graph, "the exported graph").run, feeds, names, kind)
    if found.ok or job.publish_on_mismatch:
        return found
    again = parity.compare(source.run, source.run, feeds[:1], names, kind)
    if not again.ok:
        raise ExportError(
            f"{source.name}: the source itself answers differently each time ({again.worst.said()})",
            "Remove its randomness (dropout, sampling), or export with verification turned off.",
        )
    over = f"{len(feeds)} {kind} inputs"
    raise ExportError(
        f"{source.name}: the exported graph differs from the source on {over}: {found.worst.said()}",
        "Nothing was published. Give real inputs with --inputs if generated ones are unfit for this model.",
    )


def _quantise(job: _Job, source: Source, graph: Path, stage: Staging, location: str, built: _Built) -> None:
    final = stage.folder / job.output.name
    raw = stage.folder / "work" / "quantised.onnx"
    samples, batches = _calibration(job, source)
    job.say("calibrating and quantising")
    large = source.index.size_bytes > quantize.EXTERNAL_BYTES
    built.recipe = quantize.quantize_int8(graph, raw, lambda: batches(None), large)
    if not index(raw).operators.get("QuantizeLinear"):
        raise ExportError(
            f"{source.name}: int8 found nothing that it could quantise",
            "Only the main graph is quantised, not the branches of If and Loop. Export it without --scheme.",
        )
    model = load_ir(raw)
    built.passes += passes.run_passes(model, passes.AFTER_QUANTISATION, source.name)
    convert.restore_shapes(model, load_ir(graph))
    _save(model, final, location)
    _check_interface(source.index, index(final), source.name)
    kind = "calibration" if samples else "generated"
    built.recipe["calibration"] = {"inputs": "given" if samples else kind, "items": samples.items if samples else None}
    if samples is None:
        built.recipe["calibration"]["items"] = _GENERATED_CALIBRATION
        built.notes.append(_GENERATED_NOTE)
    built.notes.append(quantize.SATURATION_NOTE)
    feeds = list(batches(ERROR_ITEMS))
    if job.inputs is not None:
        feeds, kind = (
            list(read_samples(job.inputs, source.index.inputs, job.scale, job.dims).batches(ERROR_ITEMS)),
            "given",
        )
    job.say(f"measuring the quantisation error on {len(feeds)} batches")
    names = [value.name for value in source.index.outputs]
    built.quantization = quantize.measure(source.run, Session(final, "the quantised model").run, feeds, names, kind)


def _calibration(job: _Job, source: Source) -> tuple[Samples | None, Callable[[int | None], Any]]:
    """The calibration samples (None when generated) and a function that gives their batches, anew at each call."""
    if job.calibration is not None:
        samples = read_samples(job.calibration, source.index.inputs, job.scale, job.dims)
        return samples, samples.batches

    def accepts(feed: dict[str, NDArray[Any]]) -> None:
        source.run(feed)

    feeds = generate(source.index.inputs, job.seed, job.dims, _GENERATED_CALIBRATION, accepts)
    return None, lambda limit: iter(feeds[:limit])


def _publish(job: _Job, source: Source, stage: Staging, built: _Built) -> ExportResult:
    job.say("publishing")
    found = index(stage.folder / job.output.name)
    manifest = _manifest(job, source, found, built)
    beside = manifest_path(job.output)
    manifest.save(stage.folder / beside.name)
    names = [*found.external_files, job.output.name, beside.name]
    stage.publish(names, _obsolete(job.output, beside))
    return ExportResult(job.output, manifest, built.parity, built.quantization)


def _obsolete(output: Path, beside: Path) -> list[str]:
    """External files of the artifact that is being replaced, as its manifest lists them; only our own kind of name."""
    if not beside.exists():
        return []
    try:
        files = Manifest.load(beside).files
    except ValueError:  # not a manifest: then nothing is known to be ours
        return []
    names = [str(entry.get("location", "")) for entry in files if isinstance(entry, dict)]
    return [name for name in names if name.startswith(f"{output.stem}.") and name.endswith(".data") and "/" not in name]


def _manifest(job: _Job, source: Source, found: ModelIndex, built: _Built) -> Manifest:
    from mobile import __version__

    document = found.to_json()
    by_bits: dict[str, int] = {}
    for tensor in found.tensors:
        by_bits[str(tensor.bits)] = by_bits.get(str(tensor.bits), 0) + tensor.length
    evidence: list[dict[str, Any]] = [built.parity.to_json()] if built.parity else []
    if built.quantization:
        evidence.append(built.quantization.to_json())
    return Manifest(
        format=found.format, sha256=found.sha256, size_bytes=found.size_bytes, files=document["files"],
        inputs=document["inputs"], outputs=document["outputs"], origin=source.origin, scheme=job.scheme,
        target=job.target.name if job.target else None, opsets=found.opsets, ir_version=found.ir_version,
        edgewise_version=__version__, created_utc=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        evidence=evidence, passes=built.passes, quantization=built.recipe, tools={**_versions(), **source.tools},
        sizes={
            "source_bytes": source.origin["size_bytes"], "weight_bytes": sum(by_bits.values()),
            "weight_bytes_by_bits": by_bits,
        },
        notes=built.notes,
    )  # fmt: skip


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("onnx", "onnx-ir", "onnxruntime")}
