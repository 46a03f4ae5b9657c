"""What meters answer, read: pure functions from text to a reading. They never raise, whatever the text is."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from mobile.meters.base import Reading, believed, counter, number

MAX_REPLY_BYTES = 64 * 1024
J_PER_WH = 3600.0
J_PER_KWH = 3.6e6
J_PER_WATT_MINUTE = 60.0

SHELLY_COMPONENTS = ("switch", "pm1", "em1", "em")
_WATTS = re.compile(r"\s*([+-]?\d{1,12}(?:\.\d{0,12})?(?:[eE][+-]?\d{1,2})?)\s*(W|mW)?\s*\Z", re.ASCII)


def json_object(text: bytes | str) -> dict[str, Any] | None:
    """The JSON object of a reply; None when it is none."""
    if len(text) > MAX_REPLY_BYTES:
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def shelly_component(status: dict[str, Any], channel: int) -> str | None:
    """Which part of a Shelly measures that channel, by the keys of Shelly.GetStatus ("switch:0"); None for none."""
    for component in SHELLY_COMPONENTS:
        part = status.get(f"{component}:{channel}")
        if isinstance(part, dict) and ("apower" in part or "act_power" in part or "total_act_power" in part):
            return component
    return None


def shelly(part: dict[str, Any], floor_w: float | None = None) -> Reading:
    """The reading of one component's status, Gen2 and later (shelly-api-docs.shelly.cloud, Switch, PM1, EM1, EM).

    ``apower`` and ``act_power`` are W, ``aenergy.total`` is Wh; an EM gives ``total_act_power`` of its phases.
    """
    if part.get("output") is False:
        return Reading(reason="the meter's switch is off")
    errors = part.get("errors")
    if isinstance(errors, list) and errors:
        return Reading(reason=f"the meter reports {_short(errors[0])}")
    keys = (("apower", None), ("act_power", "aprt_power"), ("total_act_power", "total_aprt_power"))
    power, apparent = next(
        ((part[name], part.get(beside or "")) for name, beside in keys if name in part),
        (None, None),
    )
    energy = part.get("aenergy")
    total_wh = energy.get("total") if isinstance(energy, dict) else None
    return replace(believed(power, floor_w, apparent), energy_j=counter(total_wh, J_PER_WH))


def shelly_gen1(status: dict[str, Any], channel: int, floor_w: float | None = None) -> Reading:
    """The reading of a first-generation ``/status``: ``meters[N]`` {power W, total W-minutes}, ``emeters[N]``
    {power W, total Wh} (shelly-api-docs.shelly.cloud, Gen1).
    """
    for name, factor in (("emeters", J_PER_WH), ("meters", J_PER_WATT_MINUTE)):
        parts = status.get(name)
        if not isinstance(parts, list) or channel >= len(parts) or not isinstance(parts[channel], dict):
            continue
        part = parts[channel]
        if part.get("is_valid") is False:
            return Reading(reason="the meter says that its values are not valid")
        return replace(believed(part.get("power"), floor_w), energy_j=counter(part.get("total"), factor))
    return Reading(reason=f"the meter has no channel {channel}")


def tasmota(status: dict[str, Any], channel: int = 0, floor_w: float | None = None) -> Reading:
    """The reading of ``Status 8`` or ``Status 10``: StatusSNS.ENERGY {Power W, Total kWh, ApparentPower VA}; lists
    where the device has several channels (tasmota.github.io, "Power Monitoring").
    """
    sensors = status.get("StatusSNS", status)
    energy = sensors.get("ENERGY") if isinstance(sensors, dict) else None
    if not isinstance(energy, dict):
        return Reading(reason="the device measures no energy")
    power = _channel(energy.get("Power"), channel)
    if power is None:
        return Reading(reason=f"the meter has no channel {channel}")
    several = isinstance(energy.get("Power"), list) and len(energy["Power"]) > 1
    # With several channels a single total is that of all of them.
    total_kwh = (
        None if several and not isinstance(energy.get("Total"), list) else _channel(energy.get("Total"), channel)
    )
    reading = believed(power, floor_w, _channel(energy.get("ApparentPower"), channel))
    return replace(reading, energy_j=counter(total_kwh, J_PER_KWH))


def watts(line: str, floor_w: float | None = None) -> Reading:
    """The reading of a line that a command printed: a number, alone or with the unit W or mW, and nothing else.

    >>> watts("7251 mW").power_w
    7.251
    """
    match = _WATTS.match(line)
    if match is None:
        return Reading(reason=f"the command printed {_short(line)}, expected a number of W or mW")
    value = number(float(match.group(1)) * (1e-3 if match.group(2) == "mW" else 1.0))
    if value is None:
        return Reading(reason=f"the command printed {_short(line)}, which is no power")
    if value < 0:
        return Reading(reason=f"the command printed {_short(line)}: a negative power")
    return believed(value, floor_w)


def _channel(value: object, channel: int) -> object:
    if isinstance(value, list):
        return value[channel] if channel < len(value) else None
    return value if channel == 0 else None


def _short(value: object) -> str:
    text = "".join(char for char in str(value) if char.isprintable())
    return repr(text if len(text) <= 40 else text[:40] + "...")
