"""Raspberry Pi 4 and 5, from tests/data/telemetry/raspberry_pi: the firmware's answers as recorded.

A call of vcgencmd takes 23 ms on a Pi 5, whichever way the firmware is asked (measured by the authors of Zeus:
facts in tests/data/telemetry/SOURCES.md), so it does here.
"""

from __future__ import annotations

from pathlib import Path

from tests.lab.personalities.base import (
    DEVICE_TREE_LINK,
    Answer,
    Personality,
    Program,
    cpu_links,
    cpus,
    device_tree,
)

TELEMETRY = Path(__file__).resolve().parents[2] / "data/telemetry/raspberry_pi"
CALL_S = 0.023

_GOVERNORS = "conservative ondemand userspace powersave performance schedutil"
_UNKNOWN = 'error=1 error_msg="Command not registered"\n'
_VERSION = (
    "Mar 24 2022 13:19:26\nCopyright (c) 2012 Broadcom\nversion e5a963efa66a1974127860b42e913d2374139ff5 (clean)\n"
)


def _vcgencmd(temperature: str, clock: tuple[int, int], core_volt: str, **more: str) -> Program:
    """vcgencmd of a board: temperature text, (the number in brackets, Hz) of the arm clock, volts of the core."""
    answers = {
        "measure_temp": f"temp={temperature}'C\n",
        "measure_clock arm": f"frequency({clock[0]})={clock[1]}\n",
        "measure_clock core": f"frequency({clock[0]})=500000992\n",
        "measure_clock v3d": f"frequency({clock[0]})=0\n",
        "measure_volts": f"volt={core_volt}V\n",
        "measure_volts core": f"volt={core_volt}V\n",
        "get_throttled": "throttled=0x0\n",
        "version": _VERSION,
        **more,
    }
    known = {words: Answer(text, delay_s=CALL_S) for words, text in answers.items()}
    return Program({**known, "*": Answer(_UNKNOWN, status=255)})


def _files(policies: dict[int, tuple[int, int, int]], temperature: str) -> dict[str, str | bytes]:
    return {
        **cpus(policies, "ondemand", _GOVERNORS),
        "/sys/class/thermal/thermal_zone0/type": "cpu-thermal",
        "/sys/class/thermal/thermal_zone0/temp": temperature,
        "/sys/class/hwmon/hwmon0/name": "cpu_thermal",
        "/sys/class/hwmon/hwmon0/temp1_input": temperature,
        "/sys/class/hwmon/hwmon1/name": "rpi_volt",
        "/sys/class/hwmon/hwmon1/in0_lcrit_alarm": "0",
    }


_PI4 = {0: (4, 600000, 1800000)}
_PI5 = {0: (4, 1500000, 2400000)}

PI4 = Personality(
    "pi4",
    files={
        **device_tree("Raspberry Pi 4 Model B Rev 1.5", "raspberrypi,4-model-b", "brcm,bcm2711"),
        **_files(_PI4, "54530"),
        "/sys/devices/platform/soc/soc:firmware/get_throttled": "0",
    },
    programs={"vcgencmd": _vcgencmd("54.5", (48, 1_800_457_088), "0.8600")},
    links={**cpu_links(_PI4), **DEVICE_TREE_LINK},
)

PI5 = Personality(
    "pi5",
    files={
        **device_tree("Raspberry Pi 5 Model B Rev 1.0", "raspberrypi,5-model-b", "brcm,bcm2712"),
        **_files(_PI5, "47200"),
    },
    programs={
        "vcgencmd": _vcgencmd(
            "47.2",
            (0, 2_400_023_808),
            "0.7200",
            pmic_read_adc=(TELEMETRY / "pi5_pmic_read_adc_idle.txt").read_text(),
        )
    },
    links={**cpu_links(_PI5), **DEVICE_TREE_LINK},
)

PERSONALITIES = (PI4, PI5)
