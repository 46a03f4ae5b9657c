"""The lines of NVIDIA's tegrastats, of every release from JetPack 2 to 7.2: text in, values in SI out, never an error.

    [MM-DD-YYYY HH:MM:SS] RAM u/tMB (lfb ..) [SWAP u/tMB ..] CPU [l%@MHz,off,..] [EMC_FREQ l%[@MHz]]
    [GR3D_FREQ [l%][@MHz|@[MHz,..]]] .. NAME@degC[/maxC] .. RAIL now[mW]/average[mW][/max[mW]]

Sources: NVIDIA's "tegrastats Utility" page, recorded lines of 13 boards, and, for the form before JetPack 3 (``cpu
[25%,..]@2218 EMC 3%@924 GR3D 0%@252``), a published line of a TK1. MB are 1024 * 1024 bytes. ``average`` is since the
program's start (and may be half at first), so ``now`` is what counts. AGX Xavier calls rails GPU and CPU, as it does
temperatures and clocks: a rail is known by its "number/number", a temperature by its "@number" and "C".
"""

import functools
import re
from typing import Dict, List, NamedTuple, Optional, Tuple

MAX_LINE_CHARS = 8192  # real lines have less than 1000
MAX_ENTRIES = 256  # CPUs, rails or temperatures of one line
MIB = 1024 * 1024
HZ_PER_MHZ = 1e6
W_PER_MW = 1e-3
# A sensor of a block that is switched off shows -256 °C; nothing outside this range is a temperature.
LOWEST_DEGC, HIGHEST_DEGC = -100.0, 300.0

_WHEN = re.compile(r"\s*(\d\d-\d\d-\d{4} \d\d:\d\d:\d\d)\s", re.ASCII)
_MEMORY = re.compile(r"\b(RAM|SWAP) (\d{1,9})/(\d{1,9})(kB|MB|GB)\b", re.ASCII)
_CPUS = re.compile(r"\b(?:CPU|cpu) {0,9}\[([^\]]{0,4096})\](?:@(\d{1,5})\b)?", re.ASCII)
_CPU = re.compile(r"(?:(\d{1,3})|\?)%(?:@(\d{1,5}))?\Z", re.ASCII)
_CLOCK = re.compile(r"\b(GR3D|EMC)(?:_FREQ)? {1,9}(?:(\d{1,3}|\?)%)?(?:@(\d{1,5}\b|\[[\d, ]{0,99}\]))?", re.ASCII)
_NAME = r"([A-Za-z][\w.+-]{0,63})"
_TEMPERATURE = re.compile(_NAME + r"@(-?\d{1,4}(?:\.\d{1,6})?)C?(?:/-?[\d.]{1,9})?C\Z", re.ASCII)
_RAIL_NAME = re.compile(_NAME + r"\Z", re.ASCII)
_RAIL = re.compile(r"(-?\d{1,9})(?:mW)?/(-?\d{1,9})(?:mW)?(?:/(-?\d{1,9})(?:mW)?)?\Z", re.ASCII)
_SCALES = {"kB": 1024, "MB": MIB, "GB": 1024 * MIB}


class Cpu(NamedTuple):
    """A core that is online: its load (share) and clock (Hz), each None where the line does not show it."""

    load: Optional[float]
    hz: Optional[float]


class Rail(NamedTuple):
    """Watts of a rail: now, since tegrastats was started on average, and at most (None before JetPack 7.2)."""

    now_w: float
    average_w: float
    max_w: Optional[float]


class Line(NamedTuple):
    """One line: memory as (used, total) bytes, ``cpus`` with None for a core that is offline, and what else it shows.

    ``gpu_hz`` is empty where no GPU clock is shown; a temperature is None where the sensor is switched off.
    """

    when: Optional[str]
    ram: Optional[Tuple[int, int]]
    swap: Optional[Tuple[int, int]]
    cpus: List[Optional[Cpu]]
    gpu_load: Optional[float]
    gpu_hz: List[float]
    emc_load: Optional[float]
    emc_hz: Optional[float]
    temperatures: Dict[str, Optional[float]]
    rails: Dict[str, Rail]


def parse(text: str) -> Line:
    """The values of one line; what it does not show, or shows damaged, is None or missing. Never raises.

    >>> parse("RAM 1/2MB CPU [3%@1190,off] GR3D_FREQ 71%@1300 GPU@51C VDD_IN 14025/14416").rails["VDD_IN"].now_w
    14.025
    """
    text = text[:MAX_LINE_CHARS]
    when = _WHEN.match(text)
    memory = {name: (int(used) * _SCALES[unit], int(size) * _SCALES[unit])
              for name, used, size, unit in _MEMORY.findall(text)}  # fmt: skip
    clocks: Dict[str, Tuple[Optional[float], List[float]]] = {}
    for name, load, hz in _CLOCK.findall(text):
        clocks.setdefault(name, (_share(load), _hz(hz)))
    gpu_load, gpu_hz = clocks.get("GR3D", (None, []))
    emc_load, emc_hz = clocks.get("EMC", (None, []))
    return Line(
        when.group(1) if when else None,
        memory.get("RAM"),
        memory.get("SWAP"),
        _cpus(text),
        gpu_load,
        gpu_hz,
        emc_load,
        emc_hz[0] if emc_hz else None,
        *_sensors(text),
    )


def is_sample(text: str) -> bool:
    """True for a line with values, which every release starts with the memory; False for a message or a fragment."""
    return _MEMORY.search(text[:MAX_LINE_CHARS]) is not None


def _cpus(text: str) -> List[Optional[Cpu]]:
    found = _CPUS.search(text)
    if found is None:
        return []
    common = found.group(2)
    return [_cpu(entry.strip(), common) for entry in found.group(1).split(",")[:MAX_ENTRIES]]


@functools.lru_cache(maxsize=512)  # most cores show what they or others showed before
def _cpu(entry: str, common_mhz: Optional[str]) -> Optional[Cpu]:
    if entry == "off":
        return None
    match = _CPU.match(entry)
    if match is None:
        return Cpu(None, None)
    mhz = match.group(2) or common_mhz
    return Cpu(_share(match.group(1) or ""), float(mhz) * HZ_PER_MHZ if mhz else None)


def _share(percent: str) -> Optional[float]:
    return float(percent) / 100 if percent.isdigit() and int(percent) <= 100 else None


def _hz(mhz: str) -> List[float]:
    parts = [part.strip() for part in mhz.strip("[]").split(",")]
    return [float(part) * HZ_PER_MHZ for part in parts if part.isdigit() and len(part) <= 5]


def _sensors(text: str) -> Tuple[Dict[str, Optional[float]], Dict[str, Rail]]:
    temperatures: Dict[str, Optional[float]] = {}
    rails: Dict[str, Rail] = {}
    before = ""
    for word in text.split():
        if word[-1] == "C":
            match = _TEMPERATURE.match(word) if "@" in word else None
            if match and match.group(1) not in temperatures and len(temperatures) < MAX_ENTRIES:
                degc = float(match.group(2))
                temperatures[match.group(1)] = degc if LOWEST_DEGC <= degc <= HIGHEST_DEGC else None
        elif "/" in word:
            match = _RAIL.match(word) if _RAIL_NAME.match(before) else None
            # NC: "not connected", a channel of the monitor that no rail is on.
            if match and before.upper() != "NC" and before not in rails and len(rails) < MAX_ENTRIES:
                now, average, highest = match.groups()
                rails[before] = Rail(_watts(now), _watts(average), _watts(highest) if highest else None)
        before = word
    return temperatures, rails


def _watts(milliwatts: str) -> float:
    return int(milliwatts) * W_PER_MW
