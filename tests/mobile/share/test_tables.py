"""Runs and raw samples as tables: whole numbers, units in the names, nothing instead of what is missing."""

from __future__ import annotations

import csv
import json

import pytest

from mobile.errors import UsageError
from mobile.results.figures import figures
from mobile.share import tables
from tests.support.runs import sensor, simple_run


@pytest.fixture
def run():
    return simple_run(
        [10_000_000, 10_000_001, 12_345_678],
        sensors=[sensor("power.in", "power", unit="W"), sensor("temperature.soc", "temperature", unit="degC")],
        columns={"power.in": lambda t: None if t < 0 else 5.1 + t / 3, "temperature.soc": lambda t: 40.0},
    )


def read(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_table_of_runs_keeps_every_digit_and_leaves_what_is_missing_empty(tmp_path, run):
    row = figures(run)
    tables.write_columns(tmp_path / "runs.csv", tables.runs_columns([row]), "csv")
    (read_back,) = read(tmp_path / "runs.csv")
    assert float(read_back["latency_p50_s"]) == row["latency_s"]["p50"]
    assert read_back["energy_j"] == "" and row["energy"] is None
    assert read_back["threads"] == ""


def test_every_invocation_and_sample_is_in_the_raw_tables(tmp_path, run):
    tables.write_columns(tmp_path / "i.csv", tables.invocations_columns(run), "csv")
    rows = read(tmp_path / "i.csv")
    measured = [row for row in rows if row["phase"] == "measure"]
    assert [int(row["duration_ns"]) for row in measured] == list(run.phases["measure"].duration_ns)
    assert [row["index"] for row in measured] == ["0", "1", "2"]
    tables.write_columns(tmp_path / "s.csv", tables.sensors_columns(run), "csv")
    samples = read(tmp_path / "s.csv")
    assert list(samples[0]) == ["t_ns", "read_ns", "power.in_w", "temperature.soc_c"]
    told = [None if row["power.in_w"] == "" else float(row["power.in_w"]) for row in samples]
    assert told == run.samples.columns["power.in"]
    assert None in told


def test_json_lines_have_null_for_what_is_missing(tmp_path, run):
    tables.write_columns(tmp_path / "s.jsonl", tables.sensors_columns(run), "jsonl")
    lines = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert [line["power.in_w"] for line in lines] == run.samples.columns["power.in"]


def test_parquet_keeps_types_and_missing_values(tmp_path, run):
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
    tables.write_columns(tmp_path / "s.parquet", tables.sensors_columns(run), "parquet")
    table = parquet.read_table(tmp_path / "s.parquet")
    assert table.column("power.in_w").to_pylist() == run.samples.columns["power.in"]
    assert str(table.schema.field("t_ns").type) == "int64"
    row = figures(run)
    tables.write_columns(tmp_path / "r.parquet", tables.runs_columns([row]), "parquet")
    assert parquet.read_table(tmp_path / "r.parquet").column("energy_j").to_pylist() == [None]


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, run, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match="pyarrow") as raised:
        tables.write_columns(tmp_path / "s.parquet", tables.sensors_columns(run), "parquet")
    assert "edgewise[parquet]" in raised.value.hint
