"""ODPM: the power monitors in the PMICs of Pixel 6 and later, energy since boot per rail.

/sys/bus/iio/devices/iio:device*/{energy_value,enabled_rails} (Google's s2mpg1x ODPM driver): a line ``t=MS`` and one
line ``CHn(T=MS)[RAIL], UWS`` per channel, in ms since boot and µWs. Root or a userdebug build may read them. The driver
reads its accumulators anew at most every 20 conversions (20 ms at 1 kHz, 2.6 s at 7.6 Hz), so the energy was true at T:
mean power is a difference of energies over the difference of their T, of one device.
"""

import os
import re
from typing import Dict, List, NamedTuple, Optional, Tuple

from device_agents.sensors.base import Descriptor, Findings, Reading, Source, SourceSensor, descriptor
from device_agents.sensors.files import folder, read_label, read_text, reason_of, under

FOLDER = "/sys/bus/iio/devices"
J_PER_UWS = 1e-6
S_PER_MS = 1e-3
PERIOD_S = 0.5  # a refresh of both devices takes them 2-4 ms over their bus; the stamps tell what is new
MAX_LINES = 256
MAX_RAILS = 64
TOTAL = "energy.odpm.total"
NO_DEVICE = "no power monitor with energy_value can be seen (Pixel 6 and later have one, for root or userdebug builds)"
ROOT_ONLY = "; root or a userdebug build may read it"

_CHANNEL = re.compile(r"CH\d{1,3}\(T=(\d{1,18})\)\[([^\]]{1,64})\], ?(\d{1,20})\Z", re.ASCII)
_STAMP = re.compile(r"t=(\d{1,18})\Z", re.ASCII)
_RAIL = re.compile(r"CH\d{1,3}\[([^\]]{1,64})\]:(.{1,64})\Z", re.ASCII)


class Meter(NamedTuple):
    """One reading of one device: s since boot of the whole, and {rail: (s since boot, J since boot)}."""

    t_s: float
    rails: Dict[str, Tuple[float, float]]


def parse_energy(text: str) -> List[Meter]:
    """The readings in the text of one or several energy_value files, in order; damaged lines are left out."""
    found: List[Meter] = []
    for line in text.splitlines()[:MAX_LINES]:
        stamp, channel = _STAMP.match(line.strip()), _CHANNEL.match(line.strip())
        if stamp:
            found.append(Meter(int(stamp.group(1)) * S_PER_MS, {}))
        elif channel and found and len(found[-1].rails) < MAX_RAILS:
            reading = (int(channel.group(1)) * S_PER_MS, int(channel.group(3)) * J_PER_UWS)
            found[-1].rails.setdefault(channel.group(2), reading)
    return found


def parse_rails(text: str) -> Dict[str, str]:
    """{rail: the subsystem that it feeds} of an enabled_rails file."""
    matches = (_RAIL.match(line.strip()) for line in text.splitlines()[:MAX_LINES])
    found: Dict[str, str] = {}
    for match in matches:
        if match and len(found) < MAX_RAILS:
            found.setdefault(match.group(1), match.group(2))
    return found


class Device(NamedTuple):
    """One power monitor: its folder, its name, and what its rails feed."""

    path: str
    name: str
    rails: Dict[str, str]


class Odpm(Source):
    """All power monitors of the phone: "RAIL" J, "time.NAME" s by their own stamps, and the sum of the rails."""

    def __init__(self, devices: List[Device]) -> None:
        super().__init__("odpm", PERIOD_S)
        self._devices = devices

    def fetch(self) -> Dict[str, Reading]:
        """The counters now; a device that cannot be read has the reason for each of its rails."""
        values: Dict[str, Reading] = {}
        whole: Optional[float] = 0.0
        for device in self._devices:
            meter, why = _read(device.path)
            values["time." + device.name] = why if meter is None else meter.t_s
            for rail in device.rails:
                reading = None if meter is None else meter.rails.get(rail)
                if reading is None:
                    values[rail], whole = why or "the monitor does not list it now", None
                else:
                    values[rail] = reading[1]
                    whole = None if whole is None else whole + reading[1]
        values[TOTAL] = "not all rails have a value" if whole is None else whole
        return values


def _read(path: str) -> Tuple[Optional[Meter], str]:
    """(the reading, "") or (None, why there is none)."""
    file = os.path.join(path, "energy_value")
    text = read_text(file)
    if text is None:
        return None, why_unreadable(file)
    meters = parse_energy(text)
    return (meters[0], "") if meters else (None, "energy_value has another format")


def why_unreadable(path: str) -> str:
    """Why a file cannot be read, in words for a report."""
    try:
        with open(path, "rb"):
            return "the file cannot be read"
    except OSError as error:
        return reason_of(error)


def devices(root: str) -> List[Tuple[str, str]]:
    """(folder, name) of each device that has an energy_value, by name: the numbers change between boots."""
    base = under(root, FOLDER)
    found = []
    for entry in folder(base):
        path = os.path.join(base, entry)
        if os.path.lexists(os.path.join(path, "energy_value")):
            found.append((path, read_label(os.path.join(path, "name")) or entry))
    return sorted(found, key=lambda device: device[1])


def find(root: str) -> Findings:
    """``energy.odpm.RAIL`` J since boot for each rail, ``time.odpm.DEVICE`` s (the stamp of the readings), and
    ``energy.odpm.total``, the sum of the listed rails.
    """
    findings = Findings([], [])
    readable: List[Device] = []
    for path, name in devices(root):
        meter, why = _read(path)
        if meter is None:
            reason = why + (ROOT_ONLY if why == "permission denied" else "")
            source = os.path.join(path, "energy_value")
            about = descriptor("energy.odpm." + name, "energy", "ODPM rails", source, "failed", reason)
            findings.missing.append(about)
            continue
        feeds = parse_rails(read_text(os.path.join(path, "enabled_rails")) or "")
        taken = {rail for device in readable for rail in device.rails}
        readable.append(Device(path, name, {rail: feeds.get(rail, "") for rail in meter.rails if rail not in taken}))
    if readable:
        _add(findings, readable)
    elif not findings.missing:
        about = descriptor("energy.odpm", "energy", "ODPM rails", FOLDER, "absent", NO_DEVICE)
        findings.missing.append(about)
    return findings


def rail_descriptor(rail: str, feeds: str, source: str, period_s: float, resolution: float) -> Descriptor:
    """The descriptor of a rail's energy counter."""
    scope = "ODPM rail {}{}".format(rail, " ({})".format(feeds) if feeds else "")
    return descriptor(
        "energy.odpm." + rail,
        "energy",
        scope,
        source,
        period_s=period_s,
        resolution=resolution,
        note="since boot; what this rail feeds, not the phone",
    )


def total_descriptor(rails: int, source: str, period_s: float, resolution: float) -> Descriptor:
    """The descriptor of the sum of the rails that the monitors list."""
    note = "{} rails; not the phone: loads without a channel are missing, a regulator behind another counts twice"
    return descriptor(
        TOTAL,
        "energy",
        "sum of listed rails",
        source,
        period_s=period_s,
        resolution=resolution,
        note=note.format(rails),
    )


def _add(findings: Findings, found: List[Device]) -> None:
    source = Odpm(found)
    source.refresh()
    rails = 0
    for device in found:
        where = os.path.join(device.path, "energy_value")
        for rail, feeds in device.rails.items():
            about = rail_descriptor(rail, feeds, where, PERIOD_S, J_PER_UWS)
            findings.sensors.append(SourceSensor(about, source, rail))
            rails += 1
        about = descriptor(
            "time.odpm." + device.name,
            "time",
            "clock of the power monitor",
            where,
            period_s=PERIOD_S,
            resolution=S_PER_MS,
            note="since boot; when the energies of {} were true".format(device.name),
        )
        findings.sensors.append(SourceSensor(about, source, "time." + device.name))
    about = total_descriptor(rails, FOLDER, PERIOD_S, rails * J_PER_UWS)
    findings.sensors.append(SourceSensor(about, source, TOTAL))
