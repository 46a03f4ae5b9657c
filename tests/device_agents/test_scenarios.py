"""Scenarios on the device, with a clock that goes as it is told: schedules, waiting, late frames, and their ends."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest

from device_agents import loop as loop_module
from device_agents import scenario_loop, scenarios
from device_agents.failures import AgentFailure
from device_agents.inputs import Feed
from device_agents.loop import StopFlag
from device_agents.runners.base import Runner
from device_agents.scenario_loop import ScenarioLoop
from device_agents.scenarios import Frames, Poisson, Scenario
from device_agents.spec import AgentSpec

MS = 1_000_000
TICK_NS = 1000  # what reading the clock takes


class Clock:
    """Time that passes by sleeping, by inferences, and by a microsecond for each reading."""

    def __init__(self):
        self.now = 5_000 * MS
        self.slept = []

    def monotonic_ns(self):
        self.now += TICK_NS
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += round(seconds * 1e9)


class Timed(Runner):
    """Each inference takes what the list says, the last entry for ever."""

    def __init__(self, clock, takes_ms, stop_at=None):
        super().__init__()
        self.clock = clock
        self.takes_ms = list(takes_ms)
        self.stop = StopFlag()
        self.stop_at = stop_at
        self.invoked = 0

    def invoke(self):
        self.clock.now += round(self.takes_ms[min(self.invoked, len(self.takes_ms) - 1)] * MS)
        self.invoked += 1
        if self.invoked == self.stop_at:
            self.stop.request()


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    fake = SimpleNamespace(monotonic_ns=made.monotonic_ns, sleep=made.sleep)
    for module in (loop_module, scenario_loop, scenarios):
        monkeypatch.setattr(module, "time", fake)
    return made


def measured(clock, asked, takes_ms, *, count=1, duration_s=0.0, longest_s=1e6, batch=1, stop_at=None):
    """(PhaseResult, what it told, the columns of all blocks)."""
    records, runner = [], Timed(clock, takes_ms, stop_at)
    made = ScenarioLoop(runner, Feed({}, {}), records.append, runner.stop)
    result, told = made.scenario(Scenario.of(asked, batch), batch, count, duration_s, longest_s)
    columns = {name: [] for name in ("start_ns", "duration_ns", "scheduled_ns")}
    for record in records:
        assert record["phase"] == "measure"
        for name, values in columns.items():
            values += record.get(name, [])
    return result, told, columns


SERVER = {"name": "server", "qps": 100.0, "latency_bound_s": 0.05, "seed": 7}


def test_the_gaps_of_a_poisson_schedule_are_those_of_its_seed():
    lot, arrivals, at_s = random.Random(7), Poisson(100.0, 7), 0.0
    for _ in range(1000):
        at_s += lot.expovariate(100.0)
        assert arrivals.next(0) == int(at_s * 1e9)
    assert at_s == pytest.approx(10.0, rel=0.1)


def test_queries_of_a_server_begin_when_they_are_due(clock):
    result, told, columns = measured(clock, SERVER, [0.1], count=50)
    assert (result.reason, result.invocations, told["queries"], told["unserved"]) == ("minimums", 50, 50, 0)
    waited = [start - due for start, due in zip(columns["start_ns"], columns["scheduled_ns"], strict=True)]
    assert min(waited) > 0
    # Those that came while the one before was running wait for its end, the others for the clock to be read.
    assert sum(wait < 10 * TICK_NS for wait in waited) > 40


def test_the_schedule_does_not_depend_on_how_fast_the_device_is(clock):
    fast = measured(clock, SERVER, [0.1], count=40)[2]["scheduled_ns"]
    slow = measured(clock, SERVER, [30.0], count=40)[2]["scheduled_ns"]
    assert [due - fast[0] for due in fast] == [due - slow[0] for due in slow]


def test_a_device_that_is_too_slow_answers_all_and_late(clock):
    result, told, columns = measured(clock, SERVER, [30.0], count=40)
    latencies = [
        start + duration - due
        for start, duration, due in zip(
            *(columns[name] for name in ("start_ns", "duration_ns", "scheduled_ns")), strict=True
        )
    ]
    assert result.reason == "minimums"
    assert told["unserved"] == 0
    assert latencies[-1] > 15 * latencies[0]


def test_every_query_that_was_due_within_the_duration_is_answered(clock):
    _, _, columns = measured(clock, SERVER, [0.1], count=1, duration_s=2.0)
    lot, at_s, expected = random.Random(7), 0.0, 0
    while True:
        at_s += lot.expovariate(100.0)
        if at_s >= 2.0:
            break
        expected += 1
    assert len(columns["start_ns"]) == expected


def test_what_had_come_at_the_longest_time_is_told_as_unserved(clock):
    result, told, columns = measured(clock, SERVER, [50.0], count=1000, longest_s=1.0)
    assert result.reason == "max-duration"
    begin_ns = columns["scheduled_ns"][0] - Poisson(100.0, 7).next(0)
    end_ns = columns["start_ns"][-1] + columns["duration_ns"][-1]
    arrivals, came = Poisson(100.0, 7), 0
    while begin_ns + arrivals.next(0) <= end_ns:
        came += 1
    assert told["unserved"] == came - len(columns["start_ns"]) > 50


def test_a_stop_ends_a_wait(clock):
    slow = {**SERVER, "qps": 0.01}
    runner = Timed(clock, [1.0])
    made = ScenarioLoop(runner, Feed({}, {}), lambda record: None, runner.stop)
    sleep = clock.sleep

    def stopping(seconds):
        sleep(seconds)
        if len(clock.slept) == 3:
            runner.stop.request()

    scenarios.time.sleep = stopping
    result, told = made.scenario(Scenario.of(slow, 1), 1, 10, 0.0, 1e6)
    assert (result.reason, result.invocations, told["unserved"], len(clock.slept)) == ("stopped", 0, 0, 3)


def test_a_long_wait_gives_signs_of_life_and_no_invocations(clock):
    records, runner = [], Timed(clock, [1.0])
    made = ScenarioLoop(runner, Feed({}, {}), records.append, runner.stop)
    made.scenario(Scenario.of({"name": "rate", "rate_hz": 0.1}, 1), 1, 3, 0.0, 1e6)
    assert sum(len(record["start_ns"]) for record in records) == 3
    assert sum(not record["start_ns"] for record in records) >= 15  # 20 s of waiting, about one a second


def test_the_last_part_of_a_wait_is_busy_and_told(clock):
    _, told, columns = measured(clock, {"name": "rate", "rate_hz": 100.0}, [1.0], count=11)
    assert told["spin_s"] == pytest.approx(10 * scenarios.SPIN_NS / 1e9, rel=0.3)
    assert told["slept_s"] == pytest.approx(10 * (0.010 - 0.001), rel=0.1)
    waits = [start - due for start, due in zip(columns["start_ns"], columns["scheduled_ns"], strict=True)]
    assert max(waits) <= 5 * TICK_NS


@pytest.mark.parametrize(("late", "numbers"), [("newest", [0, 2, 3, 5, 6, 7]), ("queue", [0, 1, 2, 3, 4, 5])])
def test_a_late_device_takes_the_newest_frame_or_every_one(clock, late, numbers):
    """Frames every 10 ms: the first takes 25 ms, the third 20.5 ms."""
    asked = {"name": "rate", "rate_hz": 100.0, "late": late}
    _, _, columns = measured(clock, asked, [25.0, 1.0, 20.5, 1.0], count=6)
    first = columns["scheduled_ns"][0]
    assert [round((due - first) / (10 * MS)) for due in columns["scheduled_ns"]] == numbers


def test_frames_that_came_are_counted_when_it_ends_early(clock):
    asked = {"name": "rate", "rate_hz": 100.0, "late": "queue"}
    result, told, columns = measured(clock, asked, [50.0], count=1000, longest_s=1.0)
    assert result.reason == "max-duration"
    assert len(columns["start_ns"]) + told["unserved"] == pytest.approx(100, abs=6)


def test_a_frame_that_comes_at_this_moment_is_there():
    frames = Frames(30.0, newest=True)
    assert frames.next(0) == 0
    third = round(3e9 / 30)
    assert frames.next(third) == third
    assert frames.next(third) == round(4e9 / 30)


def test_a_query_of_several_samples_is_due_when_its_first_one_begins(clock):
    asked = {"name": "multi-stream", "samples_per_query": 8}
    result, told, columns = measured(clock, asked, [1.0], count=5, batch=2)
    assert (result.invocations, told["queries"]) == (20, 5)
    due = columns["scheduled_ns"]
    assert [len(set(due[place : place + 4])) for place in range(0, 20, 4)] == [1] * 5
    assert len(set(due)) == 5
    assert all(0 < columns["start_ns"][place] - due[place] < 5 * TICK_NS for place in range(0, 20, 4))


@pytest.mark.parametrize("name", ["single-stream", "offline", "sustained"])
def test_queries_back_to_back_have_no_schedule_of_their_own(clock, name):
    result, told, columns = measured(clock, {"name": name}, [1.0], count=5)
    assert (result.invocations, told["queries"], columns["scheduled_ns"]) == (5, 5, [])


def test_a_stop_in_the_midst_of_a_query_keeps_what_was_measured(clock):
    asked = {"name": "multi-stream", "samples_per_query": 4}
    result, told, columns = measured(clock, asked, [1.0], count=50, stop_at=6)
    assert (result.reason, len(columns["start_ns"]), told["queries"]) == ("stopped", 6, 1)


def test_waiting_for_others_records_nothing(clock):
    records, runner = [], Timed(clock, [400.0])
    made = ScenarioLoop(runner, Feed({}, {}), records.append, runner.stop)
    result = made.linger(lambda: runner.invoked >= 7, 60.0)
    assert (result.invocations, runner.invoked) == (7, 7)
    assert records
    assert all(record["start_ns"] == [] for record in records)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"name": "burst"}, "scenario.name"),
        ({"name": "server", "qps": 10.0}, "latency_bound_s"),
        ({"name": "server", "qps": 0.0, "latency_bound_s": 1.0}, "qps"),
        ({"name": "server", "qps": float("nan"), "latency_bound_s": 1.0}, "qps"),
        ({"name": "server", "qps": True, "latency_bound_s": 1.0}, "qps"),
        ({"name": "rate"}, "rate_hz"),
        ({"name": "rate", "rate_hz": 10.0, "late": "oldest"}, "late"),
        ({"name": "multi-stream", "samples_per_query": 0}, "samples_per_query"),
        ({"name": "multi-stream", "samples_per_query": 3}, "multiple of the batch"),
        ({"name": "offline", "seed": -1}, "seed"),
        ({"name": "offline", "speed": 1}, "scenario.speed"),
    ],
)
def test_scenarios_that_are_refused(asked, words):
    with pytest.raises(AgentFailure, match=words) as caught:
        AgentSpec.from_json({"runner": "null", "scenario": asked, "batch": 2})
    assert caught.value.code == "bad-spec"


@pytest.mark.parametrize(
    "more",
    [
        {"task": "evaluate"},
        {"runner": "command", "command": {"argv": ["x"], "preset": "trtexec"}},
        {"scenario": []},
        {"beside": "a.onnx"},
        {"beside": [1]},
        {"barrier": {"folder": "/tmp", "size": 2}},
        {"barrier": {"folder": "/tmp", "size": 2, "place": 2}},
    ],
)
def test_scenarios_do_not_go_with_everything(more):
    with pytest.raises(AgentFailure) as caught:
        AgentSpec.from_json({"runner": "null", "scenario": {"name": "offline"}, **more})
    assert caught.value.code == "bad-spec"


def test_nobody_is_waited_for_for_ever(clock):
    runner = Timed(clock, [400.0])
    made = ScenarioLoop(runner, Feed({}, {}), lambda record: None, runner.stop)
    result = made.linger(lambda: False, 2.0)
    assert (result.reason, result.invocations) == ("max-duration", 5)
