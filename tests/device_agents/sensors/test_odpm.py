"""Energy of a Pixel's rails from the power monitors' files and from Android's reports: recorded files and refusals."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agents.sensors import odpm, powerstats
from device_agents.sensors.files import SensorError
from device_agents.sensors.odpm import parse_energy, parse_rails
from device_agents.sensors.powerstats import parse_channels, parse_meter
from tests.support.phone import TELEMETRY, make_phone, recorded, set_report
from tests.support.sysfs import make_tree, set_file

FOLDER = "android/power_rails/"
DEVICE0 = "/sys/bus/iio/devices/iio:device0/"
DEVICE3 = "/sys/bus/iio/devices/iio:device3/"

# In the form of hardware/google/pixel/powerstats, PowerStats::dumpEnergyMeter; the numbers are constructed.
HAL_REPORT = """
============= PowerStats HAL 2.0 energy consumers ==============
                             Channel    Cumulative Energy
                                 TPU          9999.99 mWs
========== End of PowerStats HAL 2.0 energy consumers ==========

============= PowerStats HAL 2.0 energy meter ==============
                             Channel    Cumulative Energy
                   [S10M_VDD_TPU]:TPU          5578.76 mWs
              [VSYS_PWR_MODEM]:Modem         29110.94 mWs
          [S2M_VDD_CPUCL2]:CPU(BIG)         30203.50 mWs (          12.00)
========== End of PowerStats HAL 2.0 energy meter ==========
                          [NOT_A_RAIL]:X             1.00 mWs
"""


def two_devices():
    first, second = recorded(FOLDER + "pixel6_odpm_energy_value_both.txt").split("t=16086645")
    return {
        DEVICE3 + "name": "s2mpg10-odpm",
        DEVICE3 + "energy_value": first.strip(),
        DEVICE0 + "name": "s2mpg11-odpm",
        DEVICE0 + "energy_value": "t=16086645" + second.rstrip(),
        "/sys/bus/iio/devices/iio:device1/name": "an-adc",
    }


def test_one_device_of_a_pixel_6():
    (meter,) = parse_energy(recorded(FOLDER + "pixel6_odpm_energy_value_device0.txt"))
    assert meter.t_s == pytest.approx(349.894)
    assert len(meter.rails) == 8
    assert sum(energy_j for _, energy_j in meter.rails.values()) == pytest.approx(169.656958)
    assert sum(energy_j / t_s for t_s, energy_j in meter.rails.values()) == pytest.approx(0.485, abs=1e-3)  # since boot
    assert meter.rails["S10M_VDD_TPU"] == (pytest.approx(349.894), pytest.approx(5.578756))


def test_two_devices_in_one_text_keep_their_own_clocks():
    first, second = parse_energy(recorded(FOLDER + "pixel6_odpm_energy_value_both.txt"))
    assert first.t_s == pytest.approx(251741.617) and second.t_s == pytest.approx(16086.645)
    assert first.rails["VSYS_PWR_WLAN_BT"][1] == pytest.approx(192612.469095)  # does not fit 32 bits of µWs
    assert second.rails["VSYS_PWR_RFFE"][1] == 0.0  # nothing was used: a value
    assert len(first.rails) == len(second.rails) == 8


def test_the_rails_and_what_they_feed():
    rails = parse_rails(recorded(FOLDER + "pixel6_odpm_enabled_rails.txt"))
    assert len(rails) == 8
    assert rails["S10M_VDD_TPU"] == "Tensor" and rails["S1M_VDD_MIF"] == "Memory"


def test_the_channels_that_android_lists():
    channels = parse_channels(recorded(FOLDER + "pixel6_dumpsys_powerstats_channels_excerpt.txt"))
    assert [channel.rail for channel in channels] == [
        "S10M_VDD_TPU", "VSYS_PWR_MODEM", "VSYS_PWR_RFFE", "S2M_VDD_CPUCL2", "S3M_VDD_CPUCL1"
    ]  # fmt: skip
    assert channels[3].feeds == "CPU(BIG)" and channels[3].number == 3


def test_every_recorded_file_has_a_test():
    with open(__file__, encoding="utf-8") as file:
        own = file.read()
    for path in (TELEMETRY / "android" / "power_rails").iterdir():
        assert path.name in own, path


def test_sensors_of_two_devices(tmp_path):
    findings = odpm.find(make_tree(tmp_path, two_devices()))
    values = {sensor.name: sensor.read() for sensor in findings.sensors}
    about = {sensor.name: sensor.descriptor for sensor in findings.sensors}
    assert len(values) == 16 + 2 + 1 and findings.missing == []
    assert values["energy.odpm.S4M_VDD_CPUCL0"] == pytest.approx(289.995530)
    assert values["time.odpm.s2mpg10-odpm"] == pytest.approx(251741.617)
    assert values["time.odpm.s2mpg11-odpm"] == pytest.approx(16086.645)
    rails = [value for name, value in values.items() if name.startswith("energy.odpm.") and "total" not in name]
    assert values["energy.odpm.total"] == pytest.approx(sum(rails))
    assert about["energy.odpm.total"]["scope"] == "sum of listed rails"
    assert "not the phone" in about["energy.odpm.total"]["note"]
    assert about["energy.odpm.S2S_VDD_G3D"]["scope"].startswith("ODPM rail")
    assert about["time.odpm.s2mpg10-odpm"]["unit"] == "s"


def test_power_is_energy_over_the_monitors_own_time(tmp_path):
    text = recorded(FOLDER + "pixel6_odpm_energy_value_device0.txt")
    root = make_tree(tmp_path, {DEVICE0 + "energy_value": text.strip(), DEVICE0 + "enabled_rails":
                                recorded(FOLDER + "pixel6_odpm_enabled_rails.txt").strip()})  # fmt: skip
    sensors = {sensor.name: sensor for sensor in odpm.find(root).sensors}
    cpu, clock = sensors["energy.odpm.S4M_VDD_CPUCL0"], sensors["time.odpm.iio:device0"]
    assert cpu.descriptor["scope"] == "ODPM rail S4M_VDD_CPUCL0 (CPU)"
    before = cpu.read(), clock.read()
    later = text.replace("349894", "352894").replace("46356942", "52356942")  # 6 J in 3 s by T, whenever it was read
    set_file(root, DEVICE0 + "energy_value", later.strip())
    cpu.source.refresh()
    assert (cpu.read() - before[0]) / (clock.read() - before[1]) == pytest.approx(2.0)


def test_a_rail_or_a_device_that_goes_has_a_reason_and_takes_the_sum_along(tmp_path):
    root = make_tree(tmp_path, two_devices())
    sensors = {sensor.name: sensor for sensor in odpm.find(root).sensors}
    set_file(root, DEVICE0 + "energy_value", "t=16087000\nCH0(T=16087000)[VSYS_PWR_MODEM], 179646999")
    sensors["energy.odpm.total"].source.refresh()
    assert sensors["energy.odpm.VSYS_PWR_MODEM"].read() == pytest.approx(179.646999)
    for name in ("energy.odpm.S1M_VDD_MIF", "energy.odpm.total"):
        with pytest.raises(SensorError):
            sensors[name].read()
    (tmp_path / DEVICE0.lstrip("/") / "energy_value").unlink()
    sensors["energy.odpm.total"].source.refresh()
    for name in ("energy.odpm.VSYS_PWR_MODEM", "time.odpm.s2mpg11-odpm"):
        with pytest.raises(SensorError, match="gone"):
            sensors[name].read()
    assert sensors["energy.odpm.S2S_VDD_G3D"].read() > 0


@pytest.mark.skipif(os.geteuid() != 0, reason="gives up the rights of root")
def test_a_closed_file_tells_who_may_read_it():
    path = Path(tempfile.mkdtemp(prefix="edgewise-test-"))
    try:
        path.chmod(0o755)
        root = make_tree(path, two_devices())
        for file in path.rglob("energy_value"):
            file.chmod(0o400)
        os.seteuid(65534)
        try:
            findings = odpm.find(root)
        finally:
            os.seteuid(0)
    finally:
        shutil.rmtree(path)
    assert findings.sensors == []
    assert {about["state"] for about in findings.missing} == {"failed"}
    assert "userdebug" in findings.missing[0]["reason"]


def test_the_hals_report_stands_in_without_root(tmp_path):
    assert parse_meter(HAL_REPORT).keys() == {"S10M_VDD_TPU", "VSYS_PWR_MODEM", "S2M_VDD_CPUCL2"}
    root = make_phone(tmp_path, {powerstats.HAL: HAL_REPORT})
    findings = powerstats.find(root)
    sensors = {sensor.name: sensor for sensor in findings.sensors}
    assert {name: sensor.read() for name, sensor in sensors.items()} == {
        "energy.odpm.S10M_VDD_TPU": pytest.approx(5.57876),
        "energy.odpm.VSYS_PWR_MODEM": pytest.approx(29.11094),
        "energy.odpm.S2M_VDD_CPUCL2": pytest.approx(30.2035),
        "energy.odpm.total": pytest.approx(64.8932),
    }
    assert sensors["energy.odpm.S2M_VDD_CPUCL2"].descriptor["scope"] == "ODPM rail S2M_VDD_CPUCL2 (CPU(BIG))"
    source = sensors["energy.odpm.total"].source
    assert source.period_s >= 1.0
    set_report(root, powerstats.HAL, HAL_REPORT.replace("[VSYS_PWR_MODEM]", "[ANOTHER]"))
    source.refresh()
    with pytest.raises(SensorError, match="not all rails"):
        sensors["energy.odpm.total"].read()


def test_a_list_of_channels_is_no_energy(tmp_path):
    listing = recorded(FOLDER + "pixel6_dumpsys_powerstats_channels_excerpt.txt")
    findings = powerstats.find(make_phone(tmp_path, {"powerstats": listing}))
    assert findings.sensors == []
    assert findings.missing[0]["state"] == "failed" and "lists 5 channels" in findings.missing[0]["reason"]


def test_the_files_come_before_the_report(tmp_path):
    findings = powerstats.find(make_phone(tmp_path, {powerstats.HAL: HAL_REPORT}, two_devices()))
    assert findings.sensors == [] and "files are faster" in findings.missing[0]["reason"]


def test_nothing_there_is_said(tmp_path):
    for kind in (odpm, powerstats):
        findings = kind.find(make_tree(tmp_path, {}))
        assert findings.sensors == [] and findings.missing[0]["state"] == "absent"


def test_a_model_in_a_report_is_not_a_rail():
    for name in ("estimated_power_3010mah.txt", "estimated_power_3500mah.txt"):
        text = recorded("android/batterystats/" + name)
        assert parse_meter(text) == {} and parse_channels(text) == [] and parse_energy(text) == []


_RECORDED = ("pixel6_odpm_energy_value_both.txt", "pixel6_odpm_enabled_rails.txt")
_PIECES = st.sampled_from((HAL_REPORT + "".join(recorded(FOLDER + name) for name in _RECORDED)).splitlines())
_DAMAGED = st.tuples(_PIECES, st.integers(0, 60), st.text(max_size=3)).map(
    lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] :]
)


@given(st.lists(st.one_of(_PIECES, _DAMAGED, st.text(max_size=30)), max_size=40).map("\n".join))
def test_no_text_raises_and_no_energy_is_negative(text):
    for meter in parse_energy(text):
        assert all(energy_j >= 0 and t_s >= 0 for t_s, energy_j in meter.rails.values())
    assert all(counter.energy_j >= 0 for counter in parse_meter(text).values())
    assert len(parse_channels(text)) <= 64 and len(parse_rails(text)) <= 64


def test_a_hundred_thousand_lines_are_read_in_time():
    text = (HAL_REPORT + recorded(FOLDER + "pixel6_odpm_energy_value_both.txt")) * 3000
    assert len(text.splitlines()) > 90_000
    parse_energy(text), parse_rails(text), parse_meter(text), parse_channels(text)
    text = "CH0(T=" + "1" * 100_000 + ")\n[" + "x" * 100_000 + " mWs"
    parse_energy(text), parse_rails(text), parse_meter("== energy meter ==\n" + text), parse_channels(text)
