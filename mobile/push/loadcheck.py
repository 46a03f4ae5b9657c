"""Does a model that was pushed run there? One load and one inference by the agent, before it comes into use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mobile.errors import AgentError, RunFailure

if TYPE_CHECKING:
    from mobile.benchmark.models import Model
    from mobile.benchmark.session import DeviceSession
    from mobile.deadline import Deadline

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
LIMIT_S = 120.0
# Failures that say nothing about the model.
_NOT_THE_MODELS = ("missing-runtime", "busy", "stopped")


@dataclass(frozen=True)
class LoadCheck:
    """How it went: "passed", "failed" or "skipped", the last two with the reason. ``code`` is the failure's."""

    state: str
    reason: str | None = None
    code: str | None = None
    hint: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The outcome for --json."""
        return {"state": self.state, "reason": self.reason}


NOT_ASKED = LoadCheck(SKIPPED, "not asked for")


def load_check(session: DeviceSession, model: Model, deadline: Deadline) -> LoadCheck:
    """The outcome. TransportError when the device is lost meanwhile."""
    from mobile.benchmark.options import unmeasured

    try:
        session.run(model, unmeasured(LIMIT_S), deadline, lambda record: None)
    except RunFailure as error:
        state = SKIPPED if error.code in _NOT_THE_MODELS else FAILED
        return LoadCheck(state, error.message, error.code, error.hint)
    except AgentError as error:  # the agent did not start: no Python there, as a rule
        return LoadCheck(SKIPPED, error.message, error.code, error.hint)
    return LoadCheck(PASSED)
