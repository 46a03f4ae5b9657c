"""The one list of what a report shows of a run: key, header, where it stands in the figures, how it is written.

CSV has every field under its key, in SI. Tables have the conditions that vary, and the figures that were measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mobile.reports import units
from mobile.results.clocks import main_clock

Format = Callable[[Any], str]


@dataclass(frozen=True)
class Field:
    """``path`` leads to the value in the figures of a run. ``kind``:

    "key" is in every table, "condition" where it varies (else in the caption), "figure" where any run has it,
    "data" in CSV only. ``timed``: marked with the provenance wherever that is not real. ``beside``: what a table shows
    behind the value, from the whole row: a spread, a second end, a word of warning.
    """

    key: str
    header: str
    path: tuple[str, ...]
    kind: str
    write: Format
    numeric: bool = False
    timed: bool = False
    beside: Callable[[Mapping[str, Any]], str] | None = None

    def value(self, row: Mapping[str, Any]) -> Any:
        """The value in a run's figures, None where it is missing."""
        found: Any = row
        for name in self.path:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found

    def text(self, row: Mapping[str, Any]) -> str:
        """The value as a table shows it; what no real device showed says so."""
        value = self.value(row)
        text = self.write(value)
        if self.beside is not None and value is not None:
            text += self.beside(row)
        provenance = row.get("provenance", "real")
        if self.timed and value is not None and provenance != "real":
            return f"{text} ({provenance})"
        return text


def plain(value: Any) -> str:
    """Text as it is, a list with commas, a mapping as name=value; "-" for None."""
    if value is None or value == "" or value == []:
        return units.MISSING
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={plain(item)}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value))
    return str(value)


def _default(value: Any) -> str:
    return "default" if value is None else plain(value)


def _runtime(value: Any) -> str:
    if not isinstance(value, Mapping):
        return plain(value)
    return f"{value.get('name')} {value.get('version') or ''}".strip()


def _power_mode(value: Any) -> str:
    """A Jetson's mode with its number, which differs between modules."""
    if not isinstance(value, Mapping):
        return plain(value)
    number = value.get("id")
    return plain(value.get("name")) + (f" ({number})" if number is not None else "")


def _yes_no(value: Any) -> str:
    return units.MISSING if value is None else ("yes" if value else "no")


def _shown_clock(row: Mapping[str, Any]) -> Mapping[str, Any] | None:
    found = {clock["sensor"]: clock for clock in row.get("clocks") or ()}
    name = main_clock({name: clock["median_hz"] for name, clock in found.items()})
    return None if name is None else found[name]


@dataclass(frozen=True)
class ClockField(Field):
    """A number of the clock that is shown of a run: see clocks.main_clock."""

    def value(self, row: Mapping[str, Any]) -> Any:
        """The number, None where the run shows no clocks."""
        clock = _shown_clock(row)
        return None if clock is None else clock[self.path[-1]]


def _lowest(row: Mapping[str, Any]) -> str:
    """The lowest clock beside the usual one, where it fell by a twentieth or more."""
    clock = _shown_clock(row) or {}
    low, usual = clock.get("min_hz"), clock.get("median_hz")
    return f", down to {units.pretty_hertz(low)}" if low is not None and usual and low < 0.95 * usual else ""


def _from_start(row: Mapping[str, Any]) -> str:
    start_c = (row.get("thermal") or {}).get("start_c")
    return "" if start_c is None else f" from {units.pretty_degrees(start_c)}"


def _spread(row: Mapping[str, Any]) -> str:
    """The uncertainty of an energy as a share, and the word for what was not measured."""
    share = (row.get("energy") or {}).get("uncertainty_share")
    return ("" if share is None else f" ± {units.pretty_share(share)}") + _estimated(row)


def _idle_spread(row: Mapping[str, Any]) -> str:
    """The uncertainty of an inference's energy above idle in J: the difference may be smaller than it."""
    energy, count = row.get("energy") or {}, row.get("invocations")
    spread_j = energy.get("above_idle_uncertainty_j")
    return (f" ± {units.pretty_joules(spread_j / count)}" if spread_j is not None and count else "") + _estimated(row)


def _estimated(row: Mapping[str, Any]) -> str:
    return " (estimated)" if "estimated" in str((row.get("energy") or {}).get("scope")) else ""


@dataclass(frozen=True)
class QualityField(Field):
    """A metric's value: a share in per cent, anything else as a number."""

    def text(self, row: Mapping[str, Any]) -> str:
        """The value with its bounds."""
        told = row.get("quality") or {}
        value = told.get("value")
        return units.MISSING if value is None else _quality(value, told) + _bounds(row)


def _quality(value: float, told: Mapping[str, Any]) -> str:
    return units.pretty_share(value) if told.get("share") else units.pretty_number(value)


def _bounds(row: Mapping[str, Any]) -> str:
    """The ends of the interval behind a quality; nothing where there are none."""
    told = row.get("quality") or {}
    low, high = told.get("low"), told.get("high")
    return "" if low is None or high is None else f" ({_quality(low, told)} to {_quality(high, told)})"


def _energy(key: str, header: str, name: str, kind: str, write: Format = units.pretty_joules) -> Field:
    beside = _estimated if kind == "figure" else None
    return Field(key, header, ("energy", name), kind, write, numeric=True, timed=True, beside=beside)


def _latency(name: str, kind: str) -> Field:
    return Field(f"latency_{name}_s", name, ("latency_s", name), kind, units.pretty_seconds, numeric=True, timed=True)


def _bound(name: str) -> Field:
    """The one-sided bound of a percentile (99 %), of whole queries where there is a scenario."""
    path = ("percentiles", name, "bound_s")
    title = f"{name} at most"
    return Field(f"query_{name}_bound_s", title, path, "data", units.pretty_seconds, numeric=True, timed=True)


FIELDS: tuple[Field, ...] = (
    Field("id", "run", ("id",), "condition", plain),
    Field("created_utc", "at (UTC)", ("created_utc",), "data", plain),
    Field("device", "device", ("device",), "key", plain),
    Field("model", "model", ("model", "name"), "key", plain),
    Field("scheme", "scheme", ("scheme",), "condition", plain),
    Field("format", "format", ("model", "format"), "condition", plain),
    Field("size_bytes", "size", ("model", "size_bytes"), "condition", units.pretty_bytes, numeric=True),
    Field("sha256", "sha256", ("model", "sha256"), "data", plain),
    Field("provenance", "provenance", ("provenance",), "condition", plain),
    Field("origin", "from", ("environment", "imported", "origin"), "condition", plain),
    Field("task", "task", ("task",), "condition", plain),
    Field("runner", "runner", ("spec", "runner"), "condition", plain),
    Field("runtime", "runtime", ("environment", "runtime"), "condition", _runtime),
    Field("provider", "provider", ("environment", "provider"), "condition", plain),
    Field("threads", "threads", ("spec", "threads"), "condition", _default, numeric=True),
    Field("cpus", "cpus", ("spec", "cpus"), "condition", _default),
    Field("batch", "batch", ("spec", "batch"), "condition", plain, numeric=True),
    Field("dims", "dims", ("spec", "dims"), "condition", plain),
    Field("governor", "governor", ("environment", "governor"), "condition", plain),
    Field("power_mode", "power mode", ("environment", "power_mode"), "condition", _power_mode),
    Field("clocks_locked", "clocks locked", ("environment", "clocks_locked"), "condition", _yes_no),
    Field("conditions", "conditions", ("spec", "conditions"), "condition", plain),
    Field("scenario", "scenario", ("scenario", "words"), "condition", plain),
    Field("beside", "beside", ("beside",), "condition", plain),
    Field("edgewise", "edgewise", ("environment", "edgewise"), "condition", plain),
    Field("start_temperature_c", "at start", ("environment", "start_temperature_c"), "data", units.pretty_degrees),
    Field("invocations", "n", ("invocations",), "figure", plain, numeric=True),
    _latency("p50", "key"),
    _latency("p90", "figure"),
    _latency("p99", "figure"),
    _bound("p90"),
    _bound("p99"),
    Field("scenario_result", "result", ("scenario", "result"), "figure", plain, timed=True),
    _latency("mean", "data"),
    _latency("min", "data"),
    _latency("max", "figure"),
    _latency("std", "data"),
    Field(
        "throughput_per_s", "items/s", ("throughput_per_s",), "figure", units.pretty_number, numeric=True, timed=True
    ),
    Field("load_s", "load", ("cold_start_s", "load"), "figure", units.pretty_seconds, numeric=True, timed=True),
    Field("first_s", "first", ("cold_start_s", "first"), "figure", units.pretty_seconds, numeric=True, timed=True),
    Field("before_load_bytes", "RSS before", ("memory_bytes", "before_load"), "data", units.pretty_bytes, numeric=True),
    Field("peak_rss_bytes", "peak RSS", ("memory_bytes", "peak_rss"), "figure", units.pretty_bytes, numeric=True),
    Field(
        "peak_c",
        "peak temp",
        ("thermal", "peak_c"),
        "figure",
        units.pretty_degrees,
        numeric=True,
        timed=True,
        beside=_from_start,
    ),
    Field("thermal_start_c", "measured from", ("thermal", "start_c"), "data", units.pretty_degrees, numeric=True),
    ClockField(
        "clock_hz",
        "clock",
        ("clocks", "median_hz"),
        "figure",
        units.pretty_hertz,
        numeric=True,
        timed=True,
        beside=_lowest,
    ),
    ClockField("clock_min_hz", "lowest clock", ("clocks", "min_hz"), "data", units.pretty_hertz, numeric=True),
    ClockField("clock_sensor", "clock of", ("clocks", "sensor"), "data", plain),
    Field("throttled", "throttled", ("thermal", "throttled"), "figure", plain),
    Field("throttled_why", "why", ("thermal", "throttled_why"), "data", plain),
    Field(
        "energy_per_inference_j",
        "energy",
        ("energy", "per_inference_j"),
        "figure",
        units.pretty_joules,
        numeric=True,
        timed=True,
        beside=_spread,
    ),
    Field(
        "above_idle_per_inference_j",
        "above idle",
        ("energy", "above_idle_per_inference_j"),
        "figure",
        units.pretty_joules,
        numeric=True,
        timed=True,
        beside=_idle_spread,
    ),
    _energy("mean_power_w", "power", "mean_power_w", "figure", units.pretty_watts),
    Field("energy_scope", "energy of", ("energy", "scope"), "condition", plain),
    _energy("energy_j", "energy in all", "total_j", "data"),
    _energy("energy_uncertainty_j", "uncertainty", "uncertainty_j", "data"),
    _energy("above_idle_j", "above idle in all", "above_idle_j", "data"),
    _energy("idle_power_w", "idle power", "idle_power_w", "data", units.pretty_watts),
    _energy("energy_window_s", "measured for", "window_s", "data", units.pretty_seconds),
    Field("energy_sensor", "energy from", ("energy", "sensor"), "data", plain),
    Field("energy_samples", "readings", ("energy", "samples"), "data", plain, numeric=True),
    _energy("energy_largest_gap_s", "largest gap", "largest_gap_s", "data", units.pretty_seconds),
    Field("accuracy", "accuracy", ("accuracy", "top1"), "figure", units.pretty_share, numeric=True),
    Field("metric", "metric", ("quality", "metric"), "condition", plain),
    QualityField("quality", "quality", ("quality", "value"), "figure", units.pretty_number, numeric=True),
    Field("quality_low", "lowest", ("quality", "low"), "data", units.pretty_number, numeric=True),
    Field("quality_high", "highest", ("quality", "high"), "data", units.pretty_number, numeric=True),
    Field("quality_items", "items", ("quality", "items"), "data", plain, numeric=True),
    Field("quality_set", "evaluation set", ("quality", "set", "name"), "data", plain),
    Field(
        "quality_per_joule",
        "quality/J",
        ("quality", "per_joule"),
        "figure",
        units.pretty_number,
        numeric=True,
        timed=True,
    ),
    Field("sampler_cpu_share", "sampler", ("harness", "sampler_cpu_share"), "data", units.pretty_share, numeric=True),
    Field("missed_ticks", "missed", ("harness", "missed_ticks"), "data", plain, numeric=True),
    Field("verdict", "verdict", ("verdict",), "key", plain),
    Field("reasons", "reasons", ("reasons",), "data", plain),
    Field("warnings", "warnings", ("warnings",), "data", plain),
    Field("energy_missing", "no energy", ("energy_missing",), "data", plain),
)

STORED_FIELDS: tuple[Field, ...] = (
    Field("id", "run", ("id",), "key", plain),
    Field("origin", "from", ("origin",), "condition", plain),
    Field("created_utc", "at (UTC)", ("created_utc",), "key", plain),
    Field("device", "device", ("device",), "key", plain),
    Field("model", "model", ("model",), "key", plain),
    Field("task", "task", ("task",), "condition", plain),
    Field("runner", "runner", ("runner",), "condition", plain),
    Field("invocations", "n", ("invocations",), "key", plain, numeric=True),
    Field("p50_s", "p50", ("p50_s",), "key", units.pretty_seconds, numeric=True, timed=True),
    Field("verdict", "verdict", ("verdict",), "key", plain),
    Field("failure", "failure", ("failure",), "figure", plain),
)
"""What a list of stored runs shows; paths lead into the store's summaries."""
