"""What a comparison answers, as one object: the groups, the verdicts, what differs, and what was left out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mobile.compare.anova import Effect, effects
from mobile.compare.conditions import MODEL, conditions_of, model_of
from mobile.compare.metrics import ENERGY
from mobile.compare.units import Group, Unit
from mobile.compare.verdict import Comparison, Terms, compare
from mobile.errors import UsageError


@dataclass(frozen=True)
class Answer:
    """The groups and the comparison of each with the first; ``factors`` and ``effects`` where factors were asked for.

    ``differs``: the conditions that are not the same, in words; ``notes``: what to know beside the verdicts.
    """

    terms: Terms
    groups: tuple[Group, ...]
    comparisons: tuple[Comparison, ...]
    factors: tuple[str, ...] = ()
    effects: tuple[Effect, ...] = ()
    differs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The answer as `edgewise compare --json` has it: SI units, ratios of the other group to the first."""
        return {
            "metric": self.terms.metric.name,
            "unit": self.terms.metric.unit,
            "margin": self.terms.margin,
            "alpha": self.terms.alpha,
            "groups": [_group(group) for group in self.groups],
            "comparisons": [comparison.to_json() for comparison in self.comparisons],
            "factors": list(self.factors),
            "effects": [effect.to_json() for effect in self.effects],
            "differs": list(self.differs),
            "notes": list(self.notes),
            **self.more,
        }


def answer(
    groups: Sequence[Group], terms: Terms, *, factors: Sequence[str] = (), differs: Sequence[str] = ()
) -> Answer:
    """The answer about groups of comparable runs (conditions.check). UsageError: an empty group, a wrong factor."""
    found = compare(groups, terms)
    units = [unit for group in groups for unit in group.units]
    analysed: list[Effect] = []
    if factors:
        levels = {name: [level_of(unit, name) for unit in units] for name in factors}
        analysed = effects([math.log(unit.value) for unit in units], levels)
    notes = list(dict.fromkeys(note for one in found for note in one.notes))
    notes += _steady_notes(groups)
    if terms.metric.name in ENERGY:
        notes += _sensor_notes(groups)
    return Answer(terms, tuple(groups), tuple(found), tuple(factors), tuple(analysed), tuple(differs), tuple(notes))


def by_levels(groups: Sequence[Group], factors: Sequence[str]) -> list[Group]:
    """All runs of all groups, in one group for each combination of the factors' levels, in the order met."""
    cells: dict[str, list[Unit]] = {}
    for group in groups:
        for unit in group.units:
            name = ", ".join(_named(unit, factor) for factor in factors)
            known = cells.setdefault(name, [])
            if unit.run not in {other.run for other in known}:
                known.append(unit)
    excluded = tuple(dict.fromkeys(one for group in groups for one in group.excluded))
    found = [Group(name, tuple(units)) for name, units in cells.items()]
    if len(found) < 2:
        raise UsageError(f"all runs have the same {' and '.join(factors)}", "Select more, or compare by another key.")
    return [Group(found[0].name, found[0].units, excluded), *found[1:]]


def level_of(unit: Unit, factor: str) -> str:
    """The level of a factor (`model`, or a condition) in a run. UsageError when runs have no such condition."""
    if factor == MODEL:
        return model_of(unit.row)
    known = conditions_of(unit.row)
    if factor not in known:
        raise UsageError(f"runs have no {factor!r} to compare by", f"Known are model, {', '.join(known)}.")
    return known[factor]


def _named(unit: Unit, factor: str) -> str:
    level = level_of(unit, factor)
    return level if factor == MODEL else f"{factor} {level}"


def _group(group: Group) -> dict[str, Any]:
    import numpy as np

    return {
        "name": group.name,
        "median": float(np.median(group.values)) if group.values else None,
        "runs": [
            {
                "id": unit.run,
                "value": unit.value,
                "block": unit.mark.get("block"),
                "created_utc": unit.created_utc,
                "steady": unit.steady.to_json() if unit.steady else None,
            }
            for unit in group.units
        ],
        "left_out": [{"id": one.run, "reason": one.reason} for one in group.excluded],
    }


def _steady_notes(groups: Sequence[Group]) -> list[str]:
    """The groups with runs that had no steady state, or had it only later on."""
    notes = []
    for group in groups:
        found = [unit.steady for unit in group.units if unit.steady is not None]
        never = [one for one in found if one.first is None]
        late = [one for one in found if one.first]
        if never:
            why = "; ".join(dict.fromkeys(str(one.why) for one in never[:2]))
            notes.append(f"{group.name}: no steady state in {len(never)} of {len(found)} runs: {why}")
        if late:
            notes.append(
                f"{group.name}: steady only later on in {len(late)} of {len(found)} runs (--steady takes that part)"
            )
    return notes


def _sensor_notes(groups: Sequence[Group]) -> list[str]:
    """What of the sensor's own error cancels in a ratio of joules."""
    sensors = {str((unit.row.get("energy") or {}).get("sensor")) for group in groups for unit in group.units}
    if len(sensors) > 1:
        return [f"joules by {len(sensors)} sensors: nothing of their own errors cancels"]
    unknown = [
        unit for group in groups for unit in group.units if (unit.row.get("energy") or {}).get("uncertainty_note")
    ]
    if unknown:
        return [
            "joules by one sensor, whose accuracy nobody states: the sensor's gain cancels, its offset is not known"
        ]
    return ["joules by one sensor: the sensor's gain is the same on both sides and cancels"]
