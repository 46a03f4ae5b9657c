"""The sampler: blocks, schedule, reasons, and that nothing in it stops a run."""

from __future__ import annotations

import itertools
import threading
import time

from device_agents import records
from device_agents.sampler import Sampler
from device_agents.sensors import SensorError, find_sensors
from tests.support.sysfs import make_tree, read_tsv, set_file


class Probe:
    """A sensor whose values are given; an exception among them is raised."""

    def __init__(self, name, *values):
        self.name = name
        self.values = list(values)
        self.closed = False

    def read(self):
        value = self.values.pop(0) if len(self.values) > 1 else self.values[0]
        if isinstance(value, Exception):
            raise value
        return value

    def close(self):
        self.closed = True


def collect(sensors, period_s, until, timeout_s=20.0):
    """(records, overhead) of a sampler that is stopped when ``until(records)`` holds."""
    emitted = []
    changed = threading.Condition()

    def emit(record):
        with changed:
            emitted.append(record)
            changed.notify()

    sampler = Sampler(sensors, period_s, emit)
    sampler.start()
    with changed:
        assert changed.wait_for(lambda: until(emitted), timeout_s)
    overhead = sampler.stop()
    return emitted, overhead


def test_blocks_hold_every_tick_as_columns():
    probe = Probe("power.X", 1.5)
    emitted, overhead = collect([probe], 0.02, lambda blocks: len(blocks) >= 2)
    assert {record["type"] for record in emitted} == {"samples"}
    for block in emitted:
        records.encode(block)
        count = len(block["t_ns"])
        assert count > 0
        assert len(block["columns"]["power.X"]) == len(block["read_ns"]) == count
        assert block["columns"]["power.X"] == [1.5] * count
        assert block["reasons"] == {}
    stamps = [t_ns for block in emitted for t_ns in block["t_ns"]]
    assert stamps == sorted(stamps)
    assert overhead["ticks"] == len(stamps)
    assert overhead["sampler_error"] is None
    assert 0 < overhead["sampler_cpu_s"] < 60
    assert overhead["sampler_cpu_share"] > 0
    assert probe.closed
    # The first block is emitted after about a second, not per tick.
    assert emitted[0]["t_ns"][-1] - emitted[0]["t_ns"][0] > 0.5e9


def test_ticks_lie_on_multiples_of_the_period():
    emitted, _ = collect([Probe("x", 0.0)], 0.05, lambda blocks: len(blocks) >= 1)
    stamps = emitted[0]["t_ns"]
    for stamp in stamps[1:]:
        assert (stamp - stamps[0]) / 0.05e9 > 0.5  # each later tick waited for its own multiple
    gaps = {round((b - a) / 0.05e9) for a, b in itertools.pairwise(stamps)}
    assert min(gaps) >= 0 and 1 in gaps


def test_ticks_that_cannot_be_held_are_counted_not_caught_up():
    class Slow(Probe):
        def read(self):
            time.sleep(0.055)
            return 1.0

    emitted, overhead = collect([Slow("slow", 1.0)], 0.01, lambda blocks: len(blocks) >= 1)
    assert overhead["missed_ticks"] >= overhead["ticks"]
    wall_s = (emitted[-1]["t_ns"][-1] - emitted[0]["t_ns"][0]) * 1e-9
    assert overhead["ticks"] <= wall_s / 0.055 + 3


def test_a_missing_value_is_null_with_its_reason():
    probe = Probe("gpu", 40.0, SensorError("switched off"), 41.0)
    emitted, _ = collect([probe, Probe("other", 2.0)], 0.02, lambda blocks: len(blocks) >= 1)
    column = emitted[0]["columns"]["gpu"]
    assert column[:3] == [40.0, None, 41.0]
    assert None not in emitted[0]["columns"]["other"]
    assert emitted[0]["reasons"] == {"gpu": "switched off"}


def test_who_listens_hears_each_tick_with_the_reasons():
    heard = []
    done = threading.Event()

    def hear(values, reasons):
        heard.append((dict(values), dict(reasons)))
        if len(heard) == 2:
            done.set()

    sampler = Sampler([Probe("a", 1.0, SensorError("gone"))], 0.01, lambda record: None, on_readings=hear)
    sampler.start()
    assert done.wait(20)
    sampler.stop()
    assert heard[:2] == [({"a": 1.0}, {}), ({"a": None}, {"a": "gone"})]


def test_without_sensors_there_is_a_heartbeat():
    emitted, overhead = collect([], 0.001, lambda blocks: len(blocks) >= 2)
    assert emitted[0]["columns"] == {}
    assert overhead["ticks"] < 50  # not a thousand a second for nothing
    assert overhead["sampler_error"] is None


def test_stop_emits_what_is_left_at_once_and_may_be_called_twice():
    emitted = []
    sampler = Sampler([Probe("x", 3.0)], 60.0, emitted.append)
    sampler.start()
    first = sampler.stop()
    assert sampler.stop() == first
    assert [block["columns"]["x"] for block in emitted] in ([[3.0, 3.0]], [[3.0]])  # at the start and at the stop


def test_stop_without_start():
    assert Sampler([], 1.0, lambda record: None).stop()["ticks"] == 0


def test_an_unexpected_error_ends_the_sampling_only():
    probe = Probe("x", 1.0, ZeroDivisionError("boom"))
    emitted, overhead = collect([probe], 0.01, lambda blocks: any(b["type"] == "event" for b in blocks))
    event = emitted[-1]
    assert event["name"] == "sampler-failed"
    assert "boom" in event["detail"]["error"]
    assert "boom" in overhead["sampler_error"]
    assert probe.closed


def test_a_broken_stream_is_told_in_the_overhead():
    calls = []

    def broken(record):
        calls.append(record)
        raise BrokenPipeError("host is gone")

    sampler = Sampler([], 0.01, broken)
    sampler.start()
    deadline = time.monotonic() + 10
    while not sampler.overhead()["sampler_error"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "host is gone" in sampler.stop()["sampler_error"]
    assert len(calls) >= 1


def test_a_board_whose_values_change(tmp_path):
    root = make_tree(tmp_path, read_tsv("constructed_pi5.tsv"))
    sensors, _ = find_sensors(root)
    zone = "/sys/class/thermal/thermal_zone0/temp"
    emitted = []
    sampler = Sampler(sensors, 0.01, emitted.append)
    sampler.start()
    time.sleep(0.1)
    set_file(root, zone, "61000")
    time.sleep(0.3)
    sampler.stop()
    column = [value for block in emitted for value in block["columns"]["temperature.cpu-thermal"]]
    assert 47.2 in column
    assert column[-1] == 61.0
