"""The board input of carriers with an INA238 (the Jetson AGX Thor developer kit): hwmon power1_input in µW.

tegrastats calls it VIN. It is in front of everything on the carrier, unlike the rails of the module's INA3221. Source:
kernel Documentation/hwmon/ina238.rst (µW, mV, mA), jetson_stats pull request 900, and TI's data sheet SLYS025: gain of
the shunt's conversion 0.1 %, of the bus 0.1 %. Its offset in watts depends on a shunt that no file shows.
"""

import os

from device_agents.sensors import hwmon, jetson
from device_agents.sensors.base import Findings, Sensor, accuracy, add, descriptor, scaled
from device_agents.sensors.files import SensorError, read_label, read_number

NAME = "ina238"
RAIL = "VIN"
SHUNT_GAIN, BUS_GAIN, SHUNT_TOLERANCE = 0.001, 0.001, 0.01
CYCLE_S = 3.2e-3  # after power-on: bus, shunt and temperature take 1.052 ms each
SCOPE = "board input (the carrier's DC input)"

_INPUTS = (
    ("power", "power1_input", hwmon.W_PER_UNIT),
    ("voltage", "in1_input", hwmon.V_PER_UNIT),
    ("current", "curr1_input", hwmon.A_PER_UNIT),
)


def find(root: str) -> Findings:
    """``power.VIN`` in W, with ``voltage.VIN`` and ``current.VIN``; the monitor's names where there are several."""
    findings = Findings([], [])
    monitors = [monitor for monitor in hwmon.monitors(root) if monitor.name == NAME]
    for monitor in monitors:
        label = read_label(os.path.join(monitor.path, "power1_label"))
        _add(findings, monitor, RAIL if len(monitors) == 1 else label or NAME)
    if not findings.sensors and not findings.missing:
        reason = jetson.why_no_monitor(root, "this carrier board has no INA238 at its input")
        findings.missing.append(descriptor("power.VIN", "power", SCOPE, hwmon.FOLDER, "absent", reason))
    return findings


def _add(findings: Findings, monitor: hwmon.Monitor, rail: str) -> None:
    scope = SCOPE if rail == RAIL else "power rail " + rail
    for quantity, file, factor in _INPUTS:
        if file not in monitor.files:
            continue
        source = os.path.join(monitor.path, file)
        about = descriptor("{}.{}".format(quantity, rail), quantity, scope, source, period_s=_period_s(monitor.path))
        if quantity == "power":
            words = "TI SLYS025 (INA238), maximum gain at 25 degC, shunt of +-1 %; the shunt is not shown: no offset"
            about["accuracy"] = accuracy(words, gain=SHUNT_GAIN + BUS_GAIN + SHUNT_TOLERANCE)
        add(findings, Sensor(about, [source], scaled(factor)))


def _period_s(path: str) -> float:
    try:
        period_s = read_number(os.path.join(path, "update_interval")) * 1e-3
    except SensorError:
        return CYCLE_S
    return period_s if 0 < period_s <= 60 else CYCLE_S
