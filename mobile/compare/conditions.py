"""What must be the same in runs that are compared, and what it is that differs.

A ratio of two boards, of two power modes or of joules of two scopes is a number without a meaning; so is one of four
threads against one, unless that is the question. Whatever differs is therefore named, and refused until the user says
that it is meant: with --allow, or, for what was asked of a run, by a selector that names it on both sides.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mobile.compare.metrics import ENERGY, Metric
from mobile.compare.units import Group
from mobile.errors import UsageError
from mobile.results.environment import origin_of

ALL = "all"
MODEL = "model"
# Of the place: never allowed by a selector alone.
PLACE = ("device", "origin", "board", "provenance", "power_mode", "governor", "clocks_locked", "slow_down")
SENSOR = ("energy_scope", "energy_sensor", "energy_method")
# How queries came: under another name each, so that `compare scenario_qps=20` selects.
SCENARIO = ("qps", "rate_hz", "late", "samples_per_query", "latency_bound_s", "seed")
# Of the agent's spec: where things lie, how long to wait, and what is listed under another name.
_NOT_CONDITIONS = {
    *("model_path", "python_path", "load_timeout_s", "hang_timeout_s", "max_duration_s", "run_dir", "root", "schema"),
    *("idle_s", "slow_down", "task", "conditions", "provider", "scenario", "barrier"),
}
_VARYING_TERMS = ("cool_back_to", "gate_timeout_s", "marker_s")


class Difference(NamedTuple):
    """A condition that is not the same in all runs: its name, and the values of each group."""

    key: str
    values: tuple[tuple[str, ...], ...]

    def words(self, names: Sequence[str]) -> str:
        """The difference in one line."""
        listed = [f"{' and '.join(values) or '-'} ({name})" for name, values in zip(names, self.values, strict=True)]
        return f"{self.key}: {', '.join(listed)}"


def conditions_of(row: Mapping[str, Any], what: Metric | None = None) -> dict[str, str]:
    """The conditions of a run by name, as text; "-" for what is not known. ``row``: its figures."""
    environment = row.get("environment") or {}
    facts = environment.get("device") or {}
    spec = row.get("spec") or {}
    terms = {key: value for key, value in (spec.get("conditions") or {}).items() if key not in _VARYING_TERMS}
    asked = spec.get("scenario")
    asked = asked if isinstance(asked, Mapping) else {}
    found: dict[str, Any] = {
        "device": row.get("device"),
        "origin": origin_of(environment),
        "board": facts.get("model") or facts.get("soc"),
        "provenance": row.get("provenance"),
        "power_mode": environment.get("power_mode"),
        "governor": environment.get("governor"),
        "clocks_locked": environment.get("clocks_locked"),
        "slow_down": spec.get("slow_down"),
        "runtime": _version(environment.get("runtime")),
        "provider": environment.get("provider") or spec.get("provider"),
        "conditions": terms or None,
        "scenario": asked.get("name"),
        **{f"scenario_{key}": asked.get(key) for key in SCENARIO},
        **{key: value for key, value in spec.items() if key not in _NOT_CONDITIONS},
    }
    if what is not None and what.name in ENERGY:
        energy = row.get("energy") or {}
        found.update(zip(SENSOR, (energy.get("scope"), energy.get("sensor"), energy.get("method")), strict=True))
    return {key: _text(value) for key, value in found.items()}


def model_of(row: Mapping[str, Any]) -> str:
    """The model of a run by name and the start of its hash."""
    model = row.get("model") or {}
    return f"{model.get('name')} {str(model.get('sha256', ''))[:8]}".strip()


def differences(groups: Sequence[Group], what: Metric) -> list[Difference]:
    """What is not the same in all runs of all groups, the model aside."""
    tables = [[conditions_of(unit.row, what) for unit in group.units] for group in groups]
    keys = dict.fromkeys(key for table in tables for row in table for key in row)
    found = []
    for key in keys:
        values = tuple(tuple(dict.fromkeys(row.get(key, "-") for row in table)) for table in tables)
        if len({value for group in values for value in group}) > 1:
            found.append(Difference(key, values))
    return found


def check(groups: Sequence[Group], what: Metric, allowed: Iterable[str], named: Iterable[str] = ()) -> list[str]:
    """What differs and may, in words. UsageError for what differs and was not allowed, or for a group that is mixed.

    ``allowed``: conditions that may differ. ``named``: those that the selectors of all groups name.
    """
    told = set(allowed)
    names = [group.name for group in groups]
    for group in groups:
        models = dict.fromkeys(model_of(unit.row) for unit in group.units)
        if len(models) > 1 and not told & {MODEL, ALL}:
            raise UsageError(
                f"{group.name}: its runs are of {len(models)} models: {', '.join(models)}",
                "Select one (sha256=...), or say --allow model.",
            )
    found = differences(groups, what)
    meant = told | (set(named) - {*PLACE, *SENSOR})
    refused = [
        difference
        for difference in found
        if ALL not in told and (difference.key not in told) and not _is_meant(difference, meant)
    ]
    if refused:
        lines = "; ".join(difference.words(names) for difference in refused[:3])
        more = f" and {len(refused) - 3} more" if len(refused) > 3 else ""
        raise UsageError(
            f"not comparable, {lines}{more}",
            f"Select runs that agree (KEY=VALUE), or say that it is meant: --allow {refused[0].key}",
        )
    return [difference.words(names) for difference in found]


def _is_meant(difference: Difference, meant: set[str]) -> bool:
    """True where the selectors name it, so that each group has one value of it."""
    return difference.key in meant and all(len(values) == 1 for values in difference.values)


def _version(runtime: Any) -> str | None:
    if not isinstance(runtime, Mapping):
        return None
    return f"{runtime.get('name')} {runtime.get('version') or ''}".strip()


def _text(value: Any) -> str:
    if value is None or value == {} or value == []:
        return "-"
    if isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True)
