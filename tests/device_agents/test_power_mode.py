"""The power mode and the locked clocks of a Jetson: what its programs print, and what the kernel's files show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agents.facts import device_facts, jetson_text
from device_agents.facts.jetson_text import PowerMode, locked, parse_clocks, parse_modes, parse_query, parse_status
from device_agents.facts.power_mode import CONF, STATUS, clocks_locked, power_mode, power_modes
from tests.support.jetson import FOLDER, add_program, make_board

POLICY = "/sys/devices/system/cpu/cpufreq/policy{}/scaling_{}_freq"
GPU = "/sys/class/devfreq/17000000.gpu/{}_freq"
CONFIGURATION = """\
# /etc/nvpmodel.conf of an Orin Nano, shortened
< PARAM TYPE=FILE NAME=CPU_ONLINE >
CORE_0 /sys/devices/system/cpu/cpu0/online
< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
GPU MAX_FREQ 612000000
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
GPU MAX_FREQ -1
< PM_CONFIG DEFAULT=2 >
"""


def recorded(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def test_every_recorded_text_of_the_two_programs_is_tested_here():
    names = sorted(path.name for folder in ("nvpmodel", "jetson_clocks") for path in (FOLDER / folder).iterdir())
    assert names == [
        "agx_orin_jp5_show_truncated.txt",
        "agx_xavier_p_verbose.txt",
        "constructed_q_fan_warning.txt",
        "nano_p_verbose.txt",
        "tx1_l4t28_show.txt",
        "tx2_show.txt",
    ]


def test_a_warning_may_come_before_the_mode():
    text = recorded("nvpmodel/constructed_q_fan_warning.txt")
    assert parse_query(text) == PowerMode(0, "MAXN", {})
    assert jetson_text.warnings(text) == ["fan mode is not set!"]


@pytest.mark.parametrize(
    "text, number, name",
    [
        ("NV Fan Mode:quiet\nNV Power Mode: MAXN_SUPER\n2\n", 2, "MAXN_SUPER"),
        ("NV Power Mode: MODE_30W_ALL\r\n3\r\n", 3, "MODE_30W_ALL"),
        ("NV Power Mode: 15W\n", None, "15W"),
        ("7\nNV Power Mode: 15W\n", None, "15W"),
        ("NV Power Mode:\n0\n", None, None),
        ("Error: cannot open\n", None, None),
    ],
)
def test_what_nvpmodel_answers(text, number, name):
    assert parse_query(text) == PowerMode(number, name, {})


def test_the_modes_of_a_nano():
    found = parse_modes(recorded("nvpmodel/nano_p_verbose.txt"))
    assert found.default_id == 0
    assert [(mode.id, mode.name) for mode in found.modes] == [(0, "MAXN"), (1, "5W")]
    five_watts = found.modes[1].settings
    assert five_watts["GPU MAX_FREQ"] == "640000000" and five_watts["CPU_A57 MAX_FREQ"] == "918000"
    assert [five_watts[f"CPU_ONLINE CORE_{core}"] for core in range(4)] == ["1", "1", "0", "0"]


def test_the_modes_of_an_agx_xavier_and_the_one_it_starts_with():
    found = parse_modes(recorded("nvpmodel/agx_xavier_p_verbose.txt"))
    assert found.default_id == 2
    names = {mode.id: mode.name for mode in found.modes}
    assert names[0] == "MAXN" and names[1] == "MODE_10W" and names[found.default_id] == "MODE_15W"
    assert found.modes[1].settings["GPU MAX_FREQ"] == "520000000"


def test_the_configuration_file_has_the_same_modes_in_brackets():
    found = parse_modes(CONFIGURATION)
    assert found.default_id == 2
    assert [(mode.id, mode.name) for mode in found.modes] == [(0, "15W"), (2, "MAXN_SUPER")]
    assert found.modes[0].settings == {"CPU_ONLINE CORE_0": "1", "GPU MAX_FREQ": "612000000"}


def test_jetson_clocks_of_a_tx2_with_cores_switched_off():
    clocks = parse_clocks(recorded("jetson_clocks/tx2_show.txt"))
    assert [cpu for cpu, clock in clocks.cpus.items() if clock.online] == [0, 3, 4, 5]
    assert {clock.max_hz for clock in clocks.cpus.values()} == {2035200_000}
    assert clocks.gpu is not None and clocks.gpu.max_hz == 1134750000
    assert clocks.emc is not None and clocks.emc.now_hz == 1600000000
    assert locked(clocks) is False


def test_jetson_clocks_of_a_tx1_misspells_and_is_locked():
    clocks = parse_clocks(recorded("jetson_clocks/tx1_l4t28_show.txt"))
    assert {(clock.governor, clock.online) for clock in clocks.cpus.values()} == {("interactive", None)}
    assert {(clock.min_hz, clock.max_hz) for clock in clocks.cpus.values()} == {(1734000_000, 1734000_000)}
    assert locked(clocks) is True  # CPUs and GPU: the memory's lowest clock does not count


def test_jetson_clocks_of_an_agx_orin_lists_its_cpus_as_text_is_sorted():
    clocks = parse_clocks(recorded("jetson_clocks/agx_orin_jp5_show_truncated.txt"))
    assert list(clocks.cpus) == [0, 1, 10, 11, 2, 3, 4, 5, 6]  # the publisher cut it here
    assert clocks.cpus[11].now_hz == 1190400_000 and clocks.gpu is None
    assert locked(clocks) is False


def test_clocks_that_show_no_limits_are_not_known_to_be_locked():
    assert locked(parse_clocks("")) is None
    assert locked(parse_clocks("cpu0: Online=1 MinFreq=x MaxFreq=1\n")) is None
    assert locked(parse_clocks("cpu0: Online=1 MinFreq=1 MaxFreq=1\ncpu1: Online=0 MinFreq=1 MaxFreq=2\n")) is True


@pytest.mark.parametrize("text, number", [("pmode:0002 fmode:quiet", 2), ("pmode:0000", 0), ("", None), ("x", None)])
def test_the_status_file(text, number):
    assert parse_status(text) == number


@given(st.one_of(st.text(max_size=1000), st.binary(max_size=1000).map(lambda data: data.decode("utf-8", "replace"))))
def test_no_text_breaks_a_parser(text):
    parse_query(text), parse_modes(text), parse_status(text), locked(parse_clocks(text)), jetson_text.warnings(text)


_RECORDED = recorded("nvpmodel/nano_p_verbose.txt") + recorded("jetson_clocks/tx2_show.txt")
_WORDS = st.sampled_from([*_RECORDED.split(), "\n", "=", "cpu99999:", "ID=9", "NV Power Mode:"])


@given(st.lists(_WORDS, max_size=60).map(" ".join))
def test_no_order_of_real_words_breaks_a_parser(text):
    parse_query(text), parse_modes(text), locked(parse_clocks(text))


def test_the_board_is_asked_for_its_mode(tmp_path):
    add_program(tmp_path, "nvpmodel", "echo 'NVPM WARN: fan mode is not set!'\necho 'NV Power Mode: 15W'\necho 0\n")
    assert power_mode(str(tmp_path)) == ({"name": "15W", "id": 0}, None)


def test_without_nvpmodel_its_files_tell(tmp_path):
    root = make_board(tmp_path, {STATUS: "pmode:0002 fmode:quiet", CONF: CONFIGURATION})
    assert power_mode(root) == ({"name": "MAXN_SUPER", "id": 2}, None)
    (tmp_path / CONF[1:]).unlink()
    assert power_mode(root) == ({"name": None, "id": 2}, None)


def test_a_name_without_its_id_is_looked_up(tmp_path):
    add_program(tmp_path, "nvpmodel", "echo 'NV Power Mode: MAXN_SUPER'\n")
    assert power_mode(make_board(tmp_path, {CONF: CONFIGURATION})) == ({"name": "MAXN_SUPER", "id": 2}, None)


def test_a_mode_that_nobody_tells_has_a_reason(tmp_path):
    assert power_mode(str(tmp_path)) == (None, "there is no nvpmodel here (only Jetson boards have power modes)")
    add_program(tmp_path, "nvpmodel", "echo 'NVPM ERROR: Error opening /etc/nvpmodel.conf' >&2\nexit 22\n")
    _, reason = power_mode(str(tmp_path))
    assert reason is not None and "ended with 22" in reason
    add_program(tmp_path, "nvpmodel", "echo 'NVPM ERROR: no mode'\n")
    assert power_mode(str(tmp_path)) == (None, "nvpmodel shows no mode: no mode")


def test_the_modes_come_from_the_program_where_the_file_cannot_be_read(tmp_path):
    (tmp_path / "said").write_text(recorded("nvpmodel/nano_p_verbose.txt"))
    add_program(tmp_path, "nvpmodel", f'[ "$1 $2" = "-p --verbose" ] && cat {tmp_path}/said\n')
    assert [mode.name for mode in power_modes(str(tmp_path)).modes] == ["MAXN", "5W"]
    add_program(tmp_path, "nvpmodel", "exit 1\n")
    assert power_modes(str(tmp_path)).modes == []


def ranges(cpu: tuple[int, int], gpu: tuple[int, int] | None) -> dict[str, str | bytes]:
    files: dict[str, str | bytes] = {POLICY.format(0, "min"): "1000", POLICY.format(0, "max"): "1000"}
    files |= {POLICY.format(4, "min"): str(cpu[0]), POLICY.format(4, "max"): str(cpu[1])}
    if gpu is not None:
        files |= {GPU.format("min"): str(gpu[0]), GPU.format("max"): str(gpu[1])}
    return files


@pytest.mark.parametrize(
    "cpu, gpu, expected",
    [((5, 5), None, True), ((5, 5), (7, 7), True), ((5, 5), (6, 7), False), ((4, 5), (7, 7), False)],
)
def test_clocks_are_locked_when_each_has_one_to_choose_from(tmp_path, cpu, gpu, expected):
    assert clocks_locked(make_board(tmp_path, ranges(cpu, gpu))) == (expected, None)


def test_limits_that_cannot_be_read_leave_it_open(tmp_path):
    files = ranges((5, 5), (7, 7))
    del files[GPU.format("min")]
    assert clocks_locked(make_board(tmp_path, files)) == (None, "min_freq of 17000000.gpu: the file is gone")


def test_jetson_clocks_is_asked_where_the_kernel_shows_nothing(tmp_path):
    assert clocks_locked(str(tmp_path)) == (None, "the kernel shows no CPU clocks")
    (tmp_path / "said").write_text(recorded("jetson_clocks/tx1_l4t28_show.txt"))
    add_program(tmp_path, "jetson_clocks", f'[ "$1" = --show ] && cat {tmp_path}/said\n')
    assert clocks_locked(str(tmp_path)) == (True, None)
    add_program(tmp_path, "jetson_clocks", "echo 'Error: Run this script as a root user'; exit 1\n")
    assert "root user" in (clocks_locked(str(tmp_path))[1] or "")


def test_both_are_among_the_facts(tmp_path):
    add_program(tmp_path, "nvpmodel", "echo 'NV Power Mode: MAXN'\necho 0\n")
    facts = device_facts(make_board(tmp_path, ranges((5, 5), None)))
    assert facts["power_mode"] == {"name": "MAXN", "id": 0} and facts["clocks_locked"] is True
