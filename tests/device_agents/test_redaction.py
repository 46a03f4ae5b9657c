"""What identifies somebody is taken out of a recording; what was measured stays as it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agents.redaction import COMMON_NAMES, Redactor

SECRETS = {
    "Serial\t\t: 10000000abcdef01\n": ("serial", "10000000abcdef01"),
    "[ro.serialno]: [R58M12ABCDE]": ("serial", "R58M12ABCDE"),
    "POWER_SUPPLY_SERIAL_NUMBER=SN-4711": ("serial", "SN-4711"),
    "wlan0 aa:bb:cc:0d:ee:ff up": ("mac", "aa:bb:cc:0d:ee:ff"),
    "hid-aa-bb-cc-0d-ee-ff-battery": ("mac", "aa-bb-cc-0d-ee-ff"),
    "inet 192.168.178.23/24": ("ip", "192.168.178.23"),
    "inet6 fe80::1234:5678:9abc:def0 scope": ("ip", "fe80::1234:5678:9abc:def0"),
    "mail to ann.lee@mail.example.org now": ("email", "ann.lee@mail.example.org"),
    "IMEI: 356938035643809": ("imei", "356938035643809"),
    "device 356938035643809 on line": ("imei", "356938035643809"),
    "android_id=9774d56d682e549c": ("android-id", "9774d56d682e549c"),
    'SSID: "My Home Net", RSSI': ("ssid", "My Home Net"),
    "id 123e4567-e89b-12d3-a456-426614174000": ("uuid", "123e4567-e89b-12d3-a456-426614174000"),
    "/home/annlee/.venv/bin/python": ("user-name", "annlee"),
    "kernel on workbench-7 since": ("host-name", "workbench-7"),
}

# Lines of boards with nothing private in them: all as they were recorded or documented.
MEASURED = [
    "RAM 2448/7772MB (lfb 1x512kB) CPU [10%@102,off,0%@204] CPU@45.5C GPU@33.5C PMIC@100C iwlwifi@32C VDD_IN 4067/4067",
    "GR3D_FREQ 0%@[305,305] cpu@48.5C tj@50.468C 08-01-2024 12:34:56",
    "     3V7_WL_SW_A current(0)=0.08975770A",
    "throttled=0x80008",
    "frequency(48)=1500398464",
    "60293987000000",
    "356938035643809",  # a counter alone, though it passes as an IMEI
    "raspberrypi,5-model-b\0brcm,bcm2712\0",
    "4.9.140-tegra",
    "6.1.21-v8+",
    "00:00.0 0000:00:1f.3 pci",
    "Temperature{mValue=30.9, mType=0, mName=AP, mStatus=0}",
    "CH6(T=349894)[VSYS_PWR_MODEM], 2345678",
    "t=349894",
    "android.hardware.power.stats.IPowerStats::default 127.0.0.1",
    "Throttling hot [NaN, NaN, NaN, 80.0]",
]


def redactor() -> Redactor:
    return Redactor((("host-name", "workbench-7"), ("user-name", "annlee"), ("user-name", "pi"), ("host-name", "temp")))


@pytest.mark.parametrize("text", SECRETS)
def test_what_identifies_somebody_is_taken_out_and_counted(text: str) -> None:
    kind, value = SECRETS[text]
    one = redactor()
    cleaned = one.text(text)
    assert value not in cleaned
    assert f"redacted-{kind}-1" in cleaned
    assert one.counts == {kind: 1}
    assert one.text(cleaned) == cleaned  # once is enough, and nothing more is counted
    assert one.counts == {kind: 1}


@pytest.mark.parametrize("text", MEASURED)
def test_what_was_measured_stays_as_it_is(text: str) -> None:
    one = redactor()
    assert one.text(text) == text
    assert one.counts == {}


def test_the_same_value_has_the_same_marker_in_paths_and_in_contents() -> None:
    one = redactor()
    document = one.document({"/sys/hid-aa:bb:cc:0d:ee:ff": ["aa:bb:cc:0d:ee:ff", "11:22:33:44:55:66", 7, None, True]})
    assert document == {"/sys/hid-redacted-mac-1": ["redacted-mac-1", "redacted-mac-2", 7, None, True]}


def test_a_file_that_holds_nothing_else_is_one_marker() -> None:
    one = redactor()
    assert one.content("/proc/device-tree/serial-number", "100000001234\0") == "redacted-serial-1"
    assert one.content("/sys/class/net/eth0/address", "unusual\n") == "redacted-mac-1\n"
    assert one.content("/sys/class/dmi/id/product_serial", "\n") == "\n"


def test_names_that_boards_are_sold_with_stay() -> None:
    one = Redactor(tuple(("host-name", name) for name in COMMON_NAMES))
    assert one.text("raspberrypi,5-model-b nvidia,jetson /sys/class/power/temp") != ""
    assert one.counts == {}


@given(st.text(max_size=200), st.sampled_from(sorted(SECRETS)), st.text(max_size=50))
def test_around_any_text_a_secret_on_its_own_line_is_found(before: str, secret: str, after: str) -> None:
    _, value = SECRETS[secret]
    text = f"{before.replace(value, '')}\n{secret}\n{after.replace(value, '')}"
    assert value not in redactor().text(text)
