"""The gate waits for a temperature, refuses honestly, and never waits blindly; the guard trips, also when blind."""

from __future__ import annotations

import itertools
import threading

import pytest

from device_agents.conditions.gate import BACK_MARGIN_C, limit_c, pass_gate
from device_agents.conditions.guard import Guard
from device_agents.conditions.temperatures import Reading, Temperatures
from device_agents.conditions.terms import Terms
from device_agents.failures import AgentFailure
from tests.device_agents.conditions.test_temperatures import sensor

CPU = "temperature.cpu-thermal"


class Scripted:
    """Temperatures that are one value after another; None: nothing can be read. The last one stays."""

    patience_s = 0.0

    def __init__(self, *values):
        self._values = [*values]
        self._count = itertools.count()

    def hottest(self):
        value = self._values.pop(0) if len(self._values) > 1 else self._values[0]
        return None if value is None else Reading(CPU, value, float(next(self._count)))

    def why_none(self):
        return f"{CPU}: permission denied"


def gate(terms, *values):
    told = []
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        return len(pauses) < 1000

    def run():
        return pass_gate(terms, Scripted(*values), lambda name, **detail: told.append((name, detail)), pause)

    return run, told, pauses


def test_it_waits_until_it_is_below_and_stays_there():
    run, told, pauses = gate(Terms(cool_below_c=45.0), 60.0, 50.0, 44.0, 46.0, 44.9, 44.8)
    assert run().temperature_c == 44.8
    assert [name for name, _ in told] == ["gate-started", "gate-passed"]
    assert told[0][1] == {"below_c": 45.0, "sensor": CPU, "temperature_c": 60.0, "timeout_s": 300.0}
    assert told[1][1]["temperature_c"] == 44.8
    assert pauses


def test_without_a_wish_nothing_is_read():
    run, told, _ = gate(Terms(), None)
    assert (run(), told) == (None, [])


def test_the_first_of_a_series_only_notes_where_it_starts():
    run, told, pauses = gate(Terms(cool_back=True), 63.0)
    assert run().temperature_c == 63.0
    assert (told[-1][0], told[-1][1]["temperature_c"], pauses) == ("gate-passed", 63.0, [])


def test_later_ones_go_back_to_it_with_a_margin():
    terms = Terms(cool_back=True, cool_back_to={"sensor": CPU, "temperature_c": 50.0})
    assert limit_c(terms) == 50.0 + BACK_MARGIN_C
    assert limit_c(terms._replace(cool_below_c=40.0)) == 40.0
    run, _, _ = gate(terms, 60.0, 52.0, 51.9, 51.8)
    assert run().temperature_c == 51.8


def test_a_chip_that_stays_hot_is_refused_with_what_it_is():
    run, told, _ = gate(Terms(cool_below_c=45.0, gate_timeout_s=0.0), 60.0)
    with pytest.raises(AgentFailure, match=r"temperature.cpu-thermal is at 60.0 °C after 0 s.*below 45.0 °C") as error:
        run()
    assert error.value.code == "too-hot"
    name, detail = told[-1]
    assert (name, detail["sensor"], detail["temperature_c"], detail["below_c"]) == ("gate-refused", CPU, 60.0, 45.0)


@pytest.mark.parametrize("values", [(None,), (60.0, None)], ids=["never", "in the midst"])
def test_a_gate_that_sees_nothing_refuses(values):
    run, told, pauses = gate(Terms(cool_below_c=45.0), *values)
    with pytest.raises(AgentFailure, match="permission denied") as error:
        run()
    assert error.value.code == "no-temperature"
    assert (told[-1][0], told[-1][1]["temperature_c"]) == ("gate-refused", None)
    assert len(pauses) <= 1


def test_a_stop_ends_the_waiting():
    told = []
    found = pass_gate(
        Terms(cool_below_c=45.0), Scripted(60.0), lambda name, **detail: told.append(name), lambda seconds: False
    )
    assert (found, told) == (None, ["gate-started"])


class Stopped:
    """What the guard calls."""

    def __init__(self):
        self.reasons = []
        self.told = []
        self.done = threading.Event()

    def stop(self, reason):
        self.reasons.append(reason)

    def tell(self, name, **detail):
        self.told.append((name, detail))
        self.done.set()


@pytest.fixture
def guarded():
    now = [0.0]
    temperatures = Temperatures([sensor(CPU), sensor("temperature.gpu-thermal")], 0.1, clock_s=lambda: now[0])
    temperatures.take({CPU: 60.0, "temperature.gpu-thermal": 55.0}, {})
    stopped = Stopped()
    guard = Guard(70.0, temperatures, stopped.tell, stopped.stop)
    guard.start()
    yield guard, temperatures, stopped, now
    guard.end()


def test_a_reading_above_the_limit_stops_the_run_once(guarded):
    guard, temperatures, stopped, _ = guarded
    temperatures.take({CPU: 70.0}, {})
    assert not stopped.done.wait(0.05)
    temperatures.take({CPU: 70.5}, {})
    assert stopped.done.wait(30)
    temperatures.take({CPU: 80.0}, {})
    guard.end()
    assert guard.problem.code == "overheated"
    assert stopped.reasons == [f"{CPU} is at 70.5 °C, the limit is 70.0 °C"]
    assert stopped.told == [("guard", {"sensor": CPU, "temperature_c": 70.5, "limit_c": 70.0, "why": None})]


def test_one_that_sees_nothing_any_more_stops_the_run(guarded):
    guard, temperatures, stopped, now = guarded
    temperatures.take({}, {CPU: "the file is gone", "temperature.gpu-thermal": "the file is gone"})
    now[0] += 6.0
    assert stopped.done.wait(30)
    assert guard.problem.code == "no-temperature"
    assert "the file is gone" in stopped.reasons[0]


def test_a_sampler_that_hangs_is_noticed_too(guarded):
    guard, _, stopped, now = guarded
    now[0] += 6.0
    assert stopped.done.wait(30)
    assert guard.problem.code == "no-temperature"


def keep(temperatures, now, reason):
    """The hottest is not there any more, another one is."""
    for _ in range(40):
        now[0] += 0.5
        temperatures.take({"temperature.gpu-thermal": 55.0}, {CPU: reason})
        yield


def test_the_hottest_one_must_not_vanish_behind_another(guarded):
    guard, temperatures, stopped, now = guarded
    for _ in keep(temperatures, now, "the device does not answer (input/output error)"):
        if stopped.done.wait(0.2):
            break
    assert guard.problem.code == "no-temperature"
    assert "input/output error" in guard.problem.message


def test_one_whose_block_is_switched_off_may_go():
    now = [0.0]
    temperatures = Temperatures([sensor(CPU), sensor("temperature.gpu-thermal")], 0.1, clock_s=lambda: now[0])
    temperatures.take({CPU: 60.0, "temperature.gpu-thermal": 55.0}, {})
    stopped = Stopped()
    guard = Guard(70.0, temperatures, stopped.tell, stopped.stop)
    guard.start()
    for _ in itertools.islice(keep(temperatures, now, "not available now (switched off or busy)"), 20):
        stopped.done.wait(0.1)
    guard.end()
    assert (guard.problem, stopped.reasons) == (None, [])
