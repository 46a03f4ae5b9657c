"""The live view: the whole and not a part, the real clock, and the first sign of throttling."""

from __future__ import annotations

from typing import Any

import pytest

from mobile.benchmark.outcomes import state_of
from mobile.cli.live import Live
from tests.support.runs import SECOND, event, sensor


def shown(columns: dict[str, tuple[str, list[float | None]]], step_s: float = 1.0) -> dict[str, str]:
    live = Live([sensor(name, quantity) for name, (quantity, _) in columns.items()])
    length = max(len(column) for _, column in columns.values())
    live.take(
        [round(i * step_s * SECOND) for i in range(length)], {name: column for name, (_, column) in columns.items()}
    )
    return dict(zip(("temperature", "clock", "power", "throttling"), live.cells(), strict=True))


def test_the_whole_is_shown_with_its_scope_and_not_its_parts() -> None:
    cells = shown({"power.VDD_SOC": ("power", [9.0]), "power.VDD_IN": ("power", [7.5])})
    assert cells["power"] == "7.5 W (module input)"
    rails = {f"power.{name}": ("power", [2.0]) for name in ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ")}
    assert shown(rails)["power"] == "6.0 W (sum of module rails)"


def test_parts_are_named_as_such() -> None:
    cells = shown({"power.VDD_SOC": ("power", [1.5, None]), "power.VDD_CORE": ("power", [1.0, 1.0])})
    assert cells["power"] == "1.5 W (VDD_SOC alone)"


def test_a_battery_that_is_drained_is_consumption() -> None:
    assert shown({"power.battery": ("power", [-5.25])})["power"] == "5.2 W (battery terminal)"


def test_a_counter_of_joules_is_power_also_across_blocks() -> None:
    live = Live([sensor("energy.rapl.package-0", "energy")])
    live.take([0], {"energy.rapl.package-0": [100.0]})
    assert live.cells()[2] == ""
    live.take([2 * SECOND], {"energy.rapl.package-0": [130.0]})
    assert live.cells()[2] == "15.0 W (CPU package)"


def test_the_pis_real_clock_is_shown_and_not_the_requested_one() -> None:
    assert (
        shown({"frequency.policy0": ("frequency", [2.4e9]), "frequency.arm": ("frequency", [1.5e9])})["clock"]
        == "1.50 GHz"
    )
    assert (
        shown({"frequency.policy0": ("frequency", [1.8e9]), "frequency.policy4": ("frequency", [3.2e9])})["clock"]
        == "3.20 GHz"
    )


@pytest.mark.parametrize(
    ("name", "quantity", "values", "mark"),
    [
        ("throttle.now.undervoltage", "flag", [0.0, 1.0, 0.0], "undervoltage"),
        ("throttle.since-boot.undervoltage", "flag", [1.0, 1.0], ""),
        ("throttle.since-boot.capped", "flag", [0.0, 1.0], "capped"),
        ("throttle.oc3", "count", [27390.0, 27391.0], "oc3"),
        ("throttle.oc3", "count", [27390.0, 27390.0], ""),
        ("throttle.status", "level", [2.0], "status"),
        ("throttle.cooling.cpu", "level", [1.0, 2.0], "cpu"),
        ("cap.policy0", "ratio", [1.0, 0.6], "cap.policy0 60%"),
        ("cap.policy0", "ratio", [0.6, 0.6], ""),
        ("load.gpu", "ratio", [1.0, 0.1], ""),
        ("supply.external", "flag", [1.0], ""),
    ],
)
def test_the_first_sign_of_throttling_stays(name: str, quantity: str, values: list[float | None], mark: str) -> None:
    assert shown({name: (quantity, values)})["throttling"] == mark


def test_missing_values_and_absent_sensors_are_not_shown() -> None:
    assert set(shown({"temperature.gpu": ("temperature", [None]), "power.VIN": ("power", [None])}).values()) == {""}
    live = Live([sensor("temperature.cpu", "temperature", "absent")])
    live.take([1], {"temperature.cpu": [50.0]})
    assert live.cells() == ["", "", "", ""]


@pytest.mark.parametrize(
    ("record", "state"),
    [
        (event("gate-started", below_c=45.0), "gate"),
        (event("gate-started", below_c=None), None),
        (event("idle-started"), "idle"),
        (event("load-started"), "load"),
        (event("probe"), None),
    ],
)
def test_conditions_are_states_of_their_own(record: dict[str, Any], state: str | None) -> None:
    assert state_of(record) == state
