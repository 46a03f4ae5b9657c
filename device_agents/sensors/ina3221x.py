"""Power rails of INA3221 monitors under JetPack 4 and older: NVIDIA's own driver, in the layout of the IIO subsystem.

/sys/bus/i2c/drivers/ina3221x/*/iio:device*/ (``iio_device`` on the oldest) with rail_name_N, in_powerN_input mW,
in_voltageN_input mV, in_currentN_input mA, and limits with a unit behind them: ``32760 ma``. Source: jetson_stats
jtop/core/power.py. The monitor and its accuracy are those of ina3221.py.
"""

import os
import re
from typing import List, Optional, Tuple

from device_agents.sensors import ina3221, jetson
from device_agents.sensors.base import Findings, Sensor, add, descriptor, scaled
from device_agents.sensors.files import SensorError, folder, read_label, read_number, under

FOLDER = "/sys/bus/i2c/drivers/ina3221x"
W_PER_UNIT = 1e-3  # in_powerN_input: mW
A_PER_UNIT = 1e-3
CHANNELS = (0, 1, 2)

_LIMIT = re.compile(r"(-?\d{1,9})\s{0,9}(?:m[aA])?\Z", re.ASCII)


def find(root: str) -> Findings:
    """``power.RAIL`` in W for each named rail, from the driver's power file, else from voltage times current."""
    findings = Findings([], [])
    module = jetson.module(root)
    for path in monitors(root):
        for channel in CHANNELS:
            _add_rail(findings, path, channel, module)
    if not findings.sensors and not findings.missing:
        reason = jetson.why_no_monitor(root, "no INA3221 in the layout of JetPack 4")
        findings.missing.append(descriptor("power.ina3221x", "power", "power rails", FOLDER, "absent", reason))
    return findings


def monitors(root: str) -> List[str]:
    """The folders of all the monitors' values, in natural order of their I2C addresses."""
    base = under(root, FOLDER)
    found: List[str] = []
    for path in (os.path.join(base, address) for address in folder(base)):
        found += [os.path.join(path, name) for name in folder(path) if name.startswith("iio")]
    return [path for path in found if os.path.isdir(path)]


def limit_a(text: Optional[str]) -> Optional[float]:
    """The amperes of a current limit ("32760 ma"); None when there is none, or it is no number of milliampere.

    >>> limit_a("32760 ma")
    32.76
    """
    match = _LIMIT.match((text or "").strip())
    return int(match.group(1)) * A_PER_UNIT if match else None


def _add_rail(findings: Findings, path: str, channel: int, module: jetson.Module) -> None:
    rail = read_label(os.path.join(path, "rail_name_{}".format(channel)))
    if rail is None or rail.upper() == "NC":
        return
    power, voltage, current = (
        os.path.join(path, "in_{}{}_input".format(quantity, channel)) for quantity in ("power", "voltage", "current")
    )
    own = os.path.lexists(power) and (_reads(power) or not (_reads(voltage) and _reads(current)))
    about = descriptor("power." + rail, "power", ina3221.scope(rail), power if own else current)
    about["period_s"] = ina3221.CYCLE_S
    volts = ina3221.volts_now(voltage, module, rail)
    about["resolution"], about["accuracy"] = ina3221.quality(volts, ina3221.module_shunt(module))
    made = "the driver's own product" if own else "voltage times current of two conversions"
    about["note"] = made + _limits(path, channel)
    if own:
        add(findings, Sensor(about, [power], scaled(W_PER_UNIT)))
    else:
        add(findings, Sensor(about, [voltage, current], ina3221.watts))


def _limits(path: str, channel: int) -> str:
    kinds: Tuple[str, ...] = ("warn", "crit")
    texts = {kind: read_label(os.path.join(path, "{}_current_limit_{}".format(kind, channel))) for kind in kinds}
    limits = {kind: limit_a(text) for kind, text in texts.items()}
    shown = ["{} {:g} A".format(kind, limit) for kind, limit in limits.items() if limit is not None]
    return "; current limits: " + ", ".join(shown) if shown else ""


def _reads(path: str) -> bool:
    try:
        read_number(path)
    except SensorError:
        return False
    return True
