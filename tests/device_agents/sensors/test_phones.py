"""Whole phones from recorded reports: what the agent finds on them, samples, and leaves out."""

from __future__ import annotations

import shutil
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device_agents import records
from device_agents.sampler import Sampling
from device_agents.sensors import SensorError, find_sensors
from device_agents.sensors.powerstats import HAL
from tests.support.phone import make_phone, recorded

THERMAL = "android/thermalservice/"
CPU = "/sys/devices/system/cpu/cpufreq/policy{}/{}"
POWER_METER = """============= PowerStats HAL 2.0 energy meter ==============
                   [S10M_VDD_TPU]:TPU          5578.76 mWs
              [VSYS_PWR_MODEM]:Modem         29110.94 mWs
"""


def clocks():
    return {CPU.format(number, name): "1824000" for number in (0, 4) for name in
            ("scaling_cur_freq", "scaling_max_freq", "cpuinfo_max_freq")}  # fmt: skip


def galaxy(root):
    """A Samsung: all of the battery is closed, the zones show no temperature."""
    reports = {
        "battery": recorded("android/battery/samsung_s23_usb.txt"),
        "thermalservice": recorded(THERMAL + "samsung_sm-a155m_android16.txt"),
    }
    files = {f"/sys/class/thermal/thermal_zone{number}/uevent": "" for number in range(22)}
    return make_phone(
        root, reports, {**files, **clocks()}, ro_product_manufacturer="samsung", ro_product_model="SM-S911B"
    )


def pixel(root):
    """A Google phone with its battery open and its rails in the HAL's report only."""
    base = "/sys/class/power_supply/battery/"
    files = {base + "type": "Battery", base + "status": "Discharging", base + "voltage_now": "4446015"}
    files.update({base + "current_now": "-611718", base + "charge_counter": "4832500", **clocks()})
    reports = {
        "battery": recorded("android/battery/pixel11pro_sysfs_and_dumpsys.txt"),
        "thermalservice": recorded(THERMAL + "snapdragon_pixel_android10.txt"),
        "powerstats": recorded("android/power_rails/pixel6_dumpsys_powerstats_channels_excerpt.txt"),
        HAL: POWER_METER,
    }
    return make_phone(root, reports, files, ro_product_manufacturer="Google", ro_product_model="Pixel 11 Pro")


GALAXY = {"supply.external": 1.0, "throttle.status": 0.0, "temperature.SKIN": 28.3, "power.battery": 0.559 * 3.908}
PIXEL = {"supply.external": 0.0, "throttle.status": 0.0, "temperature.cpu1-silver-usr": 44.1}
PIXEL.update({"power.battery": -0.611718 * 4.446015, "energy.odpm.total": 34.6897})


@pytest.mark.parametrize("build, expected", [(galaxy, GALAXY), (pixel, PIXEL)], ids=["galaxy", "pixel"])
def test_a_phone_is_sampled_with_all_that_it_shows(tmp_path, build, expected):
    sensors, descriptors = find_sensors(build(tmp_path))
    records.encode(records.hello({}, descriptors, None, None))
    assert len({about["name"] for about in descriptors}) == len(descriptors)
    blocks, enough = [], threading.Event()

    def emit(record):
        blocks.append(record)
        enough.set()

    sampling = Sampling(sensors, 0.1, emit)
    sampling.start()
    enough.wait(30)
    overhead = sampling.stop()
    assert overhead["sampler_error"] is None
    columns = {}
    for block in blocks:
        for name, column in block["columns"].items():
            columns.setdefault(name, []).extend(column)
    assert set(columns) == {sensor.name for sensor in sensors}
    for name, value in expected.items():
        assert columns[name][0] == pytest.approx(value, rel=1e-4)
    assert overhead["sources"]["dumpsys thermalservice"]["period_s"] >= 1.0
    assert all(one["sampler_cpu_s"] > 0 for one in overhead["sources"].values())


def test_the_rails_are_said_to_be_closed_where_only_their_names_are_known(tmp_path):
    root = pixel(tmp_path)
    (tmp_path / "system/reports" / HAL.replace("/", "_")).unlink()
    _, descriptors = find_sensors(root)
    about = next(one for one in descriptors if one["name"] == "energy.powerstats")
    assert about["state"] == "failed" and "lists 5 channels" in about["reason"]


_HELL = (
    b"",
    b"Can't find service: battery\n",
    b"\xff" * 2000,
    b"  voltage: 1e9\n  level: -5\n  status: 99\n",
    b"Current temperatures from HAL:\n\tTemperature{mValue=1e999, mType=0, mName=\x00, mStatus=9}\n",
)
_GARBAGE = st.one_of(st.binary(max_size=300), st.sampled_from(_HELL))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_GARBAGE, _GARBAGE)
def test_garbage_from_every_program_never_raises(first, second):
    root = Path(tempfile.mkdtemp(prefix="edgewise-test-"))
    try:
        tree = make_phone(
            root, files={"/sys/class/power_supply/bms/type": "BMS", "/sys/class/power_supply/bms/uevent": first}
        )
        reports = root / "system/reports"
        for name, content in (("battery", first), ("thermalservice", second), ("powerstats", first), (HAL, second)):
            (reports / name.replace("/", "_")).write_bytes(content)
        (root / "system/build.prop").write_bytes(b"ro.hardware=" + first.replace(b"\n", b""))
        sensors, descriptors = find_sensors(tree)
        records.encode(records.hello({}, descriptors, None, None))
        for sensor in sensors:
            try:
                value = sensor.read()
            except SensorError as error:
                assert error.reason
            else:
                assert value == value and abs(value) < float("inf")
    finally:
        shutil.rmtree(root)
