"""Reports about batteries as text: `dumpsys battery`, its log of broadcasts, and the uevent files of power supplies.

Pure functions that never raise: what is not there or makes no sense is left out, with the reason. Units: dumpsys has
mV, 0.1 °C and µAh (android.os.BatteryManager; the health HAL's HealthInfo), Samsung adds `current now` and
`current_avg` in mA. uevent has µV, µA, µAh and 0.1 °C by the kernel's convention, which drivers break property by
property (VOLTAGE_MAX=4350 beside VOLTAGE_NOW=4170660): units of voltages are decided by size.
`dumpsys batterystats` is no measurement: its mAh come from the vendor's power profile. It gives nothing here.
"""

import re
from typing import Dict, List, NamedTuple, Optional, Tuple

MAX_LINES = 20_000  # a long report has some hundred; what follows is not looked at
C_PER_UAH = 3.6e-3  # 1 µAh = 3.6 mC
DEGC_PER_UNIT = 0.1
EINVAL = -22  # what drivers show for a property that they do not have

# android.os.BatteryManager's BATTERY_STATUS_* in the words of sysfs.
STATUS = {1: "Unknown", 2: "Charging", 3: "Discharging", 4: "Not charging", 5: "Full"}

MODEL_HEADING = "Estimated power use (mAh)"
IS_MODEL = "dumpsys batterystats is computed from the vendor's power profile: not a measurement"

_NUMBER = re.compile(r"[+-]?\d{1,18}\Z", re.ASCII)
_STAMP = re.compile(r"(?:(\d\d)-(\d\d) )?(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?\s", re.ASCII)
_PAIR = re.compile(r"(\w+):([^\s,]+)", re.ASCII)
_DAYS_BEFORE = (0, 31, 60, 91, 121, 152, 182, 213, 244, 274, 305, 335)  # of each month, in a leap year


class Battery(NamedTuple):
    """A battery as a report has it. Values in SI; a quantity that is in neither dict was not mentioned.

    values: voltage V, temperature degC, charge C, level as a share; reasons: why one of them is not there;
    current_raw: the current as it is given, unit_a: A per unit where the format says it; status: sysfs's word;
    chargers: those connected, None when the report does not say; doubts: what does not agree with itself.
    """

    values: Dict[str, float]
    reasons: Dict[str, str]
    current_raw: Optional[int] = None
    unit_a: Optional[float] = None
    status: Optional[str] = None
    chargers: Optional[Tuple[str, ...]] = None
    doubts: Tuple[str, ...] = ()


class Broadcast(NamedTuple):
    """One line of Samsung's log: seconds within the year (or the day), current_avg in A as given, charge in C."""

    t_s: float
    current_a: Optional[float]
    charge_c: Optional[float]
    voltage_v: Optional[float]
    status: Optional[str]
    external: Optional[bool]


def volts(raw: int) -> float:
    """The voltage in V of a number that is µV or mV, told by its size. ValueError with the reason when it is neither.

    Batteries of phones and laptops have 1.5-30 V; the two ranges do not touch.
    """
    if raw == 0:
        raise ValueError("the battery shows 0 V: it is not a real one")
    for factor in (1e-6, 1e-3):
        if 1.5 <= raw * factor <= 30.0:
            return raw * factor
    raise ValueError("{} is no voltage of a battery, in µV and in mV".format(raw))


def degc(raw: int) -> float:
    """The temperature in °C of tenths. ValueError with the reason for what batteries without a sensor show."""
    if raw == 0:
        raise ValueError("exactly 0.0 °C is what a battery without a sensor shows")
    if raw == EINVAL:
        raise ValueError("-22 is the driver's word for a property that it does not have")
    if not -400 <= raw <= 1000:
        raise ValueError("{:.1f} °C is no temperature of a battery".format(raw * DEGC_PER_UNIT))
    return raw * DEGC_PER_UNIT


def coulombs(raw: int) -> float:
    """The charge in C of µAh. ValueError with the reason for 0 and less (not supported) and for what is not µAh."""
    if raw <= 0:
        raise ValueError("the charge counter shows {}: it is not supported".format(raw))
    if not 20_000 <= raw <= 200_000_000:
        raise ValueError("{} µAh is no charge of a battery".format(raw))
    return raw * C_PER_UAH


_CONVERSIONS = {"voltage": volts, "temperature": degc, "charge": coulombs}


def parse_dumpsys(text: str) -> Battery:
    """The battery of `dumpsys battery`, of any maker; acc's "Battery Service" section is the same."""
    if MODEL_HEADING in text:
        return Battery({}, {"current": IS_MODEL})
    fields, doubts = _fields(text)
    values, reasons = _converted(
        fields, {"voltage": "voltage", "temperature": "temperature", "charge": "charge counter"}
    )
    level, scale = _number(fields.get("level")), _number(fields.get("scale")) or 100
    if level is not None and scale > 0 and 0 <= level <= scale:
        values["level"] = level / scale
    current = _number(fields.get("current now"))
    if current is not None and abs(current) >= 20_000:
        reasons["current"], current = "{} mA is too much for a battery's current".format(current), None
    powered = {key[: -len(" powered")]: value for key, value in fields.items() if key.endswith(" powered")}
    said = {name: value for name, value in powered.items() if value in ("true", "false")}
    return Battery(
        values,
        reasons,
        current,
        None if current is None else 1e-3,  # only Samsung prints it, in mA
        STATUS.get(_number(fields.get("status")) or 0),
        tuple(name for name, value in said.items() if value == "true") if said else None,
        doubts,
    )


def _fields(text: str) -> Tuple[Dict[str, str], Tuple[str, ...]]:
    """(the first value of each key in lower case, what is there twice with different values)."""
    fields: Dict[str, str] = {}
    doubts: List[str] = []
    for line in text.splitlines()[:MAX_LINES]:
        if line.startswith("["):
            break  # the logs: old values
        key, colon, value = line.partition(":")
        key, value = key.strip().lower(), value.strip()
        if not colon or "=" in key or len(key) > 40:
            continue
        _keep(fields, doubts, key, value)
    return fields, tuple(doubts)


def _keep(fields: Dict[str, str], doubts: List[str], key: str, value: str) -> None:
    if (
        fields.setdefault(key, value) != value
        and _NUMBER.match(value)
        and _NUMBER.match(fields[key])
        and len(doubts) < 8
    ):
        doubts.append("{} is there twice: {} and {}".format(key, fields[key], value))


def _number(value: Optional[str]) -> Optional[int]:
    return int(value) if value is not None and _NUMBER.match(value) else None


def _converted(fields: Dict[str, str], keys: Dict[str, str]) -> Tuple[Dict[str, float], Dict[str, str]]:
    values: Dict[str, float] = {}
    reasons: Dict[str, str] = {}
    for quantity, key in keys.items():
        if key not in fields:
            continue
        number = _number(fields[key])
        try:
            if number is None:
                raise ValueError("not a number: {!r}".format(fields[key][:16]))
            values[quantity] = _CONVERSIONS[quantity](number)
        except ValueError as error:
            reasons[quantity] = str(error)
    return values, reasons


def parse_uevent(text: str) -> Battery:
    """The battery of a power supply's uevent file, with or without POWER_SUPPLY_ before the names."""
    fields: Dict[str, str] = {}
    doubts: List[str] = []
    for line in text.splitlines()[:MAX_LINES]:
        key, equals, value = line.strip().partition("=")
        if key.startswith("POWER_SUPPLY_"):
            key = key[len("POWER_SUPPLY_") :]
        if equals and len(key) <= 40 and value.strip() != str(EINVAL):
            _keep(fields, doubts, key.lower(), value.strip())
    charge = next(
        (key for key in ("charge_counter", "charge_now") if (_number(fields.get(key)) or 0) > 0), "charge_counter"
    )
    values, reasons = _converted(fields, {"voltage": "voltage_now", "temperature": "temp", "charge": charge})
    level = _number(fields.get("capacity"))
    if level is not None and 0 <= level <= 100:
        values["level"] = level / 100
    status = fields.get("status")
    return Battery(
        values,
        reasons,
        _number(fields.get("current_now")),
        None,
        status if status in STATUS.values() else None,
        None,
        tuple(doubts),
    )


def parse_broadcasts(text: str) -> List[Broadcast]:
    """Samsung's log of battery broadcasts (BattActionChangedLogBuffer, or lines of the same fields), as it is ordered.

    Times have no year: a log over New Year's Eve seems to jump back, and such a jump ends it.
    """
    found: List[Broadcast] = []
    for line in text.splitlines()[:MAX_LINES]:
        stamp = _STAMP.match(line)
        fields = dict(_PAIR.findall(line[stamp.end() :][:2000])) if stamp else {}
        t_s = _seconds(stamp) if stamp else None
        if t_s is None or not fields.keys() & {"current_avg", "cc"}:
            continue
        if found and t_s < found[-1].t_s:
            break
        found.append(_broadcast(t_s, fields))
    return found


def _seconds(stamp: "re.Match[str]") -> Optional[float]:
    month, day, hour, minute, second = (int(part or 1) for part in stamp.groups()[:5])
    if not 1 <= month <= 12:
        return None
    days = _DAYS_BEFORE[month - 1] + day - 1
    return ((days * 24 + hour) * 60 + minute) * 60 + second + float("0." + (stamp.group(6) or "0"))


def _broadcast(t_s: float, fields: Dict[str, str]) -> Broadcast:
    values, _ = _converted(fields, {"voltage": "voltage", "charge": "cc"})
    current = _number(fields.get("current_avg"))
    plugs = [fields[name] for name in ("ac", "usb", "wireless", "pogo") if name in fields]
    return Broadcast(
        t_s,
        current * 1e-3 if current is not None and abs(current) < 20_000 else None,
        values.get("charge"),
        values.get("voltage"),
        STATUS.get(_number(fields.get("status")) or 0),
        "true" in plugs if plugs else None,
    )
