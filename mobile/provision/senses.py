"""What `edgewise doctor` says of a board's sensors and of what stands in the way of a fair figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mobile.provision.findings import Examination

if TYPE_CHECKING:
    from mobile.inventory import Device

MANY = 6  # names in one line
SLOW_S = 0.5  # a new value less often than that needs a longer run than the default
READINGS = 10  # fewer give no energy figure
_DENIED = ("permission denied", "root only", "root can")

Sensors = list[dict[str, Any]]


def check_sensors(seen: Examination, sensors: Sensors) -> None:
    """Notes the sensors that are there, by quantity and with what they cover, those that cannot be read, and why."""
    present = [sensor for sensor in sensors if sensor.get("state") == "present"]
    failed = [sensor for sensor in sensors if sensor.get("state") == "failed"]
    if not present:
        seen.warning("sensors", "none can be read: temperature, power and clocks stay unknown")
    for quantity in dict.fromkeys(str(sensor.get("quantity") or "value") for sensor in present):
        names = [_named(sensor) for sensor in present if str(sensor.get("quantity") or "value") == quantity]
        seen.ok("sensors", f"{quantity}: {_few(names)}")
    denied = [sensor for sensor in failed if _is_denied(sensor)]
    for sensor in failed:
        if sensor not in denied[1:]:
            seen.warning("sensors", f"{sensor['name']}: {sensor.get('reason')}", "let the user read it, or do without")
    if len(denied) > 1:
        seen.warning("sensors", f"root would add {_few([str(sensor['name']) for sensor in denied])}")


def check_energy(seen: Examination, sensors: Sensors, has_meter: bool) -> None:
    """Notes which rule for the board's total will be used, and how long to measure where its source is slow."""
    from mobile.results.totals import totals

    found = totals(sensor for sensor in sensors if sensor.get("state") == "present")
    for number, total in enumerate(found):
        beside = "" if number == 0 and not has_meter else " (beside the wider one)"
        seen.ok("energy", f"{total.label}: {total.scope}{beside}; {total.rule.remark}")
    if not found and not has_meter:
        why = _why_no_energy(sensors)
        seen.warning("energy", f"no figure in joules: {why}", "an external meter gives one: see docs/meters.md")
    in_totals = {str(sensor["name"]) for total in found for sensor in total.sensors}
    for sensor in sensors:
        period_s = sensor.get("period_s")
        if sensor.get("name") in in_totals and isinstance(period_s, (int, float)) and period_s >= SLOW_S:
            seen.warning(
                "energy", f"{sensor['name']} has a new value every {period_s:g} s only",
                f"measure for {READINGS * period_s:g} s or longer: --duration {READINGS * period_s:g}",
            )  # fmt: skip


def check_power(seen: Examination, facts: Mapping[str, Any]) -> None:
    """Notes what feeds the board, its power mode, and whether its clocks are locked."""
    supply = facts.get("power_supply")
    if isinstance(supply, dict) and supply.get("source") == "external":
        seen.warning(
            "power supply", f"a charger is connected (battery: {supply.get('battery') or 'unknown'}): the battery's"
            " current is not the consumption", "for energy by the battery, take the cable out and use the network",
        )  # fmt: skip
    elif isinstance(supply, dict):
        seen.ok("power supply", f"{supply.get('source') or 'unknown'}, battery: {supply.get('battery') or 'unknown'}")
    mode, locked = facts.get("power_mode"), facts.get("clocks_locked")
    if isinstance(mode, dict):
        seen.ok("power mode", f"{mode.get('name') or 'without a name'}" + _number(mode.get("id")))
    if locked is True:
        seen.ok("clocks", "locked: the board draws more at idle than with free clocks")
    elif locked is False:
        governor = facts.get("governor")
        seen.ok("clocks", f"free, governor {governor}" if governor else "free")


def check_journal(seen: Examination, answer: Mapping[str, Any]) -> None:
    """Notes settings that runs have changed: those that are still changed, and those that were just put back."""
    for entry in _entries(answer.get("journal")):
        what = f"{entry.get('what')} is {entry.get('now')}, it was {entry.get('was')}"
        if entry.get("held"):
            seen.warning("settings", f"{what}: a run that is going on has changed it, and puts it back")
        else:
            seen.warning("settings", f"{what}: a run changed it and it could not be put back", "set it by hand")
    for entry in _entries(answer.get("restored")):
        if entry.get("ok"):
            seen.ok("settings", f"{entry.get('what')} was put back to {entry.get('to')} for a run that was cut")
        else:
            seen.warning("settings", f"{entry.get('what')} could not be put back: {entry.get('why')}", "set it by hand")


def check_meter(seen: Examination, device: Device) -> None:
    """Notes what the device's external meter shows now, or why it does not answer. It does not keep a run back."""
    from mobile.errors import ConfigError
    from mobile.meters import MeterFault, open_meter

    if device.meter is None:
        return
    try:
        meter = open_meter(device.meter)
    except ConfigError as error:
        seen.problem("meter", error.message, error.hint)
        return
    try:
        reading = meter.read()
    except MeterFault as fault:
        seen.warning("meter", fault.reason, "look at `meter` in devices.yaml: runs have no figure of it")
        return
    finally:
        meter.close()
    if reading.power_w is None:
        seen.warning("meter", str(reading.reason), "see docs/meters.md for which meter suits small loads")
    else:
        seen.ok("meter", f"{reading.power_w:.3g} W, {meter.info.scope}")


def _named(sensor: Mapping[str, Any]) -> str:
    scope = sensor.get("scope")
    return f"{sensor.get('name')} ({scope})" if scope else str(sensor.get("name"))


def _few(names: list[str]) -> str:
    return ", ".join(names[:MANY]) + (f" and {len(names) - MANY} more" if len(names) > MANY else "")


def _is_denied(sensor: Mapping[str, Any]) -> bool:
    reason = str(sensor.get("reason") or "").lower()
    return any(words in reason for words in _DENIED)


def _why_no_energy(sensors: Sensors) -> str:
    """The first reason of a sensor of energy or power that is failed, else of one that is absent."""
    energetic = [sensor for sensor in sensors if sensor.get("quantity") in ("energy", "power")]
    for state in ("failed", "absent"):
        reasons = [
            str(sensor["reason"]) for sensor in energetic if sensor.get("state") == state and sensor.get("reason")
        ]
        if reasons:
            return _few(list(dict.fromkeys(reasons))[:2])
    return "no sensor covers the whole device, and parts are not added"


def _number(value: object) -> str:
    return f" ({value})" if value is not None else ""


def _entries(value: object) -> Iterable[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
