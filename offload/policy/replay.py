"""Recorded decisions through another policy: what it would have chosen with what was known then.

This tells what would have been decided, not what would have happened: the outcome of a placement that was not taken was
not recorded, and what is known of a link depends on what was sent. For that there is `edgewise policy simulate`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from device_agents.split.decide import Decision
from device_agents.split.table import Conditions
from mobile.errors import InputError
from offload.policy.chooser import Chooser

REQUIRED = ("uplink_bps", "downlink_bps", "rtt_s")


@dataclass(frozen=True)
class Replayed:
    """One recorded frame: when, what was chosen then, what this policy chooses, and each one's predicted seconds."""

    t_s: float
    then: str | None
    now: Decision
    predicted_then_s: float | None


def replay(records: Iterable[Mapping[str, Any]], chooser: Chooser) -> list[Replayed]:
    """The decisions on recorded conditions, in order.

    A record has ``t_s``, the fields of Conditions (uplink_bps, downlink_bps, rtt_s; the others as far as they were
    known), and, where there was one, ``placement`` and ``predicted_s``. InputError names the record that has not.
    """
    found = []
    for number, record in enumerate(records):
        conditions = _conditions(number, record)
        decision = chooser.choose(conditions)
        found.append(
            Replayed(_number(number, record, "t_s"), record.get("placement"), decision, record.get("predicted_s"))
        )
    return found


def _conditions(number: int, record: Mapping[str, Any]) -> Conditions:
    measured = {name: _number(number, record, name) for name in REQUIRED}
    if measured["uplink_bps"] <= 0 or measured["downlink_bps"] <= 0 or measured["rtt_s"] < 0:
        raise InputError(f"record {number}: no link has these figures: {measured}")
    known = {name: record[name] for name in Conditions._fields[3:] if record.get(name) is not None}
    return Conditions(**{**measured, **known})


def _number(number: int, record: Mapping[str, Any], name: str) -> float:
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"record {number}: {name} is {value!r}, expected a number")
    return float(value)
