"""Whether devices answer, and what they are: the facts that the agent on each reports."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mobile.benchmark.remote_run import RemoteRun
from mobile.benchmark.session import DeviceSession
from mobile.deadline import Deadline
from mobile.errors import EdgewiseError

if TYPE_CHECKING:
    from mobile.inventory import Device

AT_ONCE = 8
PROBE_LIMIT_S = 60.0


@dataclass(frozen=True)
class Probe:
    """What one device answered; ``error`` is set, and the rest empty, when it did not."""

    device: Device
    facts: dict[str, Any]
    sensors: list[dict[str, Any]]
    error: EdgewiseError | None = None
    runs: list[RemoteRun] = field(default_factory=list)  # that the device keeps

    def to_json(self) -> dict[str, Any]:
        """The probe as `edgewise devices --json` shows it."""
        error = self.error
        return {
            "name": self.device.name,
            "kind": self.device.kind,
            "transport": self.device.transport,
            "provenance": self.device.provenance,
            "tags": list(self.device.tags),
            "reachable": error is None,
            "facts": self.facts or None,
            "sensors": self.sensors,
            "runs": [run.to_json() for run in self.runs],
            "error": None if error is None else {"code": error.code, "message": error.message, "hint": error.hint},
        }


def probe(device: Device, limit_s: float = PROBE_LIMIT_S) -> Probe:
    """What a device answers within ``limit_s``. Never raises for a device that does not: the error is in the answer."""
    try:
        with DeviceSession.open(device) as session:
            deadline = Deadline(limit_s)
            hello = session.facts(deadline)
            runs = session.runs(deadline=deadline)
    except EdgewiseError as error:
        return Probe(device, {}, [], error)
    return Probe(device, hello["device"], hello["sensors"], None, runs)


def probe_all(devices: Sequence[Device], limit_s: float = PROBE_LIMIT_S) -> list[Probe]:
    """The answers of all devices, asked side by side, in their order."""
    if not devices:
        return []
    with ThreadPoolExecutor(max_workers=min(AT_ONCE, len(devices))) as pool:
        return list(pool.map(lambda device: probe(device, limit_s), devices))
