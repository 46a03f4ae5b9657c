"""What comes of a request: runs, failures, runs that were left going; and what is told on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mobile.errors import EdgewiseError

if TYPE_CHECKING:
    from mobile.results.run import Run


@dataclass(frozen=True)
class Failure:
    """A measurement that did not happen, and why. ``exit_code`` is the error's (3: the device was not reached)."""

    device: str
    model: str
    code: str
    message: str
    hint: str | None
    exit_code: int = 1

    @classmethod
    def of(cls, device: str, model: str, error: EdgewiseError) -> Failure:
        """The failure that an error is."""
        return cls(device, model, error.code, error.message, error.hint, error.exit_code)

    def to_json(self) -> dict[str, str | None]:
        """The failure as the JSON contract of `edgewise bench` has it."""
        return {
            "device": self.device,
            "model": self.model,
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
        }


@dataclass(frozen=True)
class Left:
    """A run that goes on, or waits, on a device: `attach` collects it."""

    run: str
    device: str
    model: str
    state: str  # "queued" or "running"
    age_s: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The run as `bench --detach` and `attach` list it."""
        return {
            "id": self.run,
            "device": self.device,
            "model": self.model,
            "state": self.state,
            "age_s": self.age_s,
        }


@dataclass(frozen=True)
class Progress:
    """What is happening now.

    ``state`` is "connect", "push", "evaluate" (the quality is measured), "gate" (it cools down), "idle" (the idle power
    is measured), "load", "warmup", "measure", "sample" (sensors were read), "done", "left" or "failed".
    """

    device: str
    model: str
    index: int  # of this measurement, from 0
    total: int
    state: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class BenchResult:
    """What finished, what failed and what was left going, in the order it was asked for."""

    runs: list[Run] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)

    @classmethod
    def in_order(cls, outcomes: Mapping[int, Run | Failure | Left]) -> BenchResult:
        """The result of outcomes by their number in the request, however they came."""
        result = cls()
        for _, outcome in sorted(outcomes.items()):
            if isinstance(outcome, Failure):
                result.failures.append(outcome)
            elif isinstance(outcome, Left):
                result.left.append(outcome)
            else:
                result.runs.append(outcome)
        return result

    @classmethod
    def of(cls, outcomes: Iterable[Run | Failure | Left]) -> BenchResult:
        """The result of collected runs: device by device, on each in the order in which they were started."""
        return cls.in_order(dict(enumerate(sorted(outcomes, key=_device))))

    def to_json(self) -> dict[str, Any]:
        """The JSON contract of `edgewise bench`: runs with their figures, failures; "left" where there are any."""
        from mobile.results.figures import figures

        document: dict[str, Any] = {
            "runs": [figures(run) for run in self.runs],
            "failures": [failure.to_json() for failure in self.failures],
        }
        if self.left:
            document["left"] = [left.to_json() for left in self.left]
        return document

    @property
    def exit_code(self) -> int:
        """0 when nothing failed; 3 when nothing was done because no device was reached; else 1."""
        if not self.failures:
            return 0
        unreached = all(failure.exit_code == 3 for failure in self.failures)
        return 3 if unreached and not self.runs and not self.left else 1


def _device(outcome: Run | Failure | Left) -> str:
    return outcome.device if isinstance(outcome, (Failure, Left)) else outcome.spec.device


_STATES = {
    "hello": "load", "gate-started": "gate", "idle-started": "idle", "load-started": "load", "first-done": "warmup",
    "warmup-done": "measure", "samples": "sample",
}  # fmt: skip


def state_of(record: Mapping[str, Any]) -> str | None:
    """The state that a record starts; "measure" again for each block, so that progress can be shown; else None."""
    if record["type"] == "invocations" and record.get("phase") == "measure":
        return "measure"
    if record.get("name") == "gate-started" and (record.get("detail") or {}).get("below_c") is None:
        return None  # it only looks, nothing is waited for
    return _STATES.get(record["name"] if record["type"] == "event" else record["type"])
