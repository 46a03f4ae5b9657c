"""Thermal zones of Jetson boards: dummies, estimates, zones that are switched off."""

from __future__ import annotations

import pytest

from device_agents.sensors import SensorError, thermal
from tests.support.jetson import FOLDER, make_board, recorded_probe
from tests.support.sysfs import set_file

BASE = "/sys/class/thermal/thermal_zone{}/"


def zones(temps):
    files = {}
    for number, (kind, millidegrees) in enumerate(temps.items()):
        files |= {BASE.format(number) + "type": kind, BASE.format(number) + "temp": str(millidegrees)}
    return files


def scopes(found):
    return {sensor.name: sensor.descriptor["scope"] for sensor in found.sensors}


@pytest.mark.parametrize("constant", [50000, 100000])
def test_the_recorded_nano_has_a_dummy_and_an_estimate(tmp_path, constant):
    kinds = [line.split(": ")[1] for line in (FOLDER / "sysfs/nano2gb_thermal_zone_types.txt").read_text().splitlines()]
    assert len(kinds) == 6
    found = thermal.find(make_board(tmp_path, zones(dict.fromkeys(kinds, constant))))
    assert set(scopes(found)) == {"temperature." + kind for kind in kinds if kind != "PMIC-Die"}
    assert found.missing[0]["reason"] == f"a constant {constant / 1000:g} °C, not a measurement"
    assert "estimated" in scopes(found)["temperature.thermal-fan-est"]
    assert "estimated" not in scopes(found)["temperature.CPU-therm"]


def test_a_power_chip_with_a_sensor_is_one(tmp_path):
    found = thermal.find(make_board(tmp_path, zones({"PMIC-Die": 43125})))
    assert [sensor.read() for sensor in found.sensors] == [pytest.approx(43.125)]


def test_the_recorded_thor_cannot_read_its_gpu_until_it_wakes(tmp_path):
    lines = (FOLDER / "sysfs/thor_thorfan_status.txt").read_text().splitlines()
    table = {line.split()[0]: line.split()[1] for line in lines if "-thermal" in line}
    assert table["gpu-thermal"] == "unavailable" and len(table) == 5
    temps = {kind: "" if text == "unavailable" else round(float(text[:-1]) * 1000) for kind, text in table.items()}
    root = make_board(tmp_path, zones(temps))
    (tmp_path / BASE.format(4)[1:] / "temp").unlink()
    (tmp_path / BASE.format(4)[1:] / "temp").mkdir()  # there, and it cannot be read
    found = thermal.find(root)
    values = {sensor.name: sensor for sensor in found.sensors}
    assert values["temperature.tj-thermal"].read() == pytest.approx(55.1)
    assert values["temperature.soc345-thermal"].read() == pytest.approx(53.7)
    assert "highest of the SoC's sensors" in scopes(found)["temperature.tj-thermal"]
    gpu = values["temperature.gpu-thermal"]
    assert gpu.descriptor["reason"].startswith("no value at the start")
    with pytest.raises(SensorError):
        gpu.read()
    (tmp_path / BASE.format(4)[1:] / "temp").rmdir()
    set_file(root, BASE.format(4) + "temp", "48500")
    assert gpu.read() == pytest.approx(48.5)


def test_zones_that_are_not_the_chip_say_so(tmp_path):
    found = thermal.find(
        make_board(tmp_path, zones({"iwlwifi_1": 32000, "Tboard_tegra": 31000, "Tdiode_tegra": 32000}))
    )
    assert "not the SoC" in scopes(found)["temperature.iwlwifi_1"]
    assert "not the SoC" in scopes(found)["temperature.Tboard_tegra"]
    assert "not the SoC" in scopes(found)["temperature.Tdiode_tegra"]


def test_a_sensor_that_is_switched_off_has_no_value(tmp_path):
    found = thermal.find(make_board(tmp_path, zones({"cv0-thermal": -256000, "gpu-thermal": -256000})))
    for sensor in found.sensors:
        with pytest.raises(SensorError, match="-256"):
            sensor.read()


def test_the_recorded_orin_nanos_gpu_zone(tmp_path):
    found = thermal.find(make_board(tmp_path, zones({"gpu-thermal": recorded_probe()["temp_gpu"]})))
    assert found.sensors[0].read() == pytest.approx(50.468)
