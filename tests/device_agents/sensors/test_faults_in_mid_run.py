"""Sensors that fail while a run goes on, on the trees of the lab's personalities and through the sampler: null with a
reason from then on, never 0, never a wrong unit; and the others go on.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from device_agents.sampler import Sampling
from device_agents.sensors import files as sensor_files
from device_agents.sensors import find_sensors
from device_agents.sensors.base import SourceSensor
from tests.lab.personalities import PERSONALITIES, SAID
from tests.lab.process import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for files under /proc")
HWMON = "sys/class/hwmon"
RAPL = "sys/class/powercap/intel-rapl:0/energy_uj"
PACKAGE_COUNT = "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count"
CURRENT = "sys/class/power_supply/battery/current_now"


class Watched:
    """A board's sensors, sampled; `columns` and `reasons` as a run would have them."""

    def __init__(self, root: Path, wanted: Callable[[Any], bool]) -> None:
        self.root = root
        found, self.descriptors = find_sensors(str(root))
        self.sensors = [sensor for sensor in found if wanted(sensor)]
        self.columns: dict[str, list[float | None]] = {}
        self.reasons: dict[str, str] = {}
        self.events: list[str] = []
        self.ticks = 0
        self._sampling = Sampling(self.sensors, 0.01, self._take, self._count)

    def _take(self, record: dict[str, Any]) -> None:
        if record["type"] == "samples":
            for name, values in record["columns"].items():
                self.columns.setdefault(name, []).extend(values)
            self.reasons.update(record["reasons"])
        else:
            self.events.append(record["name"])

    def _count(self, *readings: Any) -> None:
        self.ticks += 1

    def wait(self, ticks: int = 8) -> None:
        """Nothing, once so many more ticks were taken."""
        goal = self.ticks + ticks
        wait_until(lambda: self.ticks >= goal, 20, "the sampler stands still")

    @contextmanager
    def running(self):
        self._sampling.start()
        try:
            yield
        finally:
            overhead = self._sampling.stop()
        assert overhead["sampler_error"] is None and self.events == []


@pytest.fixture
def board(tmp_path):
    def make(name: str, wanted: Callable[[Any], bool] = lambda sensor: not isinstance(sensor, SourceSensor)) -> Watched:
        return Watched(Path(PERSONALITIES[name].write(tmp_path)), wanted)

    return make


def replace(path: Path, content: bytes) -> None:
    fresh = path.with_name(path.name + ".fresh")
    fresh.write_bytes(content)
    fresh.replace(path)


def vanish(path: Path) -> None:
    shutil.rmtree(path.parent)


def become_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def become_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def become_unreadable(path: Path) -> None:
    """Reading the first page of a process's memory is an input/output error, for everybody."""
    path.unlink()
    path.symlink_to("/proc/self/mem")


FAULTS = [
    ("orin-nano", "power.VDD_IN", f"{HWMON}/hwmon1/curr1_input", vanish, "gone"),
    ("orin-nano", "power.VDD_IN", f"{HWMON}/hwmon1/in1_input", become_unreadable, "input/output error"),
    ("orin-nano", "power.VDD_IN", f"{HWMON}/hwmon1/curr1_input", become_folder, "directory"),
    ("orin-nano", "power.VDD_SOC", f"{HWMON}/hwmon1/curr3_input", become_pipe, "seek"),
    ("orin-nano", "throttle.oc3", f"{HWMON}/hwmon3/oc3_event_cnt", become_unreadable, "input/output error"),
    ("orin-nano", "frequency.gpu", "sys/class/devfreq/17000000.gpu/cur_freq", vanish, "gone"),
    ("thor", "power.VIN", f"{HWMON}/hwmon6/power1_input", become_unreadable, "input/output error"),
    ("nano", "power.POM_5V_IN", "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power0_input", vanish, "gone"),
    ("x86", "energy.rapl.package-0", RAPL, become_unreadable, "input/output error"),
    (
        "x86",
        "throttle.package-0",
        "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count",
        vanish,
        "gone",
    ),
    (
        "pixel6",
        "current.battery",
        "sys/class/power_supply/battery/current_now",
        become_unreadable,
        "input/output error",
    ),
]


@pytest.mark.parametrize(("name", "sensor", "path", "fault", "why"), FAULTS)
def test_a_sensor_that_fails_is_null_with_the_reason_and_the_others_go_on(board, name, sensor, path, fault, why):
    watched = board(name)
    with watched.running():
        watched.wait()
        fault(watched.root / path)
        watched.wait()
    column = watched.columns[sensor]
    values = [value for value in column if value is not None]
    assert len(set(values)) == 1, "a value that is not the sensor's"
    assert column[0] is not None and column[-1] is None
    assert why in watched.reasons[sensor].lower()
    other = next(name for name in watched.columns if name.startswith(("temperature.", "cap.")))
    assert None not in watched.columns[other]


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (errno.EAGAIN, "not available now"),
        (errno.EIO, "input/output error"),
        (errno.EACCES, "permission denied"),
        (errno.ENODEV, "the device is gone"),
        (errno.EINVAL, "refuses"),
        (errno.ETIMEDOUT, "timed out"),
    ],
)
def test_every_error_of_a_driver_is_a_reason_and_may_pass(board, monkeypatch, number, why):
    watched = board("orin-nano")
    target = watched.root / HWMON / "hwmon1/curr1_input"
    failing = []
    real = os.pread

    def pread(descriptor, count, offset):
        if failing and Path(os.readlink(f"/proc/self/fd/{descriptor}")) == target:
            raise OSError(number, os.strerror(number))
        return real(descriptor, count, offset)

    monkeypatch.setattr(sensor_files.os, "pread", pread)
    with watched.running():
        watched.wait()
        failing.append(True)
        watched.wait()
        failing.clear()
        watched.wait()
    column = watched.columns["power.VDD_IN"]
    assert None in column and column[-1] == column[0] == pytest.approx(4968 * 952e-6)
    assert set(column) == {None, column[0]}
    assert why in watched.reasons["power.VDD_IN"].lower()


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\n", b"9" * 40, b"nan\n", b"952 mA\n", b"0x3b8\n", b"1e3\n"])
def test_what_is_no_whole_number_is_never_taken_for_one(board, content):
    watched = board("orin-nano")
    with watched.running():
        watched.wait()
        replace(watched.root / HWMON / "hwmon1/curr1_input", content)
        watched.wait()
    column = watched.columns["power.VDD_IN"]
    assert column[-1] is None and set(column) == {None, column[0]}
    assert watched.reasons["power.VDD_IN"]


def test_a_block_that_is_switched_off_has_no_temperature_and_comes_back(board):
    watched = board("orin-nano")
    zone = watched.root / "sys/class/thermal/thermal_zone1/temp"
    with watched.running():
        watched.wait()
        replace(zone, b"-256000\n")
        watched.wait()
        replace(zone, b"51250\n")
        watched.wait()
    column = watched.columns["temperature.gpu-thermal"]
    assert column[0] == pytest.approx(45.062) and column[-1] == pytest.approx(51.25)
    assert set(column) == {45.062, None, 51.25}
    assert "-256" in watched.reasons["temperature.gpu-thermal"]


def test_constants_and_channels_that_lead_nowhere_are_no_sensors(board, tmp_path):
    nano = {about["name"]: about for about in board("nano").descriptors}
    assert nano["temperature.PMIC-Die"]["state"] == "absent" and "constant" in nano["temperature.PMIC-Die"]["reason"]
    _, agx = find_sensors(PERSONALITIES["agx-orin"].write(tmp_path / "agx"))
    present = {about["name"] for about in agx if about["state"] == "present"}
    assert "power.VDDQ_VDD2_1V8AO" in present
    assert not any("NC" in name or "sum of shunt" in name for name in present)


def test_less_than_nothing_is_kept_with_its_sign_and_unit(board):
    watched = board("thor")
    with watched.running():
        watched.wait()
        replace(watched.root / HWMON / "hwmon5/curr1_input", b"-20\n")
        watched.wait()
    assert watched.columns["power.VDD_GPU"][-1] == pytest.approx(-0.39248)
    assert "power.VDD_GPU" not in watched.reasons


def test_a_rapl_counter_that_begins_again_stays_raw_with_its_range(board):
    watched = board("x86")
    with watched.running():
        watched.wait()
        replace(watched.root / RAPL, b"1234\n")
        watched.wait()
    column = watched.columns["energy.rapl.package-0"]
    assert column[0] == pytest.approx(2469.474853) and column[-1] == pytest.approx(0.001234)
    (about,) = [about for about in watched.descriptors if about["name"] == "energy.rapl.package-0"]
    assert about["wraps_at"] == pytest.approx(262143.328850)


SCRIPTS = {
    "ends with an error": (
        "#!/bin/sh\necho 'the mailbox is busy' >&2\nexit 255\n",
        "the mailbox is busy",
    ),
    "prints nonsense": ("#!/bin/sh\nhead -c 3000 /dev/urandom\n", ""),
    "prints nothing": ("#!/bin/sh\n", ""),
    "is gone": (None, ""),
}


@pytest.mark.parametrize("fault", SCRIPTS)
@pytest.mark.parametrize(
    ("name", "program", "part"),
    [
        ("pi5", "vcgencmd", "power.pmic"),
        ("samsung-s23", "dumpsys", "charge.battery"),
        ("samsung-s23", "dumpsys", "throttle.status"),
    ],
)
def test_a_program_that_stops_telling_gives_reasons(tmp_path, name, program, part, fault):
    personality = PERSONALITIES[name]
    root = Path(personality.write(tmp_path))
    sensors, _ = find_sensors(str(root))
    (sensor,) = [sensor for sensor in sensors if sensor.name == part]
    sensor.source.refresh()
    assert sensor.read() == sensor.read()  # a value, before
    path = root / personality.folder.lstrip("/") / program
    text, word = SCRIPTS[fault]
    path.unlink()
    if text is not None:
        path.write_text(text)
        path.chmod(0o755)
    sensor.source.refresh()
    with pytest.raises(sensor_files.SensorError) as caught:
        sensor.read()
    assert caught.value.reason and word in caught.value.reason


def test_bits_that_were_set_before_are_told_from_those_of_now(tmp_path):
    root = Path(PERSONALITIES["pi5"].write(tmp_path))
    told = root / SAID.lstrip("/") / "vcgencmd/get_throttled"
    told.write_text("throttled=0x50000\n")
    sensors = {sensor.name: sensor for sensor in find_sensors(str(root))[0]}

    def flags(*names):
        sensors["throttle.now.undervoltage"].source.refresh()
        return [sensors[f"throttle.{name}"].read() for name in names]

    names = (
        "now.undervoltage",
        "since-boot.undervoltage",
        "now.throttled",
        "since-boot.throttled",
        "since-boot.capped",
    )
    assert flags(*names) == [0.0, 1.0, 0.0, 1.0, 0.0]
    told.write_text("throttled=0x50001\n")
    assert flags(*names) == [1.0, 1.0, 0.0, 1.0, 0.0]
