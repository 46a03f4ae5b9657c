"""Android's thermal reports: every recorded file gives the HAL's temperatures, never cached ones, and the level."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agents.sensors import cpufreq, thermal, thermalservice
from device_agents.sensors.files import SensorError
from device_agents.sensors.thermalservice_text import parse_thermal
from tests.support.phone import TELEMETRY, make_phone, recorded, set_report
from tests.support.sysfs import make_tree

FOLDER = "android/thermalservice/"
HAL = "android.hardware.thermal.IThermal/default"

# Lines in the form of hardware/google/pixel/thermal, Thermal::dumpThermalData; the numbers are constructed.
PIXEL_HAL = """getCachedTemperatures:
 Name: VIRTUAL-SKIN CachedValue: 41.5 TimeToCache: 5210ms
getEmulTemperatures:
getCurrentTemperatures:
 Type: USB_PORT Name: VIRTUAL-USB-UI CurrentValue: 0 ThrottlingStatus: NONE
 Type: SKIN Name: VIRTUAL-SKIN CurrentValue: 28.9687 ThrottlingStatus: LIGHT
 Type: CPU Name: BIG CurrentValue: 61 ThrottlingStatus: SEVERE
 Type: UNKNOWN Name: VIRTUAL-SKIN-MODEL CurrentValue: 31.2 ThrottlingStatus: NONE
 Type: BCL_CURRENT Name: soft_ocp_cpu1 CurrentValue: 6900 ThrottlingStatus: NONE
getTemperatureThresholds:
 Type: SKIN Name: VIRTUAL-SKIN hotThrottlingThreshold: [nan 39 43 45 46.5 52 55 ]
getCurrentCoolingDevices:
 Type: CPU Name: thermal-cpufreq-0 CurrentValue: 2
 Type: BATTERY Name: fcc CurrentValue: 1
getCallbacks:
 Total: 1
"""

# Lines in the form that a Pixel 6 prints (skia-buildbot's tests have a recording of one); the HAL's part only.
PIXEL_6 = """Thermal Status: 0
Cached temperatures:
\tTemperature{mValue=55.000004, mType=0, mName=LITTLE, mStatus=0}
\tTemperature{mValue=8900.0, mType=7, mName=soft_ocp_cpu2, mStatus=0}
HAL Ready: true
Current temperatures from HAL:
\tTemperature{mValue=0.0, mType=6, mName=battery_cycle, mStatus=0}
\tTemperature{mValue=3300.0, mType=6, mName=smpl_gm, mStatus=0}
\tTemperature{mValue=8900.0, mType=7, mName=soft_ocp_cpu2, mStatus=0}
\tTemperature{mValue=85.0, mType=8, mName=soc, mStatus=0}
\tTemperature{mValue=27.0, mType=0, mName=LITTLE, mStatus=0}
\tTemperature{mValue=26.0, mType=1, mName=G3D, mStatus=0}
\tTemperature{mValue=25.0, mType=9, mName=TPU, mStatus=0}
\tTemperature{mValue=-1.8060001, mType=-1, mName=USB2-MINUS-QI, mStatus=0}
\tTemperature{mValue=0.0, mType=-1, mName=FLASH_LED_REDUCE, mStatus=0}
\tTemperature{mValue=NaN, mType=3, mName=VIRTUAL-SKIN-GONE, mStatus=0}
\tTemperature{mValue=24.83, mType=3, mName=VIRTUAL-SKIN, mStatus=0}
\tTemperature{mValue=22.1, mType=2, mName=battery, mStatus=0}
"""


def test_galaxy_a15():
    report = parse_thermal(recorded(FOLDER + "samsung_sm-a155m_android16.txt"))
    assert report.temperatures == {
        "AP": 30.9,
        "BAT": 24.8,
        "PA": 29.1,
        "SKIN": 28.3,
        "USB": 26.3,
    }  # not the cached 29.7
    assert "absent" in report.reasons["SUBBAT"]
    assert report.status == 0
    assert report.thresholds["SKIN"] == [38.0, 40.0, 42.0, 45.0, 60.0, 90.0]
    assert report.thresholds["BAT"] == [None, None, None, None, 55.0, 85.0]


def test_pixel_3a():
    report = parse_thermal(recorded(FOLDER + "snapdragon_pixel_android10.txt"))
    hottest = max((degc, name) for name, degc in report.temperatures.items() if report.kinds[name] == "CPU")
    assert hottest == (44.1, "cpu1-silver-usr")  # the cached list has 48.3
    assert report.temperatures["battery"] == pytest.approx(28.0, abs=1e-3)
    assert report.temperatures["mb-therm-monitor"] == pytest.approx(30.147, abs=1e-3)
    assert report.kinds["mb-therm-monitor"] == "SKIN"
    assert report.cooling == {"thermal-cpufreq-0": 0, "thermal-cpufreq-6": 0, "thermal-devfreq-0": 0}


def test_a_samsung_that_counts_its_types_from_one():
    report = parse_thermal(recorded(FOLDER + "samsung_sdhms_type_shifted.txt"))
    assert report.temperatures == {"TYPE_CPU": 24.0, "TYPE_BATTERY": 24.4, "TYPE_SKIN": 25.3, "TYPE_USB_PORT": 24.2}
    assert report.kinds["TYPE_CPU"] == "CPU" and report.kinds["TYPE_SKIN"] == "SKIN"
    assert "-99.9" in report.reasons["TYPE_POWER_AMPLIFIER"]
    assert report.cooling == {"TYPE_CPU": 0, "TYPE_GPU": 0}  # not the modem's 1


def test_a_shield_shows_only_what_is_stale():
    report = parse_thermal(recorded(FOLDER + "nvidia_shield_tv_2019_truncated.txt"))
    assert report.temperatures == {} and "stale" in report.reasons[""]
    assert report.status == 0


def test_galaxy_s24_plus_is_capped_at_level_0(tmp_path):
    text = recorded(FOLDER + "samsung_s24plus_capped_status0.txt")
    report = parse_thermal(text)
    assert report.status == 0
    assert report.temperatures == {"AP": 53.4, "BAT": 38.6, "SKIN": 40.0, "USB": 34.1}
    files = {}
    for name, now_khz, hardware_khz in re.findall(r"cores=(policy\d),(\d+),(\d+)", text):
        base = f"/sys/devices/system/cpu/cpufreq/{name}/"
        files.update({base + "scaling_cur_freq": now_khz, base + "scaling_max_freq": now_khz})
        files[base + "cpuinfo_max_freq"] = hardware_khz
    root = make_phone(tmp_path, {"thermalservice": text}, files)
    caps = {sensor.name: sensor.read() for sensor in cpufreq.find(root).sensors if sensor.name.startswith("cap.")}
    assert caps == {
        "cap.policy0": pytest.approx(1632000 / 1959000),
        "cap.policy4": pytest.approx(1824000 / 2592000),
        "cap.policy7": pytest.approx(1824000 / 2900000),
        "cap.policy9": pytest.approx(1824000 / 3207000),
    }
    levels = {sensor.name: sensor.read() for sensor in thermalservice.find(root).sensors}
    assert levels["throttle.status"] == 0.0


def test_pixel_fold():
    report = parse_thermal(recorded(FOLDER + "pixel_fold_fragment.txt"))
    assert report.temperatures == {"VIRTUAL-SKIN": 30.65}
    assert report.thresholds == {"VIRTUAL-SKIN": [39.0, 43.0, None]}


def test_pixel_6_lists_more_than_temperatures():
    report = parse_thermal(PIXEL_6)
    assert report.temperatures == {"LITTLE": 27.0, "G3D": 26.0, "TPU": 25.0, "VIRTUAL-SKIN": 24.83, "battery": 22.1}
    assert "in mA" in report.reasons["soft_ocp_cpu2"] and "in mV" in report.reasons["smpl_gm"]
    assert "in per cent" in report.reasons["soc"]
    assert "computed" in report.reasons["USB2-MINUS-QI"]
    assert "NaN" in report.reasons["VIRTUAL-SKIN-GONE"]


def test_the_report_of_the_hal_itself():
    report = parse_thermal(PIXEL_HAL)
    assert report.temperatures == {"VIRTUAL-SKIN": 28.9687, "BIG": 61.0}
    assert report.status == 1  # of the skin; the CPU's own level is not Android's
    assert report.cooling == {"thermal-cpufreq-0": 2}
    assert "VIRTUAL-SKIN-MODEL" in report.reasons and "soft_ocp_cpu1" in report.reasons


def test_every_recorded_file_has_a_test():
    with open(__file__, encoding="utf-8") as file:
        own = file.read()
    for folder in ("thermalservice", "sysfs"):
        for path in (TELEMETRY / "android" / folder).iterdir():
            assert path.name in own, path


@pytest.mark.parametrize(
    "change, words",
    [
        (("HAL Ready: true", "HAL Ready: false"), "not ready"),
        (("IsStatusOverride: false", "IsStatusOverride: true"), "overridden"),
        (("Thermal Status: 0", "Thermal Status: 9"), "'9'"),
    ],
)
def test_a_level_that_means_nothing_is_none(change, words):
    report = parse_thermal(recorded(FOLDER + "samsung_sm-a155m_android16.txt").replace(*change))
    assert report.status is None and words in report.status_reason
    assert bool(report.temperatures) == (words != "not ready")


def zones(count):
    """The thermal folder of a Galaxy A15 as the shell sees it: 22 zones and no temperature."""
    names = recorded("android/sysfs/samsung_sm-a155m_thermal_ls.txt").split()
    assert "No such file" in recorded("android/sysfs/samsung_sm-a155m_thermal_temp_error.txt")
    assert sum(name.startswith("thermal_zone") for name in names) == count == 22
    return {f"/sys/class/thermal/{name}/uevent": "" for name in names}


def test_zones_without_temperatures_leave_the_service(tmp_path):
    root = make_phone(tmp_path, {"thermalservice": recorded(FOLDER + "samsung_sm-a155m_android16.txt")}, zones(22))
    files = thermal.find(root)
    assert files.sensors == [] and len(files.missing) == 22
    assert all("no temperature file" in about["reason"] for about in files.missing)
    assert [path.rsplit("zone", 1)[1] for path in thermal.zones(root)] == [str(number) for number in range(22)]
    findings = thermalservice.find(root)
    values = {sensor.name: sensor.read() for sensor in findings.sensors}
    assert values == {
        "throttle.status": 0.0,
        "temperature.AP": 30.9,
        "temperature.BAT": 24.8,
        "temperature.PA": 29.1,
        "temperature.SKIN": 28.3,
        "temperature.USB": 26.3,
    }
    about = {sensor.name: sensor.descriptor for sensor in findings.sensors}
    assert about["temperature.SKIN"]["note"].startswith("levels begin at light 38 °C, moderate 40 °C")
    assert all(one["period_s"] >= 1.0 and one["source"] == "dumpsys thermalservice" for one in about.values())
    assert findings.missing[0]["name"] == "temperature.SUBBAT" and findings.missing[0]["state"] == "absent"


def test_zones_that_show_temperatures_come_first(tmp_path):
    files = {}
    for number, kind in enumerate(recorded("android/sysfs/sony_msm8998_thermal_zone_types.txt").split()):
        files[f"/sys/class/thermal/thermal_zone{number}/type"] = kind
        files[f"/sys/class/thermal/thermal_zone{number}/temp"] = "31000"
    root = make_phone(tmp_path, {"thermalservice": PIXEL_6}, files)
    assert "temperature.quiet_therm" in {sensor.name for sensor in thermal.find(root).sensors}
    assert len(thermal.find(root).sensors) == 15
    findings = thermalservice.find(root)
    assert [sensor.name for sensor in findings.sensors] == ["throttle.status"]
    assert "thermal zones" in findings.missing[0]["reason"]


def test_the_hals_own_report_is_the_second_choice(tmp_path):
    root = make_phone(tmp_path, {"thermalservice": "Thermal Status: 0\nHAL Ready: true\n", HAL: PIXEL_HAL})
    values = {sensor.name: sensor.read() for sensor in thermalservice.find(root).sensors}
    assert values["temperature.VIRTUAL-SKIN"] == 28.9687
    assert values["throttle.status"] == 1.0 and values["throttle.cooling.thermal-cpufreq-0"] == 2.0


def test_what_changes_in_a_run_is_followed(tmp_path):
    text = recorded(FOLDER + "samsung_sm-a155m_android16.txt")
    root = make_phone(tmp_path, {"thermalservice": text})
    sensors = {sensor.name: sensor for sensor in thermalservice.find(root).sensors}
    source = sensors["temperature.AP"].source
    set_report(root, "thermalservice", text.replace("30.9", "-99.9").replace("Status: 0", "Status: 3"))
    source.refresh()
    assert sensors["throttle.status"].read() == 3.0
    with pytest.raises(SensorError, match="no temperature"):
        sensors["temperature.AP"].read()
    set_report(root, "thermalservice", text.replace("HAL Ready: true", "HAL Ready: false"))
    source.refresh()
    for name in ("throttle.status", "temperature.AP"):
        with pytest.raises(SensorError, match="not ready"):
            sensors[name].read()


def test_a_board_that_is_no_phone_says_so(tmp_path):
    findings = thermalservice.find(make_tree(tmp_path, {}))
    assert findings.sensors == [] and findings.missing[0]["state"] == "absent"
    findings = thermalservice.find(make_phone(tmp_path / "phone"))
    assert findings.missing[0]["state"] == "failed" and "Can't find service" in findings.missing[0]["reason"]


_LINES = st.sampled_from(PIXEL_6.splitlines() + PIXEL_HAL.splitlines() + ["HAL Ready: false", "Thermal Status: x"])
_DAMAGE = st.one_of(_LINES, st.text(max_size=40), st.tuples(_LINES, st.integers(0, 60), st.text(max_size=3)).map(
    lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] :]))  # fmt: skip


@given(st.lists(_DAMAGE, max_size=40).map("\n".join))
def test_no_text_raises_and_all_values_are_temperatures(text):
    report = parse_thermal(text)
    assert all(-40 <= degc <= 200 and degc != 0 for degc in report.temperatures.values())
    assert report.status is None or 0 <= report.status <= 6
    assert not report.temperatures.keys() & report.reasons.keys()
    assert all(state >= 0 for state in report.cooling.values())


def test_a_hundred_thousand_lines_are_read_in_time():
    lines = (PIXEL_6 + PIXEL_HAL).splitlines()
    for start in range(0, 100_000, 1000):
        parse_thermal("\n".join(lines[(start + n * 7) % len(lines)][: 10 + n % 80] for n in range(1000)))
    parse_thermal("\n".join(["Current temperatures from HAL:"] + ["Temperature{" + "m" * 200] * 100_000))
