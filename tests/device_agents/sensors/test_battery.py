"""Batteries of phones through files, uevent and dumpsys: values, which source, unit and sign, and refusals."""

from __future__ import annotations

import pytest

from device_agents.sensors import battery
from device_agents.sensors.base import SourceSensor
from device_agents.sensors.files import SensorError
from tests.support.phone import make_phone, recorded, set_report
from tests.support.sysfs import make_tree, set_file

SUPPLY = "/sys/class/power_supply/"
BASE = SUPPLY + "battery/"
UAH = 3.6e-3


def look(root):
    """({name: value}, {name: descriptor}) of the battery kind."""
    findings = battery.find(root)
    values = {}
    for sensor in findings.sensors:
        try:
            values[sensor.name] = sensor.read()
        except SensorError as error:
            values[sensor.name] = error.reason
    about = {one["name"]: one for one in [sensor.descriptor for sensor in findings.sensors] + findings.missing}
    assert len(about) == len(findings.sensors) + len(findings.missing)
    assert all(one["state"] == "present" or one["reason"] for one in about.values())
    return values, about


def discharging(**more):
    files = {
        "type": "Battery",
        "status": "Discharging",
        "voltage_now": "3987000",
        "current_now": "-412000",
        "temp": "312",
    }
    files.update(more)
    return {BASE + name: text for name, text in files.items()}


def test_a_phone_that_discharges_has_a_power_with_a_sign(tmp_path):
    values, about = look(make_phone(tmp_path, files=discharging()))
    assert values["current.battery"] == pytest.approx(-0.412)
    assert values["power.battery"] == pytest.approx(-0.412 * 3.987)
    assert values["supply.external"] == 0.0
    assert "unit µA by its size" in about["power.battery"]["note"]
    assert "sign by the state" in about["power.battery"]["note"]
    assert about["current.battery"]["source"].endswith("/battery/current_now")


@pytest.mark.parametrize("raw, factor", [("412000", -1e-6), ("412", -1e-3), ("-412", 1e-3)])
def test_reversed_signs_and_milliamperes_are_put_right(tmp_path, raw, factor):
    values, about = look(make_phone(tmp_path, files=discharging(current_now=raw)))
    assert values["current.battery"] == pytest.approx(int(raw) * factor)
    assert values["current.battery"] == pytest.approx(-0.412)
    assert values["power.battery"] < 0
    assert ("mA" in about["current.battery"]["note"]) == (abs(factor) == 1e-3)


def test_without_a_decision_there_is_no_power(tmp_path):
    files = discharging(status="Charging", current_now="-257109")
    values, about = look(make_phone(tmp_path, files=files))
    assert values["current.battery"] == pytest.approx(-0.257109)
    assert about["current.battery"]["note"].startswith("as the driver gives it")
    assert about["power.battery"]["state"] == "absent" and "not decided" in about["power.battery"]["reason"]
    assert values["supply.external"] == 1.0


def test_sony_counts_what_charges_as_negative(tmp_path):
    files = discharging(status="Charging", current_now="-257109", voltage_now="4170660")
    values, _ = look(make_phone(tmp_path, files=files, ro_product_manufacturer="Sony"))
    assert values["power.battery"] == pytest.approx(0.257109 * 4.17066)


def test_an_undecided_unit_gives_no_current_at_all(tmp_path):
    values, about = look(make_phone(tmp_path, files=discharging(status="Not charging", current_now="976")))
    assert "current.battery" not in values and "power.battery" not in values
    assert "unit not decided" in about["current.battery"]["reason"]


def test_pixel_11_pro_in_full_flow_through_the_charger(tmp_path):
    text = recorded("android/battery/pixel11pro_sysfs_and_dumpsys.txt")
    current, voltage = text.splitlines()[1:3]
    files = {BASE + "type": "Battery", BASE + "status": "Not charging"}
    files.update({BASE + "current_now": current, BASE + "voltage_now": voltage})
    root = make_phone(tmp_path, {"battery": text}, files, ro_product_manufacturer="Google")
    values, about = look(root)
    assert values["power.battery"] == pytest.approx(-0.0521, abs=5e-5)  # 52.1 mW out of the battery
    assert values["supply.external"] == 1.0
    assert values["charge.battery"] == pytest.approx(4832500 * UAH)  # what the files do not have
    assert about["charge.battery"]["source"] == "dumpsys battery"
    assert about["charge.battery"]["resolution"] is None  # nobody knows its step before it moves
    assert about["voltage.battery"]["source"].endswith("voltage_now")


def test_a_phone_that_closes_its_files_is_asked_by_dumpsys(tmp_path):
    root = make_phone(
        tmp_path, {"battery": recorded("android/battery/samsung_s23_usb.txt")}, ro_product_manufacturer="samsung"
    )
    values, about = look(root)
    assert values == {
        "voltage.battery": pytest.approx(3.908),
        "temperature.battery": pytest.approx(42.2),
        "charge.battery": pytest.approx(1633905 * UAH),
        "level.battery": pytest.approx(0.44),
        "current.battery": pytest.approx(0.559),
        "power.battery": pytest.approx(0.559 * 3.908),
        "supply.external": 1.0,
    }
    for one in about.values():
        assert one["source"] == "dumpsys battery" and one["period_s"] == 10.0
    assert about["charge.battery"]["resolution"] == pytest.approx(1633905 * UAH / 0.44 / 1000)
    assert about["charge.battery"]["resolution"] == pytest.approx(3705 * UAH, rel=0.01)
    assert "unit mA" in about["power.battery"]["note"]


def test_dumpsys_is_followed_and_its_failures_are_reasons(tmp_path):
    text = recorded("android/battery/samsung_s23_usb.txt")
    root = make_phone(tmp_path, {"battery": text}, ro_product_manufacturer="samsung")
    sensors = {sensor.name: sensor for sensor in battery.find(root).sensors}
    source = sensors["current.battery"].source
    assert isinstance(sensors["current.battery"], SourceSensor) and source is sensors["supply.external"].source
    changes = {"USB powered: true": "USB powered: false", "now: 559": "now: -1300", "status: 2": "status: 3"}
    for before, after in {**changes, "voltage: 3908": "voltage: 0"}.items():
        text = text.replace(before, after)
    set_report(root, "battery", text)
    source.refresh()
    assert sensors["current.battery"].read() == pytest.approx(-1.3)
    assert sensors["supply.external"].read() == 0.0
    for name in ("voltage.battery", "power.battery"):
        with pytest.raises(SensorError):
            sensors[name].read()
    (tmp_path / "system/reports/battery").unlink()
    source.refresh()
    with pytest.raises(SensorError, match="Can't find service"):
        sensors["current.battery"].read()
    assert source.cpu_s > 0


def test_a_log_in_the_report_proves_the_sign_of_a_discharge(tmp_path):
    extract = recorded("android/battery/samsung_s23_discharge_log_extract.txt")
    report = recorded("android/battery/samsung_s23_usb.txt").split("[EventLogBuffer]")[0]
    values, about = look(make_phone(tmp_path, {"battery": report + "[BattActionChangedLogBuffer]\n" + extract}))
    assert values["current.battery"] == pytest.approx(0.559)
    assert "by the charge counter's slope" in about["current.battery"]["note"]


def test_files_that_may_not_be_read_are_replaced_and_told(tmp_path):
    report = recorded("android/battery/samsung_s23_usb.txt")
    files = {BASE + "type": "Battery", BASE + "voltage_now": "what", BASE + "current_now": "what"}
    values, about = look(make_phone(tmp_path, {"battery": report}, files, ro_product_manufacturer="samsung"))
    assert values["voltage.battery"] == pytest.approx(3.908)
    assert "voltage_now: not a number" in about["voltage.battery"]["note"]
    assert about["current.battery"]["source"] == "dumpsys battery"


@pytest.mark.parametrize("hardware", ["", "ranchu"])
def test_an_emulator_has_no_battery_sensor(tmp_path, hardware):
    text = recorded("android/battery/emulator_2016.txt")
    if hardware:
        text = text.replace("voltage: 0", "voltage: 5000").replace("temperature: 0", "temperature: 250")
    values, about = look(make_phone(tmp_path, {"battery": text}, ro_hardware=hardware))
    assert values == {}
    assert about["power.battery"]["reason"].startswith("no battery sensor")


def test_two_counters_that_disagree_say_so(tmp_path):
    text = recorded("android/battery/oneplus7_lineage20_acc_info_truncated.txt")
    files = discharging(charge_counter="2535012")
    _, about = look(make_phone(tmp_path, {"battery": text}, files))
    assert "disagree: 9126 C and 10256 C" in about["charge.battery"]["note"]
    files[SUPPLY + "bms/type"], files[SUPPLY + "bms/charge_counter"] = "BMS", "2812000"
    _, about = look(make_tree(tmp_path / "files only", files))
    assert "disagree" in about["charge.battery"]["note"] and "disagree" in about["charge.bms"]["note"]


def test_a_counter_that_is_not_supported_leaves_the_other(tmp_path):
    values, _ = look(make_tree(tmp_path, discharging(charge_counter="0", charge_now="2163750")))
    assert values["charge.battery"] == pytest.approx(2163750 * UAH)
    values, about = look(make_tree(tmp_path / "b", discharging(charge_counter="0")))
    assert "not supported" in about["charge.battery"]["reason"]


def test_a_supply_that_has_only_its_uevent(tmp_path):
    files = {SUPPLY + "bms/type": "BMS", SUPPLY + "bms/uevent": recorded("android/uevent/xiaomi_mi6_bms_truncated.txt")}
    files.update({BASE + "type": "Battery", BASE + "status": "Discharging"})
    values, about = look(make_tree(tmp_path, files))
    assert values["current.bms"] == pytest.approx(-1.202147)
    assert values["power.bms"] == pytest.approx(-4.9738, abs=1e-4)
    assert values["temperature.bms"] == pytest.approx(36.0)
    assert about["power.bms"]["source"].endswith("/bms/uevent")
    assert "sign by the state" in about["power.bms"]["note"]


def test_sonys_uevent_alone_leaves_the_sign_open(tmp_path):
    files = {BASE + "type": "Battery", BASE + "uevent": recorded("android/uevent/sony_xz_kernel_charging.txt")}
    values, about = look(make_tree(tmp_path, files))
    assert values["current.battery"] == pytest.approx(-0.257109)
    assert "sign not decided" in about["power.battery"]["reason"]


def test_the_flag_follows_the_charger(tmp_path):
    root = make_tree(tmp_path, {**discharging(), SUPPLY + "usb/type": "USB", SUPPLY + "usb/online": "0"})
    (flag,) = (sensor for sensor in battery.find(root).sensors if sensor.name == "supply.external")
    assert flag.read() == 0.0
    set_file(root, SUPPLY + "usb/online", "1")
    assert flag.read() == 1.0
    set_file(root, SUPPLY + "usb/online", "0")
    set_file(root, BASE + "status", "Full")
    assert flag.read() == 1.0
    set_file(root, BASE + "status", "Unknown")
    with pytest.raises(SensorError, match="feeds"):
        flag.read()


def test_a_wild_value_in_a_run_is_a_reason(tmp_path):
    root = make_tree(tmp_path, discharging())
    sensors = {sensor.name: sensor for sensor in battery.find(root).sensors}
    set_file(root, BASE + "current_now", "-25000000")
    with pytest.raises(SensorError, match="no current"):
        sensors["current.battery"].read()
    set_file(root, BASE + "temp", "-22")
    with pytest.raises(SensorError, match="does not have"):
        sensors["temperature.battery"].read()
