"""The cool-down gate: a run starts when the chip is cool enough, or it does not start."""

import time
from typing import Callable, Optional

from device_agents.conditions import events
from device_agents.conditions.pins import Tell
from device_agents.conditions.temperatures import Reading, Temperatures
from device_agents.conditions.terms import Terms
from device_agents.failures import AgentFailure

BACK_MARGIN_C = 2.0  # above the first run's start: the last degrees take longest and the room warms meanwhile
POLL_S = 0.1
TIMES_BELOW = 2  # readings in a row: one alone may be a gap between two hot ones

Pause = Callable[[float], bool]  # waits; False when the run is to stop


def limit_c(terms: Terms) -> Optional[float]:
    """The temperature to wait for; None when nothing is to be waited for."""
    limits = [] if terms.cool_below_c is None else [terms.cool_below_c]
    if terms.cool_back and terms.cool_back_to is not None:
        limits.append(terms.cool_back_to["temperature_c"] + BACK_MARGIN_C)
    return min(limits, default=None)


def pass_gate(terms: Terms, temperatures: Temperatures, tell: Tell, pause: Pause) -> Optional[Reading]:
    """The temperature at which the run starts; None when no gate was asked for, or the run was stopped meanwhile.

    AgentFailure "too-hot" after ``gate_timeout_s``, "no-temperature" when nothing can be read: it never waits blindly.
    The first run of a series with ``cool_back`` waits for nothing: its temperature is what later ones return to.
    """
    if terms.cool_below_c is None and not terms.cool_back:
        return None
    below_c = limit_c(terms)
    began_s = time.monotonic()
    first = _first(temperatures, pause, below_c, tell)
    if first is None:
        return None
    tell(
        events.GATE_STARTED,
        below_c=below_c,
        sensor=first.sensor,
        temperature_c=first.temperature_c,
        timeout_s=terms.gate_timeout_s,
    )
    now: Optional[Reading] = first
    seen, counted = first, 0
    while below_c is not None:
        now = temperatures.hottest()
        if now is None:
            raise _unseen(tell, temperatures, below_c, time.monotonic() - began_s)
        if now.temperature_c >= below_c:
            counted = 0
        elif now.at_s != seen.at_s or counted == 0:
            counted += 1
        seen = now
        waited_s = time.monotonic() - began_s
        if counted >= TIMES_BELOW or (counted and now is first):
            break
        if waited_s >= terms.gate_timeout_s:
            raise _too_hot(tell, now, below_c, waited_s)
        if not pause(POLL_S):
            return None
    assert now is not None
    waited_s = time.monotonic() - began_s
    tell(events.GATE_PASSED, waited_s=waited_s, temperature_c=now.temperature_c, sensor=now.sensor)
    return now


def _first(temperatures: Temperatures, pause: Pause, below_c: Optional[float], tell: Tell) -> Optional[Reading]:
    begin_s = time.monotonic()
    while True:
        now = temperatures.hottest()
        if now is not None:
            return now
        waited_s = time.monotonic() - begin_s
        if waited_s >= temperatures.patience_s:
            raise _unseen(tell, temperatures, below_c, waited_s)
        if not pause(POLL_S):
            return None


def _unseen(tell: Tell, temperatures: Temperatures, below_c: Optional[float], waited_s: float) -> AgentFailure:
    why = "the gate cannot see the temperature: " + temperatures.why_none()
    tell(events.GATE_REFUSED, waited_s=waited_s, temperature_c=None, sensor=None, below_c=below_c, why=why)
    return AgentFailure("no-temperature", why)


def _too_hot(tell: Tell, now: Reading, below_c: float, waited_s: float) -> AgentFailure:
    why = "{} is at {:.1f} °C after {:.0f} s, the run may start below {:.1f} °C".format(
        now.sensor, now.temperature_c, waited_s, below_c
    )
    tell(
        events.GATE_REFUSED,
        waited_s=waited_s,
        temperature_c=now.temperature_c,
        sensor=now.sensor,
        below_c=below_c,
        why=why,
    )
    return AgentFailure("too-hot", why)
