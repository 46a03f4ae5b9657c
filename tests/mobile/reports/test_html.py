"""The HTML report without a browser: its figures are the store's, nothing in it is anybody else's script."""

import base64
import hashlib
import json
import re
from array import array
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from mobile.errors import UsageError
from mobile.reports.fields import FIELDS
from mobile.reports.html import document
from mobile.reports.html.latency import histogram
from mobile.reports.html.run_section import FIGURE_KINDS, NOT_FIGURES
from mobile.reports.html.theme import PALETTES
from mobile.reports.html.variants import comparisons, variants
from mobile.results.early_stopping import percentile_bound
from mobile.results.figures import figures
from mobile.results.run import ModelRef, Run
from mobile.results.stats import as_numpy
from mobile.results.store import RunStore
from tests.mobile.reports.test_course import PACKAGE, physics
from tests.support.cli import edgewise
from tests.support.runs import MS, simple_run
from tests.support.stored_runs import several

WHEN = "2026-01-02 03:04:05 UTC"
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


class Page(HTMLParser):
    """What is in a page: scripts, the figures of each run, elements with handlers, all text, the policy."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[tuple[dict, str]] = []
        self.figures: dict[str, dict[str, object]] = {}
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self._run, self._in_script = "", False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        about = dict(attrs)
        self.tags.append((tag, about))
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append((about, ""))
        elif about.get("class") == "run":
            self._run = about["id"].removeprefix("run-")
        elif tag == "data":
            self.figures.setdefault(self._run, {})[about["data-key"]] = json.loads(about["value"])

    def handle_endtag(self, tag):
        self._in_script = False

    def handle_data(self, data):
        if self._in_script:
            about, text = self.scripts[-1]
            self.scripts[-1] = (about, text + data)
        else:
            self.text += data

    @property
    def charts(self) -> dict:
        return json.loads(next(text for about, text in self.scripts if about.get("id") == "chart-data"))

    @property
    def policy(self) -> str:
        return next(about["content"] for tag, about in self.tags if about.get("http-equiv"))


def page_of(*runs: Run, **more) -> Page:
    return Page(document(runs, WHEN, **more))


def painted(value, key=""):
    """A chart with the light scheme's colours, as the page's script paints it."""
    if isinstance(value, list):
        return [painted(one, key) for one in value]
    if isinstance(value, dict):
        return {name: painted(one, name) for name, one in value.items()}
    return PALETTES["light"].get(value, value) if isinstance(value, str) and key.endswith("color") else value


def values_of(packed: dict) -> array:
    return array("d", base64.b64decode(packed["bdata"]))


@pytest.fixture(scope="module")
def hot() -> Run:
    return physics()


@pytest.fixture(scope="module")
def versus() -> list[Run]:
    """Five runs each of three variants: 10 ms, 12 ms, 10 ms with two threads."""
    return [
        *several(10.0, 5, seed=1, model="a.onnx"),
        *several(12.0, 5, seed=2, model="b.onnx", sha="cd", minute=20),
        *several(10.0, 5, seed=3, model="a.onnx", minute=40, threads=2),
    ]


@pytest.fixture(scope="module")
def page(hot, versus) -> Page:
    return page_of(hot, *versus)


def test_the_figures_of_a_page_are_those_of_the_store(tmp_path, hot) -> None:
    store = RunStore(tmp_path / "runs.sqlite3")
    store.add(hot)
    found = page_of(store.get(hot.id)).figures[hot.id]
    row = figures(store.get(hot.id))
    known = [field for field in FIELDS if field.kind in FIGURE_KINDS and field.key not in NOT_FIGURES]
    wanted = {field.key: json.loads(json.dumps(field.value(row))) for field in known if field.value(row) is not None}
    assert {key: found[key] for key in wanted} == wanted
    assert found["p50_s"] == row["latency_s"]["p50"]
    assert found["latency_p99_s"] == found["p99_s"] == row["latency_s"]["p99"]
    assert len(wanted) > 20


def test_only_our_scripts_are_in_it_whatever_the_store_holds() -> None:
    run = simple_run(device=EVIL, provenance="emulated")
    run.spec = replace(run.spec, model=ModelRef(EVIL, "ab" * 32, "onnx", 1000))
    run.environment.update({"label": EVIL, "device": {"model": EVIL, EVIL: "x"}})
    run.sensors = [{"name": EVIL, "quantity": "temperature", "state": "failed", "reason": EVIL}]
    found = page_of(run, simple_run())
    assert len(found.scripts) == 3
    assert EVIL in found.text
    handlers = {name for _, about in found.tags for name in about if name.startswith("on")}
    assert handlers == set()
    assert not [tag for tag, _ in found.tags if tag in ("img", "iframe", "object", "link")]
    names = json.dumps([chart["layout"]["annotations"] for chart in found.charts["charts"]])
    assert "<img" not in names


def test_half_of_a_surrogate_pair_from_a_store_does_no_harm() -> None:
    run = simple_run()
    run.environment["label"] = "half \ud83d"
    assert b"half ?" in document([run], WHEN).encode("utf-8", "replace")


def test_the_policy_forbids_all_but_the_scripts_that_are_there(page) -> None:
    assert page.policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in page.policy
    assert "unsafe-inline" not in page.policy.split("style-src")[0]
    for about, text in page.scripts:
        if about.get("type") != "application/json":
            name = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert f"'sha256-{name}'" in page.policy
    addresses = [about.get("src") or about.get("href") or "#" for _, about in page.tags]
    assert all(address.startswith("#") for address in addresses)


def test_the_plotting_library_knows_every_property_of_the_charts(page) -> None:
    from plotly.graph_objects import Figure

    assert len(page.charts["charts"]) > 10
    for chart in page.charts["charts"]:
        Figure(painted(chart))  # ValueError for what it does not know


def test_every_chart_has_its_place_and_a_table_after_it(page) -> None:
    places = [about for tag, about in page.tags if about.get("class") == "chart"]
    assert [about["id"] for about in places] == [f"chart-{number}" for number in range(len(page.charts["charts"]))]
    kinds = [tag if tag == "table" else about.get("class") for tag, about in page.tags]
    last_chart = len(kinds) - 1 - kinds[::-1].index("chart")
    assert "table" in kinds[last_chart:]
    assert all(about["aria-label"] for about in places)


def test_one_time_axis_has_latency_heat_clock_power_and_throttling(hot) -> None:
    chart = next(one for one in page_of(hot).charts["charts"] if "yaxis5" in one["layout"])
    headings = [note["text"] for note in chart["layout"]["annotations"]]
    assert [re.sub("<.*?>", "", text).split(",")[0] for text in headings] == [
        "Latency", "Temperature", "Clock", "Power", "Throttling and events", "cap.cpu0", "throttle.now.soft",
        "throttle.core.events",
    ]  # fmt: skip
    assert {trace["xaxis"] for trace in chart["data"]} == {"x"}
    shades = [shape for shape in chart["layout"]["shapes"] if shape["type"] == "rect"]
    assert [(round(shape["x0"], 6), round(shape["x1"], 6)) for shape in shades] == [(1.5, 4.0)]
    measured = next(trace for trace in chart["data"] if trace["name"] == "measured")
    assert [round(value, 9) for value in values_of(measured["y"])] == [10.0] * 150 + [14.0] * 150


def test_many_inferences_are_drawn_by_extremes_and_the_page_says_so() -> None:
    durations = [1 * MS] * 30_000
    durations[12_345] = 77 * MS
    found = page_of(simple_run(durations))
    chart = found.charts["charts"][2]
    high = next(trace for trace in chart["data"] if trace["name"] == "highest, measured")
    assert max(values_of(high["y"])) == 77.0
    assert len(values_of(high["y"])) <= 1000
    assert "latency (measured): 30,000 inferences, drawn as the lowest, the median and the highest" in found.text
    (own,) = found.figures.values()
    assert own["latency_max_s"] == 0.077


def test_variants_are_told_apart_by_what_differs_alone(versus) -> None:
    found, keys = variants(versus, [figures(run) for run in versus])
    assert keys == ["threads"]
    assert [variant.name for variant in found] == [
        "a.onnx, threads default", "b.onnx, threads default", "a.onnx, threads 2",
    ]  # fmt: skip
    assert [len(variant.runs) for variant in found] == [5, 5, 5]


def test_the_comparison_is_that_of_the_command(versus, page) -> None:
    assert "slower" in page.text
    found, keys = variants(versus, [figures(run) for run in versus])
    (latency,) = comparisons(found, keys)
    assert latency.answer.comparisons[0].verdict == "slower"
    forest = next(
        chart for chart in page_of(*versus).charts["charts"] if chart["data"] and "error_x" in chart["data"][0]
    )
    first = latency.answer.comparisons[0]
    assert values_of(forest["data"][0]["x"])[0] == first.value
    assert forest["data"][0]["error_x"]["array"] == [first.high - first.value]
    assert forest["data"][0]["marker"]["symbol"] == "triangle-up"


def test_what_is_not_comparable_is_not_compared_unless_allowed() -> None:
    runs = [*several(10.0, 4, seed=1), *several(12.0, 4, seed=2, minute=9, device="other")]
    assert "Not compared: not comparable, device" in page_of(*runs).text
    assert "Not compared" not in page_of(*runs, allowed=["device"]).text


def test_invalid_runs_are_shown_apart_with_their_reasons(hot, versus) -> None:
    text = page_of(hot, *versus).text
    assert "Kept and shown, but in no comparison" in text
    assert "throttle.core.events rose by 2" in text
    assert "15 valid and 1 invalid runs" in text
    assert "those marked emulated" in text


@pytest.mark.parametrize(
    "run",
    [
        simple_run([]),
        simple_run([10 * MS]),
        simple_run([10 * MS] * 3),
        simple_run([0] * 100),
        simple_run(sensors=[PACKAGE], columns={PACKAGE["name"]: lambda t: None}),
        simple_run(finish={"outcome": "failed"}),
    ],
    ids=["nothing measured", "one inference", "three", "no time at all", "a sensor without values", "failed"],
)
def test_a_poor_run_has_a_page_too(run) -> None:
    assert run.id in page_of(run).text


def test_no_run_is_an_error() -> None:
    with pytest.raises(UsageError, match="no run to report"):
        document([], WHEN)


def test_a_file_that_cannot_be_written_is_named(tmp_path) -> None:
    store = RunStore(tmp_path / "runs.sqlite3")
    store.add(simple_run())
    done = edgewise("--store", store.path, "report", "--html", "missing/report.html", cwd=tmp_path)
    assert done.returncode == 2
    assert "missing/report.html: No such file or directory" in done.stderr
    assert list(tmp_path.glob("**/*.part")) == []


def test_percentiles_have_the_bounds_of_early_stopping(hot) -> None:
    durations_s = (as_numpy(hot.phase("measure").duration_ns) / 1e9).tolist()
    found = page_of(hot).figures[hot.id]
    assert found["p90_bound_s"] == percentile_bound(durations_s, 0.9).bound
    assert "p99_bound_s" not in found  # 300 inferences are too few
    assert "662" in page_of(hot).text


def test_the_histogram_counts_every_inference_or_says_how_many_are_outside() -> None:
    run = simple_run([10 * MS] * 500 + [11 * MS] * 500 + [900 * MS])
    values = as_numpy(run.phase("measure").duration_ns) / 1e9
    chart, outside = histogram(values)
    assert outside == 1
    assert sum(values_of(chart["data"][0]["y"])) == 1000
    found = page_of(run)
    assert "the 1 slowest of 1,001 lie outside" in found.text
    assert max(values_of(found.charts["charts"][1]["data"][0]["y"])) == pytest.approx(900.0)


def test_a_run_in_parts_shows_what_it_lost() -> None:
    found = page_of(simple_run([10 * MS] * 500 + [20 * MS] * 250))
    chart = next(one for one in found.charts["charts"] if any("% of the best" in t["name"] for t in one["data"]))
    assert values_of(chart["data"][0]["y"])[-1] == pytest.approx(50, rel=0.05)
    assert values_of(chart["data"][1]["y"])[-1] == pytest.approx(200, rel=0.05)


def test_the_front_is_over_the_valid_runs_of_all_variants(versus) -> None:
    found = page_of(*versus)
    chart = next(one for one in found.charts["charts"] if one["data"][0].get("name") == "on the front")
    assert len(values_of(chart["data"][0]["x"])) + len(values_of(chart["data"][1]["x"])) == 3
    assert "beaten by" in found.text


def test_a_run_says_how_to_measure_it_again(hot) -> None:
    text = page_of(hot).text
    assert "edgewise bench net.onnx --on local" in text
    assert f"the model's SHA-256 is {hot.spec.model.sha256}" in text
