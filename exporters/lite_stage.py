"""The TFLite step of an export: the graph converted, its weights in few bits, the file compared with the source.

The comparison runs on LiteRT. Float models must equal the source within the tolerance of `parity`, compressed weights
the graph with the dequantised ones; what quantisation changes is reported as figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters import compressing, parity, quantize, stages
from exporters.accuracy import labelled_accuracy
from exporters.data import read_samples
from exporters.job import Built, Job
from exporters.loading import measure_loading
from exporters.lowering import Lowered
from exporters.publish import Staging
from exporters.reference import WHOLE, keep
from exporters.runtime import Session
from exporters.saving import write
from exporters.sources import Source, load_ir
from mobile.errors import ExportError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from exporters.tflite.rules import Runtime

SCHEMES = ("int8", "int8-dynamic", "int4", "int2")  # TFLite's own; other schemes carry compressed weights
Feeds = Sequence[dict[str, "NDArray[Any]"]]


def build(job: Job, source: Source, graph: Path, stage: Staging, built: Built, given: Feeds, kind: str) -> None:
    """Writes the artifact into the staging folder and adds its evidence. ExportError when it differs."""
    from exporters.tflite import export_tflite, flat
    from exporters.tflite.probabilities import least_scales
    from exporters.tflite.rules import check_loads
    from exporters.tflite.running import LiteSession

    runtime = runtime_of(job)
    built.notes.append(f"written for {runtime.name}")
    model = load_ir(graph)
    done, reference = None, source.run
    if job.compression is not None:
        done, reference = _compressed(job, model, stage, built)
    job.say("converting to TFLite")
    sample = {name: list(array.shape) for name, array in given[0].items()} if given else None
    program = export_tflite(model, job.dims, sample, keep_weights=done is not None)
    exact = done is None or not done.model.tensors
    if job.verify and exact:
        session = LiteSession(flat.to_bytes(program), "the float TFLite model")
        built.parity = _checked(job, source, session, given, kind, least_scales(model))
    report: Any = None
    if done is not None:
        program, report = _carried(program, done, runtime)
        built.notes += [f"{name} stays float32: {why}" for name, why in report.float32.items()]
    elif job.scheme is not None:
        program, report = _quantised(job, source, program, runtime, built)
    check_loads(program, runtime)
    content = flat.to_bytes(program)
    (stage.folder / job.output.name).write_bytes(content)
    if report is not None:
        built.recipe = {**(built.recipe or {}), "scheme": job.scheme, "stored": dict(getattr(report, "ways", {}))}
        _figures(job, source, reference if done else None, LiteSession(content, "the artifact"), built, given, kind)
    if job.keep_reference and done is not None:
        _keep(job, source, stage, done, report, LiteSession(content, "the artifact"), built, given, kind)
    loading(job, stage, built)


def loading(job: Job, stage: Staging, built: Built) -> None:
    """What loading the compressed artifact costs, as of .onnx files."""
    if job.scheme is not None or job.compression is not None:
        job.say("loading it in a process of its own")
        built.loading = measure_loading(stage.folder / job.output.name)


def _keep(
    job: Job,
    source: Source,
    stage: Staging,
    done: Any,
    report: Any,
    session: Any,
    built: Built,
    given: Feeds,
    kind: str,
) -> None:
    """The reference's answers. Hybrid kernels round each row of activations to 8 bits over its range, at most that of
    the whole tensor; which weights met one is not told apart.
    """
    names = [value.name for value in source.index.outputs]
    hybrid = any("hybrid" in way for way in report.ways)
    rounded = {name: WHOLE for name in done.model.tensors if name not in report.float32} if hybrid else {}
    path = stage.folder / "work" / "reference.onnx"
    built.kept = keep(path, session.run, given, source.index.inputs, names, rounded, kind)


def runtime_of(job: Job) -> Runtime:
    """The TFLite runtime that the artifact must run on."""
    from exporters.tflite.rules import parse_runtime

    target = job.target
    return parse_runtime(None if target is None else f"{target.runtime}:{target.version[0]}.{target.version[1]}")


def _checked(
    job: Job, source: Source, session: Any, given: Feeds, kind: str, scales: dict[str, float]
) -> parity.Parity:
    names = [value.name for value in source.index.outputs]
    found = parity.compare(source.run, session.run, given, names, kind, scales)
    if not found.ok and not job.publish_on_mismatch:
        raise ExportError(
            f"{source.name}: the TFLite model differs from the source on {len(given)} {kind} inputs:"
            f" {found.worst.said()}",
            "Nothing was published. Give real inputs with --inputs if generated ones are unfit for this model.",
        )
    return found


def _compressed(job: Job, model: Any, stage: Staging, built: Built) -> tuple[Any, Any]:
    """The compressed weights put into the float graph, dequantised, and the run of that reference."""
    assert job.compression is not None
    job.say("compressing the weights")
    bound = compressing.compressed_weights(model, job.compression)
    done = compressing.Compressed(bound.model, Lowered(model), list(bound.notes), bound.reals)
    compressing.reference_graph(model, done)
    path = stage.folder / "work" / "reference.onnx"
    write(model, path, "reference.data")
    built.notes += done.notes
    entries = [{"name": name, "family": tensor.family, "shape": list(tensor.shape), "bits": tensor.bits}
               for name, tensor in done.model.tensors.items()]  # fmt: skip
    built.recipe = {"origin": dict(done.model.origin), "tensors": entries}
    return done, Session(path, "the dequantised reference").run


def _carried(program: Any, done: Any, runtime: Any) -> tuple[Any, Any]:
    from exporters.tflite.carry import carry

    program, report = carry(program, done.model.tensors, runtime)
    if not report.ways:
        name, why = next(iter(report.float32.items()))
        raise ExportError(
            f"TFLite has no form for any of these {len(report.float32)} weights ({name}: {why})",
            "The nearest that it has are --scheme int8, int4 and ternary; ONNX carries this one.",
        )
    return program, report


def _quantised(job: Job, source: Source, program: Any, runtime: Any, built: Built) -> tuple[Any, Any]:
    assert job.scheme is not None
    if job.scheme != "int8":
        from exporters.tflite.quantise_weights import quantise_weights

        return quantise_weights(program, job.scheme, runtime)
    from exporters.tflite.mixed import accuracy, remarks, static_int8

    samples, batches = stages.calibration(job, source)
    job.say("calibrating and quantising")
    program, report = static_int8(program, batches(None), runtime)
    built.notes += remarks(report)
    if samples is None:
        built.notes.append(stages.GENERATED_NOTE)
    built.recipe = {"calibration": {"inputs": "given" if samples else "generated", "items": report.items}}
    built.recipe |= {"int8_operators": dict(report.int8), "float32_operators": dict(report.float32)}
    built.recipe |= accuracy(report)
    return program, report


def _figures(job: Job, source: Source, reference: Any, session: Any, built: Built, given: Feeds, kind: str) -> None:
    names = [value.name for value in source.index.outputs]
    if not job.verify:
        return
    job.say("measuring what it changed")
    if reference is not None:
        built.reference = quantize.measure(reference, session.run, given, names, kind)
    wide = list(given)
    if job.inputs is not None:
        samples = read_samples(job.inputs, source.index.inputs, job.scale, job.dims)
        wide = list(samples.batches(stages.ERROR_ITEMS))
        if job.labels is not None:
            built.accuracy = labelled_accuracy(source.run, session.run, samples.batches(), job.inputs, job.labels)
    built.quantization = quantize.measure(source.run, session.run, wide, names, kind)
