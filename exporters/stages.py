"""The steps of an export that make a graph smaller: static quantisation, compressed weights, and their evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters import compressing, convert, passes, quantize
from exporters.accuracy import labelled_accuracy
from exporters.data import Samples, read_samples
from exporters.generate import generate
from exporters.job import Built, Job
from exporters.loading import measure_loading
from exporters.proof import prove
from exporters.publish import Staging
from exporters.reference import keep, rounded
from exporters.runtime import Session, close_sessions
from exporters.saving import check_interface, save, write
from exporters.sources import Source, load_ir
from mobile.errors import ExportError
from mobile.formats import index

if TYPE_CHECKING:
    from numpy.typing import NDArray

ERROR_ITEMS = 512  # on which quantisation errors are measured
_GENERATED_CALIBRATION = 16
GENERATED_NOTE = (
    "CALIBRATED ON GENERATED NUMBERS, not on real data:"
    " the ranges, and so the accuracy, may be far off; give --calibration"
)


def quantise(job: Job, source: Source, graph: Path, stage: Staging, location: str, built: Built) -> None:
    """Quantises the graph with calibrated ranges into the staging folder; ``built`` takes recipe, notes and figures."""
    final = stage.folder / job.output.name
    raw = stage.folder / "work" / "quantised.onnx"
    samples, batches = calibration(job, source)
    built.notes += samples.notes if samples else []
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
    save(model, final, location)
    check_interface(source.index, index(final), source.name)
    kind = "calibration" if samples else "generated"
    built.recipe["calibration"] = {"inputs": "given" if samples else kind, "items": samples.items if samples else None}
    if samples is None:
        built.recipe["calibration"]["items"] = _GENERATED_CALIBRATION
        built.notes.append(GENERATED_NOTE)
    built.notes.append(quantize.SATURATION_NOTE if job.scheme == "int8" else quantize.WIDE_NOTE)
    feeds = list(batches(ERROR_ITEMS))
    if job.inputs is not None:
        feeds, kind = (
            list(read_samples(job.inputs, source.index.inputs, job.scale, job.dims).batches(ERROR_ITEMS)),
            "given",
        )
    job.say(f"measuring the quantisation error on {len(feeds)} batches")
    names = [value.name for value in source.index.outputs]
    quantised = Session(final, "the quantised model", source.large).run
    built.quantization = quantize.measure(source.run, quantised, feeds, names, kind)


def compress(
    job: Job,
    source: Source,
    graph: Path,
    stage: Staging,
    location: str,
    built: Built,
    feeds: Sequence[dict[str, NDArray[Any]]],
    kind: str,
) -> None:
    """Compresses the weights, saves the artifact, and proves it against the dequantised reference."""
    assert job.compression is not None
    final = stage.folder / job.output.name
    job.say("compressing the weights")
    done = _compressed(job, source, graph, stage, location, built)
    if not job.verify:
        return
    job.say(f"comparing with the dequantised reference on {len(feeds)} inputs")
    folder = _folder(stage, "observed") if source.large else None
    built.proof = prove(done.lowered, done.model.tensors, final, feeds, kind, folder)
    if not built.proof.ok and not job.publish_on_mismatch:
        worst = built.proof.worst
        assert worst is not None
        raise ExportError(
            f"{source.name}: weight {worst.weight!r} as {worst.carrier} differs from its reference: {worst.why}",
            "Nothing was published. Please report it, with the scheme and the target.",
        )
    path = stage.folder / "work" / "reference.onnx"
    reference = load_ir(graph)
    compressing.reference_graph(reference, done)
    write(reference, path, "reference.data", source.large)
    rounds = rounded(done.lowered.uses)
    del reference, done
    names = [value.name for value in source.index.outputs]
    artifact = Session(final, "the compressed model", source.large).run
    dequantised = Session(path, "the dequantised reference", source.large).run
    built.reference = quantize.measure(dequantised, artifact, feeds, names, kind)
    wide = list(feeds)
    if job.inputs is not None:
        wide = list(read_samples(job.inputs, source.index.inputs, job.scale, job.dims).batches(ERROR_ITEMS))
    built.quantization = quantize.measure(source.run, artifact, wide, names, kind)
    if job.keep_reference:
        built.kept = keep(path, artifact, feeds, source.index.inputs, names, rounds, kind)


def _compressed(
    job: Job, source: Source, graph: Path, stage: Staging, location: str, built: Built
) -> compressing.Compressed:
    """The artifact in the staging folder, with what went into it; weights of a large model lie in files meanwhile."""
    assert job.compression is not None
    final = stage.folder / job.output.name
    model = load_ir(graph)
    folder = _folder(stage, "weights") if source.large else None
    done = compressing.compress_graph(model, job.compression, job.target, folder)
    built.passes += passes.run_passes(model, passes.AFTER_QUANTISATION, source.name)
    save(model, final, location)
    check_interface(source.index, index(final), source.name)
    built.notes += done.notes
    built.recipe = {
        "scheme": job.scheme, "weights": job.compression.weights.name if job.compression.weights else None,
        "origin": dict(done.model.origin), "tensors": done.entries,
    }  # fmt: skip
    built.evidence.append(compressing.check_packed(final, done))
    built.widths = {name: bits if bits % 1 else int(bits) for name, (bits, _) in done.lowered.packed.items()}
    return done


def _folder(stage: Staging, name: str) -> Path:
    path = stage.folder / "work" / name
    path.mkdir()
    return path


def measure(job: Job, source: Source, stage: Staging, built: Built) -> None:
    """Accuracy where there are labels, and what loading costs: of compressed artifacts."""
    if job.scheme is None and job.compression is None:
        return
    final = stage.folder / job.output.name
    if source.large:
        close_sessions()
    job.say("loading it in a process of its own")
    built.loading = measure_loading(final)
    if job.labels is not None and job.inputs is not None:
        job.say("asking for the classes of the labelled inputs")
        samples = read_samples(job.inputs, source.index.inputs, job.scale, job.dims)
        built.accuracy = labelled_accuracy(
            source.run, Session(final, "the artifact", source.large).run, samples.batches(), job.inputs, job.labels
        )


def _split(graph: Path, location: str, built: Built) -> None:
    """Each Conv behind a Concat of channels becomes a sum of Convs, so that every branch has its own ranges."""
    from exporters.shortcuts import split_shortcuts

    model = load_ir(graph)
    count = split_shortcuts(model)
    if not count:
        built.notes.append("no Conv reads a Concat of channels: there is no shortcut to split")
        return
    save(model, graph, location)
    built.notes.append(f"{count} Convs behind a Concat were split, each branch is quantised apart")


def calibration(job: Job, source: Source) -> tuple[Samples | None, Callable[[int | None], Any]]:
    """The calibration samples (None when generated) and a function that gives their batches, anew at each call."""
    if job.calibration is not None:
        from exporters.calibration.read import calibration_samples

        inputs = source.index.inputs
        samples = calibration_samples(job.calibration, inputs, job.scale, job.dims, job.timesteps, job.seed)
        return samples, samples.batches

    def accepts(feed: dict[str, NDArray[Any]]) -> None:
        source.run(feed)

    feeds = generate(source.index.inputs, job.seed, job.dims, _GENERATED_CALIBRATION, accepts)
    return None, lambda limit: iter(feeds[:limit])
