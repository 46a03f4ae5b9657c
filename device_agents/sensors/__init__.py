"""The sensors of a device: what it can say about its heat, power and clocks, and what it cannot, with the reason.

A kind of sensor is one module with ``find(root) -> Findings`` and one line in KINDS.
"""

from typing import Callable, Dict, List, Tuple

from device_agents.sensors import (
    battery,
    cooling,
    cpufreq,
    devfreq,
    hwmon,
    ina238,
    ina3221,
    ina3221x,
    odpm,
    phone_gpu,
    powerstats,
    rapl,
    tegrastats,
    thermal,
    thermalservice,
    throttle,
    vcgencmd,
)
from device_agents.sensors.base import Descriptor, Findings, Sensor, make_unique
from device_agents.sensors.files import SensorError

__all__ = ["KINDS", "Descriptor", "Findings", "Sensor", "SensorError", "find_sensors"]

KINDS: Dict[str, Callable[[str], Findings]] = {
    "thermal": thermal.find,
    "cpufreq": cpufreq.find,
    "hwmon": hwmon.find,
    "ina3221": ina3221.find,
    "ina3221x": ina3221x.find,
    "ina238": ina238.find,
    "devfreq": devfreq.find,
    "cooling": cooling.find,
    "tegrastats": tegrastats.find,
    "rapl": rapl.find,
    "battery": battery.find,
    "thermalservice": thermalservice.find,
    "odpm": odpm.find,
    "powerstats": powerstats.find,
    "phone-gpu": phone_gpu.find,
    "throttle": throttle.find,
    "vcgencmd": vcgencmd.find,
}


def find_sensors(root: str = "/") -> Tuple[List[Sensor], List[Descriptor]]:
    """The sensors that can be sampled, and the descriptors of all: present, absent and failed, each name once.

    ``root``: where /sys is looked for. Never raises on what is found there; a kind that is not on this device gives
    at least one descriptor with state "absent" and the reason.
    """
    sensors: List[Sensor] = []
    missing: List[Descriptor] = []
    for find in KINDS.values():
        findings = find(root)
        sensors += findings.sensors
        missing += findings.missing
    for sensor, name in zip(sensors, make_unique(sensor.name for sensor in sensors)):
        sensor.rename(name)
    everything = [sensor.descriptor for sensor in sensors] + missing
    for about, name in zip(everything, make_unique(about["name"] for about in everything)):
        about["name"] = name
    return sensors, everything
