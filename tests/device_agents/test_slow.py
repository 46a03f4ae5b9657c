"""A slow-down that is asked for: every inference takes the factor, on a clock that only the test turns."""

from __future__ import annotations

import pytest

from device_agents import slow
from device_agents.failures import AgentFailure
from device_agents.inputs import Feed
from device_agents.loop import Loop, StopFlag
from device_agents.runners.base import Runner


class Clock:
    """Goes on by a microsecond whenever it is looked at."""

    def __init__(self):
        self.now_ns = 0

    def monotonic_ns(self):
        self.now_ns += 1000
        return self.now_ns


class Timed(Runner):
    """Takes the given times, one after another; half of each is its stage."""

    stages = ("half",)

    def __init__(self, clock, *times_ns):
        super().__init__()
        self._clock, self._times_ns = clock, list(times_ns)

    def invoke(self):
        time_ns = self._times_ns.pop(0)
        self._clock.now_ns += time_ns
        self.last_stages = {"half": time_ns // 2}


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr("device_agents.slow.time", made)
    monkeypatch.setattr("device_agents.loop.time", made)
    return made


@pytest.mark.parametrize("factor", [1, 2.5, 100])
def test_every_inference_takes_the_factor(clock, factor):
    times_ns = [1_000_000, 2_000_000, 4_000_000]
    records = []
    loop = Loop(Timed(clock, *times_ns), Feed({}, {}), records.append, StopFlag(), factor)
    loop.first()
    loop.phase("measure", 2, 0.0, 1e6)
    durations = [duration for record in records for duration in record["duration_ns"]]
    assert durations == pytest.approx([time_ns * factor for time_ns in times_ns], rel=0.01)
    stages = [value for record in records for value in record["stages"]["half"]]
    assert stages == pytest.approx([time_ns / 2 * factor for time_ns in times_ns], rel=0.01)


def test_a_program_that_times_itself_cannot_be_slowed_down():
    runner = Runner()
    runner.summary_only = True
    with pytest.raises(AgentFailure, match="times itself") as caught:
        slow.slowed(runner, 2.0)
    assert caught.value.code == "bad-spec"
