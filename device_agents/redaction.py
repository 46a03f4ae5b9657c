"""What identifies a person or one single board is taken out of a recording: here, on the board, before it leaves it.

The same value becomes the same marker everywhere ("redacted-serial-1"), in paths as in contents, so that the structure
stays whole. What cannot be told from a measured value is left alone: a number by itself, a temperature "CPU@45.5C".
"""

import contextlib
import getpass
import ipaddress
import os
import re
import socket
from typing import Any, Callable, Dict, List, Match, Pattern, Tuple

MARKER = "redacted-{}-{}"

# Names that boards and phones are sold with, and words of /sys. They name nobody, and without them nothing can be read.
_COMMON_WORDS = """
admin android battery board bus class cpu cpufreq debian default device devices edge energy gpu host hwmon
input jetson khadas label linux localhost name nano nobody none nvidia orangepi orin phone pi power proc radxa
raspberrypi rock root shell soc sys system tegra temp test thermal type ubuntu unknown user usr xavier
"""
COMMON_NAMES = frozenset(_COMMON_WORDS.split())

# Files whose whole content is such a value, by their name.
_WHOLE_FILES = {
    "serial": "serial",
    "serial-number": "serial",
    "serial_number": "serial",
    "serialno": "serial",
    "product_serial": "serial",
    "board_serial": "serial",
    "chassis_serial": "serial",
    "board_asset_tag": "serial",
    "chassis_asset_tag": "serial",
    "unique_id": "serial",
    "wwid": "serial",
    "cid": "serial",
    "product_uuid": "uuid",
    "uuid": "uuid",
    "machine-id": "uuid",
    "boot_id": "uuid",
    "address": "mac",
    "local-mac-address": "mac",
    "hostname": "host-name",
}

_SEPARATOR = r"[\"']?\]?[ \t]*[:=][ \t]*[\"'\[]?[ \t]*"
_VALUE = r"(?P<value>[^\s\"'\],;]{3,128})"

# A value behind its name: "Serial : 1000...", "[ro.serialno]: [R58...]", "POWER_SUPPLY_SERIAL_NUMBER=...".
_KEYED: Tuple[Tuple[str, Pattern[str]], ...] = tuple(
    (kind, re.compile("(?P<key>" + key + _SEPARATOR + ")" + value, re.IGNORECASE))
    for kind, key, value in (
        ("serial", r"\b[\w.]*(?:serial(?:[ _-]?(?:no|num|number))?|s/n|asset[ _-]?tag)\b", _VALUE),
        ("imei", r"\b(?:imei|meid|imsi|iccid|msisdn)\w*", _VALUE),
        ("android-id", r"\b(?:android|advertising|gsf)[ _-]?id\b", _VALUE),
        ("ssid", r"\b[be]?ssid\b", r"(?P<value>[^\"'\],;\n]{1,64})"),
        ("host-name", r"\b(?:host[ _-]?name|nodename|net\.hostname)\b", _VALUE),
    )
)

_EMAIL = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64}@[A-Za-z][\w-]{0,62}(?:\.[\w-]{1,63})*\.[A-Za-z]{2,24}(?![\w-])", re.ASCII
)
# Also inside names ("hid-aa:bb:cc:dd:ee:ff-battery"), but not a part of a longer row of such pairs.
_MAC = re.compile(
    r"(?<![0-9A-Fa-f])(?<![0-9A-Fa-f]{2}[:_-])[0-9A-Fa-f]{2}(?P<by>[:_-])(?:[0-9A-Fa-f]{2}(?P=by)){4}"
    r"(?:[0-9A-Fa-f]{2}(?P=by)[0-9A-Fa-f]{2}(?P=by))?[0-9A-Fa-f]{2}(?![0-9A-Fa-f])(?![:_-][0-9A-Fa-f]{2}(?![0-9A-Za-z]))"
)
_UUID = re.compile(r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?![0-9A-Fa-f])")
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\.?\w)", re.ASCII)
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]{4,39}(?![\w:])", re.ASCII)
_IMEI = re.compile(r"(?<![\w.])(?:01|35|86|99)\d{13}(?![\w.])", re.ASCII)  # a type code's first digits (GSMA TS.06)
_HOME = re.compile(r"(?<=/home/)[^/\s:\"']{1,64}|(?<=/Users/)[^/\s:\"']{1,64}")
_ONE_NUMBER = re.compile(r"\s*[+-]?[\d.]+\s*\Z", re.ASCII)


class Redactor:
    """Replaces what identifies somebody. ``counts`` says how often, by kind; never what it was."""

    def __init__(self, names: Tuple[Tuple[str, str], ...] = ()) -> None:
        self.counts: Dict[str, int] = {}
        self._markers: Dict[Tuple[str, str], str] = {}
        self._names = [(kind, _word(name)) for kind, name in names if _tells(name)]

    def text(self, text: str) -> str:
        """The text with markers in it."""
        for kind, pattern in _KEYED:
            text = pattern.sub(self._keyed(kind), text)
        plain: List[Tuple[str, Pattern[str], Callable[[str], bool]]] = [
            ("email", _EMAIL, _any),
            ("uuid", _UUID, _any),
            ("mac", _MAC, _any),
            ("ip", _IPV6, _is_address),
            ("ip", _IPV4, _is_address),
            ("user-name", _HOME, _tells),
        ]
        if not _ONE_NUMBER.match(text):  # a counter may look like an IMEI
            plain.append(("imei", _IMEI, _is_imei))
        for kind, pattern, holds in plain + [(kind, pattern, _any) for kind, pattern in self._names]:
            text = pattern.sub(self._plain(kind, holds), text)
        return text

    def content(self, path: str, text: str) -> str:
        """The text of a file with markers in it; all of it is one where the file's name says what it holds."""
        kind = _WHOLE_FILES.get(os.path.basename(path))
        if kind is not None and text.strip("\0 \n"):
            return self._marker(kind, text.strip("\0 \n")) + ("\n" if text.endswith("\n") else "")
        return self.text(text)

    def document(self, value: Any) -> Any:
        """The JSON value with markers in every text of it, names of members too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(key)): self.document(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.document(item) for item in value]
        return value

    def _marker(self, kind: str, value: str) -> str:
        if value.startswith("redacted-"):
            return value
        self.counts[kind] = self.counts.get(kind, 0) + 1
        numbered = sum(1 for known, _ in self._markers if known == kind) + 1
        return self._markers.setdefault((kind, value), MARKER.format(kind, numbered))

    def _keyed(self, kind: str) -> Callable[[Match[str]], str]:
        return lambda match: match.group("key") + self._marker(kind, match.group("value").rstrip())

    def _plain(self, kind: str, holds: Callable[[str], bool]) -> Callable[[Match[str]], str]:
        return lambda match: self._marker(kind, match.group(0)) if holds(match.group(0)) else match.group(0)


def own_names() -> Tuple[Tuple[str, str], ...]:
    """(kind, name) of this device and of the user who records it."""
    names = {("host-name", os.uname().nodename), ("host-name", socket.gethostname())}
    with contextlib.suppress(OSError, KeyError, ImportError):  # a user without an entry, as on phones
        names.add(("user-name", getpass.getuser()))
    names |= {("user-name", os.environ.get(variable, "")) for variable in ("USER", "LOGNAME", "SUDO_USER")}
    hosts = {(kind, name.partition(".")[0]) for kind, name in names if kind == "host-name"}
    # The longest first: "board.example.org" before "board".
    return tuple(sorted(names | hosts, key=lambda pair: (-len(pair[1]), pair)))


def _any(value: str) -> bool:
    return True


def _tells(name: str) -> bool:
    return len(name) >= 3 and name.lower() not in COMMON_NAMES and not name.isdigit()


def _word(name: str) -> Pattern[str]:
    return re.compile("(?<![A-Za-z0-9])" + re.escape(name) + "(?![A-Za-z0-9])", re.IGNORECASE)


def _is_address(text: str) -> bool:
    if ":" in text and text.count(":") < 2:
        return False
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified)


def _is_imei(digits: str) -> bool:
    """True when the check digit is right (Luhn, ISO/IEC 7812-1 annex B)."""
    total = 0
    for index, char in enumerate(reversed(digits)):
        digit = int(char) * (1 + index % 2)
        total += digit - 9 if digit > 9 else digit
    return total % 10 == 0
