"""Energy per rail through Android's services, without root: for Pixel phones whose ODPM files are closed.

`dumpsys android.hardware.power.stats.IPowerStats/default` is the power stats HAL's own report (hardware/google/pixel/
powerstats, PowerStats::dumpEnergyMeter): a table "energy meter" of cumulative mWs per channel, with two decimals and
without time stamps: the counters were true when the report was made. `dumpsys powerstats` only lists the channels; its
energies are in a log that is written every so many minutes. Tables of "energy consumers" are models, and are not read.
"""

import re
from typing import Dict, List, NamedTuple

from device_agents.sensors import android, odpm
from device_agents.sensors.base import Descriptor, Findings, Reading, SourceSensor, descriptor
from device_agents.sensors.files import SensorError

PERIOD_S = 1.0  # a call takes 20-50 ms of the phone: 2-5 % of one core at this rate
J_PER_MWS = 1e-3
RESOLUTION_J = 1e-5  # two decimals of a mWs
MAX_LINES = 20_000
MAX_CHANNELS = 64
HAL = "android.hardware.power.stats.IPowerStats/default"
SERVICE = "powerstats"
LISTED_ONLY = "Android lists {} channels, but no report shows their energy: root, or perfetto's android.power, can"
NONE = "neither the power monitors' files nor Android's power stats show a rail (Pixel 6 and later have them)"

_CHANNEL = re.compile(r"ChannelId: (\d{1,6}), ChannelName: ([^,]{1,64}), ChannelSubsystem: (.{0,64})\Z", re.ASCII)
_METER = re.compile(r"\[?([^\s\[\]]{1,64})\]?(?::(.{1,40}?))?\s{2,}(\d{1,16}\.\d{2}) mWs(?: \(.*\))?\Z", re.ASCII)


class Channel(NamedTuple):
    """A channel that Android lists: its number, the rail, and what the rail feeds."""

    number: int
    rail: str
    feeds: str


class Counter(NamedTuple):
    """A rail's energy since boot in J, and what the rail feeds."""

    energy_j: float
    feeds: str


def parse_channels(text: str) -> List[Channel]:
    """The channels of `dumpsys powerstats`, each rail once."""
    found: Dict[str, Channel] = {}
    for line in text.splitlines()[:MAX_LINES]:
        match = _CHANNEL.match(line.strip())
        if match and len(found) < MAX_CHANNELS:
            rail = match.group(2).strip()
            found.setdefault(rail, Channel(int(match.group(1)), rail, match.group(3).strip()))
    return list(found.values())


def parse_meter(text: str) -> Dict[str, Counter]:
    """{rail: counter} of the table "energy meter" in the HAL's report; empty where there is none."""
    found: Dict[str, Counter] = {}
    inside = False
    for line in text.splitlines()[:MAX_LINES]:
        if "=====" in line:
            inside = "energy meter" in line and "End of" not in line
        elif inside and len(found) < MAX_CHANNELS:
            match = _METER.match(line.strip())
            if match:
                counter = Counter(float(match.group(3)) * J_PER_MWS, (match.group(2) or "").strip())
                found.setdefault(match.group(1), counter)
    return found


class PowerStats(android.Dumpsys):
    """The counters of the HAL's report: "RAIL" J, and their sum."""

    def __init__(self, root: str) -> None:
        super().__init__(root, [HAL], PERIOD_S)
        self.rails: Dict[str, str] = {}

    def fetch(self) -> Dict[str, Reading]:
        """The counters now; SensorError when the report has none."""
        counters = parse_meter(self.report())
        if not counters:
            raise SensorError("the power stats HAL shows no energy meter")
        self.rails = self.rails or {rail: counter.feeds for rail, counter in counters.items()}
        values: Dict[str, Reading] = {rail: counter.energy_j for rail, counter in counters.items()}
        complete = self.rails.keys() <= counters.keys()
        values[odpm.TOTAL] = (
            sum(counters[rail].energy_j for rail in self.rails) if complete else "not all rails have a value"
        )
        return values


def find(root: str) -> Findings:
    """``energy.odpm.RAIL`` J and ``energy.odpm.total`` by the HAL's report, where the files of ODPM are closed."""
    findings = Findings([], [])
    if odpm.find(root).sensors:
        reason = "not asked: the power monitors' files are faster and have time stamps"
        findings.missing.append(descriptor("energy.powerstats", "energy", "ODPM rails", HAL, "absent", reason))
        return findings
    source = PowerStats(root)
    source.refresh()
    for rail, feeds in source.rails.items():
        about = odpm.rail_descriptor(rail, feeds, source.name, PERIOD_S, RESOLUTION_J)
        findings.sensors.append(SourceSensor(about, source, rail))
    if source.rails:
        about = odpm.total_descriptor(len(source.rails), source.name, PERIOD_S, RESOLUTION_J * len(source.rails))
        findings.sensors.append(SourceSensor(about, source, odpm.TOTAL))
    else:
        findings.missing.append(_why_none(root))
    return findings


def _why_none(root: str) -> Descriptor:
    listing = android.Dumpsys(root, [SERVICE], PERIOD_S)
    text, _ = android.try_report(listing)
    channels = parse_channels(text or "")
    state, reason = ("failed", LISTED_ONLY.format(len(channels))) if channels else ("absent", NONE)
    return descriptor("energy.powerstats", "energy", "ODPM rails", listing.name, state, reason)
