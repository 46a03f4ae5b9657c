"""The quality that was measured beside a run, as its figures have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mobile.results.run import Run

NOT_ASKED = "no evaluation set was given (--evaluate)"


def quality(run: Run, energy: Mapping[str, Any] | None) -> tuple[dict[str, Any] | None, str | None]:
    """(quality as mobile.quality.assess has it, with ``per_joule`` and ``per_joule_missing``; None), or (None, why).

    per_joule: the value over the joules of one item (of one inference over its batch), in 1/J: for top1 the right
    answers that a joule pays for. Only where more is better.
    """
    told = run.environment.get("quality")
    if not isinstance(told, Mapping):
        return None, NOT_ASKED
    if told.get("value") is None:
        return {**told, "per_joule": None, "per_joule_missing": told.get("missing")}, None
    per_joule, missing = _per_joule(run, told, energy)
    return {**told, "per_joule": per_joule, "per_joule_missing": missing}, None


def _per_joule(run: Run, told: Mapping[str, Any], energy: Mapping[str, Any] | None) -> tuple[float | None, str | None]:
    if not told.get("larger_is_better"):
        return None, f"of {told.get('metric')} less is better"
    joules = (energy or {}).get("per_inference_j")
    if not joules or joules <= 0:
        return None, "the energy was not measured"
    batch = int(run.spec.agent_spec.get("batch") or 1)
    return float(told["value"]) * batch / float(joules), None
