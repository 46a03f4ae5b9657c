"""The external meter of a device, read while this host follows a run on it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobile.inventory import Device
    from mobile.results.run import Run

NOT_FOLLOWED = "the run was collected, not followed: a meter is read by the host that follows a run, while it does"


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
