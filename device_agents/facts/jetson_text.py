"""What nvpmodel and jetson_clocks of a Jetson print, and /etc/nvpmodel.conf: text in, values out, never an error.

Recorded texts: ``nvpmodel -q`` and ``-p --verbose``, ``jetson_clocks --show`` of L4T 28 to 36. The id of a mode differs
between modules (MAXN_SUPER is 0 on an Orin NX and 2 on an Orin Nano): name and id belong together.
"""

import re
from typing import Dict, List, NamedTuple, Optional

MAX_TEXT_CHARS = 256 * 1024
MAX_MODES, MAX_SETTINGS, MAX_CPUS = 64, 512, 1024
MAX_NAME_CHARS = 64
HZ_PER_KHZ = 1000

_QUERY = re.compile(r"^[ \t]*NV Power Mode:[ \t]*(\S[^\r\n]{0,99})", re.MULTILINE | re.ASCII)
_ID = re.compile(r"^[ \t]*(\d{1,4})[ \t\r]*$", re.MULTILINE | re.ASCII)
_WARNING = re.compile(r"^NVPM (?:WARN|ERROR):[ \t]*([^\r\n]{1,200})", re.MULTILINE)
_STATUS = re.compile(r"\bpmode:(\d{1,4})\b", re.ASCII)
_MODEL = re.compile(r"\bPOWER_MODEL:?\s{1,9}ID=(\d{1,4})\s{1,9}NAME=([^\s>]{1,64})", re.ASCII)
_DEFAULT = re.compile(r"\bPM_CONFIG:?\s{1,9}DEFAULT=(?:[^\s()>]{1,64}\()?(\d{1,4})", re.ASCII)
_PREFIX = re.compile(r"\A\s*(?:NVPM VERB:)?\s*", re.ASCII)
_SETTING = re.compile(r"([A-Z][\w.]{1,63}) ([A-Z][\w.]{1,63}) (\S{1,64})\s*\Z", re.ASCII)
_CLOCK = re.compile(r"\A(cpu\d{1,4}:|GPU|EMC)\s", re.ASCII)
_PAIR = re.compile(r"\b(Online|Gon?vernor|MinFreq|MaxFreq|CurrentFreq)=(\S{1,64})", re.ASCII)


class PowerMode(NamedTuple):
    """A mode of nvpmodel: its id, its name, and its settings ("GPU MAX_FREQ": "640000000"), empty where not asked."""

    id: Optional[int]
    name: Optional[str]
    settings: Dict[str, str]


class PowerModes(NamedTuple):
    """The modes that a module has, and the id of the one it starts with."""

    default_id: Optional[int]
    modes: List[PowerMode]


class Clock(NamedTuple):
    """The clock of a CPU, the GPU or the memory as jetson_clocks shows it; ``online`` is None where it says nothing."""

    online: Optional[bool]
    governor: Optional[str]
    min_hz: Optional[int]
    max_hz: Optional[int]
    now_hz: Optional[int]


class Clocks(NamedTuple):
    """What ``jetson_clocks --show`` says: CPUs by number, GPU and memory (EMC)."""

    cpus: Dict[int, Clock]
    gpu: Optional[Clock]
    emc: Optional[Clock]


def parse_query(text: str) -> PowerMode:
    """The mode of ``nvpmodel -q``; name or id is None when the text does not show it.

    >>> parse_query("NVPM WARN: fan mode is not set!\\nNV Power Mode: MAXN\\n0\\n")
    PowerMode(id=0, name='MAXN', settings={})
    """
    text = text[:MAX_TEXT_CHARS]
    named = _QUERY.search(text)
    if named is None:
        return PowerMode(None, None, {})
    number = _ID.search(text, named.end())
    return PowerMode(int(number.group(1)) if number else None, _printable(named.group(1)), {})


def warnings(text: str) -> List[str]:
    """What nvpmodel warns of ("fan mode is not set!")."""
    return [_printable(words) for words in _WARNING.findall(text[:MAX_TEXT_CHARS])[:16]]


def parse_status(text: str) -> Optional[int]:
    """The id in nvpmodel's status file ("pmode:0002"), None when there is none."""
    found = _STATUS.search(text[:MAX_TEXT_CHARS])
    return int(found.group(1)) if found else None


def parse_modes(text: str) -> PowerModes:
    """The modes of ``nvpmodel -p --verbose`` or of nvpmodel.conf; a damaged entry is left out."""
    default: Optional[int] = None
    modes: List[PowerMode] = []
    for line in text[:MAX_TEXT_CHARS].splitlines():
        line = line[_PREFIX.match(line).end() :][:400]  # type: ignore[union-attr]  # it matches everything
        model, chosen, setting = _MODEL.search(line), _DEFAULT.search(line), _SETTING.match(line)
        if line.startswith("#"):
            continue
        if chosen:
            default = int(chosen.group(1))
        elif model and len(modes) < MAX_MODES:
            modes.append(PowerMode(int(model.group(1)), _printable(model.group(2)), {}))
        elif setting and modes and len(modes[-1].settings) < MAX_SETTINGS:
            modes[-1].settings["{} {}".format(setting.group(1), setting.group(2))] = setting.group(3)
    return PowerModes(default, modes)


def parse_clocks(text: str) -> Clocks:
    """What ``jetson_clocks --show`` prints, in any order of its lines; a number that is damaged is None."""
    cpus: Dict[int, Clock] = {}
    others: Dict[str, Clock] = {}
    for line in text[:MAX_TEXT_CHARS].splitlines():
        match = _CLOCK.match(line)
        if match is None:
            continue
        name = match.group(1)
        if not name.startswith("cpu"):
            others.setdefault(name, _clock(line, 1))
        elif len(cpus) < MAX_CPUS:
            cpus.setdefault(int(name[3:-1]), _clock(line, HZ_PER_KHZ))
    return Clocks(cpus, others.get("GPU"), others.get("EMC"))


def locked(clocks: Clocks) -> Optional[bool]:
    """True when every CPU that is online, and the GPU where it is shown, may run at one clock only; None: not known."""
    shown = [clock for clock in clocks.cpus.values() if clock.online is not False]
    shown += [clocks.gpu] if clocks.gpu else []
    if not clocks.cpus or any(clock.min_hz is None or clock.max_hz is None for clock in shown):
        return None
    return all(clock.min_hz == clock.max_hz for clock in shown)


def _clock(line: str, hz_per_unit: int) -> Clock:
    # L4T 28 prints "Gonvernor=" and no "Online=".
    found = dict(_PAIR.findall(line[:1000]))
    governor = found.get("Governor", found.get("Gonvernor"))
    online = {"1": True, "0": False}.get(found.get("Online", ""))
    numbers = [found.get(key, "") for key in ("MinFreq", "MaxFreq", "CurrentFreq")]
    hz = [int(number) * hz_per_unit if re.match(r"\d{1,15}\Z", number, re.ASCII) else None for number in numbers]
    return Clock(online, governor, hz[0], hz[1], hz[2])


def _printable(words: str) -> str:
    return "".join(char for char in words if char.isprintable())[:MAX_NAME_CHARS].strip()
