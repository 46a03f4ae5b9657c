"""How fast each carrier of compressed weights is on a device: measured there, kept, and read by the exporter."""

from exporters.probe.measure import Plan, probe_device
from exporters.probe.record import REAL, Measured, Probe, find_probe, probe_folder

__all__ = ["REAL", "Measured", "Plan", "Probe", "find_probe", "probe_device", "probe_folder"]
