"""Which board has which law, parts and sensors. Parts are named as the agent names their sensors.

A part's power is ``idle_w + share * (P - P_idle)`` of the board's. Idle powers are those of the recorded samples in
tests/data/telemetry; what a busy core adds is of the order of these boards, and is a choice.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.lab.personalities import SAID
from tests.lab.physics.instruments import Channel, Ina238, Ina3221, Instrument, Odpm, Rapl
from tests.lab.physics.law import Law
from tests.lab.physics.panels import (
    Clocks,
    Cooling,
    Events,
    PhoneGauge,
    PiFirmware,
    Pmic,
    Tegrastats,
    ThermalService,
    Zones,
)


class Part(NamedTuple):
    """Where a board's power goes."""

    idle_w: float
    share: float


Panel = Callable[[Path, random.Random], list[Instrument]]


@dataclass(frozen=True)
class Board:
    """A personality's physics.

    ``total``: the part, or parts joined by " + ", that the host's rule takes for the whole. ``faults``: those that this
    board can show. ``fast``: its counters are renewed every millisecond. ``sums``: sensors whose value is the sum of
    several parts. ``also``: other personalities with the same physics.
    """

    law: Law
    parts: Mapping[str, Part]
    panel: Panel
    total: str | None
    faults: tuple[str, ...]
    tick_s: float = 0.0066  # the INA3221's cycle
    fast: bool = False
    sums: Mapping[str, Sequence[str]] = field(default_factory=dict)
    also: Sequence[str] = ()


def _hwmon(root: Path, number: int) -> Path:
    return root / f"sys/class/hwmon/hwmon{number}"


def _zones(root: Path, above: Mapping[int, float]) -> dict[Path, float]:
    return {root / f"sys/class/thermal/thermal_zone{number}/temp": value for number, value in above.items()}


def _policies(root: Path, highest_khz: Mapping[int, int]) -> dict[Path, int]:
    return {root / f"sys/devices/system/cpu/cpufreq/policy{number}": khz for number, khz in highest_khz.items()}


def _said(root: Path, program: str) -> Path:
    return root / SAID.lstrip("/") / program


def _cooling(root: Path, numbers: Sequence[int]) -> Cooling:
    return Cooling([root / f"sys/class/thermal/cooling_device{number}/cur_state" for number in numbers])


def _soctherm(root: Path, number: int) -> Events:
    folder = _hwmon(root, number)
    return Events(
        {
            folder / "oc1_event_cnt": frozenset({"undervoltage"}),
            folder / "oc2_event_cnt": frozenset({"over-current"}),
            folder / "oc3_event_cnt": frozenset({"over-current"}),
        }
    )


def _orin_nano(root: Path, draw: random.Random) -> list[Instrument]:
    rails = [
        Channel(1, "power.VDD_IN", 5.0),
        Channel(2, "power.VDD_CPU_GPU_CV", 5.0),
        Channel(3, "power.VDD_SOC", 5.0),
    ]
    labels = {part.partition(".")[2]: part for part in ("power.VDD_IN", "power.VDD_CPU_GPU_CV", "power.VDD_SOC")}
    return [
        Ina3221(_hwmon(root, 1), rails, 0.005, draw),
        Zones(_zones(root, {0: 0.0, 1: -1.0, 5: -2.0, 6: -1.5, 7: -1.5, 8: 0.0}), 0.03125),
        Clocks(_policies(root, {0: 1510400, 4: 1510400})),
        _cooling(root, (1, 2)),
        _soctherm(root, 3),
        Tegrastats(_said(root, "tegrastats") / "line", labels),
    ]


def _agx_orin(root: Path, draw: random.Random) -> list[Instrument]:
    first = [
        Channel(1, "power.VDD_GPU_SOC", 19.8),
        Channel(2, "power.VDD_CPU_CV", 19.8),
        Channel(3, "power.VIN_SYS_5V0", 5.05),
    ]
    labels = {channel.part.partition(".")[2]: channel.part for channel in first}
    return [
        Ina3221(_hwmon(root, 2), first, 0.002, draw),
        Ina3221(_hwmon(root, 4), [Channel(2, "power.VDDQ_VDD2_1V8AO", 5.05)], 0.002, draw),
        Zones(_zones(root, {0: 0.0, 1: -1.0, 5: -2.0, 6: -1.5, 7: -1.5, 8: 0.0}), 0.03125),
        Clocks(_policies(root, {0: 2201600, 4: 2201600, 8: 2201600})),
        _cooling(root, (1, 2, 3)),
        _soctherm(root, 5),
        Tegrastats(_said(root, "tegrastats") / "line", labels),
    ]


def _thor(root: Path, draw: random.Random) -> list[Instrument]:
    rails = [
        Channel(1, "power.VDD_GPU", 19.7),
        Channel(2, "power.VDD_CPU_SOC_MSS", 19.7),
        Channel(3, "power.VIN_SYS_5V0", 5.05),
    ]
    labels = {channel.part.partition(".")[2]: channel.part for channel in rails}
    return [
        Ina3221(_hwmon(root, 5), rails, 0.002, draw),
        Ina238(_hwmon(root, 6), "power.VIN", 19.8, 0.002, draw),
        Zones(_zones(root, {0: 0.0, 1: 0.0, 2: -1.0, 3: 0.0, 4: -1.0}), 0.03125),
        Clocks(_policies(root, dict.fromkeys(range(0, 14, 2), 2601000))),
        _cooling(root, (1,)),
        _soctherm(root, 7),
        Tegrastats(_said(root, "tegrastats") / "line", labels | {"VIN": "power.VIN"}),
    ]


def _nano(root: Path, draw: random.Random) -> list[Instrument]:
    folder = root / "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
    rails = [
        Channel(0, "power.POM_5V_IN", 5.0),
        Channel(1, "power.POM_5V_GPU", 5.0),
        Channel(2, "power.POM_5V_CPU", 5.0),
    ]
    labels = {channel.part.partition(".")[2]: channel.part for channel in rails}
    return [
        Ina3221(folder, rails, 0.005, draw, old=True),
        Zones(_zones(root, {0: 2.0, 1: 0.0, 2: -1.0, 3: -2.0, 5: -0.5}), 0.5),
        Clocks(_policies(root, {0: 1479000})),
        _cooling(root, (1,)),
        Tegrastats(_said(root, "tegrastats") / "line", labels),
    ]


# Rail -> (share of the idle 1.9 W, share of what work adds, volts, step of the current), after the recorded samples.
_PMIC = {
    "3V7_WL_SW": (0.150, 0.0, 3.69, 0.00097593),
    "3V3_SYS": (0.083, 0.01, 3.30, 0.00097593),
    "1V8_SYS": (0.109, 0.02, 1.80, 0.00097593),
    "DDR_VDD2": (0.005, 0.04, 1.108, 0.00097593),
    "DDR_VDDQ": (0.0, 0.01, 0.603, 0.00097593),
    "1V1_SYS": (0.102, 0.0, 1.10, 0.00097593),
    "0V8_SW": (0.140, 0.0, 0.802, 0.00097593),
    "VDD_CORE": (0.359, 0.92, 0.86, 0.00292779),
    "3V3_DAC": (0.003, 0.0, 3.304, 0.00006105),
    "3V3_ADC": (0.002, 0.0, 3.297, 0.00006105),
    "0V8_AON": (0.002, 0.0, 0.799, 0.00006105),
    "HDMI": (0.045, 0.0, 5.116, 0.00012210),
}
_PI5_IDLE_W = 1.9


def _pi5(root: Path, draw: random.Random) -> list[Instrument]:
    said = _said(root, "vcgencmd")
    rails = {name: (f"pmic.{name}", volts, step) for name, (_, _, volts, step) in _PMIC.items()}
    return [
        *_pi(root, (0, 2_400_023_808), 2400000, None),
        Pmic(said / "pmic_read_adc", rails, 0.04, draw),
    ]


def _pi4(root: Path, draw: random.Random) -> list[Instrument]:
    sysfs = root / "sys/devices/platform/soc/soc:firmware/get_throttled"
    return _pi(root, (48, 1_800_457_088), 1800000, sysfs)


def _pi(root: Path, clock: tuple[int, int], highest_khz: int, sysfs: Path | None) -> list[Instrument]:
    zones = _zones(root, {0: 0.0}) | {_hwmon(root, 0) / "temp1_input": 0.0}
    return [
        Zones(zones, 0.55),
        # The firmware holds the clock down; cpufreq goes on showing what was asked for.
        PiFirmware(_said(root, "vcgencmd"), _hwmon(root, 1) / "in0_lcrit_alarm", clock, sysfs),
    ]


def _samsung(root: Path, draw: random.Random) -> list[Instrument]:
    said = _said(root, "dumpsys")
    supply = root / "sys/class/power_supply/battery"
    charge_uah = 1_633_905 + draw.uniform(0, 3750)
    return [
        PhoneGauge(said / "battery", supply, "power.battery", 3.9, charge_uah, 3750.0, 10.0, None),
        ThermalService(said / "thermalservice", ["AP"]),
        Clocks(_policies(root, {0: 2016000, 3: 2803200, 7: 3360000})),
    ]


def _pixel(root: Path, draw: random.Random) -> list[Instrument]:
    said = _said(root, "dumpsys")
    supply = root / "sys/class/power_supply/battery"
    charge_uah = 3_962_500 + draw.uniform(0, 4600)
    rails = {
        root / "sys/bus/iio/devices/iio:device0": [name for name in _ODPM if name.endswith(_ODPM_FIRST)],
        root / "sys/bus/iio/devices/iio:device1": [name for name in _ODPM if not name.endswith(_ODPM_FIRST)],
    }
    start_j = {name: draw.uniform(100.0, 9000.0) for name in _ODPM}
    return [
        PhoneGauge(said / "battery", supply, "power.battery", 4.1, charge_uah, 4600.0, 1.0, 156.25e-6),
        Odpm(rails, start_j),
        ThermalService(said / "thermalservice", ["cpu0-gold-usr", "cpu0-silver-usr", "cpu1-silver-usr"]),
        Clocks(_policies(root, {0: 1803000, 4: 2253000, 6: 2802000})),
        Zones(_zones(root, {0: 0.0, 1: -1.0, 2: -2.0}), 1.0),
    ]


# In the order of the recorded tables: device 0, then device 1.
_ODPM_FIRST = (
    "PPVAR_VSYS_PWR_DISP", "VSYS_PWR_MODEM", "VSYS_PWR_RFFE", "S2M_VDD_CPUCL2", "S3M_VDD_CPUCL1", "S4M_VDD_CPUCL0",
    "S5M_VDD_INT", "S1M_VDD_MIF",
)  # fmt: skip
_ODPM = {
    **{f"energy.odpm.{name}": Part(0.02, 0.0) for name in _ODPM_FIRST[:3]},
    "energy.odpm.S2M_VDD_CPUCL2": Part(0.05, 0.4),
    "energy.odpm.S3M_VDD_CPUCL1": Part(0.05, 0.2),
    "energy.odpm.S4M_VDD_CPUCL0": Part(0.08, 0.1),
    "energy.odpm.S5M_VDD_INT": Part(0.06, 0.1),
    "energy.odpm.S1M_VDD_MIF": Part(0.05, 0.1),
    **{f"energy.odpm.{name}": Part(0.01, 0.0) for name in ("VSYS_PWR_WLAN_BT", "L2S_VDD_AOC_RET", "S9S_VDD_AOC")},
    "energy.odpm.S5S_VDDQ_MEM": Part(0.01, 0.02),
    "energy.odpm.S10S_VDD2L": Part(0.01, 0.02),
    "energy.odpm.S4S_VDD2H_MEM": Part(0.01, 0.02),
    "energy.odpm.S2S_VDD_G3D": Part(0.01, 0.0),
    "energy.odpm.L9S_GNSS_CORE": Part(0.001, 0.0),
}


def _x86(root: Path, draw: random.Random) -> list[Instrument]:
    base = root / "sys/class/powercap"
    zones = {
        "energy.rapl.package-0": base / "intel-rapl:0",
        "energy.rapl.package-0.core": base / "intel-rapl:0:0",
        "energy.rapl.package-0.dram": base / "intel-rapl:0:1",
    }
    range_j = 262143.328850
    # Every other board is within a second or three of the place where its counter starts again.
    start_j = {part: draw.uniform(0.0, range_j) for part in zones}
    if draw.random() < 0.5:
        start_j["energy.rapl.package-0"] = range_j - draw.uniform(10.0, 40.0)
    cpus = root / "sys/devices/system/cpu"
    heat = frozenset({"hot", "thermal"})
    counts = {
        cpus / f"cpu{cpu}/thermal_throttle/{name}_throttle_count": heat
        for cpu in (0, 1)
        for name in ("core", "package")
    }
    hwmon = _hwmon(root, 2)
    return [
        Rapl(zones, range_j, start_j),
        Zones(_zones(root, {0: 0.0}) | {hwmon / "temp1_input": 0.0, hwmon / "temp2_input": -1.0}, 1.0),
        Clocks(_policies(root, {0: 3400000, 1: 3400000})),
        Events(counts),
    ]


def _pmic_parts() -> dict[str, Part]:
    shares = {name: Part(_PI5_IDLE_W * idle, busy) for name, (idle, busy, _, _) in _PMIC.items()}
    return {f"pmic.{name}": part for name, part in shares.items()}


_CHARGE = "charge.battery x voltage.battery"

BOARDS: dict[str, Board] = {
    "orin-nano": Board(
        Law(idle_w=4.7, watts_per_core=3.0, cores=6, resistance_k_per_w=3.0, capacity_j_per_k=60.0),
        {
            "power.VDD_IN": Part(4.7, 1.0),
            "power.VDD_CPU_GPU_CV": Part(0.5, 0.8),
            "power.VDD_SOC": Part(1.45, 0.1),
        },
        _orin_nano,
        "power.VDD_IN",
        ("cap", "thermal", "undervoltage", "over-current"),
    ),
    "agx-orin": Board(
        Law(idle_w=10.4, watts_per_core=4.0, cores=12, resistance_k_per_w=1.5, capacity_j_per_k=150.0),
        {
            "power.VDD_GPU_SOC": Part(4.9, 0.2),
            "power.VDD_CPU_CV": Part(1.0, 0.6),
            "power.VIN_SYS_5V0": Part(4.5, 0.2),
            "power.VDDQ_VDD2_1V8AO": Part(0.6, 0.1),
        },
        _agx_orin,
        "power.VDD_GPU_SOC + power.VDD_CPU_CV + power.VIN_SYS_5V0",
        ("cap", "thermal", "undervoltage", "over-current"),
    ),
    "thor": Board(
        Law(idle_w=16.8, watts_per_core=5.0, cores=14, resistance_k_per_w=1.0, capacity_j_per_k=200.0),
        {
            "power.VIN": Part(16.8, 1.0),
            "power.VDD_GPU": Part(1.0, 0.05),
            "power.VDD_CPU_SOC_MSS": Part(5.5, 0.7),
            "power.VIN_SYS_5V0": Part(5.0, 0.1),
        },
        _thor,
        "power.VIN",
        ("cap", "thermal", "undervoltage", "over-current"),
    ),
    "nano": Board(
        Law(idle_w=1.4, watts_per_core=1.2, cores=4, resistance_k_per_w=6.0, capacity_j_per_k=30.0, trip_c=97.0),
        {"power.POM_5V_IN": Part(1.4, 1.0), "power.POM_5V_GPU": Part(0.12, 0.05), "power.POM_5V_CPU": Part(0.16, 0.85)},
        _nano,
        "power.POM_5V_IN",
        ("cap", "thermal"),
    ),
    "pi5": Board(
        Law(_PI5_IDLE_W, 1.6, 4, resistance_k_per_w=7.0, capacity_j_per_k=30.0, trip_c=85.0, release_c=80.0),
        _pmic_parts(),
        _pi5,
        "power.pmic",
        ("cap", "thermal", "undervoltage"),
        tick_s=0.01,
        sums={"power.pmic": list(_pmic_parts())},
    ),
    "pi4": Board(
        Law(2.7, 1.1, 4, resistance_k_per_w=7.0, capacity_j_per_k=30.0, trip_c=85.0, release_c=80.0),
        {"board": Part(2.7, 1.0)},
        _pi4,
        None,
        ("cap", "thermal", "undervoltage"),
        tick_s=0.01,
    ),
    "samsung-s23": Board(
        Law(1.6, 1.5, 8, resistance_k_per_w=5.0, capacity_j_per_k=60.0, trip_c=85.0, release_c=80.0),
        {"power.battery": Part(1.6, 1.0)},
        _samsung,
        "power.battery",
        ("cap", "thermal", "status"),
        tick_s=0.02,
        sums={_CHARGE: ["power.battery"]},
    ),
    "pixel6-userdebug": Board(
        Law(0.9, 1.5, 8, resistance_k_per_w=5.0, capacity_j_per_k=60.0, trip_c=85.0, release_c=80.0),
        {"power.battery": Part(0.9, 1.0), **_ODPM},
        _pixel,
        "power.battery",
        ("cap", "thermal", "status"),
        tick_s=0.01,
        sums={_CHARGE: ["power.battery"], "energy.odpm.total": list(_ODPM)},
        also=("pixel6",),
    ),
    "x86": Board(
        Law(5.0, 12.0, 2, resistance_k_per_w=1.5, capacity_j_per_k=60.0, trip_c=97.0),
        {
            "energy.rapl.package-0": Part(5.0, 1.0),
            "energy.rapl.package-0.core": Part(1.0, 0.9),
            "energy.rapl.package-0.dram": Part(1.0, 0.1),
        },
        _x86,
        "energy.rapl.package-0",
        ("cap", "thermal"),
        tick_s=0.02,
        fast=True,
    ),
}


def board(personality: str) -> Board | None:
    """The physics of a personality; None when it stands still."""
    if personality in BOARDS:
        return BOARDS[personality]
    return next((one for one in BOARDS.values() if personality in one.also), None)
