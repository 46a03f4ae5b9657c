"""The measuring loop on runners that only count: when a phase ends, and that no invocation is lost on the way."""

from __future__ import annotations

import time

import pytest

from device_agents import loop as loop_module
from device_agents.inputs import Feed
from device_agents.loop import Loop, StopFlag
from device_agents.runners.base import Runner


class Counting(Runner):
    """Counts; asks for a stop at one of its invocations."""

    def __init__(self, stop_at=None, takes_s=0.0):
        super().__init__()
        self.invoked = 0
        self.prepared = []
        self.stop = StopFlag()
        self.stop_at = stop_at
        self.takes_s = takes_s

    def prepare(self, arrays):
        self.prepared.append(arrays)

    def invoke(self):
        self.invoked += 1
        if self.takes_s:
            time.sleep(self.takes_s)
        if self.invoked == self.stop_at:
            self.stop.request()


class Staged(Counting):
    """Has two stages."""

    stages = ("head", "tail")

    def invoke(self):
        super().invoke()
        self.last_stages = {"head": self.invoked, "tail": 10 * self.invoked}


class Batches:
    """A feed of some batches; ``batch`` gives the number itself."""

    def __init__(self, batches, items=None, batch_size=1):
        self.batches = batches
        self.batch_size = batch_size
        self.items = items if items is not None else batches

    def batch(self, number):
        return number


def make(runner, feed=None):
    records = []
    return Loop(runner, feed or Feed({}, {}), records.append, runner.stop), records


def count(records, phase):
    return sum(len(record["start_ns"]) for record in records if record["phase"] == phase)


def test_a_phase_ends_at_its_minimum_count():
    runner = Counting()
    loop, records = make(runner)
    result = loop.phase("measure", 17, 0.0, 60.0)
    assert (result.invocations, result.reason) == (17, "minimums")
    assert runner.invoked == count(records, "measure") == 17


def test_a_phase_needs_its_minimum_duration_too():
    runner = Counting()
    loop, records = make(runner)
    result = loop.phase("measure", 2, 0.05, 60.0)
    assert result.reason == "minimums"
    assert result.duration_s >= 0.05
    assert result.invocations == runner.invoked == count(records, "measure") > 2


def test_the_maximum_duration_comes_before_the_minimum_count():
    loop, records = make(Counting(takes_s=0.01))
    result = loop.phase("measure", 10**9, 0.0, 0.05)
    assert result.reason == "max-duration"
    assert result.invocations == count(records, "measure") >= 1


def test_a_phase_of_nothing_invokes_nothing():
    runner = Counting()
    loop, records = make(runner)
    assert loop.phase("warmup", 0, 0.0, 60.0).invocations == runner.invoked == 0
    assert records == []


def test_no_maximum_is_too_long_for_the_clock():
    loop, _ = make(Counting())
    assert loop.phase("measure", 1, 0.0, 1e300).reason == "minimums"


@pytest.mark.parametrize("at", [1, 5])
def test_a_stop_ends_after_the_invocation_in_hand(at):
    runner = Counting(stop_at=at)
    loop, records = make(runner)
    result = loop.phase("measure", 10**6, 1000.0, 2000.0)
    assert (result.invocations, result.reason) == (at, "stopped")
    assert runner.invoked == count(records, "measure") == at


def test_a_stop_between_two_bursts_is_not_forgotten():
    stop = StopFlag()
    stop.request()
    stop.arm(10**30)
    assert stop.limit == [0]


def test_blocks_are_bounded_and_nothing_is_lost(monkeypatch):
    monkeypatch.setattr(loop_module, "BLOCK", 10)
    runner = Counting()
    loop, records = make(runner)
    loop.phase("measure", 25, 0.0, 60.0)
    assert [len(record["duration_ns"]) for record in records] == [10, 10, 5]
    starts = [start for record in records for start in record["start_ns"]]
    ends = [
        start + duration
        for record in records
        for start, duration in zip(record["start_ns"], record["duration_ns"], strict=True)
    ]
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))


def test_blocks_come_about_once_a_second(monkeypatch):
    monkeypatch.setattr(loop_module, "FLUSH_NS", 1)
    loop, records = make(Counting())
    loop.phase("measure", 3, 0.0, 60.0)
    assert len(records) == 3


@pytest.mark.parametrize("kind", [Counting, Staged])
def test_the_first_invocation_is_a_phase_of_its_own(kind):
    loop, records = make(kind())
    first_s = loop.first()
    (record,) = records
    assert record["phase"] == "first"
    assert record["duration_ns"] == [round(first_s * 1e9)]


def test_stages_are_kept_beside_each_invocation():
    loop, records = make(Staged())
    loop.phase("measure", 3, 0.0, 60.0)
    assert records[0]["stages"] == {"head": [1, 2, 3], "tail": [10, 20, 30]}


def test_batches_are_cycled_through_from_phase_to_phase():
    runner = Counting()
    loop, _ = make(runner, Batches(3))
    loop.first()
    loop.phase("warmup", 2, 0.0, 60.0)
    loop.phase("measure", 4, 0.0, 60.0)
    assert runner.prepared[: runner.invoked] == [0, 1, 2, 0, 1, 2, 0]


class Classifying(Counting):
    """Its class of item i is i."""

    def __init__(self, batch_size, **options):
        super().__init__(**options)
        self.batch_size = batch_size

    def output_top1(self):
        first = self.prepared[-1] * self.batch_size
        return list(range(first, first + self.batch_size))


@pytest.mark.parametrize(("items", "batch_size"), [(1, 1), (6, 2), (7, 3), (2, 5)])
def test_an_evaluation_has_every_item_once(items, batch_size):
    feed = Batches(-(-items // batch_size), items, batch_size)
    runner = Classifying(batch_size)
    loop, records = make(runner, feed)
    assert loop.evaluate().reason == "all-items"
    outputs = [record for record in records if record["type"] == "outputs"]
    assert [value for record in outputs for value in record["top1"]] == list(range(items))
    assert [record["first"] for record in outputs] == [record["top1"][0] for record in outputs]
    assert runner.invoked == feed.batches


def test_a_stopped_evaluation_keeps_what_it_has():
    runner = Classifying(2, stop_at=2)
    loop, records = make(runner, Batches(5, 10, 2))
    result = loop.evaluate()
    assert (result.invocations, result.reason) == (2, "stopped")
    assert [value for record in records if record["type"] == "outputs" for value in record["top1"]] == [0, 1, 2, 3]
