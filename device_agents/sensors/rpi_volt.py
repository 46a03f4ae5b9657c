"""What the kernel of a Raspberry Pi knows of its throttling, without any program of the firmware's.

``rpi_volt`` (kernel drivers/hwmon/raspberrypi-hwmon.c) has one file, in0_lcrit_alarm: 1 when the 5 V input was below
about 4.63 V at any moment since the kernel's look before the last one; it looks every 2 s. There is no voltage.

``get_throttled`` in sysfs (removed in 2025, deprecated since 4.19) has the firmware's bits as of the kernel's last
look, which also clears the upper ones: they mean "since the look before", not "since boot". The recorded line
"Voltage normalised (0x00000000)" shows it.
"""

import os
from typing import Dict, List, Optional

from device_agents.sensors import hwmon
from device_agents.sensors.base import Findings, Reading, Sensor, Source, SourceSensor, add, descriptor
from device_agents.sensors.files import SensorError, folder, read_text, under
from device_agents.sensors.programs import find_program, run_program
from device_agents.sensors.vcgencmd_text import FLAGS, flags, sysfs_word, undervoltage_lines

MONITOR, ALARM = "rpi_volt", "in0_lcrit_alarm"
KERNEL_PERIOD_S = 2.0  # both drivers: schedule_delayed_work(..., 2 * HZ)
WORD_PERIOD_S = 0.5  # a read may ask the firmware (kernels before 4.19): one small mailbox call
LOG_PERIOD_S = 10.0  # a program to start for a number that seldom changes
# The kernel writes these lines as critical (dev_crit, pr_crit). The rest of the log is long, and nobody's business.
LOG_ARGUMENTS = ("--level", "emerg,alert,crit")

_PLATFORM = "/sys/devices/platform"
_UNDERVOLTAGE = FLAGS["undervoltage"][1]
_LATCHED = "at any moment since the kernel's look before; it looks every 2 s"
_KINDS = {"now": "as of the kernel's last look; it looks every 2 s", "since-poll": _LATCHED}


class Word(Source):
    """The eight flags of the kernel's get_throttled file; one read gives all, because a read may clear them."""

    def __init__(self, path: str) -> None:
        super().__init__("get_throttled", WORD_PERIOD_S)
        self._path = path

    def fetch(self) -> Dict[str, Reading]:
        """{"now.NAME" and "since-poll.NAME": 1.0 or 0.0}."""
        text = read_text(self._path, 64)
        if text is None:
            raise SensorError("the file cannot be read")
        return flags(sysfs_word(text), "since-poll")


class KernelLog(Source):
    """The undervoltages that the kernel log tells of, counted since this source was made."""

    def __init__(self, path: str) -> None:
        super().__init__("dmesg", LOG_PERIOD_S)
        self._path = path
        self._newest = ""
        self._count = 0

    def fetch(self) -> Dict[str, Reading]:
        """{"events": how many so far}. The log forgets its oldest lines, so only what is new is counted."""
        output = run_program([self._path, *LOG_ARGUMENTS])
        self.cpu_s += output.cpu_s
        lines = undervoltage_lines(output.text)
        if lines:
            self._count += _behind(lines, self._newest)
            self._newest = lines[-1]
        return {"events": float(self._count)}


def _behind(lines: List[str], newest: str) -> int:
    """How many lines come after the one that was the newest; all of them when the log no longer has it."""
    return lines[::-1].index(newest) if newest in lines else len(lines)


def add_kernel_flags(findings: Findings, root: str, vcgencmd_answers: bool) -> None:
    """Adds ``throttle.now.undervoltage`` of the alarm, or all flags of the file in sysfs; no flag stands twice.

    Where vcgencmd answers it has all the flags, as of now and since boot, and only the alarm is added, under a name of
    its own: it also catches a dip between two calls. Else the undervoltages of the kernel log are counted, too.
    """
    if not vcgencmd_answers:
        _add_log(findings, root)
        if _add_word(findings, root):
            return
    _add_alarm(findings, root, "undervoltage-alarm" if vcgencmd_answers else "undervoltage")


def _add_alarm(findings: Findings, root: str, name: str) -> None:
    for monitor in hwmon.monitors(root):
        if monitor.name == MONITOR and ALARM in monitor.files:
            source = os.path.join(monitor.path, ALARM)
            about = descriptor(
                "throttle.now." + name,
                "flag",
                _UNDERVOLTAGE,
                source,
                period_s=KERNEL_PERIOD_S,
                resolution=1.0,
                note=_LATCHED,
            )
            add(findings, Sensor(about, [source], _raised))


def _raised(numbers: List[int]) -> float:
    return float(numbers[0] != 0)


def _add_word(findings: Findings, root: str) -> bool:
    """Whether the kernel shows the firmware's word here."""
    path = _word_path(root)
    if path is None:
        return False
    source = Word(path)
    source.refresh()
    for name, (_, scope) in FLAGS.items():
        for kind, words in _KINDS.items():
            key = "{}.{}".format(kind, name)
            about = descriptor(
                "throttle." + key,
                "flag",
                scope,
                path,
                period_s=KERNEL_PERIOD_S,
                resolution=1.0,
                note=words,
            )
            add(findings, SourceSensor(about, source, key))
    return True


def _word_path(root: str) -> Optional[str]:
    # /sys/devices/platform/soc/soc:firmware/get_throttled; other kernels have other names on the way.
    base = under(root, _PLATFORM)
    places = [base] + [os.path.join(base, name) for name in folder(base) if name.startswith("soc")]
    nodes = [os.path.join(place, name) for place in places for name in folder(place) if "firmware" in name]
    return next((os.path.join(node, "get_throttled") for node in nodes if "get_throttled" in folder(node)), None)


def _add_log(findings: Findings, root: str) -> None:
    path = find_program(root, "dmesg")
    about = descriptor(
        "throttle.undervoltage-events",
        "count",
        _UNDERVOLTAGE,
        "dmesg",
        period_s=LOG_PERIOD_S,
        resolution=1.0,
        note="lines of the kernel log",
    )
    if path is None:
        about.update(state="absent", reason="there is no dmesg to read the kernel log with")
        findings.missing.append(about)
        return
    source = KernelLog(path)
    source.refresh()
    add(findings, SourceSensor(about, source, "events"))
