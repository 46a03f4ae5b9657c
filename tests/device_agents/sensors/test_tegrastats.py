"""tegrastats as a source: only where files give less, one process, its latest line, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from device_agents.sampler import Sampling
from device_agents.sensors import SensorError, find_sensors, tegrastats
from device_agents.sensors.lines import LineProgram
from device_agents.sensors.tegrastats_text import parse
from tests.support.jetson import FOLDER, add_program, add_tegrastats, make_board, named, rail
from tests.support.processes import MARK, all_gone, marked, new_mark

ZONE = "/sys/class/thermal/thermal_zone0/"
GPU = "/sys/class/devfreq/17000000.gpu/cur_freq"
ORIN = named("NVIDIA Jetson Orin Nano Developer Kit")


def recorded(name: str) -> str:
    return (FOLDER / "tegrastats" / name).read_text().splitlines()[0]


@pytest.fixture
def mark(monkeypatch):
    """A mark that every process of the test inherits; none may be left at the end."""
    value = new_mark()
    monkeypatch.setenv(MARK, value)
    yield value
    assert all_gone(value), "a process was left behind"


def test_it_is_not_started_where_files_give_everything(tmp_path):
    files = {ZONE + "type": "cpu-thermal", ZONE + "temp": "45000", GPU: "306000000"}
    root = make_board(tmp_path, files, rail(1, "VDD_IN", 5000, 100), ORIN)
    add_program(tmp_path, "tegrastats", f"touch {tmp_path}/started\n")
    found = tegrastats.find(root)
    assert found.sensors == [] and "not needed" in found.missing[0]["reason"]
    assert not (tmp_path / "started").exists()


def test_it_gives_what_no_file_does(tmp_path, mark):
    root = make_board(tmp_path, ORIN)
    add_tegrastats(tmp_path, recorded("orin_nano8_jp6_root.txt"))
    sensors, descriptors = find_sensors(root)
    source = sensors[0].source
    source.refresh()
    values = {sensor.name: sensor.read() for sensor in sensors}
    source.close()
    assert values == {
        "power.VDD_IN": pytest.approx(2.957),
        "power.VDD_CPU_GPU_CV": pytest.approx(0.486),
        "power.VDD_SOC": pytest.approx(1.012),
        "temperature.cpu": 44.125,
        "temperature.soc2": 43.375,
        "temperature.soc0": 42.125,
        "temperature.gpu": 44.531,
        "temperature.tj": 44.531,
        "temperature.soc1": 43.156,
        "frequency.gpu": 305e6,
        "load.gpu": 0.0,
    }
    about = {one["name"]: one for one in descriptors}
    assert about["power.VDD_IN"]["scope"].startswith("module input")
    assert about["power.VDD_IN"]["period_s"] == 0.1
    assert about["power.VDD_IN"]["resolution"] == pytest.approx(0.04)  # 8 mA at 5 V
    assert source.cpu_s > 0


def test_it_adds_only_what_is_missing(tmp_path, mark):
    files = {ZONE + "type": "cpu-thermal", ZONE + "temp": "45000", GPU: "306000000"}
    add_tegrastats(tmp_path, recorded("orin_nano8_jp6_root.txt"))
    found = tegrastats.find(make_board(tmp_path, files, ORIN))
    assert [sensor.name for sensor in found.sensors] == ["power.VDD_IN", "power.VDD_CPU_GPU_CV", "power.VDD_SOC"]


def test_a_carrier_without_rails_has_no_power_and_not_zero(tmp_path, mark):
    files = {ZONE + "type": "MCPU-therm", ZONE + "temp": "50500", GPU: "114000000"}
    add_tegrastats(tmp_path, recorded("tx2nx_jp46_nosudo.txt"))
    found = tegrastats.find(make_board(tmp_path, files, named("jetson-tx2nx", "nvidia,tegra186")))
    assert found.sensors == []
    assert found.missing[0]["reason"] == "tegrastats does not show power either"


def test_dummies_radios_estimates_and_sensors_that_are_off(tmp_path, mark):
    line = recorded("agx_xavier_jp4_nosudo.txt") + " cv@-256C"
    add_tegrastats(tmp_path, line, line.replace("cv@-256C", "cv@41.5C"))
    found = tegrastats.find(make_board(tmp_path, named("Jetson-AGX Xavier", "nvidia,tegra194")))
    assert [gone["reason"] for gone in found.missing] == ["a constant 100 °C, not a measurement"]
    scopes = {sensor.name: sensor.descriptor["scope"] for sensor in found.sensors}
    assert "not the SoC" in scopes["temperature.iwlwifi"] and "estimated" in scopes["temperature.thermal"]
    assert scopes["power.GPU"] == "power rail GPU" and "load.gpu" in scopes and "frequency.gpu" not in scopes
    sensor = next(sensor for sensor in found.sensors if sensor.name == "temperature.cv")
    sensor.source.refresh()
    with pytest.raises(SensorError, match="-256"):
        sensor.read()
    sensor.source.refresh()
    assert sensor.read() == 41.5
    sensor.source.close()


def test_readings_use_now_and_the_fastest_part_of_the_gpu():
    found = tegrastats.readings(parse("RAM 1/2MB EMC_FREQ 1%@204 GR3D_FREQ @[300,314] VIN 25530mW/12765mW gpu@-256C"))
    assert found == {
        "power.VIN": pytest.approx(25.53),
        "temperature.gpu": tegrastats.OFF,
        "frequency.gpu": 314e6,
        "frequency.emc": 204e6,
    }


@pytest.mark.parametrize(
    "script, words",
    [
        ("echo tegrastats: no such device; exit 1", "tegrastats has ended"),
        ("printf 'no end of line'; exit 1", "tegrastats has ended: no end of line"),
        ("kill -9 $$", "tegrastats has ended"),
        ("exec sleep 1000", "tegrastats printed nothing"),
        ("while :; do echo noise; sleep 0.05; done", "tegrastats printed nothing"),
        ("exec cat /dev/zero", "tegrastats printed nothing"),
    ],
)
def test_a_program_that_gives_no_line_is_a_reason(tmp_path, mark, monkeypatch, script, words):
    monkeypatch.setattr(tegrastats, "WAIT_S", 1.0)
    add_program(tmp_path, "tegrastats", script + "\n")
    found = tegrastats.find(make_board(tmp_path, ORIN))
    assert found.sensors == []
    assert found.missing[0]["state"] == "failed" and words in found.missing[0]["reason"]


def test_one_that_ends_in_the_middle_gives_reasons_and_is_not_started_at_once_again(tmp_path, mark):
    path = add_tegrastats(tmp_path, recorded("orin_nano8_jp6_root.txt"), after="exit 3")
    source = tegrastats.Tegrastats(str(path))
    source.refresh()
    assert source.value("power.VDD_IN") == pytest.approx(2.957)
    source.refresh()
    with pytest.raises(SensorError, match="has ended"):
        source.value("power.VDD_IN")
    source.refresh()
    with pytest.raises(SensorError, match="started again"):
        source.value("power.VDD_IN")
    source.close()
    source.refresh()  # after a close it may start at once
    assert source.value("power.VDD_IN") == pytest.approx(2.957)
    source.close()


def test_the_newest_of_several_lines_counts(tmp_path, mark):
    lines = [f"RAM 1/2MB VDD_IN {n}/1" for n in range(50)]
    path = add_program(tmp_path, "tegrastats", "".join(f"echo '{line}'\n" for line in lines) + "exec sleep 1000\n")
    program = LineProgram([str(path), "--interval", "100"])
    end = time.monotonic() + 20
    seen = []
    while len(seen) < 50 and time.monotonic() < end:
        seen += program.lines(10)
    program.close()
    program.close()  # twice does nothing
    assert seen == lines


def test_the_sampler_ends_it(tmp_path, mark):
    lines = [f"RAM 1/2MB VDD_IN {n}/1 cpu@40C" for n in range(100)]
    add_tegrastats(tmp_path, *lines)
    sensors, _ = find_sensors(make_board(tmp_path, ORIN))
    records = []
    sampling = Sampling(sensors, 0.05, records.append)
    sampling.start()
    end = time.monotonic() + 30
    while time.monotonic() < end and len(marked(mark)) == 0:
        time.sleep(0.05)
    time.sleep(1.0)
    overhead = sampling.stop()
    values = [value for record in records for value in record["columns"].get("power.VDD_IN", []) if value is not None]
    assert values == sorted(values) and len(values) > 1
    assert overhead["sources"]["tegrastats"]["period_s"] == pytest.approx(0.1)
    assert overhead["sources"]["tegrastats"]["sampler_error"] is None


def test_it_dies_with_a_supervisor_that_is_killed(tmp_path, mark):
    path = add_tegrastats(tmp_path, "RAM 1/2MB VDD_IN 1/1")
    code = (
        "import sys, time\nfrom device_agents.sensors.tegrastats import Tegrastats\n"
        "source = Tegrastats(sys.argv[1])\nsource.refresh()\n"
        "print(source.value('power.VDD_IN'), flush=True)\ntime.sleep(1000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "0.001\n"
        assert len(marked(mark)) >= 2
        os.kill(holder.pid, signal.SIGKILL)
    # the fixture checks that nothing is left
