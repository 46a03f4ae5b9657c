"""The rule that makes the whole of each board: which sensors, and what they cover."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mobile.results.totals import RULES, SCOPE_KINDS, totals
from tests.support.runs import sensor

RECORDED = Path(__file__).parents[2] / "data" / "telemetry" / "jetson" / "expected_tegrastats.json"
EXPECTED = json.loads(RECORDED.read_text(encoding="utf-8"))


def of(*names: str) -> list[tuple[str, str]]:
    """[(the sum, scope kind)] of a device with these sensors, best first."""
    return [(total.label, total.scope_kind) for total in totals(sensor(name, name.split(".")[0]) for name in names)]


@pytest.mark.parametrize("name", EXPECTED)
def test_the_total_of_a_recorded_jetson(name: str) -> None:
    rails = EXPECTED[name]["lines"][0]["rails_mw_now_avg_max"] or {}
    found = totals(sensor("power." + rail, "power") for rail in rails)
    expected_mw = EXPECTED[name]["total_power_mw"]
    if expected_mw is None:
        assert found == []
        return
    parts = [about["name"].removeprefix("power.") for about in found[0].sensors]
    assert sum(rails[part][0] for part in parts) == expected_mw
    rule = EXPECTED[name]["total_rule"]
    if "module sum" in rule:
        assert found[0].scope_kind == "sum of module rails"
        assert set(parts) == set(re.search(r"VDD_GPU\S+", rule).group().split("+"))
    elif rule != "sum of rails":
        assert parts == re.split(r" ", rule)[0].split("+")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["power.POM_5V_IN", "power.POM_5V_GPU", "power.POM_5V_CPU"], [("power.POM_5V_IN", "board input")]),
        (["power.VDD_IN", "power.VDD_CPU_GPU_CV", "power.VDD_SOC"], [("power.VDD_IN", "module input")]),
        (["power.VDD_SYS_GPU", "power.VDD_SYS_SOC", "power.VDD_IN", "power.VDD_4V0_WIFI"],
         [("power.VDD_IN", "module input")]),
        (["power.VDD_GPU", "power.VDD_CPU_SOC_MSS", "power.VIN_SYS_5V0", "power.VIN"],
         [("power.VIN", "board input"),
          ("power.VDD_GPU + power.VDD_CPU_SOC_MSS + power.VIN_SYS_5V0", "sum of module rails")]),
        (["power.pmic", "power.board-estimate", "power.pmic.VDD_CORE"],
         [("power.pmic", "PMIC rails"), ("power.board-estimate", "board input estimated")]),
        (["power.battery", "charge.battery", "voltage.battery", "energy.odpm.total", "energy.odpm.S2M_VDD_CPUCL2"],
         [("charge.battery x voltage.battery", "battery terminal"), ("power.battery", "battery terminal"),
          ("energy.odpm.total", "SoC rails")]),
        (["energy.rapl.package-0", "energy.rapl.package-1", "energy.rapl.package-0.dram", "energy.rapl.psys"],
         [("energy.rapl.package-0 + energy.rapl.package-1", "CPU package"), ("energy.rapl.psys", "platform")]),
        (["energy.rapl.package-0-die-0", "energy.rapl.package-0-die-1"],
         [("energy.rapl.package-0-die-0 + energy.rapl.package-0-die-1", "CPU package")]),
        (["power.VDD_IN", "energy.meter.plug", "power.meter.plug"],
         [("energy.meter.plug", "wall"), ("power.meter.plug", "wall"), ("power.VDD_IN", "module input")]),
        (["power.VDD_GPU_SOC", "power.VDD_CPU_CV"], []),
        (["power.BAT0", "charge.BAT0", "voltage.BAT0"], []),
        (["power.amdgpu.PPT", "energy.rapl.package-0.core", "energy.rapl.psys.core"], []),
    ],
)  # fmt: skip
def test_the_wholes_of_a_device_widest_first(names: list[str], expected: list[tuple[str, str]]) -> None:
    assert of(*names) == expected


def test_what_hangs_on_another_rail_is_never_added() -> None:
    (total,) = totals(
        sensor("power." + rail, "power") for rail in ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO")
    )
    assert "VDDQ_VDD2_1V8AO" not in total.label
    assert total.scope == "sum of module rails"


def test_a_meter_at_the_boards_input_says_so() -> None:
    (inline,) = totals([{**sensor("power.meter.usb", "power"), "scope": "board input (USB meter)"}])
    assert (inline.scope_kind, inline.scope) == ("board input", "board input (USB meter)")


def test_every_rule_is_whole_and_names_its_source() -> None:
    for rule in RULES:
        assert rule.scope_kind in SCOPE_KINDS
        assert rule.how in ("single", "sum", "all")
        assert rule.quantity in ("power", "energy", "charge")
        assert rule.scope and rule.remark and rule.source
    assert len({rule.name for rule in RULES}) == len(RULES)
