"""What explains a run's row by itself: who measured, on what, set how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def environment_of(
    hello: Mapping[str, Any], spec: Mapping[str, Any], loaded: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The environment from the agent's hello, the agent's spec and the detail of its event "loaded".

    edgewise (version), agent {version, sha256}, device (facts), governor, power_mode {name, id} of a
    Jetson, clocks_locked (None: not known), threads and cpus (None: the runtime's and the system's
    choice), runtime {name, version}, provider, providers, node_share;
    start_temperature_c and start_temperature_sensor, which the first samples fill in.
    """
    from mobile import __version__

    loaded = loaded or {}
    facts = hello.get("device")
    facts = facts if isinstance(facts, dict) else {}
    return {
        "edgewise": __version__,
        "agent": hello.get("agent"),
        "device": facts,
        "governor": facts.get("governor"),
        "power_mode": facts.get("power_mode"),
        "clocks_locked": facts.get("clocks_locked"),
        "threads": spec.get("threads"),
        "cpus": spec.get("cpus"),
        "runtime": loaded.get("runtime"),
        "provider": loaded.get("provider"),
        "providers": loaded.get("providers"),
        "node_share": loaded.get("node_share"),
        "start_temperature_c": None,
        "start_temperature_sensor": None,
    }


def origin_of(environment: Mapping[str, Any]) -> str | None:
    """Where an imported run is from (mobile/share/take_in.py); None for one that this store measured."""
    came = environment.get("imported")
    return str(came["origin"]) if isinstance(came, Mapping) and came.get("origin") else None


def start_temperature(sensors: list[dict[str, Any]], columns: Mapping[str, list[float | None]]) -> dict[str, Any]:
    """The highest first temperature and its sensor, from the first block of samples; {} when there is none."""
    first: list[tuple[float, str]] = []
    for sensor in sensors:
        column = columns.get(sensor.get("name", ""), [])
        value = next((value for value in column if value is not None), None)
        if sensor.get("quantity") == "temperature" and value is not None:
            first.append((value, sensor["name"]))
    if not first:
        return {}
    value, name = max(first)
    return {"start_temperature_c": value, "start_temperature_sensor": name}
