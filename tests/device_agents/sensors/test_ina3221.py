"""Rails of the INA3221 as JetPack 5 and newer show them: watts, accuracy, alarms, and what is left out."""

from __future__ import annotations

import pytest

from device_agents.sensors import ina3221, jetson
from device_agents.sensors.base import Findings
from tests.support.jetson import FOLDER, HWMON, make_board, named, rail, recorded_probe, recorded_tree
from tests.support.sysfs import set_file

ORIN_NANO = "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"


def values(findings: Findings) -> dict[str, float]:
    return {sensor.name: sensor.read() for sensor in findings.sensors}


def about(findings: Findings, name: str) -> dict:
    return next(sensor.descriptor for sensor in findings.sensors if sensor.name == name)


def test_orin_nano_reads_what_its_probe_printed(tmp_path):
    found = ina3221.find(make_board(tmp_path, recorded_tree("constructed_orin_nano_hwmon.tsv"), named(ORIN_NANO)))
    probe = {
        key: [int(word) for word in words.split()] for key, words in recorded_probe().items() if key[:5] == "rail_"
    }
    power = {name: value for name, value in values(found).items() if name.startswith("power.")}
    assert power == {f"power.{key[5:]}": pytest.approx(v * a * 1e-6) for key, (v, a) in probe.items()}
    # SOURCES.md; the part above the whole is no error: channels are converted one after another.
    assert power["power.VDD_IN"] == pytest.approx(7.5514, abs=1e-4)
    assert power["power.VDD_CPU_GPU_CV"] == pytest.approx(8.8486, abs=1e-4)
    assert power["power.VDD_SOC"] == pytest.approx(2.4602, abs=1e-4)
    assert about(found, "power.VDD_IN")["scope"].startswith("module input")


def test_a_rails_step_offset_and_gain_follow_from_its_shunt_and_voltage(tmp_path):
    found = ina3221.find(make_board(tmp_path, recorded_tree("constructed_orin_nano_hwmon.tsv"), named(ORIN_NANO)))
    rail_in = about(found, "power.VDD_IN")
    assert rail_in["resolution"] == pytest.approx(8e-3 * 4.968)  # 40 uV / 5 mohm
    assert rail_in["accuracy"]["offset"] == pytest.approx(16e-3 * 4.968)  # 80 uV / 5 mohm
    # 0.25 % of each conversion, 16 mV of the bus's own offset, 1 % of the shunt
    assert rail_in["accuracy"]["gain"] == pytest.approx(0.0025 + 0.0025 + 0.016 / 4.968 + 0.01, abs=1e-5)
    assert "Nano, NX" in rail_in["accuracy"]["source"] and "5 mohm" in rail_in["accuracy"]["source"]


def test_the_shunt_that_the_driver_shows_beats_the_modules(tmp_path):
    found = ina3221.find(make_board(tmp_path, rail(1, "VDD_GPU", 20000, 100, shunt1_resistor="1000"), named(ORIN_NANO)))
    power = about(found, "power.VDD_GPU")
    assert power["resolution"] == pytest.approx(0.8)
    assert "shunt1_resistor" in power["accuracy"]["source"]


@pytest.mark.parametrize("shown", ["0", "-5000", "2147483647", "garbage", ""])
def test_a_shunt_that_is_none_is_not_believed(tmp_path, shown):
    found = ina3221.find(make_board(tmp_path, rail(1, "VDD_IN", 5000, 100, shunt1_resistor=shown)))
    assert about(found, "power.VDD_IN")["resolution"] == pytest.approx(0.04)


@pytest.mark.parametrize(
    "model, compatible, ohm",
    [
        ("NVIDIA Jetson AGX Orin Developer Kit", "nvidia,p3737-0000+p3701-0000 nvidia,tegra234", 2e-3),
        ("A carrier of another maker", "maker,board nvidia,p3701-0005 nvidia,tegra234", 2e-3),
        ("NVIDIA Jetson AGX Thor Developer Kit", "nvidia,tegra264", 2e-3),
        ("Jetson-AGX Xavier", "nvidia,p2972-0000 nvidia,p2888-0001 nvidia,tegra194", 5e-3),
        ("NVIDIA Jetson AGX Xavier Developer Kit", "nvidia,tegra194", 5e-3),
        ("NVIDIA Jetson Orin NX Engineering Reference Developer Kit", "nvidia,p3767-0000 nvidia,tegra234", 5e-3),
        ("NVIDIA Jetson Nano Developer Kit", "nvidia,jetson-nano nvidia,tegra210", 5e-3),
    ],
)
def test_the_module_tells_its_shunt_where_no_file_does(tmp_path, model, compatible, ohm):
    root = make_board(tmp_path, rail(1, "X", 19600, 100), named(model, compatible))
    assert jetson.module(root).shunt_ohm == ohm
    assert about(ina3221.find(root), "power.X")["accuracy"]["offset"] == pytest.approx(80e-6 / ohm * 19.6)


def test_recorded_steps_of_an_agx_board_are_those_of_its_shunt():
    """A Thor's VDD_GPU showed -392 mW: one step of 2 mohm at 19.6 V (tegrastats_fragments/thor_negative_gpu_power)."""
    step_w, _ = ina3221.quality(19.6, ina3221.module_shunt(jetson.MODULES[2]))
    assert step_w == pytest.approx(0.392)


def test_negative_readings_are_kept(tmp_path):
    found = ina3221.find(make_board(tmp_path, rail(1, "VDD_GPU", 19600, -20)))
    assert values(found)["power.VDD_GPU"] == pytest.approx(-0.392)


def test_the_accuracy_of_a_rail_that_is_off_is_that_of_its_nominal_voltage(tmp_path):
    found = ina3221.find(make_board(tmp_path, rail(1, "VDD_GPU", 0, 0), named("Jetson AGX Orin")))
    assert about(found, "power.VDD_GPU")["resolution"] == pytest.approx(0.02 * 20)
    found = ina3221.find(make_board(tmp_path, rail(1, "VIN_SYS_5V0", 0, 0), named("Jetson AGX Orin")))
    assert about(found, "power.VIN_SYS_5V0")["resolution"] == pytest.approx(0.02 * 5)


@pytest.mark.parametrize(
    "more, period_s",
    [
        ({}, 6.6e-3),
        ({"update_interval": "7"}, 7e-3),
        ({"update_interval": "0", "samples": "64"}, 64 * 6.6e-3),
        ({"samples": "1024"}, 1024 * 6.6e-3),
        ({"update_interval": "garbage", "samples": "-1"}, 6.6e-3),
    ],
)
def test_the_period_is_the_monitors_own(tmp_path, more, period_s):
    found = ina3221.find(make_board(tmp_path, rail(1, "VDD_IN", 5000, 100, **more)))
    assert about(found, "power.VDD_IN")["period_s"] == pytest.approx(period_s)


def test_what_is_no_rail_is_left_out(tmp_path):
    root = make_board(
        tmp_path,
        rail(1, "NC", 0, 0),
        rail(2, None, 5000, 1, in2_enable="0"),
        rail(3, "VDDQ", 5000, 1, in3_enable="0"),
        {HWMON.format(2) + "in7_label": "sum of shunt voltages", HWMON.format(2) + "in7_input": "19000"},
        {HWMON.format(2) + "curr4_input": "3800"},
    )
    found = ina3221.find(root)
    assert found.sensors == []
    assert [(gone["name"], gone["state"]) for gone in found.missing] == [("power.VDDQ", "absent")]
    assert found.missing[0]["reason"] == "the channel is switched off (in3_enable is 0)"


def test_one_file_that_fails_takes_only_its_rail_along(tmp_path):
    """As on the recorded AGX Orin (agx_orin_ina3221_1-0041_partial.txt), where a disabled channel's voltage fails."""
    files = rail(1, "VDD_IN", 5000, 100) | rail(2, "VDDQ_VDD2_1V8AO", 5000, 100) | rail(3, "VDD_SOC", 5000, 100)
    del files[HWMON.format(2) + "in3_input"]
    files[HWMON.format(2) + "curr2_input"] = ""
    found = ina3221.find(make_board(tmp_path, files))
    assert values(found) == {"power.VDD_IN": pytest.approx(0.5)}
    reasons = {gone["name"]: gone["reason"] for gone in found.missing}
    assert reasons == {
        "power.VDDQ_VDD2_1V8AO": "not a number: ''",
        "power.VDD_SOC": "the file is gone",
    }


def recorded_agx_orin() -> dict[str, str]:
    """The files of the recorded listing whose content was printed; one that failed is left out."""
    files, path = {}, ""
    parts = (FOLDER / "sysfs/agx_orin_ina3221_1-0041_partial.txt").read_text().split("---\n")
    for part in (part.strip() for part in parts):
        if part.startswith("/sys/"):
            path = part
        elif path and not part.startswith("cat: "):
            files[path] = part
    return files


def test_a_listing_that_was_cut_gives_no_rails_and_no_error(tmp_path):
    listed = recorded_agx_orin()
    assert listed["/sys/bus/i2c/drivers/ina3221/1-0041/name"] == "ina3221"
    base = "/sys/bus/i2c/drivers/ina3221/1-0041/hwmon/hwmon2/"
    alarms = {path[len(base) :]: text for path, text in listed.items() if path.startswith(base) and "curr" in path}
    assert alarms == {"curr2_max_alarm": "0", "curr1_crit_alarm": "0"}
    files = {HWMON.format(2) + name: text for name, text in alarms.items()} | {HWMON.format(2) + "name": "ina3221"}
    found = ina3221.find(make_board(tmp_path, files))
    assert found.sensors == []
    # With the channel's values there, its recorded alarm is one: the publisher cut them off.
    found = ina3221.find(make_board(tmp_path, files, rail(2, "VDDQ_VDD2_1V8AO", 5000, 60)))
    assert values(found)["throttle.now.VDDQ_VDD2_1V8AO-overcurrent"] == 0.0


def test_jtops_log_of_an_agx_orin_names_the_same_rails_and_alarms(tmp_path):
    log = (FOLDER / "sysfs/agx_orin_jtop_service_log.txt").read_text()
    labels = [line.split("Alarms ")[1].split(" -")[0] for line in log.splitlines() if "Alarms" in line]
    assert labels == ["VDD_CPU_CV", "VIN_SYS_5V0"] and 'Skipped "sum of shunt voltages"' in log
    parts = [rail(n, label, 19600, 100, **{f"curr{n}_{k}_alarm": "0" for k in ("max", "crit")})
             for n, label in enumerate(labels, 1)]  # fmt: skip
    more = {HWMON.format(2) + "in7_label": "sum of shunt voltages", HWMON.format(2) + "in7_input": "1"}
    found = ina3221.find(make_board(tmp_path, *parts, more))
    expected = [f"power.{label}" for label in labels] + [f"throttle.now.{label}-overcurrent" for label in labels]
    assert list(values(found)) == expected and found.missing == []


@pytest.mark.parametrize("alarm", ["curr1_max_alarm", "curr1_crit_alarm"])
def test_either_alarm_of_a_rail_raises_its_flag(tmp_path, alarm):
    root = make_board(tmp_path, recorded_tree("constructed_orin_nano_hwmon.tsv"))
    found = ina3221.find(root)
    flag = next(sensor for sensor in found.sensors if sensor.name == "throttle.now.VDD_IN-overcurrent")
    assert flag.descriptor["quantity"] == "flag" and "7784 mA" in flag.descriptor["note"]
    assert flag.read() == 0.0
    set_file(root, HWMON.format(1) + alarm, "1")
    assert flag.read() == 1.0


def test_an_alarm_whose_limit_cannot_be_reached_is_not_read(tmp_path):
    files = rail(
        1, "VDD_IN", 5000, 100, curr1_max_alarm="0", curr1_max="32760", curr1_crit_alarm="0", curr1_crit="7000"
    )
    found = ina3221.find(make_board(tmp_path, files))
    note = about(found, "throttle.now.VDD_IN-overcurrent")["note"]
    assert "curr1_crit_alarm at 7000 mA" in note and "curr1_max_alarm" not in note


def test_one_alarm_that_cannot_be_read_leaves_the_other(tmp_path):
    files = rail(1, "VDD_IN", 5000, 100, curr1_max_alarm="", curr1_crit_alarm="1")
    assert values(ina3221.find(make_board(tmp_path, files)))["throttle.now.VDD_IN-overcurrent"] == 1.0
    files = rail(1, "VDD_IN", 5000, 100, curr1_max_alarm="", curr1_crit_alarm="x")
    found = ina3221.find(make_board(tmp_path, files))
    assert [gone["name"] for gone in found.missing] == ["throttle.now.VDD_IN-overcurrent"]


def test_a_board_without_a_monitor_says_which_kind_is_missing(tmp_path):
    assert "Jetson" in ina3221.find(make_board(tmp_path / "pc", {"/sys/x": "1"})).missing[0]["reason"]
    reason = ina3221.find(make_board(tmp_path / "nano", named("Jetson Nano"))).missing[0]["reason"]
    assert "JetPack 5" in reason
