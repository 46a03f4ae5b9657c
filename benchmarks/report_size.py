"""How large an HTML report is, and how soon it stands: `python -m benchmarks.report_size [RUNS]`.

A run of 10^6 inferences with five sensors (simulated: only their number matters here). "Readable" is when a headless
Chromium first paints the page, figures and tables, from the moment at which it is told to open the file; "stands" is
when the first charts are drawn too. The limits are those that the report was designed for. Beside it stands the CPU
time of the page's own thread, on which other programs have little influence. The last line tells what of the file is
the plotting library.
"""

from __future__ import annotations

import sys
import tempfile
import time
from array import array
from pathlib import Path

from benchmarks.million import COUNT, million
from benchmarks.table import Line, show
from mobile.reports.html import document
from mobile.results.run import Run, Samples
from tests.support.chromium import Browser
from tests.support.runs import sensor

LIMIT_BYTES, LIMIT_S = 6e6, 2.0
PERIOD_NS = 10_000_000
LAWS = {
    "temperature.cpu": ("temperature", 45.0, 0.02), "temperature.board": ("temperature", 35.0, 0.01),
    "frequency.cpu0": ("frequency", 2.4e9, 1e6), "power.VDD_IN": ("power", 7.0, 0.5),
    "energy.rapl.package-0": ("energy", 1000.0, 0.0),
}  # fmt: skip
STANDS = """new Promise((done) => {
  const look = () => {
    const charts = [...document.querySelectorAll('.chart')];
    const seen = charts.filter((one) => one.getBoundingClientRect().top < innerHeight);
    const stands = document.readyState === 'complete' && seen.every((one) => one.dataset.drawn);
    return stands ? requestAnimationFrame(() => done(performance.now())) : setTimeout(look, 5);
  };
  look();
})"""

PAINTED = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def with_sensors(run: Run) -> Run:
    """The run with readings of all the sensors, 100 a second."""
    import numpy as np

    measured = run.phase("measure")
    times = np.arange(measured.start_ns[0], measured.start_ns[-1], PERIOD_NS // 100, dtype=np.int64)
    noise = np.random.default_rng(0)
    columns: dict[str, list[float | None]] = {}
    for name, (quantity, base, spread) in LAWS.items():
        values = base + noise.normal(0.0, spread, len(times)) if spread else base + np.arange(len(times)) * 1e-3
        columns[name] = values.tolist()
        run.sensors.append(sensor(name, quantity))
    run.samples = Samples(array("q", times.tobytes()), columns)
    return run


def opened_s(path: Path, folder: Path, width: int, *, phone: bool) -> tuple[float, float, float]:
    """(seconds until the first paint, until the charts in sight are drawn, CPU seconds of the page's thread).

    The browser was running.
    """
    with Browser(folder) as browser:
        browser.look(width, 900, phone=phone)
        browser.call("Performance.enable", timeDomain="threadTicks")
        browser.call("Page.navigate", url=path.as_uri())
        browser.wait_for("location.protocol === 'file:' && document.querySelector('.chart') !== null")
        stands_s = float(browser.ask(STANDS)) / 1e3
        painted_s = float(browser.ask(PAINTED)) / 1e3
        told = {one["name"]: one["value"] for one in browser.call("Performance.getMetrics")["metrics"]}
        return painted_s, stands_s, float(told["TaskDuration"])


def main(runs: int = 1) -> None:
    """Prints size, times and the share of the library."""
    from plotly.offline import get_plotlyjs

    measured = [with_sensors(million()) for _ in range(runs)]
    begin = time.perf_counter()
    text = document(measured, "2026-01-01 00:00:00 UTC")
    made_s = time.perf_counter() - begin
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "report.html"
        path.write_text(text, encoding="utf-8", newline="\n")
        size, library = path.stat().st_size, len(get_plotlyjs().encode())
        wide_paint_s, wide_s, wide_cpu_s = opened_s(path, folder / "wide", 1280, phone=False)
        phone_paint_s, phone_s, phone_cpu_s = opened_s(path, folder / "phone", 360, phone=True)
    what = f"{runs} x {COUNT:,} inferences"
    lines = [
        Line(f"size, {what}", f"{size / 1e6:.2f} MB", f"{LIMIT_BYTES / 1e6:g} MB", size / LIMIT_BYTES, "<= 1"),
        Line("readable, 1280 px", f"{wide_paint_s:.2f} s", f"{LIMIT_S:g} s", wide_paint_s / LIMIT_S, "<= 1"),
        Line("readable, 360 px", f"{phone_paint_s:.2f} s", f"{LIMIT_S:g} s", phone_paint_s / LIMIT_S, "<= 1"),
        Line("stands, 1280 px", f"{wide_s:.2f} s", f"{LIMIT_S:g} s", wide_s / LIMIT_S, "<= 1"),
        Line("stands, 360 px", f"{phone_s:.2f} s", f"{LIMIT_S:g} s", phone_s / LIMIT_S, "<= 1"),
        Line("CPU time, 1280 px", f"{wide_cpu_s:.2f} s", f"{LIMIT_S:g} s", wide_cpu_s / LIMIT_S, "shown"),
        Line("CPU time, 360 px", f"{phone_cpu_s:.2f} s", f"{LIMIT_S:g} s", phone_cpu_s / LIMIT_S, "shown"),
        Line("written", f"{made_s:.2f} s", "-", float("nan"), "shown"),
        Line("of the size, the library", f"{library / 1e6:.2f} MB", f"{size / 1e6:.2f} MB", library / size, "shown"),
    ]
    show("An HTML report", lines)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
