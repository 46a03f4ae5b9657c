"""`export`: from a source to a published artifact, each step named, nothing left behind when one fails."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters import compressing, convert, parity, passes, quantize
from exporters.accuracy import LabelledAccuracy, labelled_accuracy
from exporters.carriers.base import Wishes
from exporters.data import Samples, read_samples
from exporters.generate import generate
from exporters.loading import Loading, measure_loading
from exporters.proof import Proof, prove
from exporters.publish import Staging, unwritable
from exporters.result import ExportResult
from exporters.runtime import Session, one_line
from exporters.sources import Source, check_onnx, load_ir, open_source
from exporters.targets import Target, parse_target
from mobile.errors import ExportError, UsageError
from mobile.formats import Manifest, ModelIndex, file_sha256, index, manifest_path

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

FORMATS = ("onnx", "tflite")
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
    labels: str | None = None
    compression: compressing.Request | None = None
    split_shortcuts: bool = False

    @property
    def static(self) -> bool:
        """Whether the scheme quantises activations with calibrated ranges."""
        return self.scheme is not None and self.compression is None


@dataclass
class _Built:
    """What the steps add up to."""

    notes: list[str] = field(default_factory=list)
    passes: list[str] = field(default_factory=list)
    parity: parity.Parity | None = None
    quantization: quantize.QuantizationError | None = None
    recipe: dict[str, Any] | None = None
    proof: Proof | None = None
    reference: quantize.QuantizationError | None = None
    accuracy: LabelledAccuracy | None = None
    loading: Loading | None = None
    evidence: list[dict[str, Any]] = field(default_factory=list)


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
    weights: str | Path | None = None,
    names: Mapping[str, str] | None = None,
    adapter: str = "merge",
    rows: int | None = None,
    probe: Any = None,
    labels: str | None = None,
    split_shortcuts: bool = False,
    progress: Callable[[str], None] | None = None,
) -> ExportResult:
    """The published artifact: ``output`` and, beside it, its manifest (and a .data file when it passes 1.8 GB).

    ``source`` is an .onnx file, ``file.py:factory`` or a .pt2 program. ``target`` names the oldest runtime that must
    load it ("ort:1.19"). ``scheme`` "int8" and "w8a16" quantise statically, with the ranges of ``calibration`` (.npz
    whose keys are the inputs, or a folder of .npz or .npy), ``split_shortcuts`` the branches of a Concat apart; any
    other compresses weights (`exporters.compress.schemes`, or "int8-dynamic"). ``weights`` is a compressed spec or
    checkpoint whose weights go in as they are, ``names`` maps its names to the graph's, ``adapter`` "apart" leaves LoRA
    adapters beside their weights. ``rows`` says how many rows multiplications have where the graph leaves it open,
    ``probe`` how fast each carrier is on the device. ``labels`` names the array of ``inputs`` with class numbers.

    The graph is compared with the source on ``inputs`` (.npz),
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
        labels=labels, split_shortcuts=split_shortcuts,
        compression=compressing.request(
            scheme, Path(weights) if weights is not None else None, names or {},
            Wishes(dynamic=scheme == compressing.DYNAMIC, adapter=adapter, measured=probe, rows_m=rows),
        ),
    ))  # fmt: skip
    with Staging(job.output) as stage:
        try:
            return _build(job, stage)
        except OSError as error:
            raise unwritable(job.output, error) from error


def _checked(form: str, target: str | None, scheme: str | None, job: _Job) -> _Job:
    if form not in FORMATS:
        raise UsageError(f"format {form!r} is not one of {', '.join(FORMATS)}")
    if job.calibration is not None and not job.static:
        raise UsageError("calibration data is given without a scheme that uses it", "Add --scheme int8.")
    if job.target is not None and job.target.format != form:
        raise UsageError(
            f"{job.target.name} runs {job.target.format} files, not {form}", f"Add --format {job.target.format}."
        )
    if job.labels is not None and job.inputs is None:
        raise UsageError("labels are looked for in the inputs' file, which is not given", "Add --inputs FILE.npz.")
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
    model, notes = convert.fit(load_ir(source.model), source.index, job.target, _least_opset(job), job.verify)
    built.notes += notes
    built.passes = passes.run_passes(model, passes.PASSES, source.name)
    location = _data_location(job, source)
    plain = job.scheme is None and job.compression is None
    graph = stage.folder / job.output.name if plain else work / "graph.onnx"
    _save(model, graph, location)
    _check_interface(source.index, index(graph), source.name)
    feeds, kind = _feeds(job, source)
    if job.verify:
        job.say(f"comparing with the source on {len(feeds)} inputs")
        built.parity = _verified(job, source, graph, feeds, kind)
        if not built.parity.ok:
            built.notes.append(f"published although it differs: {built.parity.worst.said()}")
    if job.static:
        _quantise(job, source, graph, stage, location, built)
    elif job.compression is not None:
        _compress(job, source, graph, stage, location, built, feeds, kind)
    _measure(job, source, stage, built)
    return _publish(job, source, stage, built)


def _least_opset(job: _Job) -> int:
    if job.compression is not None:
        return compressing.least_opset(job.compression, job.target)
    return convert.PER_CHANNEL_OPSET if job.scheme else 0


def _data_location(job: _Job, source: Source) -> str:
    """A name of its own for each content, so that an old artifact keeps its data until it is replaced."""
    weights = job.compression.weights if job.compression else None
    mark = file_sha256(weights) if weights is not None and weights.is_file() else str(weights)
    parts = [source.index.sha256, str(job.scheme), mark, str(job.target.version if job.target else None)]
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
    assert job.scheme is not None
    if job.split_shortcuts:
        _split(graph, location, built)
    built.recipe = quantize.quantize_int8(graph, raw, lambda: batches(None), large, job.scheme)
    if not index(raw).operators.get("QuantizeLinear"):
        raise ExportError(
            f"{source.name}: {job.scheme} found nothing that it could quantise",
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
    built.notes.append(quantize.SATURATION_NOTE if job.scheme == "int8" else quantize.WIDE_NOTE)
    feeds = list(batches(ERROR_ITEMS))
    if job.inputs is not None:
        feeds, kind = (
            list(read_samples(job.inputs, source.index.inputs, job.scale, job.dims).batches(ERROR_ITEMS)),
            "given",
        )
    job.say(f"measuring the quantisation error on {len(feeds)} batches")
    names = [value.name for value in source.index.outputs]
    built.quantization = quantize.measure(source.run, Session(final, "the quantised model").run, feeds, names, kind)


def _compress(
    job: _Job,
    source: Source,
    graph: Path,
    stage: Staging,
    location: str,
    built: _Built,
    feeds: Sequence[dict[str, NDArray[Any]]],
    kind: str,
) -> None:
    """Compresses the weights, saves the artifact, and proves it against the dequantised reference."""
    assert job.compression is not None
    final = stage.folder / job.output.name
    job.say("compressing the weights")
    model = load_ir(graph)
    done = compressing.compress_graph(model, job.compression, job.target)
    built.passes += passes.run_passes(model, passes.AFTER_QUANTISATION, source.name)
    _save(model, final, location)
    _check_interface(source.index, index(final), source.name)
    built.notes += done.notes
    built.recipe = {
        "scheme": job.scheme, "weights": job.compression.weights.name if job.compression.weights else None,
        "origin": dict(done.model.origin), "tensors": done.entries(),
    }  # fmt: skip
    built.evidence.append(compressing.check_packed(final, done))
    if not job.verify:
        return
    job.say(f"comparing with the dequantised reference on {len(feeds)} inputs")
    built.proof = prove(done.lowered, done.model.tensors, final, feeds, kind)
    if not built.proof.ok and not job.publish_on_mismatch:
        worst = built.proof.worst
        assert worst is not None
        raise ExportError(
            f"{source.name}: weight {worst.weight!r} as {worst.carrier} differs from its reference: {worst.why}",
            "Nothing was published. Please report it, with the scheme and the target.",
        )
    reference = load_ir(graph)
    compressing.reference_graph(reference, done)
    path = stage.folder / "work" / "reference.onnx"
    _write(reference, path, "reference.data")
    names = [value.name for value in source.index.outputs]
    artifact = Session(final, "the compressed model").run
    built.reference = quantize.measure(Session(path, "the dequantised reference").run, artifact, feeds, names, kind)
    wide = list(feeds)
    if job.inputs is not None:
        wide = list(read_samples(job.inputs, source.index.inputs, job.scale, job.dims).batches(ERROR_ITEMS))
    built.quantization = quantize.measure(source.run, artifact, wide, names, kind)


def _measure(job: _Job, source: Source, stage: Staging, built: _Built) -> None:
    """Accuracy where there are labels, and what loading costs: of compressed artifacts."""
    if job.scheme is None and job.compression is None:
        return
    final = stage.folder / job.output.name
    job.say("loading it in a process of its own")
    built.loading = measure_loading(final)
    if job.labels is not None and job.inputs is not None:
        job.say("asking for the classes of the labelled inputs")
        samples = read_samples(job.inputs, source.index.inputs, job.scale, job.dims)
        built.accuracy = labelled_accuracy(
            source.run, Session(final, "the artifact").run, samples.batches(), job.inputs, job.labels
        )


def _split(graph: Path, location: str, built: _Built) -> None:
    """Each Conv behind a Concat of channels becomes a sum of Convs, so that every branch has its own ranges."""
    from exporters.shortcuts import split_shortcuts

    model = load_ir(graph)
    count = split_shortcuts(model)
    if not count:
        built.notes.append("no Conv reads a Concat of channels: there is no shortcut to split")
        return
    _save(model, graph, location)
    built.notes.append(f"{count} Convs behind a Concat were split, each branch is quantised apart")


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
    return ExportResult(
        job.output,
        manifest,
        built.parity,
        built.quantization,
        built.proof,
        built.reference,
        built.accuracy,
        built.loading,
    )


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
    if built.reference:
        against = "figures against the float graph with the dequantised weights"
        evidence.append({**built.reference.to_json(), "kind": "reference-error", "statement": against})
    evidence += [found.to_json() for found in (built.proof, built.accuracy, built.loading) if found is not None]
    evidence += built.evidence
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
