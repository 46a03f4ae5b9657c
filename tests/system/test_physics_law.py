"""The physics of the lab's boards against independent solutions: heat, power, and the sensors' own defects."""

from __future__ import annotations

import math
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lab.personalities import personality
from tests.lab.physics import BOARDS, Physics
from tests.lab.physics.instruments import Channel, Counters, Gauge, Ina238, Ina3221, Moment, Odpm, Rapl
from tests.lab.physics.law import FAULTS, Body, Law
from tests.lab.physics.livefile import LiveFile
from tests.lab.physics.load import Group, Processes, Profile
from tests.lab.physics.panels import Pmic, Zones
from tests.lab.physics.truth import Truth, TruthLog
from tests.lab.places import REPOSITORY
from tests.lab.process import start_ticks_of, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes under /proc")
S = 1_000_000_000
LAW = Law(idle_w=5.0, watts_per_core=4.0, cores=4, resistance_k_per_w=3.0, capacity_j_per_k=20.0, lag_s=0.2)


def moment(t_ns, temperature_c=40.0, ailing=(), **watts):
    return Moment(t_ns, watts, temperature_c, 1.0, frozenset(ailing))


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("0\n")
    return folder


# the law


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1_000_000, 2 * S), min_size=1, max_size=40), st.floats(20.0, 90.0))
def test_heat_is_the_closed_solution_whatever_the_steps(steps_ns, start_c):
    body = Body(LAW, 0, temperature_c=start_c)  # idle, so the power is constant
    for step_ns in steps_ns:
        body.step(body.t_ns + step_ns, 0.0)
    settled = LAW.ambient_c + LAW.resistance_k_per_w * LAW.idle_w
    passed_s = sum(steps_ns) / S
    expected = settled + (start_c - settled) * math.exp(-passed_s / (LAW.resistance_k_per_w * LAW.capacity_j_per_k))
    assert body.temperature_c == pytest.approx(expected, rel=1e-9)


def test_heat_under_a_changing_load_is_what_a_fine_integration_gives():
    body = Body(LAW, 0)
    dt_s, temperature_c = 0.01, body.temperature_c
    for tick in range(1, 2001):
        # dT/dt = (P - (T - Ta) / R) / C, in 50 small steps of Euler's method per tick
        for _ in range(50):
            flow_w = (temperature_c - LAW.ambient_c) / LAW.resistance_k_per_w
            temperature_c += (body.watts - flow_w) / LAW.capacity_j_per_k * dt_s / 50
        body.step(round(tick * dt_s * S), 2.0 if tick % 300 < 150 else 0.5)
    assert body.temperature_c == pytest.approx(temperature_c, abs=0.005)
    assert body.temperature_c > 40.0


def test_power_follows_the_load_with_the_stated_lag():
    body = Body(LAW, 0)
    for tick in range(1, 21):
        body.step(tick * S // 100, 2.0)
    target = 5.0 + 4.0 * 2.0
    assert body.watts == pytest.approx(target - 8.0 * math.exp(-0.2 / 0.2))
    body.step(100 * S, 2.0)
    assert body.watts == pytest.approx(target)


def test_more_cores_than_there_are_do_no_work():
    body = Body(LAW, 0)
    body.step(100 * S, 99.0)
    assert body.watts == pytest.approx(5.0 + 4.0 * 4)


def test_a_hot_board_lowers_its_clock_until_it_has_cooled():
    law = Law(idle_w=5.0, watts_per_core=10.0, cores=2, resistance_k_per_w=4.0, capacity_j_per_k=5.0, trip_c=70.0,
              release_c=60.0)  # fmt: skip
    body = Body(law, 0)
    caps = []
    for tick in range(1, 4001):
        body.step(tick * S // 50, 2.0 if tick < 2000 else 0.0)
        caps.append((body.temperature_c, body.cap))
    assert max(temperature for temperature, _ in caps) < 75.0
    assert any(cap == 0.5 and 60.0 < temperature < 70.0 for temperature, cap in caps), "no hysteresis"
    assert caps[0][1] == caps[-1][1] == 1.0


def test_faults_hold_for_their_time_and_unknown_ones_are_refused():
    body = Body(LAW, 0)
    body.inject("cap", 2 * S)
    body.step(S, 1.0)
    assert body.cap == 0.5
    body.step(3 * S, 1.0)
    assert body.cap == 1.0
    with pytest.raises(ValueError, match="sunshine"):
        body.inject("sunshine", None)


# the truth


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_the_integral_of_the_truth_is_exact(tmp_path_factory, data):
    count = data.draw(st.integers(2, 30))
    steps = data.draw(st.lists(st.integers(1, 50_000_000), min_size=count, max_size=count))
    watts = data.draw(st.lists(st.floats(0.0, 100.0), min_size=count, max_size=count))
    path = tmp_path_factory.mktemp("truth") / "truth"
    log = TruthLog(path, ["a", "b"], {})
    times = [1000]
    for step in steps:
        times.append(times[-1] + step)
    for t_ns, value in zip(times, watts, strict=False):
        log.add(t_ns, 40.0, 0, [value, 2.0])
    log.close()
    truth = Truth(path)
    start, end = sorted(data.draw(st.integers(times[0], times[count - 1])) for _ in range(2))
    exact = Fraction(0)
    for i in range(count - 1):
        inside_ns = max(0, min(times[i + 1], end) - max(times[i], start))
        exact += Fraction(watts[i]) * inside_ns / S
    assert truth.energy_j("a", start, end) == pytest.approx(float(exact), rel=1e-9, abs=1e-12)
    both = truth.energy_j("a + b", start, end)
    assert both == pytest.approx(float(exact) + 2.0 * (end - start) / S, rel=1e-9, abs=1e-12)


def test_the_truth_refuses_what_it_does_not_know(tmp_path):
    log = TruthLog(tmp_path / "truth", ["a"], {})
    log.add(S, 40.0, 0b1, [1.0])
    log.add(2 * S, 41.0, 0b10, [1.0])
    log.close()
    truth = Truth(tmp_path / "truth")
    with pytest.raises(ValueError, match="not kept at"):
        truth.energy_j("a", 0, S)
    with pytest.raises(ValueError, match="knows no 'b'"):
        truth.energy_j("b", S, 2 * S)
    assert truth.ailments(S, S) == {FAULTS[0]}
    assert truth.ailments(0, 3 * S) == set(FAULTS[:2])
    assert truth.peak_c(S, 2 * S) == 41.0
    assert truth.longest_pause_s(S, 2 * S) == pytest.approx(1.0)


# the sensors


@pytest.mark.parametrize(("shunt_ohm", "step_ma", "volts"), [(0.005, 8, 5.0), (0.002, 20, 19.8)])
def test_an_ina3221_shows_whole_steps_and_errs_within_its_data_sheet(tmp_path, shunt_ohm, step_ma, volts):
    names = ("in1_input", "curr1_input", "curr1_max_alarm", "curr1_crit_alarm")
    channel = Channel(1, "rail", volts)
    offsets = []
    for seed in range(40):
        monitor = Ina3221(touch(tmp_path, *names), [channel], shunt_ohm, random.Random(seed))
        offsets.append(monitor.offset_v["rail"])
        for watts in (0.0, 0.05, 1.0, 7.5, 40.0):
            millivolts, milliamps = monitor.reading(channel, watts)
            assert millivolts % 8 == 0 and milliamps % step_ma == 0
            true_ma = watts / volts * 1e3
            limit_ma = (80e-6 + 20e-6) / shunt_ohm * 1e3 + true_ma * 0.05  # the rail sinks under a load
            assert abs(milliamps - true_ma) <= limit_ma
    assert max(offsets) > 40e-6 and min(offsets) < -40e-6 and max(map(abs, offsets)) <= 80e-6


def test_an_idle_rail_may_show_less_than_nothing(tmp_path):
    names = ("in1_input", "curr1_input", "curr1_max_alarm", "curr1_crit_alarm")
    channel = Channel(1, "rail", 19.8)
    shown = {
        Ina3221(touch(tmp_path, *names), [channel], 0.002, random.Random(seed)).reading(channel, 0.0)[1]
        for seed in range(60)
    }
    assert min(shown) < 0 < max(shown)


def test_channels_are_converted_in_turn_so_a_part_may_exceed_the_whole(tmp_path):
    names = [f"{name}{n}_input" for n in (1, 2, 3) for name in ("in", "curr")] + ["curr1_max_alarm", "curr1_crit_alarm"]
    folder = touch(tmp_path, *names)
    channels = [Channel(1, "whole", 5.0), Channel(2, "part", 5.0), Channel(3, "other", 5.0)]
    monitor = Ina3221(folder, channels, 0.005, random.Random(1))
    monitor.show(moment(0, whole=20.0, part=15.0, other=1.0))
    monitor.show(moment(1, whole=5.0, part=1.0, other=1.0))
    amps = [int((folder / f"curr{n}_input").read_text()) for n in (1, 2)]
    assert amps[1] > amps[0]


def test_the_old_layout_shows_the_power_of_its_own_volts_and_amperes(tmp_path):
    names = ("in_voltage0_input", "in_current0_input", "in_power0_input")
    folder = touch(tmp_path, *names)
    Ina3221(folder, [Channel(0, "rail", 5.0)], 0.005, random.Random(3), old=True).show(moment(0, rail=4.0))
    millivolts, milliamps, milliwatts = (int((folder / name).read_text()) for name in names)
    assert milliwatts == round(millivolts * milliamps / 1000)
    assert milliwatts == pytest.approx(4000, abs=150)


def test_an_ina238_shows_microwatts_near_the_truth(tmp_path):
    folder = touch(tmp_path, "in1_input", "curr1_input", "power1_input")
    Ina238(folder, "rail", 19.8, 0.002, random.Random(2)).show(moment(0, rail=50.0))
    assert int((folder / "power1_input").read_text()) * 1e-6 == pytest.approx(50.0, rel=0.004)


def test_rapl_counts_every_joule_and_begins_again_at_its_range(tmp_path):
    zone = touch(tmp_path / "zone", "energy_uj")
    rapl = Rapl({"package": zone}, 1000.0, {"package": 990.0})
    rapl.show(moment(0, package=50.0))
    rapl.between(S // 10)
    assert int((zone / "energy_uj").read_text()) == pytest.approx(995_000_000, abs=61)
    rapl.show(moment(S, package=0.0))
    assert int((zone / "energy_uj").read_text()) == pytest.approx(40_000_000, abs=61)  # 990 + 50 - 1000
    assert (int((zone / "energy_uj").read_text()) / 1e6 / 2**-14) % 1 == pytest.approx(0, abs=0.02)


def test_odpm_stamps_are_of_its_values(tmp_path):
    folder = touch(tmp_path / "device", "energy_value")
    odpm = Odpm({folder: ["energy.VSYS_A", "energy.VSYS_B"]}, {"energy.VSYS_A": 5.0})
    odpm.show(Moment(S, {"energy.VSYS_A": 2.0, "energy.VSYS_B": 1.0}, 40.0, 1.0, frozenset()))
    odpm.between(S + 500_000_000)
    stamp, first, second = (folder / "energy_value").read_text().splitlines()
    assert stamp == "t=1500"
    assert first == "CH0(T=1500)[VSYS_A], 6000000" and second == "CH1(T=1500)[VSYS_B], 500000"


def test_counters_between_moments_go_on_at_the_power_of_the_last_one():
    counters = Counters(["a"], {})
    counters.show(moment(S, a=3.0))
    assert counters.joules(3 * S) == {"a": pytest.approx(6.0)}
    counters.show(moment(2 * S, a=0.0))
    assert counters.joules(9 * S) == {"a": pytest.approx(3.0)}


class _Told(Gauge):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.told = []

    def tell(self, now):
        self.told.append((now.t_ns, self.current_a, self.counter_uah))


def test_a_fuel_gauge_counts_in_steps_and_tells_averages_now_and_then():
    gauge = _Told("battery", 4.0, 1_000_000.0, 3750.0, 10.0)
    for second in range(1, 602):
        gauge.show(moment(second * S, battery=4.0 if second % 2 else 12.0))  # 1 A and 3 A in turn
    times = [t_ns for t_ns, _, _ in gauge.told]
    assert {right - left for left, right in pairwise(times)} == {10 * S}
    assert all(amps == pytest.approx(-2.0) for _, amps, _ in gauge.told[1:])
    assert all(counter % 3750 == 0 for _, _, counter in gauge.told)
    gone_uah = 2.0 * 600 / 3600 * 1e6
    assert gauge.told[0][2] - gauge.told[-1][2] == pytest.approx(gone_uah, abs=2 * 3750)


def test_the_pmic_scatters_around_the_truth_in_whole_steps(tmp_path):
    file = tmp_path / "pmic_read_adc"
    file.write_text("\n")
    pmic = Pmic(file, {"VDD_CORE": ("core", 0.8, 0.003)}, 0.04, random.Random(5))
    amps = []
    for number in range(1, 401):
        pmic.show(moment(number * S, core=8.0))
        value = float(file.read_text().split("=")[1].split("A")[0])
        assert value / 0.003 == pytest.approx(round(value / 0.003), abs=1e-4)
        amps.append(value)
    assert statistics.mean(amps) == pytest.approx(10.0, abs=4 * 0.4 / math.sqrt(400))
    assert statistics.stdev(amps) == pytest.approx(0.4, rel=0.2)


def test_temperatures_come_in_the_steps_of_their_sensor(tmp_path):
    zone = touch(tmp_path, "temp") / "temp"
    zones = Zones({zone: 1.0}, 0.55)
    for tenth in range(300, 500, 7):
        zones.show(moment(0, tenth / 10))
        shown = int(zone.read_text())
        assert abs(shown / 1e3 - (tenth / 10 + 1.0)) <= 0.276
        assert shown / 550 == pytest.approx(round(shown / 550), abs=1e-3)


# files and loads


def test_a_reader_sees_the_old_content_or_the_new(tmp_path):
    path = tmp_path / "file"
    texts = ["1", "22222", "3" * 20, "\n".join(["4" * 30] * 40)]
    path.write_text(texts[0] + "\n")
    file, seen, stop = LiveFile(path), set(), threading.Event()

    def read():
        while not stop.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(800):
        file.set(texts[number % len(texts)])
    stop.set()
    reader.join()
    file.close()
    assert seen <= {text + "\n" for text in texts}


def test_a_file_that_was_never_there_is_not_made_and_a_mode_is_kept(tmp_path):
    LiveFile(tmp_path / "none").set("1")
    assert not (tmp_path / "none").exists()
    path = touch(tmp_path, "closed") / "closed"
    path.chmod(0o400)
    file = LiveFile(path)
    file.set("12345")
    file.close()
    assert path.stat().st_mode & 0o777 == 0o400 and path.read_text() == "12345\n"


def test_a_written_load_has_its_steps_and_begins_again():
    profile = Profile([(0.0, 1.0), (0.5, 3.0)], 1.0)
    start = profile._start_ns
    assert [profile.busy(start + tenth * S // 10) for tenth in (0, 4, 5, 9, 10, 15, 25)] == [1, 1, 3, 3, 1, 3, 3]
    assert Profile([(1.0, 2.0)]).busy(start) == 0.0


def test_the_load_of_processes_is_the_cpu_time_of_all_below_them():
    burn = "import time\nwhile time.process_time() < 0.3: pass\n"
    code = (
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])\nprint(flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        load = Processes(process.pid)
        process.stdout.readline()  # the child has ended, and what it used is its parent's
        assert load.used_s() >= 0.28
        process.stdin.close()


@pytest.mark.parametrize(
    ("name", "text"), [("cpuacct.usage", "2500000000\n"), ("cpu.stat", "usage_usec 2500000\nx 1\n")]
)
def test_the_load_of_a_group_is_read_from_either_version(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    load = Group([tmp_path / "gone", tmp_path])
    assert load.used_s() == pytest.approx(2.5)
    assert load.busy(S) == 0.0
    (tmp_path / name).write_text(text.replace("2500000", "3500000"))
    assert load.busy(3 * S) == pytest.approx(0.5)


# whole boards


@pytest.mark.parametrize("name", BOARDS)
def test_every_file_that_a_board_moves_is_there(name, tmp_path, monkeypatch):
    missing = []
    known = LiveFile.__init__

    def watched(self, path):
        known(self, path)
        if not self.exists:
            missing.append(str(path.relative_to(tmp_path)))

    monkeypatch.setattr(LiveFile, "__init__", watched)
    personality(name).write(tmp_path)
    BOARDS[name].panel(tmp_path, random.Random(1))
    if name == "samsung-s23":  # its sysfs is closed: what the shell may not read is not in a tree
        missing = [path for path in missing if "power_supply" not in path]
    assert missing == []


def test_a_board_takes_orders_and_keeps_the_truth(tmp_path):
    with Physics(tmp_path, "orin-nano", profile=[(0.0, 2.0)]) as physics:
        counter = f"{physics.root}/sys/class/hwmon/hwmon3/oc3_event_cnt"

        def events():
            with open(counter) as file:
                return int(file.read())

        assert events() == 0
        begin = time.monotonic_ns()
        physics.inject("over-current", for_s=0.2)
        wait_until(lambda: events() > 0, 10, "no event was counted")
        wait_until(lambda: len(physics.truth.t_ns) > 50 and physics.truth.t_ns[-1] > begin + S // 2, 10, "no truth")
    truth = physics.truth
    end = truth.t_ns[-1]
    assert truth.ailments(begin, end) == {"over-current"}
    law = BOARDS["orin-nano"].law
    mean_w = truth.energy_j("power.VDD_IN", begin, end) / (end - begin) * S
    assert law.idle_w < mean_w <= law.idle_w + 2 * law.watts_per_core


def test_a_board_ends_with_the_test_that_made_it(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from tests.lab.physics import Physics\n"
        "physics = Physics(Path(sys.argv[1]), 'pi4'); physics.__enter__()\n"
        "print(physics._process.pid, physics.root, flush=True); time.sleep(60)"
    )
    argv = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        pid, root = process.stdout.readline().split()
        assert start_ticks_of(int(pid))
        process.kill()
    wait_until(lambda: start_ticks_of(int(pid)) is None, 20, "the physics go on without their owner")
    wait_until(lambda: not os.path.exists(root), 20, "the tree stays")
