"""The boards' personalities as trees: what the agent finds in them, what their programs answer, what is closed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from device_agents.facts import device_facts
from device_agents.sensors import SensorError, find_sensors
from tests.lab import spec
from tests.lab.personalities import PERSONALITIES, SAID, Answer, Program, personality, said_name
from tests.lab.physics import BOARDS
from tests.lab.physics.boards import board
from tests.lab.process import LabError

# Personality -> (what the board calls itself, sensors that must be there, sensors that must not).
EXPECTED = {
    "orin-nano": ("NVIDIA Jetson Orin Nano", {"power.VDD_IN", "frequency.gpu", "throttle.oc3", "load.gpu"}, set()),
    "agx-orin": (
        "NVIDIA Jetson AGX Orin",
        {"power.VDD_GPU_SOC", "power.VDD_CPU_CV", "power.VIN_SYS_5V0"},
        {"power.NC"},
    ),
    "thor": ("NVIDIA Jetson AGX Thor", {"power.VIN", "power.VDD_GPU"}, set()),
    "nano": ("NVIDIA Jetson Nano", {"power.POM_5V_IN", "temperature.CPU-therm"}, {"temperature.PMIC-Die"}),
    "pi4": ("Raspberry Pi 4", {"throttle.now.undervoltage", "frequency.arm"}, {"power.pmic"}),
    "pi5": ("Raspberry Pi 5", {"power.pmic", "throttle.since-boot.throttled", "voltage.EXT5V"}, set()),
    "samsung-s23": ("SM-S911B", {"charge.battery", "throttle.status", "cap.policy7"}, {"temperature.zone0"}),
    "samsung-s23-usb": ("SM-S911B", {"charge.battery", "supply.external"}, set()),
    "pixel6": ("Pixel 6", {"power.battery", "throttle.status"}, set()),
    "pixel6-userdebug": ("Pixel 6", {"power.battery", "energy.odpm.total"}, set()),
    "x86": ("Edgewise Mini PC", {"energy.rapl.package-0", "throttle.package-0"}, set()),
    "x86-locked": ("Edgewise Mini PC", {"temperature.x86_pkg_temp"}, set()),
}


def test_every_personality_is_expected_to_be_something():
    assert set(EXPECTED) == set(PERSONALITIES)


@pytest.mark.parametrize("name", PERSONALITIES)
def test_the_agent_finds_what_the_board_has(name, tmp_path):
    model, there, absent = EXPECTED[name]
    root = personality(name).write(tmp_path)
    assert str(device_facts(root)["model"]).startswith(model)
    sensors, _ = find_sensors(root)
    names = {sensor.name for sensor in sensors}
    assert there <= names and not absent & names
    for sensor in sensors:
        if sensor.source is not None:
            sensor.source.refresh()
    values = {}
    for sensor in sensors:
        try:
            values[sensor.name] = sensor.read()
        except SensorError as error:
            assert "switched off" in error.reason or sensor.name.startswith(("power.", "current.")), error.reason
    assert there - {"power.pmic"} <= set(values)
    assert any(name.startswith("temperature.") and 20 < value < 70 for name, value in values.items())


@pytest.mark.parametrize("name", PERSONALITIES)
def test_every_program_answers_as_the_boards_own_does(name, tmp_path):
    one = personality(name)
    root = Path(one.write(tmp_path))
    for program, what in one.programs.items():
        for words, answer in what.answers.items():
            argv = [
                str(root / one.folder.lstrip("/") / program),
                *(["never", "heard"] if words == "*" else words.split()),
            ]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
            assert (done.stdout, done.returncode) == (answer.text, answer.status)


def test_power_modes_are_told_and_set(tmp_path):
    root = Path(PERSONALITIES["orin-nano"].write(tmp_path))

    def nvpmodel(*words):
        return subprocess.run(
            [root / "usr/bin/nvpmodel", *words], capture_output=True, text=True, timeout=20, check=False
        )

    assert nvpmodel("-q").stdout == "NV Power Mode: 25W\n1\n"
    if os.geteuid() == 0:
        assert nvpmodel("-m", "2").returncode == 0
        assert nvpmodel("-q").stdout == "NV Power Mode: MAXN_SUPER\n2\n"
    assert nvpmodel("-m", "9").returncode == 1


def test_tegrastats_prints_line_after_line_until_it_is_ended(tmp_path):
    root = Path(PERSONALITIES["agx-orin"].write(tmp_path))
    argv = [root / "usr/bin/tegrastats", "--interval", "50"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline() for _ in range(3)]
        process.terminate()
    assert all("VDD_GPU_SOC 4940mW" in line for line in lines)


def test_getprop_tells_one_all_and_what_it_is_told_instead(tmp_path):
    root = Path(PERSONALITIES["pixel6"].write(tmp_path))

    def getprop(*words):
        argv = [root / "system/bin/getprop", *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True).stdout

    assert getprop("ro.product.model") == "Pixel 6\n"
    assert getprop("ro.nothing", "instead") == "instead\n"
    assert "[ro.build.version.sdk]: [34]" in getprop().splitlines()


def test_the_links_of_a_tree_lead_where_the_boards_do(tmp_path):
    root = Path(PERSONALITIES["orin-nano"].write(tmp_path))
    behind = root / "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1/in1_label"
    assert behind.read_text() == "VDD_IN\n"
    assert (root / "proc/device-tree/model").read_bytes().endswith(b"Super\0")
    assert (root / "sys/devices/system/cpu/cpu5/cpufreq/scaling_max_freq").read_text() == "1510400\n"


def test_modes_are_those_of_the_board(tmp_path):
    PERSONALITIES["x86-locked"].write_sys(tmp_path)
    counter = tmp_path / "class/powercap/intel-rapl:0/energy_uj"
    assert counter.stat().st_mode & 0o777 == 0o400
    assert (tmp_path / "class/powercap/intel-rapl:0/name").stat().st_mode & 0o444 == 0o444


def test_a_variant_changes_and_takes_away(tmp_path):
    label = "/sys/class/hwmon/hwmon1/in3_label"
    one = PERSONALITIES["orin-nano"].changed("nc", files={label: "NC", "/sys/devices/platform/gpu.0/load": None})
    names = {sensor.name for sensor in find_sensors(one.write(tmp_path))[0]}
    assert "power.VDD_SOC" not in names and "load.gpu" not in names and "power.VDD_IN" in names


def test_a_program_by_its_answers(tmp_path):
    program = Program({"a b": Answer("one\n"), "*": Answer("no\n", status=3)})
    folder = tmp_path / SAID.lstrip("/") / "tool"
    folder.mkdir(parents=True)
    for name, text in program.said().items():
        (folder / name).write_text(text)
    script = tmp_path / "usr/bin/tool"
    script.parent.mkdir(parents=True)
    script.write_text(program.script("tool", "/usr/bin"))
    script.chmod(0o755)
    assert subprocess.run([script, "a", "b"], capture_output=True, text=True, check=False).stdout == "one\n"
    other = subprocess.run([script, "a"], capture_output=True, text=True, check=False)
    assert (other.stdout, other.returncode) == ("no\n", 3)
    assert said_name("a/b c") == "a_b_c"


def test_devices_of_the_lab_are_asked_for_by_personality(tmp_path):
    node = spec.device("nano=ssh-arm64,as=orin-nano,mem=512M", "198.18.77.11")
    assert (node.personality, node.mem_mb) == ("orin-nano", 512)
    with pytest.raises(LabError, match="unknown personality 'toaster'"):
        spec.device("nano=ssh-arm64,as=toaster", "198.18.77.11")
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"no zip")
    with pytest.raises(LabError, match=r"broken\.zip"):
        spec.device(f"nano=ssh-arm64,as={broken}", "198.18.77.11")


def test_physics_are_of_boards_that_there_are():
    assert set(BOARDS) <= set(PERSONALITIES)
    assert board("pixel6") is BOARDS["pixel6-userdebug"]
    assert board("x86-locked") is None
    for name, one in BOARDS.items():
        total = one.total or next(iter(one.parts))
        parts = [part for whole in total.split(" + ") for part in one.sums.get(whole, [whole])]
        assert set(parts) <= set(one.parts), name
        assert sum(one.parts[part].idle_w for part in parts) == pytest.approx(one.law.idle_w, rel=0.02), name
        assert sum(one.parts[part].share for part in parts) == pytest.approx(1.0, abs=0.02), name
