"""What a Raspberry Pi prints: every recorded file, both spellings, and damaged text."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agents.sensors import vcgencmd_text as text

RECORDED = Path(__file__).parents[2] / "data" / "telemetry" / "raspberry_pi"


def recorded(name: str) -> str:
    return (RECORDED / name).read_text(encoding="utf-8")


def lines(name: str, start: str) -> list[str]:
    """The lines of a recorded file that one command of the reader's would have printed."""
    return [line for line in recorded(name).splitlines() if line.lstrip().startswith(start)]


@pytest.mark.parametrize(
    ("name", "sum_w", "board_w", "ext5v_v", "core_w"),
    [
        ("pi5_pmic_read_adc_load.txt", 10.7999, 12.9549, 5.06788, 9.7614),
        ("pi5_pmic_read_adc_4busy_cores.txt", 7.2398, 8.8782, 5.09066, 5.3636),
        ("pi5_pmic_read_adc_idle.txt", 1.9005, 2.7642, 5.11478, 0.6825),
    ],
)
def test_the_rails_of_a_pi5(name: str, sum_w: float, board_w: float, ext5v_v: float, core_w: float) -> None:
    found = text.pmic(recorded(name))
    total = text.pmic_sum_w(found)
    assert total == pytest.approx(sum_w, abs=5e-5)
    assert isinstance(total, float)
    assert text.board_estimate_w(total) == pytest.approx(board_w, abs=1e-4)
    assert found.voltage_v["EXT5V"] == ext5v_v
    assert found.power_w["VDD_CORE"] == pytest.approx(core_w, abs=5e-5)
    assert set(found.power_w) == set(text.RAILS)
    assert "BATT" in found.voltage_v
    assert found.reason is None


def test_rails_are_paired_by_name_whatever_their_order_index_and_digits() -> None:
    printed = recorded("pi5_pmic_read_adc_idle.txt").splitlines()
    before = text.pmic_sum_w(text.pmic("\n".join(printed)))
    random.Random(1).shuffle(printed)
    shuffled = "\r\n".join("  " + line.replace("(", "(9").strip() + " " for line in printed)
    assert text.pmic_sum_w(text.pmic(shuffled)) == pytest.approx(before)
    assert text.pmic("VDD_CORE_A current(1)=2A\nVDD_CORE_V volt(7)=0.5V").power_w == {"VDD_CORE": 1.0}


def test_dram_at_idle_draws_nothing_and_that_is_a_value() -> None:
    assert text.pmic(recorded("pi5_pmic_read_adc_idle.txt")).power_w["DDR_VDDQ"] == 0.0


@pytest.mark.parametrize("lost", ["VDD_CORE_A", "VDD_CORE_V", "HDMI_A"])
def test_a_sum_without_one_of_its_rails_is_none(lost: str) -> None:
    printed = "\n".join(line for line in recorded("pi5_pmic_read_adc_idle.txt").splitlines() if lost not in line)
    found = text.pmic(printed)
    assert text.pmic_sum_w(found) == f"the PMIC shows no power of {lost[:-2]}"
    assert "3V3_SYS" in found.power_w


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pi5_temp_clock_throttled_load.txt", 70.3),
        ("pi5_temp_throttled_clock_idle.txt", 59.3),
        ("pi3bplus_clock_temp_throttled.txt", 62.3),
    ],
)
def test_temperatures(name: str, value: float) -> None:
    assert text.temperature_degc(lines(name, "temp=")[0]) == value


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("pi5_temp_clock_throttled_load.txt", [2400004352]),
        ("pi5_temp_throttled_clock_idle.txt", [2400023808]),
        ("pi3bplus_clock_temp_throttled.txt", [1400000000]),
        ("pi5_v3d_clock_idle_then_glmark2.txt", [0, 960016128]),
    ],
)
def test_clocks_also_one_that_is_off(name: str, values: list[int]) -> None:
    assert [text.clock_hz(line) for line in lines(name, "frequency")] == values


def test_the_clocks_id_differs_between_boards() -> None:
    assert text.clock_hz("frequency(48)=1500398464\n") == 1500398464.0


def test_requested_voltage() -> None:
    assert text.volts(recorded("measure_volts.txt")) == 1.2


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("pi5_temp_clock_throttled_load.txt", 0),
        ("pi5_temp_throttled_clock_idle.txt", 0),
        ("pi3bplus_clock_temp_throttled.txt", 0),
        ("pi4_soft_temp_limit.txt", 0x80008),
    ],
)
def test_throttle_words(name: str, word: int) -> None:
    assert text.throttled_word(recorded(name)) == word


def test_a_pi4_at_its_soft_limit() -> None:
    found = text.flags(text.throttled_word(recorded("pi4_soft_temp_limit.txt")), "since-boot")
    assert {name for name, value in found.items() if value} == {"now.soft-limit", "since-boot.soft-limit"}
    assert len(found) == 8


@pytest.mark.parametrize(
    ("word", "names"),
    [
        (0x1, {"now.undervoltage"}),
        (0x2, {"now.capped"}),
        (0x4, {"now.throttled"}),
        (0x8, {"now.soft-limit"}),
        (0x50000, {"since-boot.undervoltage", "since-boot.throttled"}),
        (0xFFFFFFFF, {f"{kind}.{name}" for kind in ("now", "since-boot") for name in text.FLAGS}),
    ],
)
def test_the_documented_order_of_the_bits(word: int, names: set[str]) -> None:
    assert {name for name, value in text.flags(word, "since-boot").items() if value == 1.0} == names


def test_with_and_without_0x() -> None:
    assert text.throttled_word("throttled=50005") == text.throttled_word("throttled=0x50005\n") == 0x50005
    assert text.sysfs_word("50005\n") == text.sysfs_word("0x50005") == 0x50005
    assert text.sysfs_word("80008\n") == 0x80008  # hexadecimal, though it looks like a decimal number


@pytest.mark.parametrize(
    ("name", "count"), [("dmesg_undervoltage_new_hwmon.txt", 4), ("dmesg_undervoltage_old.txt", 2)]
)
def test_undervoltages_of_the_kernel_log(name: str, count: int) -> None:
    assert len(text.undervoltage_lines(recorded(name))) == count


def test_other_lines_of_a_kernel_log_are_no_undervoltage() -> None:
    assert text.undervoltage_lines("[    1.0] usb 1-1: Under-voltage detected! said the device's own name\nUnder") == []


def test_what_other_programs_print_is_no_value_of_ours() -> None:
    """sensors (rpi_volt has no volts: N/A) and sbc-bench's monitor: for people, the readers do not use them."""
    for name in ("pi4_sensors_rpi_volt.txt", "pi5_sbc_bench_monitor.txt"):
        for parse in (text.temperature_degc, text.clock_hz, text.volts, text.throttled_word, text.sysfs_word):
            assert isinstance(parse(recorded(name)), str)
        assert text.pmic(recorded(name)).power_w == {}


def test_the_scatter_of_the_pmic_is_that_of_the_recorded_monitor() -> None:
    from device_agents.sensors.vcgencmd import NOISE_W

    rows = [line.split() for line in recorded("pi5_sbc_bench_monitor.txt").splitlines()[1:]]
    busy = [float(row[-2].rstrip("W")) for row in rows]
    assert busy == [12.4, 15.0, 14.6, 15.7, 14.9]
    assert round(max(busy[1:]) - min(busy[1:])) == NOISE_W


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ('error=1 error_msg="Command not registered"', "the firmware says: Command not registered"),
        ("", "which was nothing"),
        ("temp=ok'C", "temp=ok"),
        ("temp=400.0'C", "no temperature"),
        ("throttled=0x", "throttled=0x"),
        ("frequency(48)=-5", "frequency"),
        ("volt=1.2A", "volt=1.2A"),
    ],
)
def test_no_value_has_a_reason(answer: str, words: str) -> None:
    readings = [text.temperature_degc(answer), text.clock_hz(answer), text.volts(answer), text.throttled_word(answer)]
    assert any(words in str(reading) for reading in readings)
    assert all(isinstance(reading, str) for reading in readings)
    assert set(map(type, text.flags(text.throttled_word(answer), "since-boot").values())) == {str}


def all_of(answer: str) -> None:
    for parse in (text.temperature_degc, text.clock_hz, text.volts):
        value = parse(answer)
        assert isinstance(value, str) or abs(value) <= 1e11
    for word in (text.throttled_word(answer), text.sysfs_word(answer)):
        assert all(isinstance(value, str) or value in (0.0, 1.0) for value in text.flags(word, "since-boot").values())
    found = text.pmic(answer)
    assert all(abs(watts) <= text.HIGHEST_A * text.HIGHEST_V for watts in found.power_w.values())
    assert isinstance(text.pmic_sum_w(found), (str, float))
    assert len(text.undervoltage_lines(answer)) <= text.MAX_LINES


PIECES = st.sampled_from(
    ["temp=", "'C", "frequency(48)=", "volt=", "V\n", "throttled=0x", "VDD_CORE_A current(7)=", "A\n", "1.5", "99999",
     "[12.5] hwmon hwmon1: Undervoltage detected!\n", "\n", " ", "-", "\x00", "\ufffd", "e999", "nan", "inf",
     'error_msg="x"']
)  # fmt: skip


@given(st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=30).map("".join)))
def test_nothing_that_is_printed_raises(answer: str) -> None:
    all_of(answer)


@given(st.binary(max_size=300))
def test_no_bytes_raise(data: bytes) -> None:
    all_of(data.decode("utf-8", "replace"))


def test_a_hundred_thousand_damaged_lines() -> None:
    source = random.Random(4)
    whole = [
        line
        for path in sorted(RECORDED.glob("*.txt"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if line
    ]
    for _ in range(100):
        damaged = []
        for _ in range(1000):
            line = list(source.choice(whole))
            for _ in range(source.randrange(3)):
                line[source.randrange(len(line))] = chr(source.choice((0, 10, 32, 48, 57, 61, 65, 255, 0xFFFD)))
            damaged.append("".join(line)[: source.randrange(1, 80)])
        all_of("\n".join(damaged))
