"""External power meters: read by the host, on the host's clock, while it follows a run on the device they feed.

A kind is one module with a class that has ``info``, ``read`` and ``close`` (base.Meter), and one line in open_meter.
"""

from mobile.meters.base import Info, Meter, MeterFault, Reading
from mobile.meters.opening import open_meter
from mobile.meters.sampling import MARKS, MeterSampler

__all__ = ["MARKS", "Info", "Meter", "MeterFault", "MeterSampler", "Reading", "open_meter"]
