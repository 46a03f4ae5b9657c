"""Settings held on the lab's devices: whatever is cut at the worst moment, the board is left as it was found."""

from __future__ import annotations

import signal
import time

import pytest

from tests.support.cli import edgewise, edgewise_json, start_edgewise
from tests.support.fleet import know_the_phone, lab_inventory
from tests.support.provision import cache_at, lab_cache, prefill

pytest_plugins = ["tests.lab.fixtures"]
pytestmark = [pytest.mark.lab, pytest.mark.timeout(300, func_only=True)]

BOARD, PHONE = "board86", "phone"
POLICY = "devices/system/cpu/cpufreq/policy0"
FOUND = {
    "scaling_governor": "ondemand",
    "scaling_available_governors": "ondemand performance",
    "affected_cpus": "0 1",
    "scaling_min_freq": "600000",
    "scaling_max_freq": "1500000",
    "cpuinfo_max_freq": "1500000",
    "scaling_cur_freq": "600000",
}
HELD = ("--pin", "governor=performance", "--pin", "clocks=locked")
SLEEPER = ("--runner", "command", "--command", "sleep 0.05", "--min-count", "5", "--warmup", "1", "--idle", "0")
LONG = (*SLEEPER, *HELD, "--duration", "50")
LIMIT_S = 90.0


def give_clocks(lab, name):
    """The device's clocks as a boot leaves them, which its user may set (a rule of udev, on a real board)."""
    for file, text in FOUND.items():
        lab.write_sys(name, f"{POLICY}/{file}", text)
        lab.sys_path(name, f"{POLICY}/{file}").chmod(0o666)


def state(lab, name):
    return {file: lab.sys_path(name, f"{POLICY}/{file}").read_text().strip() for file in FOUND}


def eventually(check, what):
    end = time.monotonic() + LIMIT_S
    while not check():
        assert time.monotonic() < end, what()
        time.sleep(0.1)


def held(lab, name):
    """Once the settings are set."""
    eventually(lambda: state(lab, name)["scaling_min_freq"] == "1500000", lambda: state(lab, name))
    assert state(lab, name)["scaling_governor"] == "performance"


def as_found(lab, name):
    eventually(lambda: state(lab, name) == FOUND, lambda: state(lab, name))


def the_journal(lab, name):
    """Names of books on the device."""
    place = "/data/local/tmp/edgewise-drawer" if name == PHONE else "/home/edge/.edgewise"
    done = lab.run_in(name, ["/bin/sh", "-c", f"ls {place}/journal"])
    return [word for word in done.stdout.split() if word.endswith(".json")]


def kill_on(lab, name, pattern):
    """SIGKILL for the agent's processes on the device whose command line has the pattern."""
    script = (
        "for place in /proc/[0-9]*; do [ $place = /proc/$$ ] && continue; "
        'line=$(tr "\\0" " " < $place/cmdline 2>/dev/null); '
        f'case "$line" in *edgewise-agent*{pattern}*|*device_agents*{pattern}*) kill -9 "${{place#/proc/}}";; esac; '
        "done"
    )
    lab.run_in(name, ["/bin/sh", "-c", script])


@pytest.fixture
def desk(in_ctl, tmp_path, own_user_folders):
    """The developer's folder, with an inventory of the lab, whose board and phone have clocks to set."""
    lab_inventory(in_ctl, tmp_path)
    know_the_phone(in_ctl, own_user_folders)
    for name in (BOARD, PHONE):
        give_clocks(in_ctl, name)
    yield tmp_path
    for name in (BOARD, PHONE):
        edgewise("attach", "--on", name, "--stop", cwd=tmp_path)


def detached(desk, *more):
    (left,) = edgewise_json("bench", "--on", BOARD, *LONG, *more, "--detach", cwd=desk)["left"]
    return left["id"]


def test_a_run_holds_its_settings_and_leaves_the_board_as_it_was(desk, in_ctl):
    (row,) = edgewise_json("bench", "--on", BOARD, *SLEEPER, *HELD, "--duration", "0.5", cwd=desk)["runs"]
    assert row["environment"]["device"]["governor"] == "performance"
    assert state(in_ctl, BOARD) == FOUND
    assert the_journal(in_ctl, BOARD) == []


def test_a_setting_that_its_user_may_not_change_is_refused_with_the_file(desk, in_ctl):
    in_ctl.sys_path(BOARD, f"{POLICY}/scaling_min_freq").chmod(0o644)
    done = edgewise("bench", "--on", BOARD, *SLEEPER, *HELD, "--duration", "0.5", cwd=desk)
    assert done.returncode == 1
    assert f"/sys/{POLICY}/scaling_min_freq: permission denied; setting it needs root" in done.stderr
    assert state(in_ctl, BOARD) == FOUND


def test_the_host_is_killed(desk, in_ctl):
    """An attached run ends on its own when nobody reads it any more; until then it holds what it holds."""
    going = start_edgewise("bench", "--on", BOARD, *LONG, "--reconnect", "1", cwd=desk)
    held(in_ctl, BOARD)
    going.send_signal(signal.SIGKILL)
    going.wait(timeout=10)
    for pipe in (going.stdout, going.stderr):
        pipe.close()
    as_found(in_ctl, BOARD)
    assert the_journal(in_ctl, BOARD) == []


def test_the_link_is_cut_and_the_run_holds_to_its_end(desk, in_ctl):
    (left,) = edgewise_json("bench", "--on", BOARD, *SLEEPER, *HELD, "--duration", "6", "--detach", cwd=desk)["left"]
    held(in_ctl, BOARD)
    in_ctl.link(BOARD, up=False)
    as_found(in_ctl, BOARD)  # at its end, with nobody there
    in_ctl.link(BOARD, up=True)
    (row,) = edgewise_json("attach", left["id"], cwd=desk)["runs"]
    assert row["invocations"] > 5
    assert the_journal(in_ctl, BOARD) == []


@pytest.mark.parametrize("what", ["worker", "start"], ids=["worker", "supervisor"])
def test_a_process_on_the_board_is_killed(desk, in_ctl, what):
    detached(desk)
    held(in_ctl, BOARD)
    kill_on(in_ctl, BOARD, what)
    as_found(in_ctl, BOARD)
    edgewise("attach", cwd=desk)
    assert the_journal(in_ctl, BOARD) == []


def test_everything_on_the_board_is_killed_and_the_next_contact_puts_back(desk, in_ctl):
    detached(desk)
    held(in_ctl, BOARD)
    kill_on(in_ctl, BOARD, "watchdog")
    kill_on(in_ctl, BOARD, "")
    assert state(in_ctl, BOARD) != FOUND
    assert the_journal(in_ctl, BOARD) != []
    edgewise_json("devices", BOARD, cwd=desk)
    assert state(in_ctl, BOARD) == FOUND
    assert the_journal(in_ctl, BOARD) == []


@pytest.mark.parametrize("clocks", ["fresh", "kept"])
def test_the_power_is_cut(desk, in_ctl, clocks):
    """A boot has its own settings; where a board kept them all the same, the next contact puts them back."""
    detached(desk)
    held(in_ctl, BOARD)
    in_ctl.power(BOARD, on=False)
    in_ctl.power(BOARD, on=True)
    give_clocks(in_ctl, BOARD)
    if clocks == "kept":
        for file, text in (("scaling_governor", "performance"), ("scaling_min_freq", "1500000")):
            in_ctl.write_sys(BOARD, f"{POLICY}/{file}", text)
    edgewise_json("devices", BOARD, cwd=desk)
    assert state(in_ctl, BOARD) == FOUND
    assert the_journal(in_ctl, BOARD) == []


@pytest.fixture(scope="module")
def phone_cache():
    """What the phone is given; within the lab there is no internet."""
    with cache_at(lab_cache()):
        prefill("aarch64", phone=True)


@pytest.mark.timeout(600, func_only=True)  # its programs are translated, and it may have to be set up
def test_a_phone_whose_agent_is_killed(desk, in_ctl, phone_cache, monkeypatch):
    text = (desk / "devices.yaml").read_text().replace("{transport: adb", "{kind: android, transport: adb")
    workdir = "workdir: /data/local/tmp/edgewise-drawer"  # shared with test_drawer.py: the phone is set up once
    text = text.replace("transport: adb", f"transport: adb, {workdir}, env: {{QEMU_CPU: cortex-a72}}")
    (desk / "devices.yaml").write_text(text)
    monkeypatch.setenv("EDGEWISE_CACHE", str(lab_cache()))
    edgewise_json("setup", PHONE, "--runtime", "onnxruntime", cwd=desk)
    edgewise_json("bench", "--on", PHONE, *LONG, "--detach", cwd=desk)
    held(in_ctl, PHONE)
    assert len(the_journal(in_ctl, PHONE)) == 1
    kill_on(in_ctl, PHONE, "start")
    as_found(in_ctl, PHONE)
    edgewise("attach", cwd=desk)
    assert the_journal(in_ctl, PHONE) == []
