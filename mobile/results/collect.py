"""Makes a Run of the agent's records as they arrive.

Unknown record types and fields are passed over (a newer agent may send them); what contradicts itself is
refused with AgentError, because figures made of it would be wrong.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from typing import Any

from mobile.errors import AgentError
from mobile.results.answers import AnswerTaker
from mobile.results.columns import MAX_VALUES
from mobile.results.environment import environment_of, start_temperature
from mobile.results.run import PHASES, Invocations, Run, RunSpec

MAX_EVENTS = 100_000
MAX_SENSORS = 4096


class Collector:
    """Feeds records into ``run``, whole as far as the stream went; ``run.done`` is None until the last record."""

    def __init__(
        self,
        run_id: str,
        created_utc: str,
        provenance: str,
        spec: RunSpec,
        environment: Mapping[str, Any] | None = None,
    ) -> None:
        self.run = Run(run_id, created_utc, provenance, spec, dict(environment or {}))
        self._values = 0
        self._answers = AnswerTaker()
        self._takers = {
            "hello": self._hello,
            "event": self._event,
            "invocations": self._invocations,
            "samples": self._samples,
            "outputs": self._outputs,
            "tensors": self._tensors,
            "failure": self._failure,
            "done": self._done,
        }

    def feed(self, record: Mapping[str, Any]) -> None:
        """Nothing, once the record is part of the run.

        AgentError when it contradicts itself or the limits are passed.
        """
        taker = self._takers.get(record.get("type", ""))
        if taker is not None:
            taker(record)

    def _hello(self, record: Mapping[str, Any]) -> None:
        sensors = record.get("sensors")
        if isinstance(sensors, list):
            self.run.sensors = [_finite(sensor) for sensor in sensors if isinstance(sensor, dict)]
        self.run.environment.update(_finite(environment_of(record, self.run.spec.agent_spec)))

    def _event(self, record: Mapping[str, Any]) -> None:
        if len(self.run.events) >= MAX_EVENTS:
            raise AgentError(f"the agent sent more than {MAX_EVENTS} events")
        detail = record.get("detail")
        event = {
            "t_ns": record.get("t_ns"),
            "name": str(record.get("name")),
            "detail": _finite(detail) if isinstance(detail, dict) else {},
        }
        self.run.events.append(event)
        if event["name"] == "loaded":
            keys = ("runtime", "provider", "providers", "node_share")
            self.run.environment.update({key: event["detail"].get(key) for key in keys})

    def _invocations(self, record: Mapping[str, Any]) -> None:
        phase = record.get("phase")
        if phase not in PHASES:
            return
        start_ns = _ints("invocations.start_ns", record.get("start_ns"))
        duration_ns = _ints("invocations.duration_ns", record.get("duration_ns"))
        stages = record.get("stages") or {}
        if not isinstance(stages, dict):
            raise AgentError(f"invocations.stages is {type(stages).__name__}, expected an object")
        block = {name: _ints(f"invocations.stages.{name}", values) for name, values in stages.items()}
        notes = record.get("notes") or {}
        if not isinstance(notes, dict):
            raise AgentError(f"invocations.notes is {type(notes).__name__}, expected an object")
        told = {name: _floats(f"invocations.notes.{name}", values) for name, values in notes.items()}
        due = _ints("invocations.scheduled_ns", record.get("scheduled_ns") or [])
        named: dict[str, Any] = {f"notes.{name}": values for name, values in told.items()}
        if len(due):
            named["scheduled_ns"] = due
        _same_length("invocations", {"start_ns": start_ns, "duration_ns": duration_ns, **block, **named})
        if not len(start_ns):
            return  # a sign of life
        self._count(len(start_ns) * (2 + len(block) + len(told)) + len(due))
        known = self.run.phases.setdefault(phase, Invocations())
        if len(known) and set(block) != set(known.stages):
            raise AgentError(f"the stages of phase {phase} changed: {sorted(known.stages)}, then {sorted(block)}")
        if len(known) and set(told) != set(known.notes):
            raise AgentError(f"the notes of phase {phase} changed: {sorted(known.notes)}, then {sorted(told)}")
        if len(known) and bool(len(due)) != bool(len(known.scheduled_ns)):
            raise AgentError(f"invocations.scheduled_ns of phase {phase} is in some of its blocks alone")
        known.start_ns.extend(start_ns)
        known.duration_ns.extend(duration_ns)
        known.scheduled_ns.extend(due)
        for name, values in block.items():
            known.stages.setdefault(name, array("q")).extend(values)
        for name, numbers in told.items():
            known.notes.setdefault(name, []).extend(numbers)

    def _samples(self, record: Mapping[str, Any]) -> None:
        samples = self.run.samples
        t_ns = _ints("samples.t_ns", record.get("t_ns"))
        columns = record.get("columns") or {}
        if not isinstance(columns, dict) or len(columns) > MAX_SENSORS:
            raise AgentError("samples.columns is no object of columns")
        block = {str(name): _floats(f"samples.columns.{name}", column) for name, column in columns.items()}
        read_ns = _ints("samples.read_ns", record.get("read_ns") or [0] * len(t_ns))
        _same_length("samples", {"t_ns": t_ns, "read_ns": read_ns, **block})
        self._count(len(t_ns) * (2 + len(set(block) | set(samples.columns))))
        if not len(samples):
            self.run.environment.update(start_temperature(self.run.sensors, block))
        before, missing = len(samples), [None] * len(t_ns)
        for name in set(block) - set(samples.columns):  # a sensor that came later had no value before
            samples.columns[name] = [None] * before
        for name, column in samples.columns.items():
            column.extend(block.get(name, missing))
        samples.t_ns.extend(t_ns)
        samples.read_ns.extend(read_ns)
        reasons = record.get("reasons")
        if isinstance(reasons, dict):
            samples.reasons.update({str(name): str(reason) for name, reason in reasons.items()})

    def _outputs(self, record: Mapping[str, Any]) -> None:
        top1 = record.get("top1")
        first = record.get("first")
        if first != len(self.run.top1):
            raise AgentError(f"outputs.first is {first!r}, expected {len(self.run.top1)}")
        try:
            values = array("i", top1)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError) as error:
            raise AgentError(f"outputs.top1 is not a list of classes: {error}") from error
        self._count(len(values))
        self.run.top1.extend(values)

    def _tensors(self, record: Mapping[str, Any]) -> None:
        name, found = self._answers.take(record)
        self.run.answers.setdefault(name, []).extend(found)

    def _failure(self, record: Mapping[str, Any]) -> None:
        if self.run.failure is None:  # the first one is the cause of the others
            named = {key: str(record.get(key, "")) for key in ("message", "hint", "phase")}
            self.run.failure = {"code": str(record.get("code", "internal")), **named}

    def _done(self, record: Mapping[str, Any]) -> None:
        self.run.done = _finite({key: value for key, value in record.items() if key != "type"})

    def _count(self, values: int) -> None:
        self._values += values
        if self._values > MAX_VALUES:
            raise AgentError(
                f"the run has more than {MAX_VALUES} values", "Measure for a shorter time (--duration, --max-duration)."
            )


def _ints(name: str, values: Any) -> array[int]:
    if not isinstance(values, list):
        raise AgentError(f"{name} is {type(values).__name__}, expected a list of whole numbers")
    try:
        column = array("q", values)
    except (TypeError, OverflowError) as error:
        raise AgentError(f"{name} is not a list of whole numbers: {error}") from error
    if len(column) and min(column) < 0:
        raise AgentError(f"{name} has the value {min(column)}, expected none below 0")
    return column


def _floats(name: str, values: Any) -> list[float | None]:
    if not isinstance(values, list):
        raise AgentError(f"{name} is {type(values).__name__}, expected a list")
    column: list[float | None] = []
    for value in values:
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise AgentError(f"{name} has the value {value!r}, expected a number or null")
        column.append(_number(value))
    return column


def _number(value: float | None) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _same_length(record: str, columns: Mapping[str, Any]) -> None:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        words = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise AgentError(f"the columns of a {record} record are not equally long: {words}")


def _finite(value: Any) -> Any:
    """The JSON value with null where a float is not finite: JSON has no word for those."""
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value
