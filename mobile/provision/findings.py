"""What `edgewise doctor` says about one thing it looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

State = Literal["ok", "warning", "problem", "skipped"]


@dataclass(frozen=True)
class Finding:
    """One check: a problem keeps a run from working, a warning spoils something of it; ``hint`` is the next step."""

    check: str
    state: State
    message: str
    hint: str | None = None


@dataclass
class Examination:
    """All findings of a device, in the order of the checks. ``on_finding`` sees each as it comes."""

    device: str
    findings: list[Finding] = field(default_factory=list)
    unreachable: bool = False
    on_finding: Callable[[Finding], None] = lambda finding: None

    def ok(self, check: str, message: str) -> None:
        """Notes that it is as it should be."""
        self._add(Finding(check, "ok", message))

    def warning(self, check: str, message: str, hint: str | None = None) -> None:
        """Notes what a run works in spite of."""
        self._add(Finding(check, "warning", message, hint))

    def problem(self, check: str, message: str, hint: str | None = None) -> None:
        """Notes what a run would fail of."""
        self._add(Finding(check, "problem", message, hint))

    def skipped(self, check: str, message: str) -> None:
        """Notes what could not be looked at."""
        self._add(Finding(check, "skipped", message))

    @property
    def ready(self) -> bool:
        """True when a run would work."""
        return not any(finding.state == "problem" for finding in self.findings)

    @property
    def exit_code(self) -> int:
        """0 when a run would work, 3 when the device was not reached, else 1."""
        return 0 if self.ready else 3 if self.unreachable else 1

    def to_json(self) -> dict[str, Any]:
        """The document of `edgewise doctor --json`."""
        return {"device": self.device, "ready": self.ready, "findings": [asdict(finding) for finding in self.findings]}

    def _add(self, finding: Finding) -> None:
        self.findings.append(finding)
        self.on_finding(finding)
