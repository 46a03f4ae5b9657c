"""The records of the stream between agent and host: one JSON object a line.

The stream is versioned, not pickled. A reader ignores unknown fields and unknown record types, and refuses a stream
whose schema major is not its own. Times are ``t_ns``: CLOCK_MONOTONIC of the device in nanoseconds, never compared with
the host's clock. A missing value is null with a reason, never 0.

==============  =====================================================================================================
type            fields
==============  =====================================================================================================
hello           schema, agent {version, sha256}, t_ns, device {facts}, sensors [descriptors], spec (echo or null)
event           t_ns, name, detail {}   names: load-started, loaded, first-done, warmup-done, measured, stopping, and
                those of the conditions: see device_agents/conditions/events.py
invocations     phase ("first", "warmup" or "measure"), start_ns [], duration_ns [], stages {name: ns []},
                scheduled_ns [] (of a scenario: when the query was due; else left out),
                notes {name: [number or null]} (of a runner that has some, else left out)
samples         t_ns [], columns {sensor: [value or null]}, reasons {sensor: why null}, read_ns [] (cost of a tick)
outputs         first (index of the first item), top1 [] (arg-max class of each item)          only for task "evaluate"
tensors         name, dtype ("text": UTF-8), numbers [] (of batches), shapes [], sizes [] (bytes), part, parts, data
                (base64 of a part of zlib of the values, one behind the other, little-endian)  only for task "evaluate"
failure         code, message, hint, phase ("spec", "prepare", "load", "first", "warmup", "measure", "evaluate",
                "finish")
done            t_ns, outcome ("completed", "stopped" or "failed"), invocations,
                memory {before_load, after_load, peak_rss} (bytes or null),
                overhead {sampler_cpu_s, sampler_cpu_share, ticks, missed_ticks, supervisor_cpu_s, sources {name: ...}},
                summary (a command runner's own figures, else null)
==============  =====================================================================================================
"""

import json
import time
from typing import Any, Dict, List, Optional, Sequence

from device_agents import AGENT_VERSION

SCHEMA_MAJOR = 1
SCHEMA = "1.1"
# How `start --follow` and `tail` exit: how far the stream goes that they wrote. Shells and signals use other codes.
STREAM_WHOLE = 0  # the run is over, nothing comes after this
STREAM_GOES_ON = 20  # there will be more: ask again from where you are
STREAM_CRASHED = 21  # the supervisor is gone without a word; what it had written is here
NO_SUCH_RUN = 22
NOT_STARTED = 23  # refused before there was a run folder; the records say why

MAX_LINE_BYTES = 16 * 1024 * 1024  # a longer line is not ours: a reader refuses it before it fills memory

Record = Dict[str, Any]


class SchemaError(ValueError):
    """The stream is not one that this edgewise can read."""


def now_ns() -> int:
    """The device's monotonic clock, in nanoseconds."""
    return time.monotonic_ns()


def hello(
    device: Dict[str, Any], sensors: List[Dict[str, Any]], spec: Optional[Dict[str, Any]], sha256: Optional[str]
) -> Record:
    """A ``hello`` record: the first of every stream."""
    agent = {"version": AGENT_VERSION, "sha256": sha256}
    return {
        "type": "hello",
        "schema": SCHEMA,
        "agent": agent,
        "t_ns": now_ns(),
        "device": device,
        "sensors": sensors,
        "spec": spec,
    }


def event(name: str, **detail: Any) -> Record:
    """An ``event`` record, stamped now."""
    return {"type": "event", "t_ns": now_ns(), "name": name, "detail": detail}


def invocations(
    phase: str,
    start_ns: Sequence[int],
    duration_ns: Sequence[int],
    stages: Optional[Dict[str, List[int]]] = None,
    notes: Optional[Dict[str, List[Optional[float]]]] = None,
    scheduled_ns: Sequence[int] = (),
) -> Record:
    """A block of invocations as columns; ``start_ns`` and ``duration_ns`` have equal length, nanoseconds.

    ``scheduled_ns``: when the query of each was due, as long as the others, or empty where none was.
    """
    more: Dict[str, Any] = {"notes": notes} if notes else {}
    if len(scheduled_ns):
        more["scheduled_ns"] = list(scheduled_ns)
    return {
        "type": "invocations",
        "phase": phase,
        "start_ns": list(start_ns),
        "duration_ns": list(duration_ns),
        "stages": stages or {},
        **more,
    }


def samples(
    t_ns: List[int], columns: Dict[str, List[Optional[float]]], reasons: Dict[str, str], read_ns: List[int]
) -> Record:
    """A block of sensor samples as columns, SI units; every column is as long as ``t_ns``."""
    return {"type": "samples", "t_ns": t_ns, "columns": columns, "reasons": reasons, "read_ns": read_ns}


def outputs(first: int, top1: List[int]) -> Record:
    """The arg-max classes of the items ``first`` .. ``first + len(top1) - 1`` of an evaluation set."""
    return {"type": "outputs", "first": first, "top1": top1}


def tensors(
    name: str,
    dtype: str,
    numbers: List[int],
    shapes: List[List[int]],
    sizes: List[int],
    data: str,
    part: int,
    parts: int,
) -> Record:
    """Values of one output, one for each batch of ``numbers``; records of more than one part follow each other."""
    return {
        "type": "tensors",
        "name": name,
        "dtype": dtype,
        "numbers": numbers,
        "shapes": shapes,
        "sizes": sizes,
        "data": data,
        "part": part,
        "parts": parts,
    }


def failure(code: str, message: str, hint: str, phase: str) -> Record:
    """A ``failure`` record."""
    return {"type": "failure", "t_ns": now_ns(), "code": code, "message": message, "hint": hint, "phase": phase}


def done(
    outcome: str,
    invocations: int,
    memory: Dict[str, Optional[int]],
    overhead: Dict[str, Any],
    summary: Optional[Dict[str, Any]] = None,
) -> Record:
    """A ``done`` record: the last of every stream that was not cut."""
    return {
        "type": "done",
        "t_ns": now_ns(),
        "outcome": outcome,
        "invocations": invocations,
        "memory": memory,
        "overhead": overhead,
        "summary": summary,
    }


def encode(record: Record) -> bytes:
    """The record as one line of JSON, ASCII, newline at the end. ValueError for NaN: it is not JSON."""
    return json.dumps(record, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def decode(line: bytes) -> Record:
    """The record of one line. SchemaError when it is no JSON object with a type, or a hello has a foreign major."""
    if len(line) > MAX_LINE_BYTES:
        raise SchemaError("a record of {} bytes, the limit is {}".format(len(line), MAX_LINE_BYTES))
    try:
        record = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise SchemaError("not a record: {!r}".format(line[:120])) from error
    if not isinstance(record, dict) or not isinstance(record.get("type"), str):
        raise SchemaError("not a record: {!r}".format(line[:120]))
    if record["type"] == "hello":
        _check_schema(record.get("schema"))
    return record


def _check_schema(schema: object) -> None:
    major = str(schema).split(".")[0]
    if major != str(SCHEMA_MAJOR):
        raise SchemaError("the agent speaks schema {!r}, this edgewise reads {}.x".format(schema, SCHEMA_MAJOR))
