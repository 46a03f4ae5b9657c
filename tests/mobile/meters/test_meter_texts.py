"""What meters answer becomes watts and joules, or a reason; never an exception, never 0."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobile.meters import texts
from mobile.meters.base import Reading

DATA = Path(__file__).resolve().parents[2] / "data" / "telemetry" / "meters"
EM50 = "{" + (DATA / "shelly_pro_em50_getstatus_excerpt.txt").read_text().strip().rstrip(",") + "}"

# Shelly's documentation of Switch.GetStatus, with its example values.
SWITCH = {
    "id": 0, "source": "WS_in", "output": True, "apower": 8.9, "voltage": 237.5, "current": 0.059, "freq": 50,
    "aenergy": {"total": 6.532, "by_minute": [45.199, 47.141, 88.397], "minute_ts": 1626935779},
    "temperature": {"tC": 23.5, "tF": 74.4},
}  # fmt: skip
# As mylocalbytes.com shows it for a plug with Tasmota ("Power Monitoring").
TASMOTA = {
    "StatusSNS": {
        "Time": "2022-01-11T21:57:38",
        "ENERGY": {
            "TotalStartTime": "2020-10-21T22:15:00", "Total": 3.705, "Yesterday": 0.028, "Today": 0.026, "Period": 1,
            "Power": 5, "ApparentPower": 5, "ReactivePower": 0, "Factor": 1.00, "Voltage": 233, "Current": 0.021,
        },
    }
}  # fmt: skip
GEN1 = {
    "wifi_sta": {"connected": True},
    "meters": [{"power": 14.07, "overpower": 0.0, "is_valid": True, "timestamp": 1, "counters": [1], "total": 68271}],
}
GEN1_EM = {"emeters": [{"power": -3.5, "pf": 0.5, "voltage": 230.1, "is_valid": True, "total": 1203.4}]}


def test_the_recorded_em50_has_its_active_power_and_never_volts_times_amperes() -> None:
    status = texts.json_object(EM50)
    assert status is not None
    assert texts.shelly(status["em1:1"]).power_w == 501.8  # 234.9 V times 2.598 A would be 610
    small = texts.shelly(status["em1:0"])
    assert small.power_w is None
    assert small.reason == "the meter shows 0 W beside 18.7 VA: the load is below what it resolves"
    assert [texts.shelly_component(status, channel) for channel in (0, 1, 2)] == ["em1", "em1", None]


def test_a_switch_gives_its_power_and_its_counter_in_joules() -> None:
    assert texts.shelly(SWITCH) == Reading(power_w=8.9, energy_j=pytest.approx(6.532 * 3600))
    assert texts.shelly({**SWITCH, "output": False}).reason == "the meter's switch is off"
    assert "power_meter_failure" in str(texts.shelly({**SWITCH, "errors": ["power_meter_failure"]}).reason)
    three_phases = {"id": 0, "a_act_power": 1.0, "total_act_power": 31.5, "total_aprt_power": 40.0}
    assert texts.shelly(three_phases).power_w == 31.5


def test_the_counter_stands_also_where_the_power_is_not_believed() -> None:
    reading = texts.shelly({**SWITCH, "apower": 0.0})
    assert (reading.power_w, reading.energy_j) == (None, pytest.approx(23515.2))
    assert "0 W" in str(reading.reason)


def test_a_power_below_the_meters_own_error_is_none() -> None:
    assert texts.shelly({**SWITCH, "apower": 0.8}, floor_w=1.0).reason == (
        "the meter shows 0.8 W, less than its own possible error of 1 W"
    )
    assert texts.shelly({**SWITCH, "apower": 1.0}, floor_w=1.0).power_w == 1.0


def test_the_first_generation_counts_in_watt_minutes_and_its_em_in_watt_hours() -> None:
    assert texts.shelly_gen1(GEN1, 0) == Reading(power_w=14.07, energy_j=68271 * 60.0)
    assert "no channel 1" in str(texts.shelly_gen1(GEN1, 1).reason)
    turned = texts.shelly_gen1(GEN1_EM, 0)
    assert turned.power_w is None and "wrong way round" in str(turned.reason)
    assert turned.energy_j == pytest.approx(1203.4 * 3600)
    assert "not valid" in str(texts.shelly_gen1({"meters": [{"power": 5.0, "is_valid": False}]}, 0).reason)


def test_tasmota_gives_its_power_and_its_counter_in_joules() -> None:
    assert texts.tasmota(TASMOTA) == Reading(power_w=5.0, energy_j=pytest.approx(3.705 * 3.6e6))
    assert texts.tasmota(TASMOTA["StatusSNS"]).power_w == 5.0  # as it is published by MQTT
    assert texts.tasmota({"StatusSNS": {"Time": "x"}}).reason == "the device measures no energy"


def test_tasmota_with_channels_gives_the_one_that_is_asked_for() -> None:
    energy = {"Power": [5, 7], "Total": 3.0, "ApparentPower": [6, 9]}
    assert texts.tasmota({"ENERGY": energy}, 1) == Reading(power_w=7.0)  # the total is that of both
    assert texts.tasmota({"ENERGY": {**energy, "Total": [1.0, 2.0]}}, 1).energy_j == pytest.approx(7.2e6)
    assert "no channel 2" in str(texts.tasmota({"ENERGY": energy}, 2).reason)


@pytest.mark.parametrize(
    ("line", "power_w"),
    [("7.25", 7.25), (" 7.25 W\n", 7.25), ("7251 mW", 7.251), ("7251mW", 7.251), ("1e1", 10.0), ("+3.", 3.0)],
)
def test_a_command_prints_watts_or_milliwatts(line: str, power_w: float) -> None:
    assert texts.watts(line).power_w == pytest.approx(power_w)


@pytest.mark.parametrize(
    "line",
    ["", "W", "7,25", "7.25 kW", "7.25 w", "7.25 VA", "nan", "inf", "0x10", "7.25 W 8", "power: 7", "1e99", "-3", "0",
     "٣", "7 MW", "7 mw", "1" * 400],
)  # fmt: skip
def test_a_command_that_prints_anything_else_gives_a_reason(line: str) -> None:
    reading = texts.watts(line)
    assert reading.power_w is None
    assert reading.reason
    assert len(reading.reason) < 160


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(
            ["apower", "act_power", "aprt_power", "total_act_power", "aenergy", "total", "errors", "output", "meters",
             "emeters", "power", "is_valid", "StatusSNS", "ENERGY", "Power", "Total", "ApparentPower", "switch:0"]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip


def checked(reading: Reading) -> None:
    assert (reading.power_w is None) == (reading.reason is not None)
    for value in (reading.power_w, reading.energy_j):
        assert value is None or (math.isfinite(value) and value >= 0)
    assert reading.power_w != 0
    assert reading.reason is None or len(reading.reason) < 200


@given(documents, st.integers(0, 3))
def test_no_document_raises_or_gives_0(document: object, channel: int) -> None:
    if not isinstance(document, dict):
        document = {"apower": document, "meters": [document], "ENERGY": document, "switch:0": document}
    checked(texts.shelly(document))
    checked(texts.shelly_gen1(document, channel, 1.0))
    checked(texts.tasmota(document, channel, 1.0))
    assert texts.shelly_component(document, channel) in (None, *texts.SHELLY_COMPONENTS)


@given(st.binary(max_size=400) | st.text(max_size=400))
def test_no_bytes_raise(text: bytes | str) -> None:
    document = texts.json_object(text)
    assert document is None or isinstance(document, dict)
    checked(texts.watts(text if isinstance(text, str) else text.decode("utf-8", "replace")))


@pytest.mark.parametrize("text", ["[" * 60_000, '{"a":' * 20_000, b" " * 70_000, "[]", "7", "\xff", b"\xff\xfe", "{"])
def test_what_is_no_object_is_none(text: bytes | str) -> None:
    assert texts.json_object(text) is None


@given(st.lists(st.integers(0, len(EM50) - 1), max_size=20), st.integers(0, len(EM50)))
def test_damage_to_the_recorded_status_gives_a_reading_or_a_reason(places: list[int], cut: int) -> None:
    damaged = list(EM50)
    for place in places:
        damaged[place] = "0"
    status = texts.json_object("".join(damaged)[: cut or None])
    for part in (status or {}).values():
        if isinstance(part, dict):
            checked(texts.shelly(part))


def test_the_samples_are_json() -> None:
    assert json.loads(EM50)["em1:1"]["act_power"] == 501.8
