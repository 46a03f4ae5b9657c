"""A run as it is kept on a device: who started it, what it is about, and how it becomes a Run here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mobile.errors import AgentError, RunFailure
from mobile.results.collect import Collector
from mobile.results.run import ModelRef, Run, RunSpec

if TYPE_CHECKING:
    from mobile.inventory import Device

OVER = ("finished", "crashed")
CRASHED = "crashed"
STOPPED_BY_GUARD = ("overheated", "no-temperature")  # what was measured until then is worth keeping


@dataclass(frozen=True)
class RemoteRun:
    """One run folder of a device, as its agent lists it; ``spec`` is the agent's, ``about`` what the host sent along.

    ``state`` is "queued", "running", "finished" or "crashed"; ages are seconds on the device's clock, None when it
    cannot tell.
    """

    id: str
    about: dict[str, Any]
    spec: dict[str, Any]
    state: str = "queued"
    reason: str | None = None
    problem: str | None = None
    outcome: str | None = None
    age_s: float | None = None
    detached: bool = False
    reader: bool | None = None
    owner: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def planned(
        cls,
        run_id: str,
        created_utc: str,
        device: Device,
        model: ModelRef,
        spec: dict[str, Any],
        remarks: Mapping[str, Any] | None = None,
    ) -> RemoteRun:
        """A run that is about to be started; ``remarks`` become part of its environment."""
        about = {
            "created_utc": created_utc,
            "device": device.name,
            "provenance": device.provenance,
            "model": {
                "name": model.name,
                "sha256": model.sha256,
                "format": model.format,
                "size_bytes": model.size_bytes,
            },
            "remarks": dict(remarks or {}),
        }
        return cls(run_id, about, spec)

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> RemoteRun:
        """The run of an entry in the agent's list. AgentError when it is not one."""
        fields = {name: entry.get(name) for name in cls.__dataclass_fields__}
        for name in ("about", "spec", "owner"):
            if not isinstance(fields[name], dict):
                fields[name] = {}
        if not isinstance(fields["id"], str) or not isinstance(fields["state"], str):
            raise AgentError(f"the agent lists a run that is none: {str(entry)[:80]}")
        return cls(**fields)  # type: ignore[arg-type]

    def to_json(self) -> dict[str, Any]:
        """The run as `edgewise devices --json` lists it."""
        return {
            "id": self.id,
            "model": self.model.name,
            "state": self.state,
            "outcome": self.outcome,
            "reason": self.reason or self.problem,
            "age_s": self.age_s,
            "detached": self.detached,
            "read": self.reader,
            "owner": self.owner,
        }

    @property
    def over(self) -> bool:
        """True once nothing more will come."""
        return self.state in OVER

    @property
    def model(self) -> ModelRef:
        """The model it measures, as far as the host that started it said."""
        told = self.about.get("model")
        told = told if isinstance(told, dict) else {}
        size_bytes = told.get("size_bytes")
        return ModelRef(
            name=str(told.get("name", "unknown")),
            sha256=str(told.get("sha256", "")),
            format=str(told.get("format", "none")),
            size_bytes=size_bytes if isinstance(size_bytes, int) else 0,
        )

    def left_behind(self) -> bool:
        """True when nobody reads it: it was detached, or its host has gone away."""
        return self.reader is not True


def collector_of(remote: RemoteRun, device: Device) -> Collector:
    """What makes a Run of the records. The device is named as in our inventory, whatever its starter called it."""
    created_utc, remarks = remote.about.get("created_utc"), remote.about.get("remarks")
    return Collector(
        remote.id,
        created_utc if isinstance(created_utc, str) else "",
        device.provenance,
        RunSpec(device=device.name, model=remote.model, agent_spec=remote.spec),
        remarks if isinstance(remarks, dict) else None,
    )


def checked(run: Run, remote: RemoteRun, device: str) -> Run:
    """The run when it measured anything, also when it was cut or stopped: it is then invalid and says why.

    RunFailure when it ended in a failure record (other than the thermal guard's), or before anything was measured.
    """
    if run.failure is not None:
        if run.failure["code"] in STOPPED_BY_GUARD and len(run.phase("measure")):
            return run
        raise RunFailure(run.failure["code"], run.failure["message"], run.failure["hint"])
    if run.done is not None:
        return run
    if remote.problem is not None:
        code, why = "no-space", f"its stream could not be kept: {remote.problem}"
    elif remote.state == "finished" and remote.outcome == "stopped":
        code, why = "stopped", "it was stopped before it began"
    elif remote.state == CRASHED:
        code, why = "killed", remote.reason or "the agent ended without a word"
    else:
        raise AgentError(f"{device}: the agent's stream ended before the run was done", hint="run again with --debug")
    if not len(run.phase("measure")):
        raise RunFailure(code, f"{device}: {why}", "Nothing was measured; start it again.")
    run.failure = {"code": code, "message": why, "hint": "What was measured until then is kept.", "phase": "measure"}
    return run
