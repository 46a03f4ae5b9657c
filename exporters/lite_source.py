"""A TFLite file as a source: written anew with its weights in few bits, for the runtime that is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters import quantize, stages
from exporters.generate import generate
from exporters.job import Built, Job, feeds
from exporters.publish import Staging
from exporters.sources import PARITY_INPUTS, Source
from mobile.errors import ModelError, UsageError
from mobile.formats import index, sniff

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from exporters.tflite.rules import Runtime


def is_tflite(source: str) -> bool:
    """Whether the source is an existing file in TFLite's format."""
    path = Path(source)
    try:
        return path.is_file() and sniff(path) == "tflite"
    except ModelError:
        return False


def build(job: Job, stage: Staging, built: Built, runtime: Runtime) -> Source:
    """Writes the artifact into the staging folder and adds its evidence: the source. Errors as of `quantise`."""
    from exporters.tflite import flat, read
    from exporters.tflite.quantise import SCHEMES, quantise
    from exporters.tflite.running import LiteSession

    if job.scheme not in SCHEMES:
        raise UsageError(f"{job.source}: is a TFLite model already", f"Give --scheme: {', '.join(SCHEMES)}.")
    source, session = _opened(job)
    built.notes.append(f"written for {runtime.name}")
    samples, batches = stages.calibration(job, source)
    job.say("quantising")
    program = read.read(Path(job.source).read_bytes(), source.name)
    done = quantise(program, job.scheme, runtime, batches(None) if job.scheme == "int8" else ())
    if job.scheme == "int8" and samples is None:
        built.notes.append(stages.GENERATED_NOTE)
    built.recipe = done.recipe
    built.notes += done.notes
    content = flat.to_bytes(done.program)
    (stage.folder / job.output.name).write_bytes(content)
    if job.verify:
        _figures(job, source, session.run, LiteSession(content, "the artifact").run, built)
    return source


def _opened(job: Job) -> tuple[Source, Any]:
    from exporters.tflite.running import LiteSession

    path = Path(job.source)
    found = index(path)
    session = LiteSession(path.read_bytes(), str(path))

    def accepts(feed: dict[str, NDArray[Any]]) -> None:
        session.run(feed)

    given = generate(found.inputs, job.seed, job.dims, PARITY_INPUTS, accepts) if job.inputs is None else []
    origin = {"kind": "tflite", "name": path.name, "sha256": found.sha256, "size_bytes": found.size_bytes}
    return Source(str(path), path, found, origin, session.run, given), session


def _figures(job: Job, source: Source, before: Any, after: Any, built: Built) -> None:
    given, kind = feeds(job, source)
    job.say("measuring what it changed")
    names = [value.name for value in source.index.outputs]
    built.quantization = quantize.measure(before, after, given, names, kind)
