"""Every recorded report and uevent file of a battery gives the values that its source states, and nothing more."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agents.sensors.battery_text import IS_MODEL, parse_broadcasts, parse_dumpsys, parse_uevent
from tests.support.phone import TELEMETRY, recorded

UAH = 3.6e-3


def test_galaxy_s23_on_usb():
    battery = parse_dumpsys(recorded("android/battery/samsung_s23_usb.txt"))
    assert battery.values == {
        "voltage": pytest.approx(3.908),  # not 3.932: that is what was broadcast last
        "temperature": pytest.approx(42.2),
        "charge": pytest.approx(1633905 * UAH),
        "level": pytest.approx(0.44),
    }
    assert battery.current_raw == 559 and battery.unit_a == 1e-3
    assert battery.status == "Charging" and battery.chargers == ("usb",)
    assert battery.reasons == {} and battery.doubts == ()
    (line,) = parse_broadcasts(recorded("android/battery/samsung_s23_usb.txt"))
    assert line.current_a == pytest.approx(-0.257)
    assert line.status == "Charging" and line.external  # and yet it flows out of the battery


def test_a_samsung_of_2018_full_on_usb():
    battery = parse_dumpsys(recorded("android/battery/samsung_2018_usb_full.txt"))
    assert battery.status == "Full" and battery.chargers == ("usb",)
    assert battery.values["voltage"] == pytest.approx(4.312)
    assert battery.values["temperature"] == pytest.approx(30.9)
    assert battery.values["charge"] == pytest.approx(2967000 * UAH)
    assert battery.current_raw == 0


def test_pixel_11_pro():
    text = recorded("android/battery/pixel11pro_sysfs_and_dumpsys.txt")
    battery = parse_dumpsys(text)
    assert battery.values["voltage"] == pytest.approx(4.446)
    assert battery.values["temperature"] == pytest.approx(35.8)
    assert battery.values["charge"] == pytest.approx(4832500 * UAH)
    assert battery.values["level"] == 1.0
    assert battery.status == "Not charging" and battery.chargers == ("ac",)
    assert battery.current_raw is None  # Android's own report has none


def test_an_emulator_has_no_battery_sensor():
    battery = parse_dumpsys(recorded("android/battery/emulator_2016.txt"))
    assert battery.values == {"level": pytest.approx(0.89)}
    assert "not a real one" in battery.reasons["voltage"]
    assert "without a sensor" in battery.reasons["temperature"]


def test_oneplus_7_shows_two_counters_and_a_key_twice():
    text = recorded("android/battery/oneplus7_lineage20_acc_info_truncated.txt")
    report, uevent = parse_dumpsys(text), parse_uevent(text)
    assert report.values["charge"] == pytest.approx(2849000 * UAH)
    assert report.values["voltage"] == pytest.approx(3.985) and report.values["temperature"] == pytest.approx(29.4)
    assert report.status == "Discharging" and report.chargers == ()
    assert uevent.values["charge"] == pytest.approx(2535012 * UAH)
    assert uevent.values["level"] == pytest.approx(0.76)
    assert uevent.doubts == ("charge_counter is there twice: 2535012 and 2812000",)


def test_the_broadcasts_of_a_galaxy_a15():
    lines = parse_broadcasts(recorded("android/battery/samsung_sm-a155m_android16_action_changed_log.txt"))
    assert [line.current_a for line in lines] == [
        pytest.approx(ma * 1e-3) for ma in (-17, -258, -623, -658, -51, -318, 901, 824)
    ]
    assert [line.external for line in lines] == [False] * 5 + [True] * 3
    assert lines[0].charge_c == pytest.approx(4000000 * UAH) and lines[-1].charge_c == pytest.approx(3988000 * UAH)
    assert lines[1].t_s - lines[0].t_s == pytest.approx(4.836)
    assert lines[5].t_s - lines[4].t_s == pytest.approx((12 * 60 + 14) * 60 + 7.22)  # over midnight
    assert parse_dumpsys(recorded("android/battery/samsung_sm-a155m_android16_action_changed_log.txt")).values == {}


def test_the_discharge_of_a_galaxy_s23():
    lines = parse_broadcasts(recorded("android/battery/samsung_s23_discharge_log_extract.txt"))
    seconds = lines[-1].t_s - lines[0].t_s
    assert seconds == 452
    by_counter_a = (lines[0].charge_c - lines[-1].charge_c) / seconds
    assert by_counter_a == pytest.approx(1.4037, abs=1e-4)
    pairs = list(itertools.pairwise(lines))
    by_current_a = -sum((a.current_a + b.current_a) / 2 * (b.t_s - a.t_s) for a, b in pairs) / seconds
    mean_v = sum((a.voltage_v + b.voltage_v) / 2 * (b.t_s - a.t_s) for a, b in pairs) / seconds
    assert by_current_a == pytest.approx(1.362, abs=1e-3)
    assert mean_v == pytest.approx(3.750, abs=1e-3)
    assert by_counter_a * mean_v == pytest.approx(5.26, abs=5e-3)


def test_a_refused_file_gives_nothing():
    text = recorded("android/battery/samsung_s23_sysfs_denied.txt")
    for battery in (parse_dumpsys(text), parse_uevent(text)):
        assert battery.values == {} and battery.current_raw is None and battery.chargers is None


def test_sony_xz_charging():
    battery = parse_uevent(recorded("android/uevent/sony_xz_kernel_charging.txt"))
    assert battery.current_raw == -257109 and battery.status == "Charging"  # charging is negative there
    assert battery.values == {
        "voltage": pytest.approx(4.17066),
        "temperature": pytest.approx(24.2),
        "level": pytest.approx(0.82),
    }


def test_pixel_3a_with_its_charging_switched_off():
    battery = parse_uevent(recorded("android/uevent/pixel3a_usb_charge_disabled.txt"))
    assert battery.current_raw == 976 and battery.status == "Not charging"
    assert battery.values["voltage"] == pytest.approx(3.815175)
    assert battery.values["temperature"] == pytest.approx(31.3)


def test_xiaomi_mi_6_bms():
    battery = parse_uevent(recorded("android/uevent/xiaomi_mi6_bms_truncated.txt"))
    assert battery.current_raw == -1202147 and battery.status is None
    assert battery.values["voltage"] == pytest.approx(4.13744)
    assert battery.values["temperature"] == pytest.approx(36.0)
    assert battery.values["charge"] == pytest.approx(317457 * UAH)
    assert battery.current_raw * 1e-6 * battery.values["voltage"] == pytest.approx(-4.9738, abs=1e-4)


@pytest.mark.parametrize("name", ["estimated_power_3010mah.txt", "estimated_power_3500mah.txt"])
def test_a_model_of_the_vendor_gives_no_figure(name):
    text = recorded("android/batterystats/" + name)
    battery = parse_dumpsys(text)
    assert battery.values == {} and battery.current_raw is None
    assert battery.reasons == {"current": IS_MODEL}
    assert parse_uevent(text).values == {} and parse_broadcasts(text) == []


def test_every_recorded_file_has_a_test():
    with open(__file__, encoding="utf-8") as file:
        own = file.read()
    for folder in ("battery", "uevent", "batterystats"):
        for path in (TELEMETRY / "android" / folder).iterdir():
            assert path.name in own, path


@pytest.mark.parametrize(
    "line, quantity, words",
    [
        ("voltage: 4", "voltage", "no voltage"),
        ("voltage: 0", "voltage", "not a real one"),
        ("voltage: four", "voltage", "not a number"),
        ("temperature: -22", "temperature", "does not have"),
        ("temperature: 0", "temperature", "without a sensor"),
        ("temperature: 9999", "temperature", "no temperature"),
        ("Charge counter: 0", "charge", "not supported"),
        ("Charge counter: -2928450", "charge", "not supported"),
        ("Charge counter: 2967", "charge", "no charge"),
        ("current now: 257109", "current", "too much"),
    ],
)
def test_values_that_make_no_sense_are_reasons(line, quantity, words):
    battery = parse_dumpsys(f"  {line}\n")
    assert quantity not in battery.values and battery.current_raw is None
    assert words in battery.reasons[quantity]


def test_units_of_voltages_are_told_by_size():
    assert parse_uevent("POWER_SUPPLY_VOLTAGE_NOW=4350\n").values["voltage"] == pytest.approx(4.35)
    assert parse_uevent("POWER_SUPPLY_VOLTAGE_NOW=4350000\n").values["voltage"] == pytest.approx(4.35)
    assert parse_dumpsys("voltage: 8700\n").values["voltage"] == pytest.approx(8.7)  # two cells


def test_several_chargers():
    text = "  AC powered: true\n  USB powered: false\n  Wireless powered: true\n  Dock powered: maybe\n"
    assert parse_dumpsys(text).chargers == ("ac", "wireless")
    assert parse_dumpsys("  USB powered: perhaps\n").chargers is None


_WORDS = st.sampled_from(
    ["voltage: ", "temperature: ", "Charge counter: ", "level:", "scale: 0", "status: 3", "POWER_SUPPLY_CURRENT_NOW=",
     "CAPACITY=", "-22", "99999999999999999999", "\n", " powered: true", "07-16 20:38:20.072  cc:", "current_avg:-17,",
     "[", "\0", "\u0663"]
)  # fmt: skip


@given(st.lists(st.one_of(_WORDS, st.text(max_size=20), st.integers().map(str)), max_size=60).map("".join))
def test_no_text_raises_and_all_values_are_sane(text):
    for battery in (parse_dumpsys(text), parse_uevent(text)):
        for quantity, value in battery.values.items():
            low, high = {"voltage": (1.5, 30), "temperature": (-40, 100), "level": (0, 1), "charge": (72, 720_000)}[
                quantity
            ]
            assert low <= value <= high
        assert not battery.values.keys() & battery.reasons.keys()
    for line in parse_broadcasts(text):
        assert line.current_a is None or abs(line.current_a) < 20


def test_a_hundred_thousand_damaged_lines_are_read_in_time():
    """The project's own limit on a test is the clock; nothing in the parsers grows faster than the text."""
    chance = random.Random(4)
    lines = []
    for path in sorted((TELEMETRY / "android").rglob("*.txt")):
        lines += path.read_bytes().splitlines()
    damaged = []
    for _ in range(100_000):
        line = bytearray(chance.choice(lines))
        for _ in range(chance.randrange(4)):
            if line:
                line[chance.randrange(len(line))] = chance.randrange(256)
        damaged.append(bytes(line))
    for start in range(0, 100_000, 500):
        text = b"\n".join(damaged[start : start + 500]).decode("utf-8", "replace")
        parse_dumpsys(text), parse_uevent(text), parse_broadcasts(text)
    text = b"\n".join(damaged).decode("utf-8", "replace")
    parse_dumpsys(text), parse_uevent(text), parse_broadcasts(text)
