"""The GPU clocks of phones: Qualcomm's and Google's folders, and no second sensor beside devfreq's."""

from __future__ import annotations

import pytest

from device_agents.sensors import find_sensors, phone_gpu
from tests.support.sysfs import make_tree

KGSL = "/sys/class/kgsl/kgsl-3d0/"
MALI = "/sys/devices/platform/1f000000.mali/"
STEPS = "680000000 615000000 550000000 475000000 401000000 348000000 220000000"
FILES = {KGSL + "gpuclk": "550000000", KGSL + "max_gpuclk": "615000000", KGSL + "gpu_available_frequencies": STEPS}


def test_qualcomm(tmp_path):
    values = {sensor.name: sensor.read() for sensor in phone_gpu.find(make_tree(tmp_path, FILES)).sensors}
    assert values == {"frequency.gpu": 550e6, "cap.gpu": pytest.approx(615 / 680)}


def test_google(tmp_path):
    files = {
        MALI + "cur_freq": "151000",
        MALI + "scaling_max_freq": "848000",
        MALI + "available_frequencies": "848000 151000",
    }
    values = {sensor.name: sensor.read() for sensor in phone_gpu.find(make_tree(tmp_path, files)).sensors}
    assert values == {"frequency.gpu": 151e6, "cap.gpu": 1.0}


def test_the_same_clock_in_devfreq_is_not_read_twice(tmp_path):
    devfreq = "/sys/class/devfreq/5000000.qcom,kgsl-3d0/"
    files = {**FILES, devfreq + "cur_freq": "550000000", devfreq + "max_freq": "680000000"}
    sensors, _ = find_sensors(make_tree(tmp_path, files))
    assert [sensor.name for sensor in sensors if "gpu" in sensor.name] == ["frequency.gpu"]
    assert phone_gpu.find(str(tmp_path)).sensors == []


def test_damaged_and_missing_files(tmp_path):
    findings = phone_gpu.find(make_tree(tmp_path, {KGSL + "gpuclk": "busy"}))
    assert findings.sensors == [] and findings.missing[0]["state"] == "failed"
    findings = phone_gpu.find(make_tree(tmp_path / "b", {**FILES, KGSL + "gpu_available_frequencies": "-- x"}))
    assert [sensor.name for sensor in findings.sensors] == ["frequency.gpu"]
    assert phone_gpu.find(make_tree(tmp_path / "c", {})).missing[0]["state"] == "absent"
