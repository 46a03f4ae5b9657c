"""What a page says of one run: verdict, figures, charts with their tables, facts, and how to measure it again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mobile.reports import units
from mobile.reports.course import Course, course
from mobile.reports.fields import FIELDS, plain
from mobile.reports.html.charts import Charts
from mobile.reports.html.elements import Cells, Element, el, figure_of, grid
from mobile.reports.html.latency import course_of_parts, curve, histogram, percentile_name
from mobile.reports.html.timeline import timeline
from mobile.reports.marks import Spell, phase_times, spells
from mobile.results.early_stopping import CONFIDENCE
from mobile.results.run import Run
from mobile.results.scenario import SHARES, queries
from mobile.results.stats import NS_PER_S
from mobile.results.sustained import sustained, told_of
from mobile.share.rerun import command_line, not_told

Row = Mapping[str, Any]

FIGURE_KINDS = ("key", "figure", "data")
NOT_FIGURES = ("id", "device", "model", "verdict", "reasons", "warnings", "sha256")
MOST_SPELLS = 60
FEWEST_IN_PART = 3  # inferences: of fewer the course says nothing
FACTS = (
    "edgewise", "agent", "runtime", "provider", "providers", "node_share", "threads", "cpus", "governor", "power_mode",
    "clocks_locked", "label", "start_temperature_c", "start_temperature_sensor",
)  # fmt: skip


def run_section(run: Run, row: Row, charts: Charts, bins: int, opened: bool) -> Element:
    """The section of a run. ``row``: its figures."""
    model = row["model"]
    summary = el("summary", f"{model.get('name')} on {row['device']} ", el("span", f"run {run.id}", class_="faint"))
    parts = [*_head(run, row), *_latencies(run, row, charts), *_course(run, charts, bins)]
    parts += [*_sustained(run, charts), *_energy(row), *_figures(row), *_facts(run, row), *_again(run)]
    return el("details", summary, parts, class_="run", id=f"run-{run.id}", open="open" if opened else None)


def verdict_of(row: Row) -> Element:
    """The verdict, told apart by its word and its border as well."""
    verdict = str(row["verdict"])
    return el("span", verdict, class_=f"verdict {'valid' if verdict == 'valid' else 'invalid'}")


def _head(run: Run, row: Row) -> Iterator[Element]:
    yield el("p", verdict_of(row), f" measured {run.created_utc} on {row['device']}, provenance: {run.provenance}")
    if run.provenance != "real":
        yield el("p", f"Not the times of a real device: {run.provenance}.", class_="faint")
    if row["reasons"]:
        yield el("h3", "Why it is invalid")
        yield el("ul", [el("li", str(reason)) for reason in row["reasons"]])
    if row["warnings"]:
        yield el("h3", "What to know beside its figures")
        yield el("ul", [el("li", str(warning)) for warning in row["warnings"]])


def _latencies(run: Run, row: Row, charts: Charts) -> Iterator[Element]:
    yield el("h3", "Latency")
    values_s = queries(run).latency_ns / NS_PER_S
    if len(values_s) < 2:
        yield el("p", "No single inferences to show: the runner tells only a summary, or too few were measured.")
        return
    scenario, told = row["scenario"], row["percentiles"]
    latency_s = scenario["latency_s"] if scenario else row["latency_s"]
    what = "queries, each from the moment it was due" if scenario else "inferences"
    bars, outside = histogram(values_s)
    note = f"; the {outside:,} slowest of {len(values_s):,} lie outside" if outside else ""
    yield el(
        "div",
        charts.add(bars, f"How the latencies of the {what} are distributed{note}."),
        charts.add(
            curve(values_s, latency_s["p50"], told), "Latency by percentile, the tail stretched, with the bounds."
        ),
        class_="side",
    )
    if scenario:
        yield el("p", f"Scenario {scenario['words']}: {scenario['result']}.")
    yield _percentile_table(latency_s["p50"], told, len(values_s), what)


def _percentile_table(median_s: float, told: Mapping[str, Mapping[str, Any]], count: int, what: str) -> Element:
    rows: Cells = [["p50", figure_of(units.pretty_seconds(median_s), median_s, "p50_s"), "-", "-", "-"]]
    for key, one in told.items():
        value_s, bound_s = one["value_s"], one["bound_s"]
        bound = "too few" if bound_s is None else figure_of(units.pretty_seconds(bound_s), bound_s, f"{key}_bound_s")
        rows.append(
            [
                percentile_name(SHARES[key]),
                figure_of(units.pretty_seconds(value_s), value_s, f"{key}_s"),
                bound,
                "-" if one["discarded"] is None else str(one["discarded"]),
                f"{one['needed']:,}",
            ]
        )
    caption = (
        f"Percentiles of {count:,} {what}. With a confidence of {100 * CONFIDENCE:g} % each is below its bound"
        " (MLPerf's early stopping), as far as they are independent of each other."
    )
    headers = ["percentile", "measured", f"upper bound, {100 * CONFIDENCE:g} %", "left out above", "needed for a bound"]
    return grid(headers, rows, caption, [False, True, True, True, True])


def _course(run: Run, charts: Charts, bins: int) -> Iterator[Element]:
    found = course(run)
    seen = spells(run, found.origin_ns)
    yield el("h3", "Over time")
    if not found.phases and not found.panels and not seen:
        yield el("p", "No inference, no sensor and no event was recorded.")
        return
    drawn = timeline(found, seen, phase_times(run, found.origin_ns), bins)
    caption = (
        "Everything on the device's own clock. Shaded: throttling showed. Dashed lines: measuring began and ended."
        " Keys: + and - zoom, the arrows move, 0 shows all."
    )
    yield charts.add(drawn.chart, caption, zoom=True)
    if drawn.thinned:
        words = "Drawn with fewer points than there are samples; every figure is from all of them"
        yield el("p", f"{words}: {'; '.join(drawn.thinned)}.", class_="notes")
    yield from _course_tables(found, seen)


def _course_tables(found: Course, seen: list[Spell]) -> Iterator[Element]:
    rows = [
        [one.name, one.about, f"{panel.name}, {panel.unit}", f"{len(one.values):,}",
         *(f"{value:.4g}" for value in (one.values[0], one.values.min(), one.values.max(), one.values[-1]))]
        for panel in found.panels
        for one in panel.lines
    ]  # fmt: skip
    if rows:
        headers = ["sensor", "of", "quantity", "readings", "first", "lowest", "highest", "last"]
        yield grid(headers, rows, "The lines of the chart", [False] * 3 + [True] * 5)
    left_out = [name for panel in found.panels for name in panel.left_out]
    if left_out:
        yield el("p", f"Not drawn, but stored: {', '.join(left_out)}.", class_="notes")
    if seen:
        marks = [
            [f"{spell.start_s:.3f} s", f"{spell.end_s - spell.start_s:.3f} s", spell.name, spell.words]
            for spell in seen[:MOST_SPELLS]
        ]
        more = f": the first {MOST_SPELLS} of {len(seen)}" if len(seen) > MOST_SPELLS else ""
        yield grid(["from", "for", "sensor or event", "what"], marks, f"Throttling and events{more}", [True, True])


def _sustained(run: Run, charts: Charts) -> Iterator[Element]:
    found = sustained(run)
    parts = found["parts"] if found else []
    if found is None or len(parts) < 3 or min(part["inferences"] for part in parts) < FEWEST_IN_PART:
        return
    yield el("h3", "Sustained")
    yield el("p", f"{told_of(found)}.")
    yield charts.add(course_of_parts(parts), f"The run in {len(parts)} parts of {found['part_s']:.3g} s.")
    rows = [
        [
            f"{part['t_s'] - found['part_s'] / 2:.3g} s",
            f"{part['inferences']:,}",
            units.pretty_number(part["per_s"]),
            units.pretty_seconds(part["p50_s"]),
            units.pretty_joules(part["per_inference_j"]),
            units.pretty_degrees(part["temperature_c"]),
            units.pretty_hertz(part["clock_hz"]),
        ]
        for part in parts
    ]
    headers = ["from", "inferences", "per second", "median latency", "energy", "hottest", "clock"]
    table = grid(headers, rows, "The parts", [True] * len(headers))
    yield el("details", el("summary", "The parts as a table"), table)


def _energy(row: Row) -> Iterator[Element]:
    yield el("h3", "Energy")
    known = row.get("energy_all") or []
    if not known:
        yield el("p", f"Not measured: {row.get('energy_missing')}.")
        return
    cells = [[str(one.get("scope")), str(one.get("sensor")), *_joules(one)] for one in known]
    headers = ["of", "sensor", "of an inference", "uncertainty (k = 2)", "mean power", "readings", "largest gap"]
    yield grid(headers, cells, "Each whole that the device shows; scopes are never added", [False] * 2 + [True] * 5)
    why = [f"{one.get('sensor')}: none: {one['missing']}" for one in known if one.get("missing")]
    if why:
        yield el("ul", [el("li", line) for line in why], class_="notes")


def _joules(one: Mapping[str, Any]) -> list[str]:
    return [
        units.pretty_joules(one.get("per_inference_j")),
        units.pretty_joules(one.get("per_inference_uncertainty_j")),
        units.pretty_watts(one.get("mean_power_w")),
        plain(one.get("samples")),
        units.pretty_seconds(one.get("largest_gap_s")),
    ]


def _figures(row: Row) -> Iterator[Element]:
    known = [field for field in FIELDS if field.kind in FIGURE_KINDS and field.key not in NOT_FIGURES]
    cells: Cells = [
        [field.header, figure_of(field.text(row), field.value(row), field.key)]
        for field in known
        if field.value(row) is not None
    ]
    table = grid(["figure", "value"], cells, "Figures, from all samples")
    yield el("details", el("summary", "All figures of the run"), table)


def _facts(run: Run, row: Row) -> Iterator[Element]:
    environment, model = row["environment"], row["model"]
    facts = environment.get("device") or {}
    rows = [[f"model {name}", plain(value)] for name, value in model.items()]
    rows += [[name.replace("_", " "), plain(environment[name])] for name in FACTS if environment.get(name) is not None]
    rows += [[f"device: {name}", plain(value)] for name, value in facts.items() if value is not None]
    rows += [[f"asked: {name}", plain(value)] for name, value in row["spec"].items() if value not in (None, {}, [])]
    table = grid(["fact", "value"], rows, "What was measured, on what, set how")
    yield el("details", el("summary", "Facts of the device and of the run"), table)
    absent = [
        [str(sensor.get("name")), str(sensor.get("state")), str(sensor.get("reason"))]
        for sensor in run.sensors
        if sensor.get("state") != "present"
    ]
    if absent:
        table = grid(["sensor", "state", "why"], absent, "Sensors that gave nothing")
        yield el("details", el("summary", f"{len(absent)} sensors that gave nothing"), table)


def _again(run: Run) -> Iterator[Element]:
    yield el("h3", "Measure it again")
    yield el("pre", el("code", command_line(run)), tabindex="0", role="region", aria_label="command line")
    notes = [f"the model's SHA-256 is {run.spec.model.sha256}"] if run.spec.model.sha256 else []
    left = not_told(run)
    notes += [f"also asked, and not in this line: {', '.join(left)}"] if left else []
    yield el("ul", [el("li", note) for note in notes], class_="notes")
