"""Power rails of INA3221 monitors (Jetson modules): P = V * I per labelled rail, from inN_input mV and currN_input mA.

Source: kernel Documentation/hwmon/ina3221.rst (labels, units, shuntN_resistor in µΩ, update_interval in ms over all
channels and samples; in4..in6 are the shunts, in7 and curr4 their sum) and TI's data sheet SBOS576: bus step 8 mV,
shunt step 40 µV. With the 5 mΩ shunts of the smaller modules one step of current is 8 mA, about 40 mW on a 5 V rail;
with the 2 mΩ of AGX Orin and Thor 20 mA. Voltage and current are different conversions and channels are converted in
turn (6.6 ms per cycle after power-on), so one sample of a part may exceed that of the whole.
"""

import os
import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from device_agents.sensors import hwmon, jetson
from device_agents.sensors.base import Findings, Sensor, accuracy, add, descriptor
from device_agents.sensors.files import SensorError, read_label, read_number

NAME = "ina3221"
W_PER_UNIT = 1e-6  # mV * mA
OHM_PER_UNIT = 1e-6
CYCLE_S = 6.6e-3  # after power-on: 6 conversions of 1.1 ms

# SBOS576, electrical characteristics at 25 °C, maximum values.
SHUNT_STEP_V, SHUNT_RANGE_V = 40e-6, 163.8e-3
SHUNT_OFFSET_V, SHUNT_GAIN = 80e-6, 0.0025
BUS_OFFSET_V, BUS_GAIN = 16e-3, 0.0025
SHUNT_TOLERANCE = 0.01  # the usual class of such resistors; NVIDIA states none
LOWEST_SHUNT_OHM, HIGHEST_SHUNT_OHM = 1e-4, 1.0  # what is set to something else is not a shunt

CHANNELS = (1, 2, 3)
_SHUNT_SUM = "sum of shunt voltages"

# What a rail covers. Values of different scopes are never added or compared.
SCOPES = {
    "VDD_IN": "module input (without carrier board, USB, fan, storage)",
    "POM_5V_IN": "board 5 V input",
    "VIN": "board input (the carrier's DC input)",
}


class Shunt(NamedTuple):
    """A current shunt, and how it is known."""

    ohm: float
    why: str


def find(root: str) -> Findings:
    """``power.LABEL`` in W and ``throttle.now.LABEL-overcurrent`` for each rail of each INA3221.

    Without channels that no rail is on (label NC, or without a label and switched off) and the sum of shunts.
    """
    findings, alarms = Findings([], []), Findings([], [])
    module = jetson.module(root)
    for monitor in hwmon.monitors(root):
        if monitor.name == NAME:
            for channel in CHANNELS:
                _add_rail(findings, alarms, monitor, channel, module)
    findings.sensors.extend(alarms.sensors)  # after all rails, so that these are read close together
    findings.missing.extend(alarms.missing)
    if not findings.sensors and not findings.missing:
        reason = jetson.why_no_monitor(root, "no INA3221 among the hardware monitors (JetPack 5 and newer)")
        findings.missing.append(descriptor("power.rails", "power", "power rails", hwmon.FOLDER, "absent", reason))
    return findings


def watts(numbers: List[int]) -> float:
    """P = V * I in W of [mV, mA]. Negative values are kept: one step below zero is what an idle rail shows."""
    return numbers[0] * numbers[1] * W_PER_UNIT


def scope(rail: str) -> str:
    """What the watts of a rail cover, in words."""
    return SCOPES.get(rail, "power rail " + rail)


def quality(volts: float, shunt: Shunt) -> Tuple[float, Dict[str, Any]]:
    """(step in W, accuracy) of a rail at ``volts``: worst case, from the data sheet's maximum values.

    Step: 40 µV / Rshunt * V. Offset: 80 µV / Rshunt * V. Gain: both conversions' own, the bus's offset as a share of
    the voltage, and the shunt's tolerance, added up. Ageing and temperature are not in it.
    """
    gain = SHUNT_GAIN + BUS_GAIN + BUS_OFFSET_V / volts + SHUNT_TOLERANCE
    source = "TI SBOS576 (INA3221), maximum at 25 degC, at {:.3g} V with a shunt of {:g} mohm, +-1 %: {}".format(
        volts, shunt.ohm * 1e3, shunt.why
    )
    return SHUNT_STEP_V / shunt.ohm * volts, accuracy(source, SHUNT_OFFSET_V / shunt.ohm * volts, round(gain, 5))


def module_shunt(module: jetson.Module) -> Shunt:
    """The shunt of a module's monitors where no file shows it."""
    return Shunt(module.shunt_ohm, "not shown by the driver, the usual one of " + module.name)


def volts_now(path: str, module: jetson.Module, rail: str) -> float:
    """The rail's voltage for its accuracy: as read from a file in mV, else nominal (a rail may be switched off now)."""
    try:
        read = read_number(path) * hwmon.V_PER_UNIT
    except SensorError:
        read = 0.0
    return read if read > 0.5 else jetson.rail_v(module, rail)


def _add_rail(
    findings: Findings, alarms: Findings, monitor: hwmon.Monitor, channel: int, module: jetson.Module
) -> None:
    voltage, current = "in{}_input".format(channel), "curr{}_input".format(channel)
    label = read_label(os.path.join(monitor.path, "in{}_label".format(channel)))
    if label is not None and (label.upper() == "NC" or label == _SHUNT_SUM):
        return
    if voltage not in monitor.files and current not in monitor.files:
        return
    enabled = read_label(os.path.join(monitor.path, "in{}_enable".format(channel))) != "0"
    if not enabled and label is None:
        return
    name = label or "ina3221.channel{}".format(channel)
    source = os.path.join(monitor.path, current)
    about = descriptor("power." + name, "power", scope(name), source, period_s=_period_s(monitor.path))
    if not enabled:
        about.update(state="absent", reason="the channel is switched off (in{}_enable is 0)".format(channel))
        findings.missing.append(about)
        return
    shunt = _shunt(monitor.path, channel, module)
    about["resolution"], about["accuracy"] = quality(
        volts_now(os.path.join(monitor.path, voltage), module, name), shunt
    )
    about["note"] = "voltage times current of two conversions"
    add(findings, Sensor(about, [os.path.join(monitor.path, file) for file in (voltage, current)], watts))
    _add_alarm(alarms, monitor, channel, name, shunt)


def _shunt(path: str, channel: int, module: jetson.Module) -> Shunt:
    try:
        ohm = read_number(os.path.join(path, "shunt{}_resistor".format(channel))) * OHM_PER_UNIT
    except SensorError:
        return module_shunt(module)
    if not LOWEST_SHUNT_OHM <= ohm <= HIGHEST_SHUNT_OHM:
        return module_shunt(module)
    return Shunt(ohm, "shunt{}_resistor".format(channel))


def _period_s(path: str) -> float:
    """How often each rail has a new value: update_interval, else the power-on cycle times the samples averaged."""
    for name, unit_s in (("update_interval", 1e-3), ("samples", CYCLE_S)):
        number = _number(os.path.join(path, name))
        if number is not None and 0 < number * unit_s <= 60:
            return number * unit_s
    return CYCLE_S


def _add_alarm(findings: Findings, monitor: hwmon.Monitor, channel: int, rail: str, shunt: Shunt) -> None:
    """One flag per rail, of all the alarm files of its current that can go off and can be read."""
    limits: Dict[str, str] = {}
    for file in monitor.files:
        match = re.match(r"curr{}_(?:(max|crit)_)?alarm\Z".format(channel), file, re.ASCII)
        limit_ma = _number(os.path.join(monitor.path, file[: -len("_alarm")])) if match and match.group(1) else None
        # A limit at the end of the monitor's range is never reached: each file costs a transfer over I2C a tick.
        if limit_ma is not None and limit_ma * hwmon.A_PER_UNIT * shunt.ohm >= 0.999 * SHUNT_RANGE_V:
            continue
        if match:
            limits[file] = "{} at {} mA".format(file, "an unknown" if limit_ma is None else limit_ma)
    if not limits:
        return
    readable = [file for file in limits if _number(os.path.join(monitor.path, file)) is not None] or list(limits)
    paths = [os.path.join(monitor.path, file) for file in readable]
    shown = ", ".join(limits[file] for file in readable)
    about = descriptor(
        "throttle.now.{}-overcurrent".format(rail),
        "flag",
        "over-current alarm of rail " + rail,
        paths[0],
        note="{}; only what lasts to the moment of reading is seen".format(shown),
    )
    add(findings, Sensor(about, paths, _any))


def _any(numbers: List[int]) -> float:
    return float(any(numbers))


def _number(path: str) -> Optional[int]:
    try:
        return read_number(path)
    except SensorError:
        return None
