"""A meter in a run: read by the host on its own clock, kept apart, turned into joules of the wall; never in the way."""

from __future__ import annotations

import sys
import threading
import time
from array import array
from dataclasses import asdict, replace

import pytest

from mobile.benchmark import BenchOptions, attach, bench
from mobile.benchmark.conditions import ConditionOptions
from mobile.benchmark.metering import NOT_FOLLOWED
from mobile.benchmark.orchestrate import Manner
from mobile.inventory.models import Device
from mobile.meters import Info, MeterFault, MeterSampler, Reading
from mobile.results.document import from_document, to_columns, to_document
from mobile.results.figures import figures
from mobile.results.metered import PART, meter_energies, meter_run
from mobile.results.run import MeterSamples
from mobile.results.store import RunStore
from tests.support.meters import by_path, meter_server
from tests.support.runs import SECOND, event, simple_run

NS = 1_000_000_000
ABOUT = asdict(Info("meter.test", "test", "wall (a test)", period_s=0.1, resolution_w=0.1, offset_w=0.0, gain=0.01))


class FakeMeter:
    """Gives what ``law`` says for each reading, counted from 0; what it raises is a fault."""

    def __init__(self, law, period_s=0.005):
        self.info = Info("meter.fake", "fake", "wall (a test)", period_s=period_s)
        self.law, self.count, self.closed = law, 0, 0
        self.enough = threading.Event()

    def read(self):
        self.count += 1
        if self.count > 20:
            self.enough.set()
        return self.law(self.count - 1)

    def close(self):
        self.closed += 1


def metered(power_w=8.0, seconds=20, start=7 * NS, marks=None, counter=False, period_s=0.1):
    """A run whose meter showed ``power_w`` at 10 Hz, on a clock of its own, from before its window to after it.

    The device says that it measured for 20 s.
    """
    run = simple_run(durations_ns=[10_000_000] * (seconds * 100))
    run.events = [one for one in run.events if one["name"] != "warmup-done"]
    run.events += [event("warmup-done", SECOND), event("measured", SECOND + seconds * NS)]
    step = round(period_s * NS)
    times = list(range(start - 2 * NS, start + seconds * NS + NS, step))
    power = power_w if callable(power_w) else lambda t: power_w
    values = [power((t - start) / NS) for t in times]
    run.meter = MeterSamples(
        dict(ABOUT), array("q", times), array("q", [1000] * len(times)), values, [None] * len(times),
        {"warmup-done": start, "measured": start + seconds * NS} if marks is None else marks,
    )  # fmt: skip
    if counter:
        run.meter.energy_j = [1000.0 + power_w * (t - times[0]) / NS for t in times]
    return run


def test_a_steady_load_gives_its_joules_with_the_meters_scope_and_a_part_for_the_receipt():
    run = metered(8.0)
    (figure,) = meter_energies(run, 2000)
    assert figure["total_j"] == pytest.approx(160.0)
    assert figure["per_inference_j"] == pytest.approx(0.08)
    assert (figure["scope"], figure["scope_kind"], figure["sensor"]) == ("wall (a test)", "wall", "power.meter.test")
    # What two ends that are unsure by 0.1 s together mean at 8 W, as a standard uncertainty (rectangle).
    assert figure["uncertainty_parts"][PART] == pytest.approx(0.1 * 8.0 / 3**0.5)
    assert figure["uncertainty_parts"]["gain"] == pytest.approx(0.01 * 160.0 / 3**0.5)
    assert figure["uncertainty_j"] >= 2 * (0.1 * 8.0 / 3**0.5)


def test_the_counter_comes_before_the_power_where_its_steps_are_fine_enough():
    found = meter_energies(metered(8.0, counter=True), 2000)
    assert [(one["sensor"], one["missing"]) for one in found] == [
        ("energy.meter.test", None),
        ("power.meter.test", None),
    ]
    assert found[0]["total_j"] == pytest.approx(160.0)


def test_idle_power_is_that_between_the_receipts_of_the_idle_events():
    start = 9 * NS
    marks = {"idle-started": start - 2 * NS, "idle-done": start - NS // 2}
    marks |= {"warmup-done": start, "measured": start + 20 * NS}
    run = metered(lambda t: 3.0 if t < -0.4 else 8.0, start=start, marks=marks)
    (figure,) = meter_energies(run, 2000)
    assert figure["idle_power_w"] == pytest.approx(3.0)
    assert figure["above_idle_j"] == pytest.approx(100.0, rel=0.01)
    assert figure["above_idle_uncertainty_j"] >= 2 * (0.1 * 8.0 / 3**0.5)


def test_the_wall_is_the_runs_energy_and_the_boards_own_stands_beside_it():
    sensors = [
        {"name": "power.VDD_IN", "quantity": "power", "unit": "W", "scope": "module input", "state": "present",
         "reason": None, "period_s": None, "resolution": None, "source": "x", "wraps_at": None, "note": None,
         "accuracy": None}
    ]  # fmt: skip
    own = simple_run(durations_ns=[10_000_000] * 2000, sensors=sensors, columns={"power.VDD_IN": lambda t: 5.0})
    run = replace(own, meter=metered(8.0).meter)
    run.events += [event("measured", SECOND + 20 * NS)]
    row = figures(run)
    assert row["energy"]["scope_kind"] == "wall"
    assert [one["scope_kind"] for one in row["energy_all"]] == ["wall", "module input"]
    assert row["energy_all"][1]["total_j"] == pytest.approx(100.0, rel=0.01)


@pytest.mark.parametrize(
    "marks", [{}, {"warmup-done": 7 * NS}, {"measured": 9 * NS}, {"warmup-done": 9, "measured": 9}]
)
def test_without_both_ends_there_is_no_figure(marks):
    (entry,) = meter_energies(metered(marks=marks), 10)
    assert "did not hear both" in entry["missing"]


def test_events_that_a_link_held_back_give_no_figure():
    run = metered(marks={"warmup-done": 7 * NS, "measured": 32 * NS})
    assert "held back on the way: 25 s between them here, 20 s there" in meter_energies(run, 10)[0]["missing"]


def test_events_that_came_a_little_unevenly_make_the_figure_less_certain():
    even = meter_energies(metered(8.0), 10)[0]
    uneven = meter_energies(metered(8.0, marks={"warmup-done": 7 * NS, "measured": 27 * NS + NS // 2}), 10)[0]
    assert uneven["uncertainty_parts"][PART] == pytest.approx(6 * even["uncertainty_parts"][PART], rel=0.05)


def test_a_meter_that_never_answered_is_a_reason_and_the_reason_that_came_most():
    run = metered()
    run.meter.power_w = [None] * len(run.meter.t_ns)
    run.meter.reasons = {"once": 1, "plug does not answer": 200}
    (entry,) = meter_energies(run, 10)
    assert (entry["missing"], entry["sensor"]) == ("plug does not answer", "power.meter.test")
    assert figures(run)["energy"] is None


def test_a_meter_that_stopped_answering_in_the_middle_gives_no_figure_and_no_zero():
    run = metered()
    run.meter.power_w = [
        value if t < 15 * NS else None for t, value in zip(run.meter.t_ns, run.meter.power_w, strict=True)
    ]
    (entry,) = meter_energies(run, 10)
    assert entry["missing"] is not None
    assert "total_j" not in entry


def test_too_few_readings_say_how_long_to_measure():
    run = metered(8.0, seconds=3, period_s=1.0)
    run.meter.about["period_s"] = 1.0
    (entry,) = meter_energies(run, 10)
    assert entry["missing"] is not None and entry["needed_s"] >= 10


def test_a_run_keeps_the_meters_readings_and_older_runs_are_read_without():
    run = metered(8.0, seconds=2, counter=True)
    run.meter.power_w[3] = None
    run.meter.reasons = {"busy": 1}
    again = from_document(to_document(run), {name: blob for name, _, blob in to_columns(run)})
    assert again.meter == run.meter
    document = to_document(run)
    del document["meter"]
    assert from_document(document, {name: blob for name, _, blob in to_columns(run)}).meter is None


def test_the_sampler_reads_until_it_is_stopped_and_notes_when_it_heard_of_what():
    meter = FakeMeter(lambda n: Reading(power_w=5.0 + n))
    with MeterSampler(meter) as sampler:
        for name in ("warmup-done", "else", "measured", "warmup-done"):
            sampler.hear({"type": "event", "name": name, "t_ns": 12345})
        sampler.hear({"type": "samples", "name": "idle-done"})
        assert meter.enough.wait(20)
    samples = sampler.samples
    assert set(samples.marks) == {"warmup-done", "measured"}
    assert samples.marks["warmup-done"] <= samples.marks["measured"] <= time.monotonic_ns()
    assert samples.power_w[:3] == [5.0, 6.0, 7.0]
    assert list(samples.t_ns) == sorted(samples.t_ns)
    assert len(samples.t_ns) == len(samples.read_ns) == len(samples.energy_j) == meter.count
    assert meter.closed == 1


def test_a_meter_that_fails_and_comes_back_has_gaps_with_a_reason():
    def law(n):
        if n % 3 == 1:
            raise MeterFault("plug does not answer")
        return Reading(power_w=5.0) if n % 3 else Reading(energy_j=7.0, reason="0 W")

    meter = FakeMeter(law)
    with MeterSampler(meter) as sampler:
        assert meter.enough.wait(20)
    samples = sampler.samples
    assert samples.power_w[:6] == [None, None, 5.0, None, None, 5.0]
    assert samples.energy_j[:3] == [7.0, None, None]
    assert samples.reasons["plug does not answer"] >= 5 and samples.reasons["0 W"] >= 5


def test_a_fault_of_ours_in_the_meters_thread_ends_the_readings_and_not_the_run():
    def law(n):
        raise KeyError("x")

    with MeterSampler(FakeMeter(law)) as sampler:
        pass
    assert sampler.samples.reasons == {"reading the meter failed: KeyError": 1}


def device(tmp_path, **meter):
    fields = {"transport": "local", "name": "board", "workdir": str(tmp_path / "work"), "meter": meter}
    return Device.model_validate(fields)


def run_on(board, tmp_path, **options):
    from mobile.inventory import Inventory

    inventory = Inventory({board.name: board}, {})
    store = RunStore(tmp_path / "runs.sqlite3")
    asked = BenchOptions(runner="null", duration_s=1.2, warmup_duration_s=0.0, warmup_count=1, min_count=1)
    asked = replace(asked, conditions=ConditionOptions(idle_s=0.5))
    manner = options.pop("manner", None)
    result = bench(
        [], on=[board.name], options=replace(asked, **options), inventory=inventory, store=store, manner=manner
    )
    assert result.failures == []
    return result, inventory, store


def test_a_benchmark_is_metered_from_end_to_end(tmp_path):
    program = tmp_path / "meter.py"
    program.write_text("import time\nwhile True:\n    print('6.5 W', flush=True)\n    time.sleep(0.02)\n")
    board = device(
        tmp_path, kind="command", argv=(sys.executable, "-S", str(program)), stream=True, period_s=0.02, gain=0.001,
        scope="board input (a test)",
    )  # fmt: skip
    result, _, store = run_on(board, tmp_path)
    run = store.get(result.runs[0].id)
    assert run.meter is not None
    assert set(run.meter.power_w) - {None} == {6.5}
    assert set(run.meter.marks) == {"idle-started", "idle-done", "warmup-done", "measured"}
    assert run.meter.t_ns[0] < run.meter.marks["warmup-done"] < run.meter.marks["measured"] < run.meter.t_ns[-1]
    figure = figures(run)["energy_all"][0]
    assert figure["scope"] == "board input (a test)"
    if figure["missing"] is None:  # on a machine that is busy with other tests the readings may have a gap
        assert figure["mean_power_w"] == pytest.approx(6.5)
    else:
        assert "gave no value for" in figure["missing"]


def test_a_device_with_a_meter_idles_before_its_run_for_ten_readings_unless_told_otherwise(tmp_path):
    from mobile.benchmark.metering import metered_idle_s

    plug = device(tmp_path, kind="shelly", url="http://192.0.2.1")
    fast = device(tmp_path, kind="command", argv=("m",), period_s=0.02)
    assert [metered_idle_s(board, None) for board in (plug, fast)] == [10.0, 1.0]
    assert metered_idle_s(plug, 0.0) == 0.0
    assert metered_idle_s(Device.model_validate({"name": "b", "transport": "local"}), None) is None


def test_a_plug_that_is_gone_leaves_the_run_as_it_is_with_the_reason(tmp_path):
    with meter_server(by_path({})) as server:
        url = server.url
    result, _, _ = run_on(device(tmp_path, kind="shelly", url=url), tmp_path)
    row = figures(result.runs[0])
    assert row["failure"] is None and row["invocations"] > 0, row["reasons"]
    assert "does not answer" in row["energy_all"][0]["missing"]


def test_a_detached_run_has_no_meter_and_says_why(tmp_path):
    board = device(tmp_path, kind="command", argv=("printf", "5"))
    result, inventory, store = run_on(board, tmp_path, manner=Manner(detach=True))
    assert len(result.left) == 1
    collected = attach(inventory=inventory, store=store)
    (run,) = collected.runs
    assert run.meter is None
    assert meter_energies(run, 10)[0]["missing"] == NOT_FOLLOWED
    assert meter_run(run)[0] is None


def test_a_meters_password_that_is_not_set_fails_before_anything_is_measured(tmp_path):
    from mobile.inventory import Inventory

    board = device(tmp_path, kind="shelly", url="http://192.0.2.1", password_env="NO_SUCH_VARIABLE")
    result = bench(
        [], on=["board"], options=BenchOptions(runner="null"), inventory=Inventory({"board": board}, {}),
        store=RunStore(tmp_path / "runs.sqlite3"),
    )  # fmt: skip
    assert result.runs == []
    assert "NO_SUCH_VARIABLE" in result.failures[0].message
