"""Joules and seconds of a unit of work: a token, a frame, an item, where one inference makes so many of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from mobile.errors import UsageError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
_FORMS = "For example --per token=128 (an inference makes 128 of them), or --per frame=1."


def parse_unit(text: str) -> tuple[str, float]:
    """(name, how many of it an inference makes) of "token=128". UsageError when it is none.

    >>> parse_unit("frame=1")
    ('frame', 1.0)
    """
    name, equals, number = (part.strip() for part in text.partition("="))
    try:
        count = float(number) if equals else 1.0
    except ValueError as error:
        raise UsageError(f"--per {text!r}: {number!r} is no number", _FORMS) from error
    if not _NAME.fullmatch(name) or not math.isfinite(count) or not 0 < count < 1e12:
        raise UsageError(f"--per {text!r} is not understood", _FORMS)
    return name, count


def per_unit(row: Mapping[str, Any], unit: str, count: float) -> dict[str, Any]:
    """``time_s`` and ``per_s`` of the measured time; ``energy_j`` with its uncertainty (k = 2) and scope, or why none.

    ``row``: a run's figures. One inference makes ``count`` units; all items of a batch together.
    """
    energy = row.get("energy") or {}
    throughput, batch = row.get("throughput_per_s"), int((row.get("spec") or {}).get("batch") or 1)
    each, doubt = energy.get("per_inference_j"), energy.get("per_inference_uncertainty_j")
    return {
        "unit": unit,
        "per_inference": count,
        "time_s": batch / throughput / count if throughput else None,
        "per_s": throughput / batch * count if throughput else None,
        "energy_j": each / count if each is not None else None,
        "energy_uncertainty_j": doubt / count if doubt is not None else None,
        "scope": energy.get("scope"),
        "missing": None if each is not None else row.get("energy_missing") or "the program does not tell how many",
    }
