"""The over-current counters of a Jetson's SoC."""

from __future__ import annotations

from device_agents.sensors import throttle
from tests.support.jetson import FOLDER, HWMON, make_board


def test_the_recorded_counters_of_an_orin(tmp_path):
    text = (FOLDER / "sysfs/orin_oc_event_counters.txt").read_text()
    files = {HWMON.format(3) + key: value for key, value in (line.split("=") for line in text.splitlines())}
    found = throttle.find(make_board(tmp_path, files | {HWMON.format(3) + "name": "soctherm_oc"}))
    values = {sensor.name: sensor.read() for sensor in found.sensors}
    assert values == {"throttle.oc1": 0.0, "throttle.oc2": 15.0, "throttle.oc3": 37.0}
    scopes = [sensor.descriptor["scope"] for sensor in found.sensors]
    assert "under-voltage" in scopes[0] and "average" in scopes[1] and "momentary" in scopes[2]
    assert {sensor.descriptor["note"] for sensor in found.sensors} == {"since boot"}


def test_a_counter_that_lowers_no_clock_is_no_sign_of_throttling(tmp_path):
    base = HWMON.format(3)
    files = {base + "name": "soctherm_oc", base + "oc1_event_cnt": "4", base + "oc1_throt_en": "0"}
    files |= {base + "oc2_event_cnt": "4", base + "oc2_throt_en": "1"}
    notes = {sensor.name: sensor.descriptor["note"] for sensor in throttle.find(make_board(tmp_path, files)).sensors}
    assert list(notes) == ["events.oc1", "throttle.oc2"]
    assert "oc1_throt_en is 0" in notes["events.oc1"] and notes["throttle.oc2"] == "since boot"
