"""What a Raspberry Pi's firmware and kernel print, as values: pure functions of text that never raise.

Sources: Raspberry Pi documentation, "vcgencmd" (commands, bits of get_throttled); the kernel's drivers/hwmon/
raspberrypi-hwmon.c and, before 4.19, drivers/firmware/raspberrypi.c (words of the kernel log, get_throttled in sysfs).
"""

import re
from typing import Dict, List, NamedTuple, Optional, Union

from device_agents.sensors.base import Reading
from device_agents.sensors.thermal import HIGHEST_DEGC, LOWEST_DEGC

# Raspberry Pi documentation, "get_throttled". Posts in forums swap bits 1 and 2; this is the documented order.
# The bits 16 higher say that it has happened.
FLAGS = {
    "undervoltage": (0, "undervoltage: the 5 V input is below about 4.63 V"),
    "capped": (1, "the firmware caps the ARM clock"),
    "throttled": (2, "the firmware throttles"),
    "soft-limit": (3, "soft temperature limit (60 C on the 3B+, 80 C on later boards)"),
}
STICKY_SHIFT = 16

# The rails of the Raspberry Pi 5's PMIC that have both a current and a voltage. EXT5V (the input) and BATT (the
# clock's battery) have a voltage only.
RAILS = (
    "3V7_WL_SW", "3V3_SYS", "1V8_SYS", "DDR_VDD2", "DDR_VDDQ", "1V1_SYS", "0V8_SW", "VDD_CORE", "3V3_DAC", "3V3_ADC",
    "0V8_AON", "HDMI",
)  # fmt: skip

# github.com/jfikar/RPi5-power: the power at the USB-C input against the sum of the rails, a fit over several loads on
# one board without anything on its 5 V.
BOARD_FACTOR, BOARD_OFFSET_W = 1.1451, 0.5879

MAX_LINES = 20_000  # a kernel log; the answers of vcgencmd have at most 30
HIGHEST_HZ = 1e11
HIGHEST_V, HIGHEST_A = 30.0, 100.0

_TEMPERATURE = re.compile(r"\s*temp=(-?\d{1,3}(?:\.\d{1,6})?)'C\s*\Z", re.ASCII)
_CLOCK = re.compile(r"\s*frequency\(\d{1,4}\)=(\d{1,12})\s*\Z", re.ASCII)  # in the brackets: an id of the clock
_VOLTS = re.compile(r"\s*volt=(\d{1,2}(?:\.\d{1,8})?)V\s*\Z", re.ASCII)
_THROTTLED = re.compile(r"\s*throttled=(?:0[xX])?([0-9a-fA-F]{1,8})\s*\Z", re.ASCII)
_SYSFS_WORD = re.compile(r"\s*(?:0[xX])?([0-9a-fA-F]{1,8})\s*\Z", re.ASCII)
_ADC = re.compile(
    r"\s*(\w{1,32})_([AV])(?:\s{1,8}(?:current|volt)\(\d{1,4}\))?=(-?\d{1,3}(?:\.\d{1,12})?)([AV])\s*\Z", re.ASCII
)
_ERROR = re.compile(r'error_msg="([^"]{1,80})"')
_UNDERVOLTAGE = re.compile(r"\[[^\]]{1,32}\] (?:hwmon hwmon\d{1,4}: Undervoltage|Under-voltage) detected!", re.ASCII)


def temperature_degc(text: str) -> Reading:
    """The SoC's temperature in degrees C of ``temp=70.3'C``, or the reason why there is none."""
    value = _number(_TEMPERATURE, text)
    if value is None:
        return _no("temperature", text)
    if not LOWEST_DEGC <= value <= HIGHEST_DEGC:
        return "the firmware shows {:g} °C, which is no temperature".format(value)
    return value


def clock_hz(text: str) -> Reading:
    """A clock in Hz of ``frequency(48)=1500398464``; 0 is a clock that is switched off, not a missing value."""
    value = _number(_CLOCK, text)
    if value is None or value > HIGHEST_HZ:
        return _no("clock", text)
    return value


def volts(text: str) -> Reading:
    """A voltage in V of ``volt=1.2000V``: the one that the firmware asked its regulator for."""
    value = _number(_VOLTS, text)
    return _no("voltage", text) if value is None else value


def throttled_word(text: str) -> Union[int, str]:
    """The bits of ``throttled=0x50005`` (with or without 0x), or the reason why there are none."""
    return _word(_THROTTLED, text)


def sysfs_word(text: str) -> Union[int, str]:
    """The bits that the kernel's get_throttled file shows: hexadecimal, without 0x."""
    return _word(_SYSFS_WORD, text)


def flags(word: Union[int, str], sticky: str) -> Dict[str, Reading]:
    """{"now.NAME": 1.0 or 0.0, "STICKY.NAME": ...} for each of FLAGS, or the reason for each of them."""
    found: Dict[str, Reading] = {}
    for name, (bit, _) in FLAGS.items():
        found["now." + name] = word if isinstance(word, str) else float(word >> bit & 1)
        found[sticky + "." + name] = word if isinstance(word, str) else float(word >> bit + STICKY_SHIFT & 1)
    return found


class Pmic(NamedTuple):
    """What the PMIC measures: ``power_w`` of each rail with a current and a voltage, and all the voltages (V)."""

    power_w: Dict[str, float]
    voltage_v: Dict[str, float]
    reason: Optional[str]  # why there is nothing, where there is nothing


def pmic(text: str) -> Pmic:
    """The rails of `vcgencmd pmic_read_adc`, paired by their names: indices, order, blanks and digits vary."""
    values: Dict[str, Dict[str, float]] = {"A": {}, "V": {}}
    for line in text.splitlines()[:MAX_LINES]:
        match = _ADC.match(line)
        if match and match.group(2) == match.group(4):
            value = float(match.group(3))
            if abs(value) <= (HIGHEST_A if match.group(2) == "A" else HIGHEST_V):
                values[match.group(2)][match.group(1)] = value
    amperes, voltage_v = values["A"], values["V"]
    power_w = {name: current * voltage_v[name] for name, current in amperes.items() if name in voltage_v}
    return Pmic(power_w, voltage_v, None if power_w else _no("rails", text))


def pmic_sum_w(found: Pmic) -> Reading:
    """The sum over RAILS in W; a reason when one of them is missing, because the rest would pass for the whole."""
    if found.reason is not None:
        return found.reason
    lost = [name for name in RAILS if name not in found.power_w]
    if lost:
        return "the PMIC shows no power of {}".format(", ".join(lost[:4]))
    return sum(found.power_w[name] for name in RAILS)


def board_estimate_w(pmic_w: float) -> float:
    """The power at the board's 5 V input in W, estimated from the sum of the rails (see BOARD_FACTOR)."""
    return BOARD_FACTOR * pmic_w + BOARD_OFFSET_W


def undervoltage_lines(log: str) -> List[str]:
    """The lines of a kernel log that tell of an undervoltage: "hwmon hwmonN: Undervoltage detected!", and before 4.19
    "Under-voltage detected! (0x00050005)".
    """
    return [line for line in log.splitlines()[-MAX_LINES:] if _UNDERVOLTAGE.match(line)]


def _number(pattern: "re.Pattern[str]", text: str) -> Optional[float]:
    match = _last(pattern, text)
    return None if match is None else float(match)


def _word(pattern: "re.Pattern[str]", text: str) -> Union[int, str]:
    match = _last(pattern, text)
    return _no("throttle flags", text) if match is None else int(match, 16)


def _last(pattern: "re.Pattern[str]", text: str) -> Optional[str]:
    """What the last line that fits has: a login script may print something before."""
    for line in reversed(text.splitlines()[-MAX_LINES:]):
        match = pattern.match(line)
        if match:
            return match.group(1)
    return None


def _no(what: str, text: str) -> str:
    said = _ERROR.search(text[:4096])
    if said:
        return "the firmware says: {}".format("".join(char for char in said.group(1) if char.isprintable()))
    shown = "".join(char for char in text[:40] if char.isprintable()).strip()
    return "no {} in what was printed{}".format(what, ": " + repr(shown) if shown else ", which was nothing")
