"""What a spec may ask of the conditions, and how a slip is told."""

from __future__ import annotations

import pytest

from device_agents.conditions.idle import idle_s
from device_agents.conditions.terms import Pins, Terms
from device_agents.failures import AgentFailure
from device_agents.sensors.base import descriptor
from device_agents.spec import AgentSpec


def test_nothing_asked_is_nothing_held():
    assert Terms.of({}) == Terms()
    assert not Terms.of({"pins": {}, "cool_below_c": None}).pins.wanted


def test_all_fields():
    pins = {"governor": "performance", "power_mode": 2, "clocks_locked": True, "sustained": False}
    terms = Terms.of({"cool_below_c": 45, "max_temperature_c": 80.5, "pins": pins, "probe": False, "unknown": 1})
    assert terms.pins == Pins("performance", "2", True, False)
    assert (terms.cool_below_c, terms.max_temperature_c, terms.probe) == (45, 80.5, False)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "conditions is"),
        ({"cool_below_c": "45"}, "cool_below_c"),
        ({"cool_below_c": 45000}, "cool_below_c is 45000"),
        ({"max_temperature_c": True}, "max_temperature_c"),
        ({"max_temperature_c": float("nan")}, "max_temperature_c"),
        ({"gate_timeout_s": -1}, "gate_timeout_s"),
        ({"cool_back": 1}, "cool_back"),
        ({"cool_back_to": {"sensor": "x"}}, "cool_back_to"),
        ({"cool_back_to": 3}, "cool_back_to"),
        ({"intruders": "kill"}, "intruders is 'kill'"),
        ({"probe": "yes"}, "probe"),
        ({"pins": ["governor"]}, "pins"),
        ({"pins": {"gouvernor": "performance"}}, "gouvernor"),
        ({"pins": {"governor": ""}}, "pins.governor"),
        ({"pins": {"governor": 3}}, "pins.governor"),
        ({"pins": {"power_mode": True}}, "pins.power_mode"),
        ({"pins": {"clocks_locked": "locked"}}, "pins.clocks_locked"),
    ],
)
def test_a_slip_is_named(document, says):
    with pytest.raises(AgentFailure, match=says) as error:
        AgentSpec.from_json({"runner": "null", "conditions": document})
    assert error.value.code == "bad-spec"


def test_a_spec_with_conditions_goes_over_the_wire():
    spec = AgentSpec.from_json({"runner": "null", "idle_s": 2, "conditions": {"cool_back": True}})
    assert AgentSpec.from_json(spec.to_json()) == spec
    assert spec.terms.cool_back


def about(quantity, period_s, state="present"):
    return descriptor("x", quantity, "x", "x", state, period_s=period_s)


@pytest.mark.parametrize(
    ("descriptors", "seconds"),
    [
        ([], 0.0),
        ([about("temperature", 5.0)], 0.0),
        ([about("power", 0.1, "absent")], 0.0),
        ([about("power", 0.0066)], 1.0),
        ([about("power", None)], 1.0),
        ([about("energy", 0.001), about("power", 0.5)], 5.0),
        ([about("power", 30.0)], 10.0),
    ],
)
def test_the_idle_baseline_is_as_long_as_the_slowest_power_sensor_needs(descriptors, seconds):
    assert idle_s(AgentSpec("null"), descriptors) == seconds


def test_the_idle_baseline_that_was_asked_for():
    assert idle_s(AgentSpec("null", idle_s=3), []) == 3.0
    assert idle_s(AgentSpec("null", idle_s=0), [about("power", 0.1)]) == 0.0
    assert idle_s(AgentSpec("null", task="evaluate"), [about("power", 0.1)]) == 0.0
