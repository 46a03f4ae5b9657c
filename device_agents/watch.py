"""What the supervisor knows of a run while it goes on: learnt from the worker's records, one by one."""

from typing import Any, Dict, Optional

from device_agents import memory
from device_agents.failures import AgentFailure
from device_agents.records import Record, SchemaError
from device_agents.spec import AgentSpec

RELAYED = ("event", "invocations", "outputs", "tensors", "failure")
HANG_MARGIN_S = 1.5  # the worker flushes once a second, so a healthy one can be silent for that long
PHASE_AFTER = {
    "load-started": "load",
    "loaded": "first",
    "first-done": "warmup",
    "warmup-done": "measure",
    "measured": "finish",
}


class Watch:
    """What the supervisor knows of the run: the phase, the counts, what the worker said last."""

    def __init__(self, spec: AgentSpec) -> None:
        self.phase = "prepare"
        self.measured = 0
        self.memory: Dict[str, Optional[int]] = {"before_load": None, "after_load": None, "peak_rss": None}
        self.summary: Optional[Dict[str, Any]] = None
        self.finished = False
        self.failed = False
        self.stopped = False
        self._spec = spec

    @property
    def ended_itself(self) -> bool:
        """True once the worker has said how it ended; its exit status then means nothing more."""
        return self.finished or self.failed

    def outcome(self, problem: Optional[AgentFailure], stopped: bool) -> str:
        """ "completed", "stopped" or "failed"."""
        if problem is None and self.finished and not self.stopped:
            return "completed"
        return "stopped" if stopped else "failed"

    def silence_limit_s(self) -> float:
        """How long the worker may send nothing in this phase. A command times itself and is silent all the while."""
        spec = self._spec
        if self.phase == "load":
            return spec.load_timeout_s + HANG_MARGIN_S
        own_time = spec.max_duration_s if spec.runner == "command" else 0.0
        return spec.hang_timeout_s + HANG_MARGIN_S + own_time

    def take(self, record: Record) -> bool:
        """True when the record belongs into the stream; keeps what the record tells. SchemaError when it is unknown."""
        kind = record["type"]
        if kind == "event":
            self.phase = PHASE_AFTER.get(record["name"], self.phase)
            if self.phase == "warmup" and self._spec.task == "evaluate":
                self.phase = "evaluate"
        elif kind == "invocations":
            self.measured += len(record["duration_ns"]) if record["phase"] == "measure" else 0
        elif kind in ("memory", "finished"):
            self.memory.update(record["memory"])
            if kind == "finished":
                self.finished, self.stopped, self.summary = True, record["stopped"], record["summary"]
            return False
        elif kind == "failure":
            self.failed = True
        elif kind not in RELAYED:
            raise SchemaError("unknown record type {!r}".format(kind))
        return True

    def read_peak(self, pid: Optional[int]) -> None:
        """Nothing; the peak of a worker that could not report it itself is read from outside, while it still lives."""
        if pid is not None and not self.finished:
            peak = memory.peak_rss_bytes("/proc/{}/status".format(pid))
            if peak is not None:
                self.memory["peak_rss"] = peak
