"""Every sensor kind on trees of real and constructed boards: names, values in SI, what is missing and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from device_agents import records
from device_agents.sensors import KINDS, SensorError, find_sensors
from device_agents.sensors.base import UNITS, make_unique
from tests.support.sysfs import DATA, make_tree, read_tsv, set_file

KEYS = {"name", "quantity", "unit", "scope", "state", "reason", "period_s", "resolution", "source", "wraps_at", "note"}
KEYS |= {"accuracy"}


def look(root):
    """({name: value}, {name: descriptor}) of a tree, after checking what holds for every tree."""
    sensors, descriptors = find_sensors(root)
    by_name = {about["name"]: about for about in descriptors}
    assert len(by_name) == len(descriptors), "a name occurs twice"
    for about in descriptors:
        assert set(about) == KEYS
        assert about["unit"] == UNITS[about["quantity"]]
        assert about["state"] in ("present", "absent", "failed")
        assert about["state"] == "present" or about["reason"]
        assert about["scope"]
    assert [sensor.name for sensor in sensors] == [a["name"] for a in descriptors if a["state"] == "present"]
    records.encode(records.hello({}, descriptors, None, None))  # plain data
    values = {}
    for sensor in sensors:
        try:
            values[sensor.name] = sensor.read()
        except SensorError as error:
            values[sensor.name] = error.reason
        sensor.close()
    return values, by_name


def test_an_empty_system_has_a_reason_for_each_kind(tmp_path):
    values, about = look(str(tmp_path))
    assert values == {}
    assert len(about) >= len(KINDS)
    assert {a["state"] for a in about.values()} == {"absent"}


def test_this_machine():
    look("/")


def test_orin_nano(tmp_path):
    values, about = look(make_tree(tmp_path, read_tsv("constructed_orin_nano_hwmon.tsv")))
    recorded = {
        line.split()[0][5:]: [int(part) for part in line.split()[1:]]
        for line in (DATA / "recorded_orin_nano_super_probe.txt").read_text().splitlines()
        if line.startswith("rail_")
    }
    assert len(recorded) == 3
    for rail, (millivolts, milliamperes) in recorded.items():
        assert values["power." + rail] == pytest.approx(millivolts * milliamperes * 1e-6)
    assert values["power.VDD_IN"] == pytest.approx(7.5514, abs=1e-4)
    assert about["power.VDD_IN"]["scope"].startswith("module input")
    assert about["power.VDD_SOC"]["scope"] == "power rail VDD_SOC"
    assert [values[f"throttle.oc{n}"] for n in (1, 2, 3)] == [0, 0, 2]
    assert not any("sum of shunt" in name or "channel" in name for name in about)


def test_unused_rails_are_left_out_and_broken_ones_told(tmp_path):
    files = read_tsv("constructed_orin_nano_hwmon.tsv")
    files["/sys/class/hwmon/hwmon1/in3_label"] = "NC"
    del files["/sys/class/hwmon/hwmon1/curr2_input"]
    values, about = look(make_tree(tmp_path, files))
    assert "power.VDD_IN" in values and "power.NC" not in about and "power.VDD_SOC" not in about
    assert about["power.VDD_CPU_GPU_CV"]["state"] == "failed"
    assert "gone" in about["power.VDD_CPU_GPU_CV"]["reason"]


def test_thor_reads_microwatts_and_milliwatts(tmp_path):
    values, _ = look(make_tree(tmp_path, read_tsv("constructed_thor_hwmon.tsv")))
    assert values["power.VIN"] == pytest.approx(19.78)
    assert values["voltage.VIN"] == pytest.approx(19.78)
    assert values["current.VIN"] == pytest.approx(1.0)
    assert values["power.VDD_GPU"] == pytest.approx(1.9624)


def test_negative_steps_of_an_idle_rail_are_kept(tmp_path):
    root = make_tree(tmp_path, read_tsv("constructed_thor_hwmon.tsv"))
    set_file(root, "/sys/class/hwmon/hwmon5/curr1_input", "-20")
    values, _ = look(root)
    assert values["power.VDD_GPU"] == pytest.approx(-0.39248)  # recorded on a Thor as -392 mW


def test_pi5(tmp_path):
    values, about = look(make_tree(tmp_path, read_tsv("constructed_pi5.tsv")))
    assert values == {
        "temperature.cpu-thermal": pytest.approx(47.2),
        "frequency.policy0": pytest.approx(2.4e9),
        "cap.policy0": 1.0,
        "throttle.now.undervoltage": 0.0,
    }  # hwmon's cpu_thermal is the same zone again
    assert about["power.rails"]["state"] == "absent"


def test_x86_laptop(tmp_path):
    values, about = look(make_tree(tmp_path, read_tsv("constructed_x86_laptop.tsv")))
    assert values == {
        "temperature.acpitz": pytest.approx(27.8),
        "temperature.acpitz#2": pytest.approx(29.8),
        "temperature.x86_pkg_temp": pytest.approx(51.0),
        "frequency.policy0": pytest.approx(1.4e9),
        "cap.policy0": pytest.approx(0.5),
        "frequency.policy2": pytest.approx(0.8e9),
        "cap.policy2": 1.0,
        "temperature.coretemp.Package id 0": pytest.approx(51.0),
        "voltage.nct6798.Vcore": pytest.approx(1.2),
        "power.amdgpu.PPT": pytest.approx(9.0),
        "voltage.amdgpu.in0": pytest.approx(0.806),
        "energy.rapl.package-0": pytest.approx(2469.474853),
        "energy.rapl.package-0.core": pytest.approx(1469.474853),
        "energy.rapl.psys": pytest.approx(3469.474853),
        "voltage.BAT0": pytest.approx(11.4),
        "power.BAT0": pytest.approx(6.27),
        "level.BAT0": pytest.approx(0.82),
        "supply.external": 0.0,
        "throttle.core": 7,
        "throttle.package-0": 11,
    }
    assert about["energy.rapl.package-0"]["wraps_at"] == pytest.approx(262143.999938)
    assert about["energy.rapl.psys"]["wraps_at"] == pytest.approx(65532.610987)
    assert about["energy.rapl.package-0"]["scope"] == "CPU package package-0"
    assert "do not add" in about["energy.rapl.psys"]["scope"]
    assert "part of the package" in about["energy.rapl.package-0.core"]["scope"]
    assert about["temperature.nvme"]["reason"].startswith("not sampled")
    assert "CPUs 0 1" in about["frequency.policy0"]["scope"]


def test_numbers_of_devices_do_not_matter(tmp_path):
    files = read_tsv("constructed_orin_nano_hwmon.tsv")
    moved = {path.replace("hwmon1", "hwmon7").replace("hwmon3", "hwmon0"): text for path, text in files.items()}
    assert look(make_tree(tmp_path / "a", files))[0] == look(make_tree(tmp_path / "b", moved))[0]


def test_nano_zones_of_a_real_board(tmp_path):
    files = {}
    for line in (DATA / "recorded_nano2gb_thermal_zone_types.txt").read_text().splitlines():
        path, kind = line.split(": ")
        files[path + "/type"] = kind
        files[path + "/temp"] = "100000" if kind == "PMIC-Die" else "41500"
    values, about = look(make_tree(tmp_path, files))
    assert set(values) == {
        "temperature." + kind for kind in ("AO-therm", "CPU-therm", "GPU-therm", "PLL-therm", "thermal-fan-est")
    }
    assert about["temperature.PMIC-Die"]["reason"] == "a constant 100 °C, not a measurement"


def test_a_gated_zone_is_sampled_until_it_wakes(tmp_path):
    root = make_tree(
        tmp_path,
        {
            "/sys/class/thermal/thermal_zone0/type": "cv0-thermal",
            "/sys/class/thermal/thermal_zone0/temp": "-256000",
            "/sys/class/thermal/thermal_zone1/type": "odd",
            "/sys/class/thermal/thermal_zone1/temp": "-274000",
            "/sys/class/thermal/thermal_zone2/type": "notemp",
        },
    )
    values, about = look(root)
    assert "-256" in values["temperature.cv0-thermal"]
    assert "no temperature" in values["temperature.odd"]
    assert about["temperature.cv0-thermal"]["state"] == "present"
    assert about["temperature.cv0-thermal"]["reason"].startswith("no value at the start")
    assert about["temperature.notemp"]["state"] == "absent"
    set_file(root, "/sys/class/thermal/thermal_zone0/temp", "43000")
    assert look(root)[0]["temperature.cv0-thermal"] == pytest.approx(43.0)


def test_rapl_counter_of_a_real_haswell(tmp_path):
    files = {}
    for line in (DATA / "recorded_haswell_rapl_dram.txt").read_text().splitlines():
        *path, value = line.rsplit(":", 1)
        files[":".join(path)] = value
    files["/sys/class/powercap/intel-rapl/intel-rapl:0/name"] = "package-0"
    values, about = look(make_tree(tmp_path, files))
    assert values == {"energy.rapl.package-0.dram": pytest.approx(2469.474853)}
    assert about["energy.rapl.package-0.dram"]["wraps_at"] == pytest.approx(262143.999938)
    assert "not part of the package" in about["energy.rapl.package-0.dram"]["scope"]


def test_rapl_range_below_the_counter_is_not_believed(tmp_path):
    lines = (DATA / "recorded_xeon_rapl_excerpt.txt").read_text().splitlines()
    counter = lines[lines.index("/sys/devices/virtual/powercap/intel-rapl/intel-rapl:1/energy_uj") + 1]
    zone = "/sys/class/powercap/intel-rapl:1/"
    files = {zone + "name": "package-1", zone + "energy_uj": counter, zone + "max_energy_range_uj": "262143328850"}
    values, about = look(make_tree(tmp_path, files))
    assert values["energy.rapl.package-1"] == pytest.approx(6.0293987e7)
    assert about["energy.rapl.package-1"]["wraps_at"] is None
    assert "above its stated range" in about["energy.rapl.package-1"]["note"]


def test_phone_battery_of_a_real_xperia(tmp_path):
    lines = (DATA / "recorded_sony_xz_charging_uevent.txt").read_text().splitlines()
    uevent = dict(line.split("=", 1) for line in lines)
    base = "/sys/class/power_supply/battery/"
    files = {base + name.replace("POWER_SUPPLY_", "").lower(): value for name, value in uevent.items()}
    files[base + "type"] = "Battery"
    values, about = look(make_tree(tmp_path, files))
    assert values["current.battery"] == pytest.approx(-0.257109)
    assert values["voltage.battery"] == pytest.approx(4.17066)
    assert "power.battery" not in values
    assert "sign not decided" in about["power.battery"]["reason"]  # it charges, or it does not: the sign would tell
    assert values["supply.external"] == 1.0
    assert values["temperature.battery"] == pytest.approx(24.2)
    assert values["level.battery"] == pytest.approx(0.82)
    assert "sign" in about["current.battery"]["note"]


def test_charge_in_coulomb_and_an_emulated_battery(tmp_path):
    base = "/sys/class/power_supply/battery/"
    files = {
        base + "type": "Battery",
        base + "charge_counter": "2163750",
        base + "charge_now": "1",
        base + "voltage_now": "0",
        base + "current_now": "900000",
    }
    values, about = look(make_tree(tmp_path, files))
    assert values["charge.battery"] == pytest.approx(2163750 * 3.6e-3)
    assert about["power.battery"]["state"] == "failed"
    assert "0 V" in about["power.battery"]["reason"]


def test_a_large_server_is_sampled_in_part(tmp_path):
    base = "/sys/devices/system/cpu/cpufreq/policy{}/{}"
    files = {}
    for number in range(40):
        files[base.format(number, "scaling_cur_freq")] = "1000000"
    _, about = look(make_tree(tmp_path, files))
    assert about["frequency.policy31"]["state"] == "present"
    assert "frequency.policy32" not in about
    assert "first 32 of 40" in about["frequency.others"]["reason"]
    assert about["cap.policy0"]["state"] == "absent"


def test_two_sockets_of_one_driver_follow_the_device_not_the_number(tmp_path):
    for number, device in ((3, "coretemp.1"), (9, "coretemp.0")):
        folder = tmp_path / f"sys/class/hwmon/hwmon{number}"
        make_tree(
            tmp_path,
            {
                f"/sys/class/hwmon/hwmon{number}/name": "coretemp",
                f"/sys/class/hwmon/hwmon{number}/temp1_input": f"{number}1000",
            },
        )
        (tmp_path / "sys/devices" / device).mkdir(parents=True)
        Path(folder / "device").symlink_to(tmp_path / "sys/devices" / device)
    values, _ = look(str(tmp_path))
    assert values == {"temperature.coretemp.temp1": 91.0, "temperature.coretemp.temp1#2": 31.0}


def test_unique_names():
    assert make_unique(["a", "a#2", "a", "a"]) == ["a", "a#2", "a#3", "a#4"]
    json.dumps(make_unique([]))
