"""Reports: what varies is a column, what does not is said once, and no time of an unreal device goes unmarked."""

import csv
import io
import json
import re

import pytest

from mobile.errors import UsageError
from mobile.reports import FORMATS, render, runs_table, stored_runs_table
from mobile.reports.fields import FIELDS
from mobile.reports.units import pretty_bytes, pretty_joules, pretty_number, pretty_seconds, pretty_share
from mobile.results.figures import figures
from mobile.results.summary import summary
from tests.support.runs import MS, sensor, simple_run

PACKAGE = sensor("energy.rapl.package-0", "energy", wraps_at=65_532.0)


def _rows(*runs) -> list[dict]:
    return [figures(run) for run in runs]


def _column(table, header: str) -> list[str]:
    return [row[table.headers.index(header)] for row in table.rows]


def test_only_what_varies_is_a_column() -> None:
    table = runs_table(_rows(simple_run(threads=1), simple_run(threads=2)))
    assert {"run", "device", "model", "threads", "p50", "p99", "verdict"} <= set(table.headers)
    assert not {"batch", "governor", "runtime", "provenance", "energy", "peak temp"} & set(table.headers)
    assert _column(table, "threads") == ["1", "2"]
    assert _column(table, "p50") == ["10.0 ms", "10.0 ms"]
    assert table.notes[0].startswith("all: ")
    for words in ("runtime onnxruntime 1.30", "batch 1", "governor performance", "size 121 KiB", "provenance real"):
        assert words in table.notes[0]
    assert len(table.headers) == len(table.numeric) == len(table.rows[0])
    assert "energy not measured: this device has no energy or power sensor" in table.notes


def test_one_run_has_the_same_columns_always() -> None:
    table = runs_table(_rows(simple_run()))
    assert table.headers[:2] == ["device", "model"]
    assert table.headers[-1] == "verdict"
    assert "threads" not in table.headers
    assert table.notes[0].startswith("run ")


def test_energy_and_its_scope_are_shown_where_measured() -> None:
    run = simple_run(sensors=[PACKAGE], columns={PACKAGE["name"]: lambda t: 10.0 * (t + 1)})
    rows = _rows(run, simple_run())
    table = runs_table(rows)
    assert f"energy not measured in {rows[1]['id']}: this device has no energy or power sensor" in table.notes
    assert _column(table, "energy") == ["100 mJ ± 0 %", "-"]
    assert _column(table, "power") == ["10.0 W", "-"]
    assert any(note.startswith("energy, CPU package: the CPU packages alone") for note in table.notes)
    assert _column(table, "energy of") == ["CPU package", "-"]


BOARD = {"pmic": sensor("power.pmic", "power", scope="PMIC rails"),
         "estimate": sensor("power.board-estimate", "power", scope="board 5 V input, estimated")}  # fmt: skip


def test_an_estimate_says_that_it_is_one() -> None:
    law = {BOARD["estimate"]["name"]: lambda t: 5.0}
    table = runs_table(_rows(simple_run(sensors=[BOARD["estimate"]], columns=law)))
    assert _column(table, "energy")[0].endswith("(estimated)")
    assert _column(table, "power") == ["5.00 W (estimated)"]
    assert any("board input, estimated: 1.1451 times" in note for note in table.notes)
    both = {**law, BOARD["pmic"]["name"]: lambda t: 4.0}
    table = runs_table(_rows(simple_run(sensors=list(BOARD.values()), columns=both)))
    assert _column(table, "power") == ["4.00 W"]  # what was measured comes first


HEAT = sensor("temperature.cpu", "temperature")
CLOCK = sensor("frequency.policy0", "frequency")
FLAG = sensor("throttle.now.undervoltage", "flag", scope="undervoltage: the 5 V input is low")


def test_heat_clocks_and_throttling_are_columns_with_both_ends() -> None:
    columns = {
        HEAT["name"]: lambda t: 50.0 + 4 * t,
        CLOCK["name"]: lambda t: 1.5e9 if t > 4 else 2.4e9,
        FLAG["name"]: lambda t: float(t > 4),
    }
    rows = _rows(simple_run(sensors=[HEAT, CLOCK, FLAG], columns=columns))
    table = runs_table(rows)
    assert _column(table, "peak temp") == ["70.8 C from 49.2 C"]
    assert _column(table, "clock") == ["2.40 GHz, down to 1.50 GHz"]
    assert _column(table, "throttled") == ["yes"]
    assert any("is invalid: undervoltage: the 5 V input is low" in note for note in table.notes)
    read = next(csv.DictReader(io.StringIO(render(rows, "csv"))))
    assert (float(read["clock_hz"]), float(read["clock_min_hz"]), read["clock_sensor"]) == (2.4e9, 1.5e9, CLOCK["name"])
    assert "throttle.now.undervoltage" in read["throttled_why"]


def test_the_real_clock_goes_before_the_requested_one() -> None:
    real = sensor("frequency.arm", "frequency")
    law = {CLOCK["name"]: lambda t: 2.4e9, real["name"]: lambda t: 1.5e9}
    assert _column(runs_table(_rows(simple_run(sensors=[CLOCK, real], columns=law))), "clock") == ["1.50 GHz"]


def test_what_is_not_known_is_said_with_its_reason() -> None:
    notes = runs_table(_rows(simple_run(sensors=[HEAT], columns={HEAT["name"]: lambda t: 50.0}))).notes
    assert "clocks not measured: this device shows no clocks" in notes
    assert any(note.startswith("throttling not known: this device shows no throttle counters") for note in notes)
    run = simple_run(sensors=[PACKAGE], columns={PACKAGE["name"]: lambda t: 10.0 * (t + 1)})
    assert any(note.startswith("energy above idle not measured: ") for note in runs_table(_rows(run)).notes)


def test_the_power_mode_and_the_conditions_stand_with_the_run() -> None:
    runs = [simple_run(), simple_run()]
    runs[0].environment.update(power_mode={"name": "15W", "id": 0}, clocks_locked=True)
    runs[1].environment.update(power_mode={"name": "MAXN", "id": None}, clocks_locked=False)
    table = runs_table(_rows(*runs))
    assert _column(table, "power mode") == ["15W (0)", "MAXN"]
    assert _column(table, "clocks locked") == ["yes", "no"]
    assert "power mode 15W (0), clocks locked yes" in runs_table(_rows(runs[0])).notes[0]


@pytest.mark.parametrize("provenance", ["emulated", "replayed"])
def test_heat_clocks_and_joules_of_unreal_devices_say_so(provenance: str) -> None:
    columns = {HEAT["name"]: lambda t: 50.0, CLOCK["name"]: lambda t: 1e9, PACKAGE["name"]: lambda t: 10.0 * (t + 1)}
    run = simple_run(sensors=[HEAT, CLOCK, PACKAGE], columns=columns, provenance=provenance)
    table = runs_table(_rows(run))
    for header in ("peak temp", "clock", "energy", "power"):
        assert _column(table, header)[0].endswith(f"({provenance})")


@pytest.mark.parametrize("provenance", ["emulated", "slowed", "replayed"])
@pytest.mark.parametrize("others", [[], ["real"]])
def test_times_that_are_not_real_say_so(provenance: str, others: list[str]) -> None:
    rows = _rows(*[simple_run(provenance=kind) for kind in [provenance, *others]])
    table = runs_table(rows)
    for header in ("p50", "p90", "p99", "max", "items/s", "load", "first"):
        cells = _column(table, header)
        assert cells[0].endswith(f"({provenance})")
        assert not any("(" in cell for cell in cells[1:])
    stored = stored_runs_table([summary(simple_run(provenance=provenance))])
    assert _column(stored, "p50") == [f"10.0 ms ({provenance})"]
    for form in ("table", "md"):
        line = next(line for line in render(rows, form).splitlines() if "10.0 ms" in line)
        assert line.count(f"({provenance})") == 7
    assert provenance in render(rows, "csv")
    assert f'"provenance": "{provenance}"' in render(rows, "jsonl")


def test_reasons_and_warnings_stand_under_the_table() -> None:
    rows = _rows(simple_run(min_count=501), simple_run(durations_ns=[10 * MS] * 100 + [20 * MS] * 100))
    notes = runs_table(rows).notes
    assert f"{rows[0]['id']} (local, net.onnx) is invalid: 500 invocations were measured, the minimum is 501" in notes
    assert any(note.startswith(f"{rows[1]['id']} (local, net.onnx): no steady state") for note in notes)


def test_csv_has_every_field_in_si() -> None:
    rows = _rows(simple_run(threads=2), simple_run(min_count=501, min_duration_s=6.0))
    read = list(csv.DictReader(io.StringIO(render(rows, "csv"))))
    assert list(read[0]) == [field.key for field in FIELDS]
    assert float(read[0]["latency_p50_s"]) == rows[0]["latency_s"]["p50"]
    assert (read[0]["threads"], read[1]["threads"]) == ("2", "")
    assert read[0]["energy_per_inference_j"] == ""
    assert read[1]["reasons"] == "; ".join(rows[1]["reasons"])


def test_json_is_the_figures() -> None:
    rows = _rows(simple_run(), simple_run())
    assert json.loads(render(rows, "json")) == {"runs": rows, "failures": []}
    assert [json.loads(line) for line in render(rows, "jsonl").splitlines()] == rows


def test_markdown_is_one_table() -> None:
    rows = _rows(simple_run(device="a|b"), simple_run(device="c"))
    lines = render(rows, "md").splitlines()
    table = lines[: lines.index("")]
    assert len(table) == 4
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    assert "a\\|b" in table[2]


def test_plain_table_is_aligned() -> None:
    text = render(_rows(simple_run(device="short"), simple_run(device="a-much-longer-name")), "table")
    lines = text.splitlines()
    place = lines[0].index("model")
    assert lines[2][place:].startswith("net.onnx")
    assert lines[3][place:].startswith("net.onnx")


def test_every_format_takes_an_empty_and_a_barren_run() -> None:
    barren = simple_run(durations_ns=[])
    barren.done = None
    for form in FORMATS:
        assert render(_rows(barren), form).endswith("\n")
    assert render([], "jsonl") == ""
    with pytest.raises(UsageError, match="no format 'xml'"):
        render([], "xml")


def test_stored_runs() -> None:
    table = stored_runs_table([summary(simple_run(device="a")), summary(simple_run(device="b", min_count=501))])
    assert table.headers == ["run", "at (UTC)", "device", "model", "n", "p50", "verdict"]
    assert _column(table, "verdict") == ["valid", "invalid"]


def test_units() -> None:
    assert [pretty_seconds(value) for value in (0.0, 0.99996, 9.996e-3, 1e-10, 123.4, 1234.5)] == [
        "0 ns", "1.00 s", "10.0 ms", "0.100 ns", "123 s", "1234 s",
    ]  # fmt: skip
    assert [pretty_bytes(value) for value in (0, 1023, 1024, 5 * 2**30)] == ["0 B", "1023 B", "1.00 KiB", "5.00 GiB"]
    assert pretty_joules(7e-21) == "0.000 uJ"
    assert (pretty_joules(2.5), pretty_joules(None), pretty_share(1.0)) == ("2.50 J", "-", "100 %")
    assert [pretty_number(value) for value in (0, 1234567.0, 0.5)] == ["0", "1234567", "0.500"]


def test_what_is_above_idle_has_its_own_spread() -> None:
    field = next(field for field in FIELDS if field.key == "above_idle_per_inference_j")
    energy = {"above_idle_per_inference_j": 1e-3, "above_idle_uncertainty_j": 2e-2, "scope": "PMIC rails"}
    assert field.text({"energy": energy, "invocations": 10}) == "1.00 mJ ± 2.00 mJ"
    assert field.text({"energy": {**energy, "above_idle_uncertainty_j": None}, "invocations": 10}) == "1.00 mJ"
    assert field.text({"energy": {**energy, "above_idle_per_inference_j": None}, "invocations": None}) == "-"
