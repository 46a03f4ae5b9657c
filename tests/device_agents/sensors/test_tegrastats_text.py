"""Lines of tegrastats: every recorded one against the oracle, every odd form, and a hundred thousand damaged ones."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from device_agents.sensors.tegrastats_text import MAX_ENTRIES, Cpu, Line, Rail, is_sample, parse
from mobile.results.totals import totals
from tests.support.jetson import FOLDER
from tests.support.phone import TELEMETRY

EXPECTED = json.loads((FOLDER / "expected_tegrastats.json").read_text())
LINES = [line for path in sorted((FOLDER / "tegrastats").iterdir()) for line in path.read_text().splitlines()]


def test_every_recorded_file_is_in_the_oracle():
    assert {f"jetson/tegrastats/{path.name}" for path in (FOLDER / "tegrastats").iterdir()} == set(EXPECTED)
    assert len(EXPECTED) == 25 and len(LINES) == 26


def in_the_oracles_units(line: Line) -> dict:
    """The line as expected_tegrastats.json has it: MB, per cent, MHz, mW."""

    def mb(memory):
        return None if memory is None else [size / 2**20 for size in memory]

    def percent(share):
        return None if share is None else round(share * 100)

    def mhz(hz):
        return None if hz is None else round(hz / 1e6)

    return {
        "timestamp": line.when,
        "ram_mb": mb(line.ram),
        "swap_mb": mb(line.swap),
        "cpu_load_pct_mhz": [None if cpu is None else [percent(cpu.load), mhz(cpu.hz)] for cpu in line.cpus],
        "gpu_load_pct": percent(line.gpu_load),
        "gpu_mhz": [mhz(hz) for hz in line.gpu_hz] or None,
        "emc_load_pct": percent(line.emc_load),
        "emc_mhz": mhz(line.emc_hz),
        "temps_c": line.temperatures,
        "rails_mw_now_avg_max": {
            name: [round(watts * 1e3) for watts in rail if watts is not None] for name, rail in line.rails.items()
        },
    }


@pytest.mark.parametrize("path", sorted(EXPECTED))
def test_the_recorded_line_is_read_as_the_oracle_says(path):
    texts = (TELEMETRY / path).read_text().splitlines()
    assert [in_the_oracles_units(parse(text)) for text in texts] == EXPECTED[path]["lines"]
    assert all(map(is_sample, texts))


@pytest.mark.parametrize("path", sorted(EXPECTED))
def test_the_total_of_the_recorded_line_is_the_oracles(path):
    rails = parse((TELEMETRY / path).read_text().splitlines()[0]).rails
    sensors = [{"name": "power." + name, "quantity": "power", "scope": name} for name in rails]
    found = totals(sensors)
    expected = EXPECTED[path]["total_power_mw"]
    if expected is None:
        assert found == []  # a TX2 NX without rails: no total, and not 0 W
        return
    watts = sum(rails[str(sensor["name"])[len("power.") :]].now_w for sensor in found[0].sensors)
    assert watts * 1e3 == pytest.approx(expected)


def fragment(name: str) -> Line:
    return parse(" ".join((FOLDER / "tegrastats_fragments" / name).read_text().split("\n")))


def test_unconnected_rails_and_switched_off_sensors():
    line = fragment("agx_orin_jp5_root_nc_rails_cpu_loads_elided.txt")
    assert {name: rail.now_w for name, rail in line.rails.items()} == {
        "VDD_GPU_SOC": pytest.approx(2.39),
        "VDD_CPU_CV": pytest.approx(0.796),
        "VIN_SYS_5V0": pytest.approx(3.522),
        "VDDQ_VDD2_1V8AO": pytest.approx(0.301),
    }
    off = [name for name, degc in line.temperatures.items() if degc is None]
    assert off == ["CV0", "CV1", "GPU", "CV2"]
    assert line.temperatures["Tboard"] == 29.0
    assert line.cpus == [Cpu(None, 729e6)] * 12  # the publisher randomises the loads: "?%@729"
    assert line.gpu_load is None and line.gpu_hz == [0.0]


def test_the_first_average_may_be_half():
    rails = fragment("thor_halved_average.txt").rails
    assert rails["VIN"] == Rail(pytest.approx(25.53), pytest.approx(12.765), None)
    assert rails["VDD_CPU_SOC_MSS"].now_w == pytest.approx(7.148)


def test_a_negative_step_of_an_idle_rail():
    rails = fragment("thor_negative_gpu_power.txt").rails
    assert rails["VDD_GPU"].now_w == pytest.approx(-0.392)
    assert rails["VIN"].now_w == pytest.approx(15.004)


def test_every_fragment_is_tested_here():
    assert len(list((FOLDER / "tegrastats_fragments").iterdir())) == 3


def test_the_form_before_jetpack_3():
    """A published line of a TK1, with one clock for all cores."""
    line = parse("RAM 714/1876MB (lfb 139x4MB) SWAP 0/2048MB (cached 0MB) cpu [25%,7%,off,1%]@2218 EMC 3%@924 "
                 "AVP 0%@81 VDE 120 GR3D 0%@252 EDP limit 0")  # fmt: skip
    assert line.cpus == [Cpu(0.25, 2218e6), Cpu(0.07, 2218e6), None, Cpu(0.01, 2218e6)]
    assert (line.emc_load, line.emc_hz) == (0.03, 924e6)
    assert (line.gpu_load, line.gpu_hz) == (0.0, [252e6])
    assert line.rails == {} and line.temperatures == {}


@pytest.mark.parametrize(
    "text, load, hz",
    [
        ("GR3D_FREQ 0%@76", 0.0, [76e6]),
        ("GR3D_FREQ 99%", 0.99, []),
        ("GR3D_FREQ 12%@[1300,1300]", 0.12, [1300e6, 1300e6]),
        ("GR3D_FREQ 12%@[1300, 1300]", 0.12, [1300e6, 1300e6]),
        ("GR3D_FREQ @[314,0,314]", None, [314e6, 0.0, 314e6]),
        ("GR3D_FREQ off", None, []),
        ("GR3D2_FREQ 50%@100", None, []),
        ("GR3D_FREQ 101%@76", None, [76e6]),
        ("GR3D_FREQ -1%@76", None, []),
        ("GR3D_FREQ NaN%@Inf EMC_FREQ N/A", None, []),
        ("XGR3D_FREQ 5%@76", None, []),
        ("GR3D_FREQ 5%@[314,3144314]", 0.05, [314e6]),
    ],
)
def test_the_gpus_forms(text, load, hz):
    line = parse("RAM 1/2MB " + text)
    assert (line.gpu_load, line.gpu_hz) == (load, hz)
    assert line.emc_load is None and line.emc_hz is None


def test_what_jetpack_7_prints_with_its_highest_values():
    line = parse("cpu@52.968C/60.5C gpu@47.6/50.0C tj@-256C VDD_IN 5139mW/5000mW/6000mW NC 0mW/0mW/0mW")
    assert line.temperatures == {"cpu": 52.968, "gpu": 47.6, "tj": None}
    assert line.rails == {"VDD_IN": Rail(pytest.approx(5.139), pytest.approx(5.0), pytest.approx(6.0))}


def test_the_same_word_is_a_rail_a_temperature_and_a_list():
    line = parse("RAM 1/2MB CPU [5%@100] CPU@30C CPU 465/460 GPU@-5.5C GPU 621/621 SWAP 1/2MB IRAM 0/252kB(lfb 252kB)")
    assert line.cpus == [Cpu(0.05, 100e6)]
    assert line.temperatures == {"CPU": 30.0, "GPU": -5.5}
    assert set(line.rails) == {"CPU", "GPU"}


@pytest.mark.parametrize(
    "text", ["", "tegrastats: command failed", "VDD_IN 5139mW", "VDD_IN 1e3/1e3", "cpu@nanC", "cpu@C", "CPU [", "x@1C2",
             "VDD_IN 5/", "1VDD 5/5", "VDD_IN 9999999999mW/1mW", "cpu@99999C", "\ufeff\x00\u0663"],
)  # fmt: skip
def test_what_is_damaged_is_not_guessed(text):
    line = parse(text)
    assert line == Line(None, None, None, line.cpus, None, [], None, None, {}, {})
    assert not is_sample(text)


def test_an_unreadable_core_keeps_its_place():
    line = parse("CPU [2%@972,...,off,999%@5,3%]")
    assert line.cpus == [Cpu(0.02, 972e6), Cpu(None, None), None, Cpu(None, 5e6), Cpu(0.03, None)]


def test_a_line_without_end_is_bounded():
    line = parse(" ".join(f"R{n} {n}/1 t{n}@5C" for n in range(20_000)))
    assert 0 < len(line.rails) <= MAX_ENTRIES and 0 < len(line.temperatures) <= MAX_ENTRIES
    assert len(parse("CPU [" + "1%@1," * 5000 + "]").cpus) <= MAX_ENTRIES


def sane(line: Line) -> bool:
    """No value outside of what its unit allows, no infinity, no NaN."""
    shares = [line.gpu_load, line.emc_load, *[cpu.load for cpu in line.cpus if cpu]]
    numbers = [*line.gpu_hz, *[number for rail in line.rails.values() for number in rail]]
    return (
        all(share is None or 0 <= share <= 1 for share in shares)
        and all(number is None or -1e6 <= number < 1e12 for number in numbers)
        and all(degc is None or -100 <= degc <= 300 for degc in line.temperatures.values())
        and "NC" not in line.rails
    )


@given(st.one_of(st.text(max_size=2000), st.binary(max_size=2000).map(lambda data: data.decode("utf-8", "replace"))))
@example("RAM 1/2MB CPU [" + "9" * 5000)
@example("a" * 8000 + " " * 8000)
@example("x@1" * 3000)
def test_no_text_breaks_it(text):
    assert sane(parse(text))


@given(st.lists(st.sampled_from([word for line in LINES for word in line.split()]), max_size=80).map(" ".join))
def test_no_order_of_real_words_breaks_it(text):
    assert sane(parse(text))


def _cut(line: str, at: int, dice: random.Random) -> str:
    return line[at:] if dice.random() < 0.5 else line[:at]  # a line that was read while it was written


def _one_byte(line: str, at: int, dice: random.Random) -> str:
    return line[:at] + dice.choice("0123456789%@[],/-. CmWoffNCRAMGPU\t\x00\xff") + line[at + 1 :]


def _gap(line: str, at: int, dice: random.Random) -> str:
    return line[:at] + line[at + dice.randrange(30) :]


def _two_in_one(line: str, at: int, dice: random.Random) -> str:
    return line[:at] + dice.choice(LINES)[at:]


@pytest.mark.parametrize("damage", [_cut, _one_byte, _gap, _two_in_one])
def test_of_a_hundred_thousand_damaged_lines_none_gives_nonsense(damage):
    dice = random.Random(20261130)
    for number in range(25_000):
        line = LINES[number % len(LINES)]
        text = damage(line, dice.randrange(len(line)), dice)
        assert sane(parse(text)), text
