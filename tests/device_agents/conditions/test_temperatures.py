"""Which temperatures count, what is known of them now, and when nothing is."""

from __future__ import annotations

import pytest

from device_agents.conditions.temperatures import STALE_S, Temperatures, relevant
from device_agents.sensors.base import Sensor, Source, SourceSensor, descriptor


def sensor(name, source=None):
    about = descriptor(name, "temperature", "zone", "x")
    return Sensor(about, [], lambda numbers: 0.0) if source is None else SourceSensor(about, source, "x")


BOARDS = {
    "Raspberry Pi": (["cpu-thermal", "rp1_adc"], ["cpu-thermal"]),
    "Orin": (
        ["cpu-thermal", "gpu-thermal", "cv0-thermal", "soc0-thermal", "tj-thermal", "iwlwifi_1"],
        ["cpu-thermal", "gpu-thermal", "cv0-thermal", "soc0-thermal", "tj-thermal"],
    ),
    "Jetson Nano": (
        ["AO-therm", "CPU-therm", "GPU-therm", "PLL-therm", "PMIC-Die", "thermal-fan-est"],
        ["AO-therm", "CPU-therm", "GPU-therm", "PLL-therm"],
    ),
    "x86": (
        ["acpitz", "x86_pkg_temp", "iwlwifi_1", "nvme.Composite", "coretemp.Package id 0", "pch_cannonlake"],
        ["x86_pkg_temp", "coretemp.Package id 0"],
    ),
    "phone": (
        ["CPU0", "GPU0", "skin", "battery", "USB port", "pm8350b-bcl-lvl0", "charger_therm", "BIG", "TPU"],
        ["CPU0", "GPU0", "skin", "BIG", "TPU"],
    ),
    "only an unknown one": (["acpitz", "nvme.Composite"], ["acpitz"]),
    "only a battery": (["battery", "wifi"], ["battery"]),
    "nothing that counts": (["wlan0", "nvme.Composite"], []),
}


@pytest.mark.parametrize("board", BOARDS)
def test_the_chips_own_temperatures_count(board):
    names, wanted = BOARDS[board]
    found = relevant([f"temperature.{name}" for name in names] + ["power.VIN", "frequency.cpu"])
    assert found == [f"temperature.{name}" for name in wanted]


def at(sensors, period_s=0.1):
    now = [100.0]
    return Temperatures(sensors, period_s, clock_s=lambda: now[0]), now


def test_the_hottest_counts_and_old_readings_do_not():
    found, now = at([sensor("temperature.cpu-thermal"), sensor("temperature.gpu-thermal")])
    assert found.hottest() is None
    found.take({"temperature.cpu-thermal": 50.0, "temperature.gpu-thermal": 61.0, "temperature.other": 99.0}, {})
    assert (found.hottest().sensor, found.hottest().temperature_c) == ("temperature.gpu-thermal", 61.0)
    now[0] += STALE_S
    found.take({"temperature.cpu-thermal": 52.0, "temperature.gpu-thermal": None}, {"temperature.gpu-thermal": "gone"})
    assert found.hottest().sensor == "temperature.gpu-thermal"
    now[0] += 0.1
    assert found.hottest().sensor == "temperature.cpu-thermal"
    assert (found.fresh("temperature.gpu-thermal"), found.reason("temperature.gpu-thermal")) == (False, "gone")
    now[0] += STALE_S
    assert found.hottest() is None
    assert "temperature.gpu-thermal: gone" in found.why_none()


def test_a_slow_source_has_more_time():
    found, now = at([sensor("temperature.cpu-thermal", Source("program", 4.0))])
    assert found.patience_s == 12.0
    found.take({"temperature.cpu-thermal": 50.0}, {})
    now[0] += 11.0
    assert found.hottest().temperature_c == 50.0


def test_a_device_without_any_says_so_at_once():
    found, _ = at([sensor("power.VIN")])
    assert found.patience_s == 0.0
    assert found.why_none() == "this device shows no temperature of its chip"


def test_who_watches_hears_the_hottest_of_each_reading():
    found, _ = at([sensor("temperature.cpu"), sensor("temperature.gpu")])
    heard = []
    found.watch(heard.append)
    found.take({"temperature.cpu": 40.0, "temperature.gpu": 41.0}, {})
    found.watch(None)
    found.take({"temperature.cpu": 90.0}, {})
    assert [one.temperature_c for one in heard] == [41.0]
