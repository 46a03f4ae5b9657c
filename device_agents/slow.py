"""An inference made slower on purpose, by a stated factor: a stand-in for a slower board.

A processor quota of the system is none: it lets most short inferences through at full speed and stops a few of them
for tens of milliseconds, so the median stays and the tail explodes. Here every inference takes the factor times its
own time. Loading the model is not slowed down.
"""

import time
from typing import Callable

from device_agents.failures import AgentFailure
from device_agents.runners.base import Runner


def stretch(start_ns: int, factor: float, stopped: Callable[[], bool] = lambda: False) -> None:
    """Nothing, once what began at ``start_ns`` has taken ``factor`` times as long, or is ``stopped``; the processor is
    kept busy.
    """
    end_ns = start_ns + round((time.monotonic_ns() - start_ns) * factor)
    while time.monotonic_ns() < end_ns and not stopped():
        pass


def slowed(runner: Runner, factor: float) -> Callable[[], None]:
    """The runner's ``invoke``, taking ``factor`` times its time; the stages of an inference grow alike.

    The processor is kept busy meanwhile, as it would be on a slower board: it neither sleeps nor lowers its clock.
    AgentFailure "bad-spec" for a program that times itself.
    """
    if runner.summary_only:
        raise AgentFailure("bad-spec", "slow_down: a program that times itself cannot be made slower")
    clock, invoke = time.monotonic_ns, runner.invoke

    def slow() -> None:
        start = clock()
        invoke()
        end = start + round((clock() - start) * factor)
        for name, duration_ns in runner.last_stages.items():
            runner.last_stages[name] = round(duration_ns * factor)
        while clock() < end:
            pass

    return slow
