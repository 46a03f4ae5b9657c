"""What else keeps a device busy, from the kernel's accounts."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agents.conditions import intruders
from device_agents.conditions.intruders import TICKS, Account, Process, account, compare, parse_process, parse_total

STAT = "42 (a (b) c) S 7 42 42 0 -1 4194560 100 200 0 0 300 200 50 25 20 0 1 0 12345 1000 10 0 0"


def test_a_line_of_a_process_whose_name_has_parentheses():
    assert parse_process(STAT) == Process("a (b) c", 7, 12345, 500 / TICKS, 75 / TICKS)


@pytest.mark.parametrize(
    "text", ["", "42", "42 (x", "42 (x) S", STAT.replace("300", "-1"), STAT.replace("7 42", "x 42")]
)
def test_a_damaged_line_is_no_process(text):
    assert parse_process(text) is None


@given(st.text())
def test_no_text_is_an_error(text):
    parse_process(text)
    parse_total(text)
    parse_total("cpu " + text)


def test_guests_idle_and_waiting_are_not_busy():
    assert parse_total("cpu  100 20 50 1000 500 10 5 0 90 90\ncpu0 1 1 1 1") == (185 / TICKS, 0.0)
    assert parse_total("cpu  100 20 50 1000") == (170 / TICKS, 0.0)
    assert parse_total("intr 1 2 3 4 5") == (None, 0.0)


def at(at_s, busy_s, processes, steal_s=0.0):
    return Account(at_s, busy_s, steal_s, processes)


def test_ours_and_what_we_started_are_no_intruders(tmp_path):
    before = at(0.0, 100.0, {1: Process("init", 0, 1, 5.0), 10: Process("agent", 1, 50, 1.0)})
    after = at(
        10.0,
        120.0,
        {
            1: Process("init", 0, 1, 5.0),
            10: Process("agent", 1, 50, 2.0, children_s=3.0),
            11: Process("worker", 10, 60, 9.0),
            12: Process("its child", 11, 61, 1.0),
            20: Process("apt", 1, 70, 4.0),
            21: Process("cron", 1, 71, 0.5),
        },
    )
    found = compare(before, after, 10, str(tmp_path))
    assert found["share"] == pytest.approx((20.0 - 1.0 - 3.0 - 9.0 - 1.0) / 10.0)
    assert found["processes"] == [{"name": "apt", "share": 0.4}, {"name": "cron", "share": 0.05}]
    assert found["over"]
    assert intruders.describe(found) == "other processes take 60% of a core: apt 40%, cron 5%"


def test_a_number_that_was_given_away_counts_from_its_new_start(tmp_path):
    before = at(0.0, 0.0, {20: Process("old", 1, 5, 1000.0)})
    after = at(1.0, 0.1, {20: Process("new", 1, 900, 0.1)})
    assert compare(before, after, 10, str(tmp_path))["processes"] == [{"name": "new", "share": 0.1}]


def test_edgewise_itself_is_no_intruder(tmp_path):
    line = tmp_path / "proc/20/cmdline"
    line.parent.mkdir(parents=True)
    line.write_text("python3\0/home/x/.edgewise/agents/edgewise-agent-1.zip\0tail\0")
    found = compare(at(0.0, 0.0, {}), at(1.0, 0.5, {20: Process("python3", 1, 1, 0.5)}), 10, str(tmp_path))
    assert (found["share"], found["processes"], found["over"]) == (0.0, [], False)


def test_where_it_cannot_be_told_there_is_a_reason(tmp_path):
    hidden = account(str(tmp_path))
    assert compare(hidden, hidden, 1)["why"] == "the kernel does not show /proc/stat to this user"
    assert "too short" in compare(at(0.0, 0.0, {}), at(0.01, 0.0, {}), 1)["why"]
    unseen = compare(at(0.0, 0.0, {}), at(1.0, 0.9, {}), 1, str(tmp_path))
    assert (unseen["share"], unseen["why"]) == (0.9, "this user does not see the processes of others")


def test_time_that_the_hypervisor_took_is_said(tmp_path):
    found = compare(at(0.0, 0.0, {}), at(1.0, 0.0, {}, steal_s=0.5), 1, str(tmp_path))
    assert (found["share"], found["steal"], found["over"]) == (0.0, 0.5, True)
    assert intruders.describe(found) == "other processes take 0% of a core, the hypervisor 50%"


def test_a_real_intruder_is_seen_with_its_name():
    busy = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"
    # A shell in between: the intruder must not be our child.
    shell = subprocess.run(
        ["sh", "-c", '"$0" -c "$1" >/dev/null 2>&1 & echo $!', sys.executable, busy], capture_output=True, text=True
    )
    pid = int(shell.stdout)
    try:
        before = account()
        end = time.monotonic() + 30.0
        while account().processes[pid].cpu_s < before.processes[pid].cpu_s + 0.3:
            assert time.monotonic() < end
            time.sleep(0.1)
        found = compare(before, account(), os.getpid())
    finally:
        os.kill(pid, 9)
    assert found["share"] > 0.0
    assert found["processes"]
