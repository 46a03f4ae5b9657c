"""The marker load: busy in the pattern's bursts, nothing left of it, and told with the clock it was played by."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

from device_agents.conditions import marker
from device_agents.conditions.terms import Terms


def test_the_load_is_busy_in_the_bursts_and_asleep_between_them(monkeypatch):
    clock = [100.0]
    busy, asleep = [0] * 4, [0.0] * 4

    def monotonic():
        clock[0] += 0.001
        place = int((clock[0] - 101.0) / 0.5)
        if 0 <= place < 4:
            busy[place] += 1
        return clock[0]

    def sleep(seconds):
        place = int((clock[0] - 101.0) / 0.5) if clock[0] >= 101.0 else -1
        if place >= 0:
            asleep[place] += seconds
        clock[0] += seconds

    monkeypatch.setitem(sys.modules, "time", types.SimpleNamespace(monotonic=monotonic, sleep=sleep))
    monkeypatch.setattr(sys, "argv", ["-c", "101.0", "0.5", "1001"])
    exec(compile(marker._BUSY, "busy", "exec"), {})
    assert [count > 400 for count in busy] == [True, False, False, True]
    assert asleep[1] > 0.45 and asleep[2] > 0.45
    assert asleep[0] == asleep[3] == 0.0


def test_a_marker_is_told_as_it_was_played():
    waited = []
    played = marker.play("before", 0.05, [0], lambda seconds: waited.append(seconds) or _wait(seconds))
    assert (played["when"], played["chip_s"], played["processes"]) == ("before", 0.05, 1)
    assert played["bits"] == marker.pattern("before")
    assert len(waited) == 2 and waited[0] <= marker.LEAD_S + 31 * 0.05


def _wait(seconds):
    import time

    time.sleep(max(0.0, seconds))
    return True


def test_a_marker_that_is_stopped_leaves_no_process_and_tells_nothing():
    assert marker.play("after", 60.0, [0, 1], lambda seconds: False) == {}
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert not [pid for pid in children if b"end_s" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_the_terms_take_a_burst_of_a_plausible_length():
    assert Terms.of({"marker_s": 0.5}).marker_s == 0.5
    assert Terms.of({}).marker_s is None
