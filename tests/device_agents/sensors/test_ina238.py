"""The board input of a Thor's carrier."""

from __future__ import annotations

import pytest

from device_agents.sensors import find_sensors, ina238
from tests.support.jetson import HWMON, make_board, named, recorded_tree

THOR = named("NVIDIA Jetson AGX Thor Developer Kit", "nvidia,p4071-0000+p3834-0008 nvidia,tegra264")


def test_thor_shows_its_input_once_and_in_watts(tmp_path):
    sensors, descriptors = find_sensors(make_board(tmp_path, recorded_tree("constructed_thor_hwmon.tsv"), THOR))
    values = {sensor.name: sensor.read() for sensor in sensors}
    assert values["power.VIN"] == pytest.approx(19.78)  # as in tegrastats/thor_t5000_jp7_root.txt
    assert values["voltage.VIN"] == pytest.approx(19.78)
    assert values["current.VIN"] == pytest.approx(1.0)
    assert sum(abs(value - 19.78) < 1e-9 and name.startswith("power") for name, value in values.items()) == 1
    about = {one["name"]: one for one in descriptors}
    assert about["power.VIN"]["scope"].startswith("board input")
    assert about["power.VIN"]["accuracy"]["gain"] == pytest.approx(0.012)
    assert about["power.VDD_GPU"]["resolution"] == pytest.approx(0.02 * 19.624)  # 2 mohm


def test_several_monitors_are_no_board_input(tmp_path):
    files = {}
    for number, label in ((3, "AUX"), (4, None)):
        files |= {HWMON.format(number) + "name": "ina238", HWMON.format(number) + "power1_input": "1000000"}
        if label:
            files[HWMON.format(number) + "power1_label"] = label
    found = ina238.find(make_board(tmp_path, files))
    assert [sensor.name for sensor in found.sensors] == ["power.AUX", "power.ina238"]
    assert "board input" not in found.sensors[0].descriptor["scope"]


def test_its_files_fail_alone_and_its_interval_is_taken(tmp_path):
    files = recorded_tree("constructed_thor_hwmon.tsv")
    files[HWMON.format(6) + "curr1_input"] = ""
    files[HWMON.format(6) + "update_interval"] = "50"
    found = ina238.find(make_board(tmp_path, files))
    assert [sensor.name for sensor in found.sensors] == ["power.VIN", "voltage.VIN"]
    assert [gone["name"] for gone in found.missing] == ["current.VIN"]
    assert found.sensors[0].descriptor["period_s"] == pytest.approx(0.05)


def test_a_thor_on_a_carrier_without_one_says_so(tmp_path):
    found = ina238.find(make_board(tmp_path, THOR))
    assert found.missing[0]["reason"] == "this carrier board has no INA238 at its input"
