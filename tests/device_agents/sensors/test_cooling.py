"""Cooling devices: what slows the board, and nothing else."""

from __future__ import annotations

import pytest

from device_agents.sensors import SensorError, cooling
from tests.support.jetson import make_board
from tests.support.sysfs import set_file

BASE = "/sys/class/thermal/cooling_device{}/"


def devices(*kinds, state="0", highest="3"):
    files = {}
    for number, kind in enumerate(kinds):
        base = BASE.format(number)
        files |= {base + "type": kind, base + "cur_state": state, base + "max_state": highest}
    return files


def test_an_orins_devices_without_its_fan(tmp_path):
    kinds = (
        "cpufreq-cpu0",
        "cpufreq-cpu4",
        "devfreq-17000000.gpu",
        "cpu-throttle-alert",
        "hot-surface-alert",
        "pwm-fan",
    )
    root = make_board(tmp_path, devices(*kinds))
    found = cooling.find(root)
    assert [sensor.name for sensor in found.sensors] == [f"throttle.cooling.{kind}" for kind in kinds[:-1]]
    assert {sensor.read() for sensor in found.sensors} == {0.0} and found.missing == []
    assert found.sensors[0].descriptor["quantity"] == "level" and found.sensors[0].descriptor["note"] == "0 to 3"
    set_file(root, BASE.format(2) + "cur_state", "2")
    assert found.sensors[2].read() == 2.0


@pytest.mark.parametrize(
    "kind", ["pwm-fan", "Fan", "INT3404 Fan", "LCD", "panel0-backlight", "bl_display", "fcc", "smbb-usbin",
             "iwlwifi_1", "TCC Offset", "dc_icl", "wlc_fcc", "chg_mdis", "modem_tj", "battery"],
)  # fmt: skip
def test_what_slows_nothing_is_left_out(tmp_path, kind):
    found = cooling.find(make_board(tmp_path, devices(kind, state="1")))
    assert found.sensors == []
    assert found.missing[0]["reason"] == "no cooling device slows anything here"


def test_devices_of_one_type_are_one_sensor_of_their_highest_state(tmp_path):
    root = make_board(tmp_path, devices(*["Processor"] * 40))
    found = cooling.find(root)
    assert [sensor.name for sensor in found.sensors] == ["throttle.cooling.Processor"]
    assert "highest of 32 of 40" in found.sensors[0].descriptor["note"]
    set_file(root, BASE.format(7) + "cur_state", "3")
    assert found.sensors[0].read() == 3.0


def test_too_many_devices_are_said_to_be_left_out(tmp_path):
    found = cooling.find(make_board(tmp_path, devices(*["Processor"] * 32, "gpu")))
    assert [gone["name"] for gone in found.missing] == ["throttle.cooling.gpu"]


def test_a_negative_state_is_none_but_where_it_means_idle(tmp_path):
    found = cooling.find(make_board(tmp_path, devices("intel_powerclamp", "odd", state="-1")))
    values = {sensor.name: sensor for sensor in found.sensors}
    assert values["throttle.cooling.intel_powerclamp"].read() == 0.0
    with pytest.raises(SensorError, match="state -1"):
        values["throttle.cooling.odd"].read()


def test_without_a_highest_state_and_without_devices(tmp_path):
    files = devices("gpu")
    del files[BASE.format(0) + "max_state"]
    assert "not known" in cooling.find(make_board(tmp_path / "a", files)).sensors[0].descriptor["note"]
    assert "no cooling devices" in cooling.find(make_board(tmp_path / "b", {})).missing[0]["reason"]


def test_a_state_that_cannot_be_read_has_a_reason(tmp_path):
    files = devices("gpu", state="<unknown>")
    assert "not a number" in cooling.find(make_board(tmp_path, files)).missing[0]["reason"]
