"""A report as one HTML document that needs nothing else: style, script, plotting library and data are inside.

A content security policy in it forbids every request, and every script but the two whose hashes it names.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

from mobile.errors import UsageError
from mobile.reports import units
from mobile.reports.html.charts import Charts
from mobile.reports.html.elements import Element, el, embedded_json, grid, table_grid, written
from mobile.reports.html.run_section import run_section
from mobile.reports.html.timeline import bins_for
from mobile.reports.html.variants import Compared, Variant, comparisons, variants
from mobile.reports.html.versus import forest, fronts
from mobile.reports.pareto import Variants, pareto_table, variants_of
from mobile.reports.table import Table, runs_table
from mobile.reports.verdicts import interval_words, p_words, ratio_words, verdict_words
from mobile.results.figures import figures
from mobile.results.run import Run
from mobile.results.stats import PERCENTILE_METHOD

Row = Mapping[str, Any]

OPENED = 3  # runs whose sections are open at first
GET_IT = "pip install 'edgewise[report]'"


def document(runs: Sequence[Run], created_utc: str, allowed: Iterable[str] = ()) -> str:
    """The report of runs as HTML. ``allowed``: conditions that may differ in its comparison ("all" for any).

    UsageError without a run, or where the plotting library is not installed.
    """
    if not runs:
        raise UsageError("there is no run to report", "`edgewise runs` lists what is stored.")
    library, version = _library()
    rows = [figures(run) for run in runs]
    charts = Charts()
    found, keys = variants(runs, rows)
    body = [
        el("a", "To the report", href="#report", class_="skip"),
        _header(rows, created_utc),
        el("main", _sections(runs, rows, found, keys, charts, allowed), id="report"),
        _footer(version),
    ]
    own = _own("report.js")
    scripts = [
        el("script", embedded_json(charts.document()), type="application/json", id="chart-data"),
        el("script", library),
        el("script", own),
    ]
    page = el("html", _head(_title(rows), _policy(library, own)), el("body", body, scripts), lang="en")
    return "<!DOCTYPE html>\n" + written(page) + "\n"


def _library() -> tuple[str, str]:
    """(the plotting library, its version)."""
    try:
        import plotly
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise UsageError("an HTML report needs plotly", GET_IT) from error
    return str(get_plotlyjs()).replace("\r\n", "\n"), str(plotly.__version__)


def _own(name: str) -> str:
    return resources.files("mobile.reports.html").joinpath(name).read_text(encoding="utf-8")


def _policy(*scripts: str) -> str:
    """Nothing is loaded from anywhere. The library sets styles as it draws, and saves a drawing through a blob."""
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts]
    return (
        f"default-src 'none'; script-src {' '.join(hashes)}; style-src 'unsafe-inline'; img-src data: blob:;"
        " base-uri 'none'; form-action 'none'"
    )


def _head(title: str, policy: str) -> Element:
    return el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", title),
        el("style", _own("report.css")),
    )


def _title(rows: Sequence[Row]) -> str:
    models = list(dict.fromkeys(str(row["model"].get("name")) for row in rows))
    devices = list(dict.fromkeys(str(row["device"]) for row in rows))
    return f"{_few(models)} on {_few(devices)}: edgewise report"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _header(rows: Sequence[Row], created_utc: str) -> Element:
    invalid = sum(row["verdict"] != "valid" for row in rows)
    kinds = [f"{count} {word}" for count, word in ((len(rows) - invalid, "valid"), (invalid, "invalid")) if count]
    words = f"{' and '.join(kinds)} {'run' if len(rows) == 1 else 'runs'}"
    unreal = sorted({str(row["provenance"]) for row in rows} - {"real"})
    told = f"; not the times of a real device: those marked {', '.join(unreal)}" if unreal else ""
    return el(
        "header",
        el("h1", _title(rows).removesuffix(": edgewise report")),
        el("p", f"{words}{told}. Written {created_utc}.", class_="faint"),
        el("noscript", el("p", "Charts need scripts; all their figures are in the tables.")),
    )


def _sections(
    runs: Sequence[Run], rows: Sequence[Row], found: Sequence[Variant], keys: Sequence[str], charts: Charts,
    allowed: Iterable[str],
) -> Iterator[Element]:  # fmt: skip
    compared = comparisons(found, keys, allowed)
    front = variants_of([row for row in rows if row["task"] != "evaluate" and row["verdict"] == "valid"])
    parts = [("overview", "Runs", list(_overview(rows)))]
    if compared:
        parts.append(("comparison", "Comparison", list(_comparison(found, compared, charts))))
    if len(front.points) > 1:
        parts.append(("front", "Pareto front", list(_front(front, charts))))
    bins = bins_for(len(runs))
    sections = [
        run_section(run, row, charts, bins, number < OPENED)
        for number, (run, row) in enumerate(zip(runs, rows, strict=True))
    ]
    parts.append(("runs", "Each run", sections))
    links = [el("li", el("a", title, href=f"#{name}")) for name, title, _ in parts]
    yield el("nav", el("ul", links), aria_label="Sections")
    for name, title, content in parts:
        yield el("section", el("h2", title, id=f"{name}-title"), content, id=name, aria_labelledby=f"{name}-title")


def _overview(rows: Sequence[Row]) -> Iterator[Element]:
    valid = [row for row in rows if row["verdict"] == "valid"]
    invalid = [row for row in rows if row["verdict"] != "valid"]
    links = {str(row["id"]): f"#run-{row['id']}" for row in rows}
    if valid:
        yield from table_grid(runs_table(valid), "Valid runs", links)
    if invalid:
        yield el("h3", "Invalid runs")
        yield el("p", "Kept and shown, but in no comparison and on no front.", class_="faint")
        yield from table_grid(runs_table(invalid), "Invalid runs, with the reasons", links)


def _comparison(found: Sequence[Variant], compared: Sequence[Compared], charts: Charts) -> Iterator[Element]:
    yield el(
        "p",
        f"{len(found)} variants; each is compared with the first that has valid runs. The unit is a run, one process"
        " launch. An exact test decides; the ratio and its interval say how much.",
    )
    for one in compared:
        yield el("h3", one.metric.title.capitalize())
        if one.answer is None:
            yield el("p", f"Not compared: {one.refused}")
            continue
        if any(part.value is not None for part in one.answer.comparisons):
            caption = (
                f"Ratios with their 95 % intervals; grey: less than {100 * one.answer.terms.margin:g} % apart."
                " Points down: better; up: worse; square: equivalent; open circle: undecided."
            )
            yield charts.add(forest(one.answer), caption)
        yield from _comparison_tables(one)


def _comparison_tables(one: Compared) -> Iterator[Element]:
    if one.answer is None:
        return
    told = one.answer.to_json()
    write = {"s": units.pretty_seconds, "J": units.pretty_joules, "B": units.pretty_bytes}[one.metric.unit]
    groups = [
        [group["name"], str(len(group["runs"])), str(len(group["left_out"])), write(group["median"])]
        for group in told["groups"]
    ]
    yield grid(["variant", "runs", "left out", one.metric.title], groups, "The variants", [False, True, True, True])
    rows = [
        [part.b, ratio_words(part), interval_words(part), p_words(part.p_adjusted), verdict_words(part)]
        for part in one.answer.comparisons
    ]
    headers = [f"against {told['groups'][0]['name']}", "ratio", "95 % interval", "p", "verdict"]
    yield grid(headers, rows, f"Verdicts by {one.metric.title}", [False, True, True, True])
    left_out = [f"left out: {lost['id']}: {lost['reason']}" for group in told["groups"] for lost in group["left_out"]]
    lines = [*told["differs"], *told["notes"], *one.empty, *left_out]
    if lines:
        yield el("ul", [el("li", line) for line in lines], class_="notes")


def _front(found: Variants, charts: Charts) -> Iterator[Element]:
    made = fronts(found)
    if made:
        caption = "Numbers as in the table. Filled: on the front, beaten by none in everything; open: beaten."
        yield el("div", [charts.add(chart, caption) for chart in made], class_="side")
    table = pareto_table(found)
    at = table.headers.index("variant")
    order = [at, *(place for place in range(len(table.headers)) if place != at)]
    rows = [[row[place] for place in order] for row in table.rows]
    numbered = [[f"{number}. {row[0]}", *row[1:]] for number, row in enumerate(rows, start=1)]
    headers, numeric = [table.headers[place] for place in order], [table.numeric[place] for place in order]
    yield from table_grid(Table(headers, numbered, numeric, table.notes), "The variants; * is on the front")


def _footer(version: str) -> Element:
    from mobile import __version__

    return el(
        "footer",
        el("h2", "How this was made"),
        el(
            "p",
            f"By edgewise {__version__} from stored runs. Figures are computed from all samples; percentiles by"
            f" {PERCENTILE_METHOD}. Drawings of many samples show the lowest and the highest of each stretch of time,"
            f" and say so. Charts: plotly {version}, inside of this file; it requests nothing.",
            class_="faint",
        ),
    )
