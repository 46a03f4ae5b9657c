"""`export`: from a source to a published artifact, each step named, nothing left behind when one fails."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters import compressing, convert, lite_source, lite_stage, parity, passes, stages
from exporters.calibration.timesteps import parse_timesteps
from exporters.carriers.base import Wishes
from exporters.job import Built, Job, feeds
from exporters.publish import Staging, unwritable
from exporters.reference import file_name
from exporters.result import ExportResult
from exporters.runtime import Session, close_sessions
from exporters.saving import check_interface, save
from exporters.sources import Source, load_ir, open_source
from exporters.targets import Target, parse_target
from mobile.errors import ExportError, UsageError
from mobile.formats import Manifest, ModelIndex, file_sha256, index, manifest_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMATS = ("onnx", "tflite")
_WEIGHTS_ALONE = 'Name a family, as --scheme ternary or "*=int8"; a whole network in int8 has no exact reference.'


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
    timesteps: str | None = None,
    keep_reference: bool = False,
    progress: Callable[[str], None] | None = None,
) -> ExportResult:
    """The published artifact: ``output`` and, beside it, its manifest (and a .data file when it passes 1.8 GB).

    ``source`` is an .onnx file, ``file.py:factory`` or a .pt2 program. ``target`` names the oldest runtime that must
    load it ("ort:1.19"). ``scheme`` "int8" and "w8a16" quantise statically, with the ranges of ``calibration`` (.npz
    whose keys are the inputs, a folder of .npz or .npy, or file.py:function), at ``timesteps`` ("t:20:8") of an input;
    ``split_shortcuts`` quantises the branches of a Concat apart. Any other scheme compresses weights
    (`exporters.compress.schemes`, or "int8-dynamic"). ``weights`` is a compressed spec or checkpoint whose weights go
    in as they are, ``names`` maps its names to the graph's, ``adapter`` "apart" leaves LoRA adapters beside them.
    ``rows`` says how many rows multiplications have where the graph leaves it open,
    ``probe`` how fast each carrier is on the device. ``labels`` names the array of ``inputs`` with class numbers.
    ``keep_reference`` puts inputs and the dequantised reference's answers beside the artifact, for `edgewise verify`.

    The graph is compared with the source on ``inputs`` (.npz),
    else on generated ones (seeded); ``dims`` bind the free dimensions of generated ones and are not baked in. ``scale``
    turns whole numbers in .npz files into a float input. ``example`` gives a PyTorch file its inputs
    ("name:shape:dtype"). A difference beyond tolerance publishes nothing unless ``publish_on_mismatch``;
    ``verify=False`` does not compare. ``progress`` is told each step.

    UsageError, ModelError, InputError or ExportError says what failed; an existing output is then as it was, and
    nothing else is left.
    """
    job = _checked(format, target, scheme, Job(
        source=str(source), output=Path(output), target=parse_target(target) if target else None, scheme=scheme,
        calibration=Path(calibration) if calibration is not None else None,
        inputs=Path(inputs) if inputs is not None else None, scale=scale or {}, dims=dims or {}, seed=seed,
        example=example, verify=verify, publish_on_mismatch=publish_on_mismatch, say=progress or (lambda step: None),
        labels=labels, split_shortcuts=split_shortcuts, format=format, keep_reference=keep_reference,
        timesteps=parse_timesteps(timesteps) if timesteps is not None else None,
        compression=compressing.request(
            None if format == "tflite" and scheme in lite_stage.SCHEMES else scheme,
            Path(weights) if weights is not None else None, names or {},
            Wishes(dynamic=scheme == compressing.DYNAMIC, adapter=adapter, measured=probe, rows_m=rows),
        ),
    ))  # fmt: skip
    with Staging(job.output) as stage:
        try:
            return _build(job, stage)
        except OSError as error:
            raise unwritable(job.output, error) from error


def _checked(form: str, target: str | None, scheme: str | None, job: Job) -> Job:
    if form not in FORMATS:
        raise UsageError(f"format {form!r} is not one of {', '.join(FORMATS)}")
    if form == "tflite" and (scheme == "w8a16" or job.split_shortcuts):
        raise UsageError("uint16 activations and split shortcuts are for ONNX", "Use --scheme int8, or an .onnx file.")
    if job.calibration is not None and not job.static:
        raise UsageError("calibration data is given without a scheme that uses it", "Add --scheme int8.")
    if job.timesteps is not None and job.calibration is None:
        raise UsageError("timesteps are taken from calibration data, which is not given", "Add --calibration FILE.")
    if job.target is not None and job.target.format != form:
        raise UsageError(
            f"{job.target.name} runs {job.target.format} files, not {form}", f"Add --format {job.target.format}."
        )
    if job.labels is not None and job.inputs is None:
        raise UsageError("labels are looked for in the inputs' file, which is not given", "Add --inputs FILE.npz.")
    if job.keep_reference and (job.compression is None or not job.verify):
        raise UsageError("a reference is kept of compressed weights that are verified", _WEIGHTS_ALONE)
    if any(size < 1 for size in job.dims.values()):
        raise UsageError(f"a dimension must be at least 1: {dict(job.dims)}")
    if job.output.exists() and Path(job.source).exists() and job.output.samefile(job.source):
        raise UsageError(f"{job.output}: the output is the source itself", "Name another file.")
    return job


def _build(job: Job, stage: Staging) -> ExportResult:
    work = stage.folder / "work"
    work.mkdir()
    job.say("reading the source")
    need = job.verify and job.inputs is None
    lite = job.format == "tflite"
    if lite and lite_source.is_tflite(job.source):
        built = Built()
        source = lite_source.build(job, stage, built, lite_stage.runtime_of(job))
        lite_stage.loading(job, stage, built)
        return _publish(job, source, stage, built)
    target = None if lite else job.target
    source = open_source(job.source, work, target, job.dims, job.seed, job.example, need)
    built = Built(notes=list(source.notes))
    location = _data_location(job, source)
    plain = job.scheme is None and job.compression is None and not lite
    graph = stage.folder / job.output.name if plain else work / "graph.onnx"
    _clean(job, source, target, graph, location, built, stage)
    given, kind = feeds(job, source)
    if job.verify:
        job.say(f"comparing with the source on {len(given)} inputs")
        built.parity = _verified(job, source, graph, given, kind)
        if not built.parity.ok:
            built.notes.append(f"published although it differs: {built.parity.worst.said()}")
    if source.large:
        close_sessions()
    if lite:
        lite_stage.build(job, source, graph, stage, built, given, kind)
        return _publish(job, source, stage, built)
    if job.static:
        stages.quantise(job, source, graph, stage, location, built)
    elif job.compression is not None:
        stages.compress(job, source, graph, stage, location, built, given, kind)
    stages.measure(job, source, stage, built)
    return _publish(job, source, stage, built)


def _clean(
    job: Job, source: Source, target: Target | None, graph: Path, location: str, built: Built, stage: Staging
) -> None:
    """Writes the source's graph, tidied and in an opset of the target; nothing of it stays in memory."""
    job.say("cleaning the graph")
    if source.large:
        close_sessions()
    model, notes = convert.fit(load_ir(source.model), source.index, target, _least_opset(job), job.verify)
    built.notes += notes
    steps = passes.PASSES
    if job.compression is not None and job.compression.weights is not None:
        # A file of weights names each of them, equal ones too.
        steps = tuple(step for step in steps if step is not passes.share_equal_weights)
    built.passes = passes.run_passes(model, steps, source.name)
    save(model, graph, location, apart=source.large and graph.parent != stage.folder)
    check_interface(source.index, index(graph), source.name)


def _least_opset(job: Job) -> int:
    if job.compression is not None:
        return compressing.least_opset(job.compression, job.target)
    return convert.PER_CHANNEL_OPSET if job.scheme else 0


def _data_location(job: Job, source: Source) -> str:
    """A name of its own for each content, so that an old artifact keeps its data until it is replaced."""
    weights = job.compression.weights if job.compression else None
    mark = file_sha256(weights) if weights is not None and weights.is_file() else str(weights)
    parts = [source.index.sha256, str(job.scheme), mark, str(job.target.version if job.target else None)]
    return f"{job.output.stem}.{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:12]}.data"


def _verified(
    job: Job, source: Source, graph: Path, feeds: Sequence[dict[str, NDArray[Any]]], kind: str
) -> parity.Parity:
    """The parity of the graph with the source. ExportError names the worst output when it is beyond tolerance."""
    names = [value.name for value in source.index.outputs]
    found = parity.compare(source.run, Session(graph, "the exported graph", source.large).run, feeds, names, kind)
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


def _publish(job: Job, source: Source, stage: Staging, built: Built) -> ExportResult:
    job.say("publishing")
    found = index(stage.folder / job.output.name)
    manifest = _manifest(job, source, found, built)
    beside = manifest_path(job.output)
    manifest.save(stage.folder / beside.name)
    names = [*found.external_files, *_kept(job, stage, built), job.output.name, beside.name]
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


def _kept(job: Job, stage: Staging, built: Built) -> list[str]:
    """The file of the reference's answers, written into the staging folder where it was asked for."""
    if not job.keep_reference:
        return []
    if built.kept is None:
        raise UsageError(f"{job.source}: no reference was made that could be kept", _WEIGHTS_ALONE)
    (stage.folder / file_name(job.output)).write_bytes(built.kept.data)
    return [file_name(job.output)]


def _obsolete(output: Path, beside: Path) -> list[str]:
    """Files beside the artifact that is being replaced, as its manifest lists them; only our own kind of name."""
    if not beside.exists():
        return []
    try:
        manifest = Manifest.load(beside)
    except ValueError:  # not a manifest: then nothing is known to be ours
        return []
    names = [str(entry.get("location", "")) for entry in manifest.files if isinstance(entry, dict)]
    data = [name for name in names if name.startswith(f"{output.stem}.") and name.endswith(".data") and "/" not in name]
    kept = any(isinstance(entry, dict) and entry.get("kind") == "reference" for entry in manifest.evidence)
    return [*data, *([file_name(output)] if kept else [])]


def _manifest(job: Job, source: Source, found: ModelIndex, built: Built) -> Manifest:
    from mobile import __version__

    document = found.to_json()
    by_bits: dict[str, int] = {}
    for tensor in found.tensors:
        bits = str(built.widths.get(tensor.name, tensor.bits))
        by_bits[bits] = by_bits.get(bits, 0) + tensor.length
    evidence: list[dict[str, Any]] = [built.parity.to_json()] if built.parity else []
    if built.quantization:
        evidence.append(built.quantization.to_json())
    if built.reference:
        against = "figures against the float graph with the dequantised weights"
        evidence.append({**built.reference.to_json(), "kind": "reference-error", "statement": against})
    evidence += [found.to_json() for found in (built.proof, built.accuracy, built.loading) if found is not None]
    evidence += built.evidence
    if built.kept is not None:
        evidence.append({**built.kept.evidence, "file": file_name(job.output)})
    return Manifest(
        format=found.format, sha256=found.sha256, size_bytes=found.size_bytes, files=document["files"],
        inputs=document["inputs"], outputs=document["outputs"], origin=source.origin, scheme=job.scheme,
        target=job.target.name if job.target else None, opsets=found.opsets, ir_version=found.ir_version,
        edgewise_version=__version__, created_utc=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        evidence=evidence, passes=built.passes, quantization=built.recipe,
        tools={**_versions(found.format), **source.tools},
        sizes={
            "source_bytes": source.origin["size_bytes"], "weight_bytes": sum(by_bits.values()),
            "weight_bytes_by_bits": by_bits,
        },
        notes=built.notes,
        evaluation=_evaluation(job),
    )  # fmt: skip


def _evaluation(job: Job) -> dict[str, Any] | None:
    """The labelled items that were given, for `edgewise bench --evaluate manifest`; None without labels."""
    if job.labels is None or job.inputs is None:
        return None
    return {
        "inputs": os.path.relpath(job.inputs, job.output.parent), "sha256": file_sha256(job.inputs),
        "labels": job.labels, "metric": "top1", "scale": dict(job.scale),
    }  # fmt: skip


def _versions(form: str) -> dict[str, str]:
    from importlib.metadata import version

    names = ("onnx", "onnx-ir", "onnxruntime", *(("ai-edge-litert",) if form == "tflite" else ()))
    return {name: version(name) for name in names}
