"""A Run: one measurement as it was observed.

Raw series are kept; every figure is derived from them (figures.py).
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any

from mobile.results.answers import Answer

PROVENANCES = ("real", "emulated", "slowed", "replayed")
PHASES = ("first", "warmup", "measure")


@dataclass(frozen=True)
class ModelRef:
    """Which model was measured: enough to find it again and to refuse a mix-up."""

    name: str
    sha256: str
    format: str  # "onnx", "tflite", "split" (a split package), or "none" for a runner without a model file
    size_bytes: int


@dataclass(frozen=True)
class RunSpec:
    """One fully determined measurement: this model, on this device, asked like this (the agent's spec as JSON)."""

    device: str
    model: ModelRef
    agent_spec: dict[str, Any]


@dataclass
class Invocations:
    """The invocations of one phase as columns of equal length, nanoseconds on the device's clock (array type ``q``).

    ``notes``: what else the runner tells of each, None where there is nothing. ``scheduled_ns``: when the query of each
    was due, of scenarios with a schedule or with queries of several samples; else empty.
    """

    start_ns: array[int] = field(default_factory=lambda: array("q"))
    duration_ns: array[int] = field(default_factory=lambda: array("q"))
    stages: dict[str, array[int]] = field(default_factory=dict)
    notes: dict[str, list[float | None]] = field(default_factory=dict)
    scheduled_ns: array[int] = field(default_factory=lambda: array("q"))

    def __len__(self) -> int:
        return len(self.duration_ns)


@dataclass
class Samples:
    """Sensor samples as columns, SI units: ``columns[name][i]`` was read at ``t_ns[i]``; None with a reason."""

    t_ns: array[int] = field(default_factory=lambda: array("q"))
    columns: dict[str, list[float | None]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    read_ns: array[int] = field(default_factory=lambda: array("q"))

    def __len__(self) -> int:
        return len(self.t_ns)


@dataclass
class MeterSamples:
    """Readings of an external meter that the host took while it followed the run: times are the host's own clock.

    ``about``: the meter (mobile.meters.Info). ``marks``: when the host heard of an event, by its name. ``reasons``: why
    there was no value, and how often. ``energy_j`` is a counter.
    """

    about: dict[str, Any]
    t_ns: array[int] = field(default_factory=lambda: array("q"))
    read_ns: array[int] = field(default_factory=lambda: array("q"))
    power_w: list[float | None] = field(default_factory=list)
    energy_j: list[float | None] = field(default_factory=list)
    marks: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)


@dataclass
class Run:
    """Everything observed in one measurement.

    ``environment`` explains the row by itself: device facts, agent hash, runtime and versions, governor,
    start temperature.
    ``sensors`` are the descriptors of the agent's hello. ``done`` is its last record, None when the stream
    was cut. ``meter`` is None where no meter was read: ``environment["meter_missing"]`` says why, where there is one.
    """

    id: str
    created_utc: str  # ISO 8601, seconds, "Z"
    provenance: str
    spec: RunSpec
    environment: dict[str, Any] = field(default_factory=dict)
    sensors: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    phases: dict[str, Invocations] = field(default_factory=dict)  # by PHASES
    samples: Samples = field(default_factory=Samples)
    meter: MeterSamples | None = None
    top1: array[int] = field(default_factory=lambda: array("i"))  # evaluation only: arg-max class per item
    # Evaluation only: each output's answers, batch by batch (not stored), and the score of each item (None: no answer).
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    scores: list[float | None] = field(default_factory=list)
    failure: dict[str, Any] | None = None
    done: dict[str, Any] | None = None

    def phase(self, name: str) -> Invocations:
        """The invocations of a phase; empty when there were none."""
        return self.phases.get(name, Invocations())

    def event(self, name: str) -> dict[str, Any] | None:
        """The detail of the first event of that name, None when it did not happen."""
        return next((event["detail"] for event in self.events if event["name"] == name), None)
