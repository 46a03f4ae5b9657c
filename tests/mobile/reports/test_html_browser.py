"""The HTML report in a real browser: a store with runs of this machine and of a simulated board, by the command."""

import base64
import json
from array import array

import pytest

from mobile import example
from mobile.results.figures import figures
from mobile.results.store import RunStore
from tests.mobile.reports.test_course import physics
from tests.support.chromium import Browser, program
from tests.support.cli import edgewise, edgewise_json
from tests.support.stored_runs import several

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The store and the report. One run is real, of this machine; the board that gets hot is simulated."""
    program()
    place = tmp_path_factory.mktemp("report")
    store = RunStore(place / "runs.sqlite3")
    asked = ("--threads", "1", "--duration", "0.3", "--min-count", "20", "--label", "<script>alert(1)</script>")
    edgewise_json(
        "--store", store.path, "bench", example.model_path(), "--on", "local", *asked, cwd=place, HOME=str(place)
    )
    store.add(physics())
    for run in [*several(10.0, 2, seed=1, model="a.onnx"), *several(12.0, 2, seed=2, model="b.onnx", sha="cd")]:
        store.add(run)
    ids = [row["id"] for row in reversed(store.list())]
    done = edgewise("--store", store.path, "report", *ids, "--html", "report.html", "--allow", "all", cwd=place)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("report.html: 6 runs, ")
    return place


@pytest.fixture(scope="module")
def browser(folder, tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("chromium")) as one:
        one.look(1280)
        one.open(folder / "report.html")
        yield one


OPEN_ALL = "document.querySelectorAll('details').forEach((one) => { one.open = true; })"


def draw_all(browser: Browser) -> int:
    """How many charts there are, once all are drawn."""
    browser.ask(OPEN_ALL)
    count = browser.ask("document.querySelectorAll('.chart').length")
    browser.ask("window.dispatchEvent(new Event('beforeprint'))")
    browser.wait_for("[...document.querySelectorAll('.chart')].every((one) => one.dataset.drawn)")
    return count


def test_every_chart_is_drawn_without_a_word_on_the_console_and_without_a_request(browser, folder) -> None:
    assert draw_all(browser) > 15
    assert browser.faults() == []
    assert browser.requests() == [(folder / "report.html").as_uri()]


def test_what_the_page_shows_equals_the_database(browser, folder) -> None:
    told = browser.ask(
        "JSON.stringify([...document.querySelectorAll('.run')].map((run) => [run.id.slice(4),"
        " [...run.querySelectorAll('data')].map((one) => [one.dataset.key, one.value])]))"
    )
    shown = {run: {key: json.loads(value) for key, value in pairs} for run, pairs in json.loads(told)}
    store = RunStore(folder / "runs.sqlite3")
    assert set(shown) == {row["id"] for row in store.list()}
    for run_id, found in shown.items():
        run = store.get(run_id)
        row = figures(run)
        assert [found[f"latency_{name}_s"] for name in ("min", "p50", "p90", "p99", "max")] == [
            row["latency_s"][name] for name in ("min", "p50", "p90", "p99", "max")
        ]
        assert found["invocations"] == row["invocations"] == len(run.phase("measure"))
        assert found.get("energy_j") == (row["energy"] or {}).get("total_j")


def test_the_drawn_points_are_the_stored_ones(browser, folder) -> None:
    store = RunStore(folder / "runs.sqlite3")
    real = next(row["id"] for row in store.list() if row["provenance"] == "real" and row["device"] == "local"
                and row["model"] not in ("a.onnx", "b.onnx"))  # fmt: skip
    packed = browser.ask(
        f"(() => {{ const chart = document.querySelector('#run-{real} .chart[data-zoom]');"
        " const trace = chart._fullData.find((one) => one.name === 'measured');"
        " return btoa(String.fromCharCode(...new Uint8Array(Float64Array.from(trace.y).buffer))); })()"
    )
    drawn = array("d", base64.b64decode(packed))
    durations = store.get(real).phase("measure").duration_ns
    assert len(drawn) == len(durations) > 20
    assert all(value > 0 for value in drawn)
    ratio = drawn[0] / durations[0]
    assert list(drawn) == pytest.approx([one * ratio for one in durations], rel=1e-9)


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_fits_and_takes_the_scheme(browser, folder, width, dark) -> None:
    browser.look(width, 800, dark=dark, phone=width < 500)
    browser.open(folder / "report.html")
    browser.ask(OPEN_ALL)
    chart = "document.querySelector('.chart[data-zoom]')"
    browser.ask(f"{chart}.scrollIntoView({{behavior: 'instant'}})")
    browser.wait_for(f"{chart}.dataset.drawn === 'yes'")
    assert browser.ask(f"{chart}._fullLayout.width") <= width
    assert browser.ask("document.documentElement.scrollWidth") <= width
    ground = "rgb(20, 24, 29)" if dark else "rgb(255, 255, 255)"
    assert browser.ask("getComputedStyle(document.body).backgroundColor") == ground
    assert browser.ask(f"getComputedStyle({chart}.querySelector('.main-svg')).backgroundColor") == ground
    assert browser.faults() == []


def test_the_drawing_follows_the_scheme_and_the_width(browser, folder) -> None:
    browser.look(1280)
    browser.open(folder / "report.html")
    browser.ask("document.querySelector('.chart').scrollIntoView({behavior: 'instant'})")
    browser.wait_for("document.querySelector('.chart').dataset.drawn === 'yes'")
    ground = "getComputedStyle(document.querySelector('.chart .main-svg')).backgroundColor"
    browser.look(600, dark=True)
    browser.wait_for(f"{ground} === 'rgb(20, 24, 29)' && document.querySelector('.chart')._fullLayout.width < 600")


def test_keys_and_buttons_move_along_the_time(browser, folder) -> None:
    browser.look(1280)
    browser.open(folder / "report.html")
    chart = "document.querySelector('.chart[data-zoom]')"
    browser.ask(f"{chart}.scrollIntoView({{behavior: 'instant'}})")
    browser.wait_for(f"{chart}.dataset.drawn === 'yes'")
    span = f"(() => {{ const [low, high] = {chart}.layout.xaxis.range; return high - low; }})()"
    whole = browser.ask(span)
    browser.ask(f"{chart}.focus()")
    browser.press("+")
    browser.wait_for(f"{span} < {0.6 * whole}")
    browser.press("0")
    browser.wait_for(f"Math.abs({span} - {whole}) < {0.01 * whole}")
    browser.ask("document.querySelector('.buttons button[data-do=in]').click()")
    browser.wait_for(f"{span} < {0.6 * whole}")
    browser.ask("document.querySelector('.buttons button[data-do=all]').click()")
    browser.wait_for(f"Math.abs({span} - {whole}) < {0.01 * whole}")
    small = "[...document.querySelectorAll('button')].filter((one) => one.offsetParent && one.offsetHeight < 24).length"
    assert browser.ask(small) == 0


def test_the_text_of_a_label_is_text(browser) -> None:
    assert "<script>alert(1)</script>" in browser.ask("document.body.innerText")
    assert browser.ask("document.scripts.length") == 3
