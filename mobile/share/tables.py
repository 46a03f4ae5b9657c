"""Runs and their raw samples as flat columns for other programs: CSV, JSON lines, Parquet.

A column's name ends with its unit (``latency_p50_s``, ``energy_j``, ``start_ns``). Numbers are written whole, as they
are kept; what is missing is an empty cell or null, never 0.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mobile.errors import InputError, UsageError
from mobile.results.run import Run

Columns = dict[str, list[Any]]

# SI units of the sensors' descriptors (device_agents/sensors/base.py) as the end of a column's name.
_ENDINGS = {
    "W": "w", "J": "j", "V": "v", "A": "a", "C": "coulomb", "degC": "c", "Hz": "hz", "s": "s", "1": "", "": "", "?": "",
}  # fmt: skip
PARQUET_EXTRA = "pip install 'edgewise[parquet]'"


def runs_columns(rows: Sequence[Mapping[str, Any]]) -> Columns:
    """The figures of runs (mobile.results.figures), a column for each field of reports/fields.py."""
    from mobile.reports.fields import FIELDS

    return {field.key: [_plain(field.value(row)) for row in rows] for field in FIELDS}


def invocations_columns(run: Run) -> Columns:
    """Every invocation: phase, index in it, start_ns and duration_ns on the device's clock, its stages and notes."""
    stages = list(dict.fromkeys(name for phase in run.phases.values() for name in phase.stages))
    notes = list(dict.fromkeys(name for phase in run.phases.values() for name in phase.notes))
    columns: Columns = {name: [] for name in ("phase", "index", "start_ns", "duration_ns")}
    columns.update({f"stage_{name}_ns": [] for name in stages})
    columns.update({f"note_{name}": [] for name in notes})
    for name, phase in run.phases.items():
        count = len(phase)
        columns["phase"] += [name] * count
        columns["index"] += range(count)
        columns["start_ns"] += phase.start_ns
        columns["duration_ns"] += phase.duration_ns
        for stage in stages:
            columns[f"stage_{stage}_ns"] += phase.stages.get(stage) or [None] * count
        for note in notes:
            columns[f"note_{note}"] += phase.notes.get(note) or [None] * count
    return columns


def sensors_columns(run: Run) -> Columns:
    """Every tick of the sampler: t_ns on the device's clock, read_ns (how long reading took), a column per sensor."""
    units = {str(sensor.get("name")): str(sensor.get("unit") or "") for sensor in run.sensors}
    samples = run.samples
    columns: Columns = {"t_ns": list(samples.t_ns), "read_ns": _as_long(list(samples.read_ns), len(samples))}
    # In the order of the agent's descriptors: that of the columns is the chance of a run.
    for name in [*(name for name in units if name in samples.columns), *sorted(set(samples.columns) - set(units))]:
        columns[_with_unit(name, units.get(name, ""))] = list(samples.columns[name])
    return columns


def meter_columns(run: Run) -> Columns | None:
    """Every reading of the external meter, on the host's clock; None where there was none."""
    meter = run.meter
    if meter is None:
        return None
    count = len(meter.t_ns)
    return {
        "t_host_ns": list(meter.t_ns),
        "read_ns": _as_long(list(meter.read_ns), count),
        "power_w": _as_long(meter.power_w, count),
        "energy_j": _as_long(meter.energy_j, count),
    }


def write_columns(path: Path, columns: Columns, form: str) -> None:
    """Nothing, once the file is written: "csv", "jsonl" or "parquet". InputError when it cannot be."""
    writers: dict[str, Callable[[Path, Columns], None]] = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}
    try:
        writers[form](path, columns)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Nothing, once each row is a line of JSON in the file. InputError when it cannot be written."""
    try:
        path.write_text("".join(json.dumps(row, allow_nan=False) + "\n" for row in rows), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error


def _csv(path: Path, columns: Columns) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))  # None is an empty cell, a float its shortest whole form


def _jsonl(path: Path, columns: Columns) -> None:
    names = list(columns)
    with path.open("w", encoding="utf-8") as stream:
        for row in zip(*columns.values(), strict=True):
            stream.write(json.dumps(dict(zip(names, row, strict=True)), allow_nan=False) + "\n")


def _parquet(path: Path, columns: Columns) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError("Parquet is written with pyarrow, which is not installed", PARQUET_EXTRA) from error
    arrays = [pyarrow.array(values, type=_type(pyarrow, values)) for values in columns.values()]
    parquet.write_table(pyarrow.table(arrays, names=list(columns)), path)


def _type(pyarrow: Any, values: Sequence[Any]) -> Any:
    """The type that holds every value of a column; a double where all are missing."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pyarrow.bool_()
    if kinds == {int}:
        return pyarrow.int64()
    return pyarrow.float64() if kinds <= {int, float} else pyarrow.string()


def _plain(value: Any) -> Any:
    """A number or a text as it is, a list with "; ", an object as JSON; None for an empty one."""
    if isinstance(value, Mapping):
        return json.dumps(value, allow_nan=False) if value else None
    if isinstance(value, (list, tuple)):
        return "; ".join(str(item) for item in value) or None
    return value


def _with_unit(name: str, unit: str) -> str:
    ending = _ENDINGS.get(unit, unit.lower())
    return f"{name}_{ending}" if ending else name


def _as_long(values: list[Any], count: int) -> list[Any]:
    """The column, or one of missing values where it was not kept."""
    return values if len(values) == count else [None] * count
