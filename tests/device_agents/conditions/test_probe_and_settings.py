"""The throttle probe does the same work each time; settings that moved are found."""

from __future__ import annotations

import os

import pytest

from device_agents.conditions import probe
from device_agents.conditions.settings import changes, settings
from device_agents.sensors.base import descriptor
from tests.support.pinnable import CPU, Board


def test_the_same_work_each_time():
    one = probe.Probe()
    before, after = one.measure("before"), one.measure("after")
    assert before["work"] == after["work"] == f"lcg32 x {before['loops']}"
    assert len(before["duration_ns"]) == len(before["cpu_ns"]) == probe.REPEATS
    assert min(before["duration_ns"]) > 0


def test_the_work_cannot_be_left_out():
    assert probe.work(3) == (((1664525 + 1013904223) * 1664525 + 1013904223) * 1664525 + 1013904223) % 2**32


def test_it_runs_on_the_workers_cpus_and_gives_them_back(monkeypatch):
    before = os.sched_getaffinity(0)
    seen = []
    monkeypatch.setattr(probe, "work", lambda loops: seen.append(os.sched_getaffinity(0)))
    probe.Probe([min(before)]).measure("before")
    assert {frozenset(cpus) for cpus in seen} == {frozenset({min(before)})}
    assert os.sched_getaffinity(0) == before
    probe.Probe([100_000]).measure("before")  # the worker refuses them by name
    assert os.sched_getaffinity(0) == before


def about(name, quantity, state="present"):
    return descriptor(name, quantity, "x", "x", state)


@pytest.mark.parametrize(
    ("descriptors", "wanted"),
    [
        ([], True),
        ([about("temperature.cpu", "temperature"), about("cap", "ratio", "absent")], True),
        ([about("load.gpu", "ratio")], True),
        ([about("cap.policy0", "ratio")], False),
        ([about("throttle.cpu0", "count")], False),
        ([about("throttle.now.undervoltage", "flag")], False),
        ([about("throttle.status", "level")], False),
    ],
)
def test_it_is_for_devices_that_show_no_other_sign(descriptors, wanted):
    assert probe.wanted(None, descriptors) is wanted
    assert probe.wanted(True, descriptors)
    assert not probe.wanted(False, descriptors)


def test_what_somebody_changed_meanwhile(tmp_path):
    board = Board(tmp_path).clocks().nvpmodel()
    before = settings(str(tmp_path))
    assert before["power mode"] == "0 (MODE_0)"
    board.write(f"{CPU}/policy4/scaling_governor", "powersave\n")
    board.write("var/lib/nvpmodel/status", "pmode:0002\n")
    assert changes(before, settings(str(tmp_path))) == [
        ("governor of policy4", "ondemand", "powersave"),
        ("power mode", "0 (MODE_0)", "2 (MODE_2)"),
    ]
    assert changes(before, {}) == []
