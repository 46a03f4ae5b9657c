"""Which sensors make up the power or energy of a whole device: the rules, as data.

A rule names its sensors and what they cover. Rules are tried from the top; of those that a device meets, the first
that gives a figure is the run's ``energy``, and all stand in ``energy_all``. The order is by how much of the device is
covered, widest first, as far as that is certain: an external meter, the board's input, the module's input, the sum of
its rails, the battery, the PMIC's rails, the SoC's rails, the CPU packages. psys comes after the packages, because what
it covers is the board maker's choice, and an estimate comes last. Values of different scopes are never added or
compared.

Adding a board is one entry here, and one case in tests/mobile/results/test_totals.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

# The stable words of a scope; `compare` refuses figures that differ in it.
SCOPE_KINDS = (
    "wall",
    "board input",
    "module input",
    "sum of module rails",
    "battery terminal",
    "PMIC rails",
    "SoC rails",
    "CPU package",
    "platform",
    "board input estimated",
)


class Rule(NamedTuple):
    """``sensors``: patterns of names; ``how``: "single" (the one sensor that matches), "sum" (each pattern matches one,
    and all are there), "all" (the sum of everything that matches).

    ``quantity``: "power" (W, integrated), "energy" (J, cumulative) or "charge" (C that is left, times the voltage of
    the second sensor). ``consumption``: what the value is multiplied by to make consumption positive.
    """

    name: str
    quantity: str
    sensors: tuple[str, ...]
    how: str
    scope_kind: str
    scope: str
    remark: str
    source: str
    consumption: float = 1.0


class Total(NamedTuple):
    """A rule that a device meets, with the descriptors of its sensors in the rule's order."""

    rule: Rule
    sensors: list[dict[str, Any]]

    @property
    def scope_kind(self) -> str:
        """The rule's; of a meter, whether it sits at the board's input or at the wall, by its own descriptor."""
        if self.rule.name.startswith("meter") and str(self.sensors[0].get("scope", "")).startswith("board input"):
            return "board input"
        return self.rule.scope_kind

    @property
    def scope(self) -> str:
        """The rule's; of a meter what its descriptor says."""
        if self.rule.name.startswith("meter"):
            return str(self.sensors[0].get("scope") or self.rule.scope)
        return self.rule.scope

    @property
    def label(self) -> str:
        """The names of the sensors with the sign between them: "+", or "x" for a charge and its voltage."""
        sign = " x " if self.rule.quantity == "charge" else " + "
        return sign.join(str(sensor["name"]) for sensor in self.sensors)


_NO_CARRIER = "without the carrier board and what is plugged into it (USB, NVMe, fan)"
_DEVELOPER_GUIDE = "NVIDIA Jetson Linux Developer Guide, Platform Power and Performance, INA3221 rails"

RULES: tuple[Rule, ...] = (
    Rule(
        "meter energy", "energy", (r"energy\.meter\..+",), "single", "wall", "external meter",
        "the meter's own count; a plug also counts the losses of the power supply", "the meter's documentation",
    ),
    Rule(
        "meter power", "power", (r"power\.meter\..+",), "single", "wall", "external meter",
        "a plug also shows the losses of the power supply", "the meter's documentation",
    ),
    Rule(
        "POM_5V_IN", "power", (r"power\.POM_5V_IN",), "single", "board input", "board input, 5 V",
        "everything that the board feeds from its 5 V, USB devices included", _DEVELOPER_GUIDE,
    ),
    Rule(
        "VIN", "power", (r"power\.VIN",), "single", "board input", "board input",
        "the carrier's DC input, losses of its converters included",
        "jetson_stats pull request 900 (INA238 on Thor carriers)",
    ),
    Rule(
        "VDD_IN", "power", (r"power\.VDD_IN",), "single", "module input", "module input",
        _NO_CARRIER, _DEVELOPER_GUIDE + "; ARK measured 37.0 W at the board for 29.0 W here",
    ),
    Rule(
        "AGX Orin rails", "power", (r"power\.VDD_GPU_SOC", r"power\.VDD_CPU_CV", r"power\.VIN_SYS_5V0"), "sum",
        "sum of module rails", "sum of module rails",
        _NO_CARRIER + "; VDDQ_VDD2_1V8AO is fed from VIN_SYS_5V0 and in it already", _DEVELOPER_GUIDE,
    ),
    Rule(
        "Thor rails", "power", (r"power\.VDD_GPU", r"power\.VDD_CPU_SOC_MSS", r"power\.VIN_SYS_5V0"), "sum",
        "sum of module rails", "sum of module rails",
        _NO_CARRIER + "; 13.5 W where the board's input showed 19.8 W", "tegrastats recordings of a T5000, JetPack 7",
    ),
    Rule(
        "AGX Xavier rails", "power",
        (r"power\.GPU", r"power\.CPU", r"power\.SOC", r"power\.CV", r"power\.VDDRQ", r"power\.SYS5V"), "sum",
        "sum of module rails", "sum of module rails", _NO_CARRIER, _DEVELOPER_GUIDE,
    ),
    Rule(
        "battery charge", "charge", (r"charge\.(?:battery|bms)", r"voltage\.(?:battery|bms)"), "sum",
        "battery terminal", "battery terminal",
        "the whole phone with its display and radios; nothing while a charger is connected",
        "Android BatteryManager, BATTERY_PROPERTY_CHARGE_COUNTER; kernel Documentation/ABI/testing/sysfs-class-power",
        consumption=-1.0,
    ),
    Rule(
        "battery power", "power", (r"power\.(?:battery|bms)",), "single", "battery terminal", "battery terminal",
        "the whole phone with its display and radios; nothing while a charger is connected",
        "kernel Documentation/ABI/testing/sysfs-class-power", consumption=-1.0,
    ),
    Rule(
        "Pi 5 PMIC", "power", (r"power\.pmic",), "single", "PMIC rails", "PMIC rails",
        "without USB, HAT, NVMe and fan, which hang on the 5 V, and without the losses of the converters",
        "vcgencmd pmic_read_adc; compared with a meter in github.com/jfikar/RPi5-power",
    ),
    Rule(
        "ODPM rails", "energy", (r"energy\.odpm\.total",), "single", "SoC rails", "sum of listed rails",
        "the rails that this phone lists, which differ by model; without display and radios unless they are listed",
        "Android ODPM (android.hardware.power.stats), energy_value in µWs",
    ),
    Rule(
        "RAPL packages", "energy", (r"energy\.rapl\.package-\d+(?:-die-\d+)?(?:#\d+)?",), "all",
        "CPU package", "CPU package",
        "the CPU packages alone: without memory, board, disks, discrete GPU and power supply",
        "Intel SDM volume 3, RAPL; kernel Documentation/power/powercap",
    ),
    Rule(
        "RAPL psys", "energy", (r"energy\.rapl\.psys(?:#\d+)?",), "single", "platform", "platform (psys)",
        "what the board's maker wired to it: from the SoC to the whole board; the packages are in it",
        "Intel SDM volume 3, MSR_PLATFORM_ENERGY_STATUS",
    ),
    Rule(
        "Pi 5 board estimate", "power", (r"power\.board[-_]estimate",), "single", "board input estimated",
        "board input, estimated",
        "1.1451 times the PMIC's rails plus 0.5879 W, fitted on one board without USB and HAT loads",
        "github.com/jfikar/RPi5-power",
    ),
)  # fmt: skip


def totals(sensors: Iterable[Mapping[str, Any]]) -> list[Total]:
    """The rules that a device with these sensors (descriptors that were sampled) meets, best first; [] for none.

    Rails decide and not the board's name: no two modules whose totals differ have the same set of rails.
    """
    by_name = {str(sensor["name"]): dict(sensor) for sensor in sensors}
    found = []
    for rule in RULES:
        matches = [_matching(pattern, by_name) for pattern in rule.sensors]
        if not all(matches):
            continue
        if rule.how == "single":
            found += [Total(rule, [by_name[name]]) for name in matches[0]]
        elif rule.how == "sum":
            found.append(Total(rule, [by_name[names[0]] for names in matches]))
        else:
            found.append(Total(rule, [by_name[name] for names in matches for name in names]))
    return found


def _matching(pattern: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if re.fullmatch(pattern, name)]
