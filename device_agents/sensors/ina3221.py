"""Power rails of INA3221 monitors (Jetson modules): P = V * I per labelled rail, from inN_input mV and currN_input mA.

Source: kernel Documentation/hwmon/ina3221.rst (labels, units; in4..in6 are the shunts, in7 and curr4 their sum) and
TI's datasheet SBOS576: bus step 8 mV, shunt step 40 µV. With the 5 mΩ shunts of the smaller modules one step of current
is 8 mA, about 40 mW on a 5 V rail; with the 2 mΩ of AGX modules 20 mA. Voltage and current are different conversions
and channels are converted in turn (default 6.6 ms per cycle), so one sample of a part may exceed that of the whole.
"""

import os
from typing import List

from device_agents.sensors import hwmon
from device_agents.sensors.base import Findings, Sensor, add, descriptor
from device_agents.sensors.files import read_label

W_PER_UNIT = 1e-6  # mV * mA
PERIOD_S = 6.6e-3  # power-on default: 6 conversions of 1.1 ms

CHANNELS = (1, 2, 3)
_SHUNT_SUM = "sum of shunt voltages"

# What a rail covers. Values of different scopes are never added or compared.
SCOPES = {
    "VDD_IN": "module input (without carrier board, USB, fan, storage)",
    "POM_5V_IN": "board 5 V input",
}


def find(root: str) -> Findings:
    """``power.LABEL`` in W for each rail of each INA3221, without unused channels (label NC) and the sum of shunts."""
    findings = Findings([], [])
    for monitor in hwmon.monitors(root):
        if monitor.name == "ina3221":
            for channel in CHANNELS:
                _add_rail(findings, monitor, channel)
    if not findings.sensors and not findings.missing:
        reason = "this device has no INA3221 power monitor (they sit on Jetson modules)"
        findings.missing.append(descriptor("power.rails", "power", "power rails", hwmon.FOLDER, "absent", reason))
    return findings


def watts(numbers: List[int]) -> float:
    """P = V * I in W of [mV, mA]. Negative values are kept: one step below zero is what an idle rail shows."""
    return numbers[0] * numbers[1] * W_PER_UNIT


def _add_rail(findings: Findings, monitor: hwmon.Monitor, channel: int) -> None:
    voltage, current = "in{}_input".format(channel), "curr{}_input".format(channel)
    label = read_label(os.path.join(monitor.path, "in{}_label".format(channel)))
    if label is not None and (label.upper() == "NC" or label == _SHUNT_SUM):
        return
    if voltage not in monitor.files and current not in monitor.files:
        return
    name = label or "ina3221.channel{}".format(channel)
    about = descriptor(
        "power." + name,
        "power",
        SCOPES.get(name, "power rail " + name),
        os.path.join(monitor.path, current),
        period_s=PERIOD_S,
        note="voltage times current of two conversions",
    )
    add(findings, Sensor(about, [os.path.join(monitor.path, file) for file in (voltage, current)], watts))
