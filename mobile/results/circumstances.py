"""What else makes a run unfair: heat at its start, settings that moved, other processes, a battery on its charger.

From the events of the agent's conditions (device_agents/conditions/events.py) and the device's facts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mobile.results.run import Run
from mobile.results.window import inside, measured_window, present, series

CHARGING_SHARE = 0.1  # of the samples while measuring; one sample may be a gauge's slip


class Circumstances(NamedTuple):
    """``reasons`` for which the run is invalid, and ``warnings``."""

    reasons: list[str]
    warnings: list[str]


def circumstances(run: Run, energy: Mapping[str, Any] | None) -> Circumstances:
    """What the run's events and facts say against it; ``energy``: its figure, or None."""
    intruders = _intruders(run)
    reasons = [*_gate(run), *_changed(run), *intruders.reasons, *_charging(run, energy)]
    return Circumstances(reasons, [*_settings(run), *intruders.warnings])


def _details(run: Run, name: str) -> Iterator[dict[str, Any]]:
    return (event["detail"] for event in run.events if event["name"] == name)


def _gate(run: Run) -> list[str]:
    """The gate that was not passed; a run that failed for it says so already."""
    if run.failure is not None and run.failure.get("code") == "too-hot":
        return []
    refused = list(_details(run, "gate-refused"))[:1]
    return [f"it was not as cool as asked for: {detail.get('why') or _heat(detail)}" for detail in refused]


def _heat(detail: Mapping[str, Any]) -> str:
    return f"{detail.get('sensor')} at {detail.get('temperature_c')} C after {detail.get('waited_s')} s"


def _changed(run: Run) -> list[str]:
    return [
        f"{detail.get('what')} changed during the run, from {detail.get('before')} to {detail.get('after')}"
        for detail in _details(run, "changed")
    ]


def _settings(run: Run) -> list[str]:
    lines = [
        f"{detail.get('what')} was set to {detail.get('now')}, and this device cannot tell whether it holds"
        for detail in _details(run, "pinned")
        if detail.get("verified") is False
    ]
    return lines + [
        f"{detail.get('what')} could not be put back to {detail.get('to')}: {detail.get('why') or 'not known why'}"
        for detail in _details(run, "restored")
        if detail.get("ok") is False
    ]


def _intruders(run: Run) -> Circumstances:
    """Other processes above the limit: a warning, and a reason where it was asked that they are refused."""
    asked = (run.spec.agent_spec.get("conditions") or {}).get("intruders")
    if asked == "ignore":
        return Circumstances([], [])
    over = {detail.get("when"): detail for detail in _details(run, "intruders") if detail.get("over") is True}
    if not over:
        return Circumstances([], [])
    when = "during" if "during" in over else next(iter(over))
    line = f"other processes took {_load(over[when])} " + ("while it ran" if when == "during" else "before it began")
    return Circumstances([line], []) if asked == "refuse" else Circumstances([], [line])


def _load(detail: Mapping[str, Any]) -> str:
    share, steal = detail.get("share"), detail.get("steal")
    words = f"{share:.0%} of a core" if isinstance(share, (int, float)) else "too much CPU"
    if isinstance(steal, (int, float)) and steal >= 0.01:
        words += f" and other machines on this host {steal:.0%}"
    busiest = [
        f"{process['name']} {process['share']:.0%}"
        for process in detail.get("processes") or []
        if isinstance(process, Mapping) and process.get("name") and isinstance(process.get("share"), (int, float))
    ]
    return words + (f" ({', '.join(busiest)})" if busiest else "")


def _charging(run: Run, energy: Mapping[str, Any] | None) -> list[str]:
    """Energy of a battery says nothing of consumption while a charger feeds the device."""
    if energy is None or "battery" not in f"{energy.get('scope')} {energy.get('sensor')}":
        return []
    window = measured_window(run)
    watched = False
    for quantity, name in (("flag", "supply.external"), ("current", "current.battery")):
        if window is None or not any(sensor["name"] == name for sensor in present(run, quantity)):
            continue
        values = inside(series(run, name), window).values
        watched = watched or (quantity == "flag" and bool(values))
        if values and sum(value > 0 for value in values) > CHARGING_SHARE * len(values):
            return [f"energy was taken from a battery that was being charged ({name})"]
    supply = (run.environment.get("device") or {}).get("power_supply")
    if not watched and isinstance(supply, Mapping) and supply.get("source") == "external":
        return ["energy was taken from a battery while a charger was connected"]
    return []
