"""The external meter of a device, read while this host follows a run on it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobile.inventory import Device
    from mobile.results.run import Run

# As the agent chooses by its own sensors: ten readings, at least one second and at most ten.
IDLE_READINGS, SHORTEST_IDLE_S, LONGEST_IDLE_S = 10, 1.0, 10.0
NOT_FOLLOWED = "the run was collected, not followed: a meter is read by the host that follows a run, while it does"


def metered_idle_s(device: Device, asked_s: float | None) -> float | None:
    """How long the device idles before a run; None where its own sensors decide, and a meter does not.

    The agent knows nothing of a meter: a device without sensors of its own would not idle at all.
    """
    if asked_s is not None or device.meter is None:
        return asked_s
    from mobile.meters.base import PERIOD_S

    return min(LONGEST_IDLE_S, max(SHORTEST_IDLE_S, IDLE_READINGS * (device.meter.period_s or PERIOD_S)))


@contextlib.contextmanager
def metering(device: Device, run: Run, *, following: bool) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """What must hear of each record as it arrives. At the end of the block ``run`` has the meter's readings.

    A device without a meter costs nothing. ConfigError when the password's variable is not set: nothing was started.
    """
    if device.meter is None:
        yield lambda record: None
        return
    if not following:
        run.environment["meter_missing"] = NOT_FOLLOWED
        yield lambda record: None
        return
    from mobile.meters import MeterSampler, open_meter

    with MeterSampler(open_meter(device.meter)) as sampler:
        run.meter = sampler.samples
        yield sampler.hear
