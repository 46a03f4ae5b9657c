"""`edgewise bench` on boards with a personality: heat, clocks, power, energy with its scope, and the verdict."""

from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path

import pytest

from device_agents.sensors import find_sensors
from mobile.deadline import Deadline
from mobile.inventory import Device
from mobile.results.store import RunStore
from mobile.results.window import measured_window
from mobile.transports import open_transport
from tests.lab import missing
from tests.lab.lab import Lab
from tests.lab.personalities import personality
from tests.support.cli import START, environment
from tests.support.fleet import know_the_phone
from tests.support.provision import lab_cache

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

# Name of the device -> (personality, scope of its energy).
BOARDS = {
    "orin": ("orin-nano", "module input"),
    "agx": ("agx-orin", "sum of module rails"),
    "thor": ("thor", "board input"),
    "nano": ("nano", "board input"),
    "pc": ("x86", "CPU package"),
}
# Name of the device -> (personality, a word of the reason why 3 s say nothing of its energy).
WITHOUT = {
    "pi4": ("pi4", "meter"),
    "pi5": ("pi5", "measure for"),
    "locked": ("x86-locked", "permission denied"),
    "galaxy": ("samsung-s23", "measure for"),
    "pixel": ("pixel6", "measure for"),
    "rails": ("pixel6-userdebug", "measure for"),
}
PHONE = "phone"
QUICK = ("--duration", "3", "--min-count", "5", "--warmup", "1", "--warmup-duration", "0", "--idle", "1")
# All boards of a lab share one machine: each sees the others as intruders.
ALONE = ("--intruders", "ignore")
WORK = ("--runner", "command", "--command", "sleep 0.05", *QUICK, *ALONE)
HEAD = "defaults: {{user: edge, key_file: {key}, known_hosts: {known_hosts}}}\ndevices:\n"
BOARD = "  {name}: {{host: {address}, provenance: emulated}}\n"
ANDROID = "  {name}: {{kind: android, host: {address}, provenance: emulated}}\n"


class Drawer:
    """A developer's folder and home in the lab's network, and the boards."""

    def __init__(self, lab, folder: Path) -> None:
        self.lab, self.folder = lab, folder
        self.home = folder / "home"
        self.home.mkdir()
        know_the_phone(lab, self.home)
        lines = [HEAD.format(key=lab.ssh_key_path, known_hosts=lab.known_hosts_path)]
        for name, node in lab.devices.items():
            lines.append((ANDROID if node.transport == "adb" else BOARD).format(name=name, address=node.address))
        (folder / "devices.yaml").write_text("".join(lines))

    def edgewise(self, *arguments, timeout_s=100):
        env = environment(HOME=str(self.home), EDGEWISE_CACHE=str(lab_cache()))
        done = self.lab.run_in_ctl([*START, *arguments], timeout_s=timeout_s, env=env, cwd=self.folder)
        assert done.returncode == 0, f"{arguments}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done

    def phone(self):
        """A transport to the phone."""
        node = self.lab.devices[PHONE]
        return open_transport(Device(name=PHONE, transport="adb", host=node.address, port=node.port))


@pytest.fixture(scope="module")
def drawer(tmp_path_factory):
    reason = missing()
    if reason:
        pytest.skip(reason)
    specs = [f"{name}=ssh-amd64,as={board}" for name, (board, _) in BOARDS.items()]
    specs += [f"{name}=ssh-amd64,as={board}" for name, (board, _) in WITHOUT.items()]
    specs.append(f"{PHONE}=adb-arm64,as=samsung-s23")
    lab = Lab.up(f"p{os.getpid()}", specs, owned=True)
    try:
        yield Drawer(lab, tmp_path_factory.mktemp("drawer"))
    finally:
        lab.down()


@pytest.fixture(scope="module")
def runs(drawer):
    """Name of the device -> its run, of one bench on all the SSH boards at once."""
    names = [*BOARDS, *WITHOUT]
    words = ("bench", "--on", ",".join(names), *WORK, "--json")
    document = json.loads(drawer.edgewise(*words).stdout)
    assert document["failures"] == []
    return {run["device"]: run for run in document["runs"]}


def test_each_board_shows_heat_clocks_power_and_energy_of_its_scope(runs):
    for name, (_, scope_kind) in BOARDS.items():
        run = runs[name]
        assert run["provenance"] == "emulated"
        assert 20.0 < run["thermal"]["peak_c"] < 60.0, name
        assert run["thermal"]["throttled"] == "no", run["thermal"]["throttled_why"]
        assert run["verdict"] == "valid", run["reasons"]
        assert min(clock["median_hz"] for clock in run["clocks"]) > 70e6, name
        energy = run["energy"]
        assert energy["scope_kind"] == scope_kind
        assert energy["mean_power_w"] == pytest.approx(energy["total_j"] / energy["window_s"], rel=0.01)
        assert energy["idle_power_w"] > 0 and energy["uncertainty_j"] > 0


def test_what_a_board_cannot_say_is_null_with_the_reason(runs):
    for name, (_, why) in WITHOUT.items():
        assert runs[name]["energy"] is None
        assert why in runs[name]["energy_missing"], name
        assert runs[name]["thermal"]["peak_c"] > 20.0, name


def test_the_figures_are_what_really_flowed(drawer, runs):
    """The stated interval against the truth of the board's physics, whose load is the processor time of the device."""
    store = RunStore(next(drawer.home.rglob("*.sqlite3")))
    covered = {}
    for name in BOARDS:
        window = measured_window(store.get(runs[name]["id"]))
        energy = runs[name]["energy"]
        truth = drawer.lab.truth(name)
        true_j = truth.energy_j(energy["sensor"], window.start_ns, window.end_ns)
        covered[name] = abs(energy["total_j"] - true_j) <= energy["uncertainty_j"]
        assert energy["total_j"] == pytest.approx(true_j, rel=0.25), name
        assert true_j > truth.energy_j(energy["sensor"], window.start_ns, window.end_ns - 10**9)
    assert sum(covered.values()) >= len(BOARDS) - 1, covered  # 95 % of figures are


def test_the_table_has_what_the_json_has(drawer, runs):
    table = drawer.edgewise("report", *(run["id"] for run in runs.values())).stdout
    assert "provenance emulated" in table
    for _, scope_kind in BOARDS.values():
        assert scope_kind in table
    for run in runs.values():
        assert run["device"] in table and run["verdict"] in table
        assert f"{run['thermal']['peak_c']:.1f} C" in table
    for word in ("energy", "power", "clock", "throttled", "verdict"):
        assert word in table


def test_a_fault_of_each_board_is_in_its_verdict(drawer, runs):
    faults = {"orin": "over-current", "pi5": "undervoltage", "nano": "thermal", "pc": "thermal"}
    for name, fault in faults.items():
        drawer.lab.inject(name, fault)
    words = ("bench", "--on", ",".join(faults), *WORK, "--duration", "1.5", "--json")
    document = json.loads(drawer.edgewise(*words).stdout)
    for run in document["runs"]:
        assert run["thermal"]["throttled"] == "yes", (run["device"], run["thermal"])
        assert run["verdict"] == "invalid", run["device"]
    assert {run["device"] for run in document["runs"]} == set(faults)


def test_a_phones_shell_meets_what_is_closed_to_it(drawer, own_user_folders):
    know_the_phone(drawer.lab, own_user_folders)

    def say(*words):
        done = phone.run(list(words), deadline=Deadline(30.0))
        return (done.stdout + done.stderr).decode()

    with drawer.lab.inside("ctl"), closing(drawer.phone()) as phone:
        assert "Permission denied" in say("cat", "/sys/class/power_supply/battery/current_now")
        assert "Permission denied" in say("cat", "/sys/class/thermal/thermal_zone0/temp")
        assert say("getprop", "ro.product.model").strip() == "SM-S911B"
        assert "Charge counter:" in say("dumpsys", "battery")
        assert "Current temperatures from HAL" in say("dumpsys", "thermalservice")


def test_a_recording_of_a_board_is_a_personality(drawer, tmp_path):
    archive = tmp_path / "recorded.zip"
    drawer.edgewise("doctor", "pi5", "--record", str(archive))
    root = personality(str(archive)).write(tmp_path / "tree")
    sensors, _ = find_sensors(root)
    names = {sensor.name for sensor in sensors}
    assert {"temperature.cpu-thermal", "power.pmic", "throttle.now.undervoltage"} <= names
    twin = Lab.up(f"r{os.getpid()}", [f"twin=ssh-amd64,as={archive}"], owned=True)
    try:
        said = twin.run_in("twin", ["vcgencmd", "pmic_read_adc"]).stdout
        assert "VDD_CORE_A" in said
        assert twin.run_in("twin", ["cat", "/sys/class/thermal/thermal_zone0/type"]).stdout == "cpu-thermal\n"
    finally:
        twin.down()
