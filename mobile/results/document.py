"""A Run as one JSON document and named columns, and back."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from mobile.results.columns import decode_floats, decode_ints, encode_floats, encode_ints
from mobile.results.run import Invocations, MeterSamples, ModelRef, Run, RunSpec, Samples

METER_QUANTITIES = ("power_w", "energy_j")
_PLAIN_FIELDS = ("id", "created_utc", "provenance", "environment", "sensors", "events", "failure", "done")


def to_document(run: Run) -> dict[str, Any]:
    """Everything of the run but its columns, as JSON."""
    document = {name: getattr(run, name) for name in _PLAIN_FIELDS}
    document["spec"] = asdict(run.spec)
    document["reasons"] = run.samples.reasons
    if run.meter is not None:
        document["meter"] = {"about": run.meter.about, "marks": run.meter.marks, "reasons": run.meter.reasons}
    return document


def to_columns(run: Run) -> Iterator[tuple[str, int, bytes]]:
    """(name, number of values, blob) of each column that is not empty."""
    for phase, invocations in run.phases.items():
        yield from _ints(f"phase/{phase}/start_ns", invocations.start_ns)
        yield from _ints(f"phase/{phase}/duration_ns", invocations.duration_ns)
        yield from _ints(f"phase/{phase}/scheduled_ns", invocations.scheduled_ns)
        for stage, values in invocations.stages.items():
            yield from _ints(f"phase/{phase}/stage/{stage}", values)
        for note, told in invocations.notes.items():
            yield f"phase/{phase}/note/{note}", len(told), encode_floats(told)
    yield from _ints("samples/t_ns", run.samples.t_ns)
    yield from _ints("samples/read_ns", run.samples.read_ns)
    for sensor, column in run.samples.columns.items():
        yield f"samples/column/{sensor}", len(column), encode_floats(column)
    if run.meter is not None:
        yield from _ints("meter/t_ns", run.meter.t_ns)
        yield from _ints("meter/read_ns", run.meter.read_ns)
        for quantity in METER_QUANTITIES:
            column = getattr(run.meter, quantity)
            if column:
                yield f"meter/{quantity}", len(column), encode_floats(column)
    yield from _ints("top1", run.top1)
    if run.scores:
        yield "scores", len(run.scores), encode_floats(run.scores)


def _ints(name: str, values: array[int]) -> Iterator[tuple[str, int, bytes]]:
    if len(values):
        yield name, len(values), encode_ints(values)


def from_document(document: Mapping[str, Any], columns: Mapping[str, bytes]) -> Run:
    """The run of a document and its columns by name.

    KeyError, TypeError or ValueError when they do not fit.
    """
    spec = document["spec"]
    run = Run(
        spec=RunSpec(spec["device"], ModelRef(**spec["model"]), spec["agent_spec"]),
        samples=Samples(reasons=document["reasons"]),
        **{name: document[name] for name in _PLAIN_FIELDS},
    )
    meter = document.get("meter")  # runs of an edgewise without meters have none
    if meter is not None:
        run.meter = MeterSamples(meter["about"], marks=meter["marks"], reasons=meter["reasons"])
    for name, blob in columns.items():
        _place(run, name, blob)
    return run


def _place(run: Run, name: str, blob: bytes) -> None:
    kind, _, rest = name.partition("/")
    if kind == "top1":
        run.top1 = decode_ints(blob, "i")
    elif kind == "scores":
        run.scores = decode_floats(blob)
    elif kind == "samples" and rest.startswith("column/"):
        run.samples.columns[rest.removeprefix("column/")] = decode_floats(blob)
    elif kind == "samples" and rest in ("t_ns", "read_ns"):
        setattr(run.samples, rest, decode_ints(blob))
    elif kind == "meter" and run.meter is not None:
        if rest in METER_QUANTITIES:
            setattr(run.meter, rest, decode_floats(blob))
        elif rest in ("t_ns", "read_ns"):
            setattr(run.meter, rest, decode_ints(blob))
    elif kind == "phase":
        phase, _, column = rest.partition("/")
        invocations = run.phases.setdefault(phase, Invocations())
        if column.startswith("stage/"):
            invocations.stages[column.removeprefix("stage/")] = decode_ints(blob)
        elif column.startswith("note/"):
            invocations.notes[column.removeprefix("note/")] = decode_floats(blob)
        elif column in ("start_ns", "duration_ns", "scheduled_ns"):
            setattr(invocations, column, decode_ints(blob))
