"""The thermal guard: a run above its limit stops, also one that hangs in an inference or whose host reads nothing."""

import threading
from typing import Callable, Optional

from device_agents.conditions import events
from device_agents.conditions.pins import Tell
from device_agents.conditions.temperatures import Reading, Temperatures
from device_agents.failures import AgentFailure

LOOK_S = 0.5  # how often it looks whether there still are readings
GATED = "switched off"  # in the reason of a sensor whose block is without power: then that is not hot either


class Guard:
    """A thread that sleeps until a reading is over the limit, or until there have been none for too long.

    ``problem`` then says what, and ``stop`` is called once with the reason.
    """

    def __init__(self, limit_c: float, temperatures: Temperatures, tell: Tell, stop: Callable[[str], None]) -> None:
        self.problem: Optional[AgentFailure] = None
        self._limit_c = limit_c
        self._temperatures = temperatures
        self._tell = tell
        self._stop = stop
        self._over: Optional[Reading] = None
        self._wake = threading.Event()
        self._ending = False
        self._thread = threading.Thread(target=self._watch, name="edgewise-thermal-guard", daemon=True)

    def start(self) -> None:
        """Nothing; from now on the run is guarded."""
        self._temperatures.watch(self._look)
        now = self._temperatures.hottest()
        if now is not None:
            self._look(now)
        self._thread.start()

    def end(self) -> None:
        """Nothing, once the thread has ended."""
        self._temperatures.watch(None)
        self._ending = True
        self._wake.set()
        self._thread.join(10.0)

    def _look(self, hottest: Reading) -> None:
        if hottest.temperature_c > self._limit_c:
            self._over = hottest
            self._wake.set()

    def _watch(self) -> None:
        last: Optional[Reading] = None
        while not self._wake.wait(LOOK_S):
            now = self._temperatures.hottest()
            if now is None:
                self._trip(None, self._temperatures.why_none())
                return
            if last is not None and now.sensor != last.sensor and not self._temperatures.fresh(last.sensor):
                why = self._temperatures.reason(last.sensor)
                if GATED not in why:
                    self._trip(None, "{}, the hottest, shows nothing any more: {}".format(last.sensor, why))
                    return
            last = now
        over = self._over
        if over is not None and not self._ending:
            self._trip(over, None)

    def _trip(self, over: Optional[Reading], why: Optional[str]) -> None:
        if over is not None:
            text = "{} is at {:.1f} °C, the limit is {:.1f} °C".format(over.sensor, over.temperature_c, self._limit_c)
            self.problem = AgentFailure("overheated", text)
        else:
            text = "the guard cannot see the temperature: {}".format(why)
            self.problem = AgentFailure("no-temperature", text)
        self._stop(text)  # first: the stream may be held up by a host that reads nothing
        self._tell(
            events.GUARD,
            sensor=None if over is None else over.sensor,
            temperature_c=None if over is None else over.temperature_c,
            limit_c=self._limit_c,
            why=why,
        )
